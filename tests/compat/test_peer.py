"""Every case of the corpus, run by both: llm-orc once for all cases, stretto beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compat import peer
from compat.answering import Answering, answering
from compat.case import Case
from compat.corpus import CASES
from compat.difference import differences
from compat.observation import Observation
from compat.ours import observed
from compat.project import written

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def server() -> Iterator[Answering]:
    with answering() as server:
        yield server


@pytest.fixture(scope="module")
def theirs(server: Answering, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Observation]:
    return peer.observed(CASES, server, tmp_path_factory.mktemp("peer"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_was_recorded_is_what_it_does(case: Case, theirs: dict[str, Observation]) -> None:
    assert theirs[case.name] == peer.recorded()[case.name]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_both_do_the_same(
    case: Case,
    theirs: dict[str, Observation],
    server: Answering,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = f"ours-{CASES.index(case)}"
    at = written(case, server.serve(case, place), tmp_path)
    at.enter(monkeypatch)
    ours = await observed(case, at, server, place)
    assert differences(theirs[case.name], ours, case.fixes) == []
