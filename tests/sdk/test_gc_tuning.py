"""The garbage collector is tuned while a run wants it, and as it was afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from stretto import Agent, Inputs, Runner, Settings
from stretto.gc_tuning import YOUNG, tuned_gc
from watched import an_ensemble, hang, virtually


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    yield
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == frozen


def test_nothing_happens_unless_it_is_wanted() -> None:
    before = gc.get_threshold()
    with tuned_gc(False):
        assert gc.get_threshold() == before
        assert gc.get_freeze_count() == 0


def test_what_lives_is_frozen_and_the_threshold_raised() -> None:
    with tuned_gc(True):
        assert gc.get_threshold()[0] == YOUNG
        assert gc.get_freeze_count() > 0


def test_it_lasts_until_the_last_user_has_left() -> None:
    first, second = tuned_gc(True), tuned_gc(True)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] == YOUNG
    second.__exit__(None, None, None)


def test_what_the_application_froze_itself_stays_frozen() -> None:
    gc.freeze()
    try:
        with tuned_gc(True):
            assert gc.get_threshold()[0] == YOUNG
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_an_error_undoes_it_too() -> None:
    with pytest.raises(ValueError), tuned_gc(True):
        raise ValueError


def test_a_run_tunes_only_when_it_is_asked() -> None:
    seen: list[int] = []

    async def looks(inputs: Inputs) -> str:
        seen.append(gc.get_threshold()[0])
        return "x"

    async def main() -> None:
        for tune in (False, True):
            await Runner(middleware=[], settings=Settings(tune_gc=tune)).run(Agent("a", function=looks), "x")

    usual = gc.get_threshold()[0]
    virtually(main())
    assert seen == [usual, YOUNG]


def test_a_run_that_was_cancelled_undoes_it() -> None:
    async def main() -> None:
        run = Runner(middleware=[], settings=Settings(tune_gc=True)).start(an_ensemble(Agent("a", function=hang)), "x")
        async with run:
            pass

    virtually(main())
