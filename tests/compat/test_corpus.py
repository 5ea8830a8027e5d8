"""Every case of the corpus, run by stretto alone, against what was recorded of llm-orc."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compat import peer
from compat.answering import Answering, answering
from compat.case import Case
from compat.corpus import CASES
from compat.difference import differences
from compat.ours import observed
from compat.project import written

RECORDED = peer.recorded()


@pytest.fixture(scope="module")
def server() -> Iterator[Answering]:
    with answering() as server:
        yield server


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_case_runs_as_recorded(
    case: Case, server: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"ours-{CASES.index(case)}"
    at = written(case, server.serve(case, place), tmp_path)
    at.enter(monkeypatch)
    ours = await observed(case, at, server, place)
    assert differences(RECORDED[case.name], ours, case.fixes) == []
    if not ours["accepted"]:
        assert all(file and line for file, line in ours["places"]), ours["places"]


def test_everything_recorded_is_a_case() -> None:
    assert list(RECORDED) == [case.name for case in CASES]
