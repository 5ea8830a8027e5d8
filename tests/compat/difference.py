"""Say where two observations differ, beside what is meant to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from compat.case import ANYTHING, Fix
from compat.observation import Observation

_MISSING = object()


def differences(theirs: Observation, ours: Observation, fixes: Mapping[str, Fix]) -> list[str]:
    """Give a line for each difference that no fix covers, and for each fix that is idle or gives something else."""
    found = list(_compared(theirs, ours, ""))
    told = [f"{path}: {line}" for path, line in found if not any(_covers(fix, path) for fix in fixes)]
    for fixed, fix in fixes.items():
        if not any(_covers(fixed, path) for path, _ in found):
            told.append(f"{fixed}: is meant to differ ({fix.why}), and does not")
        elif fix.ours is not ANYTHING and (value := _at(ours, fixed)) != fix.ours:
            told.append(f"{fixed}: is meant to be {fix.ours!r} ({fix.why}), and is {value!r}")
    return told


def _covers(fixed: str, path: str) -> bool:
    return path == fixed or path.startswith(f"{fixed}.")


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _compared(theirs: Any, ours: Any, path: str) -> Iterator[tuple[str, str]]:
    if path == "" and not (theirs["accepted"] and ours["accepted"]):
        if theirs["accepted"] != ours["accepted"]:
            said = f" ({ours['message']})" if "message" in ours else ""
            yield "accepted", f"theirs {theirs['accepted']}, ours {ours['accepted']}{said}"
        return
    if path == "requests":
        yield from _requests(theirs, ours)
    elif isinstance(theirs, dict) and isinstance(ours, dict):
        for key in [*theirs, *(key for key in ours if key not in theirs)]:
            below = f"{path}.{key}" if path else key
            yield from _compared(theirs.get(key, _MISSING), ours.get(key, _MISSING), below)
    elif theirs != ours:
        yield path, f"theirs {_said(theirs)}, ours {_said(ours)}"


def _requests(theirs: list[Any], ours: list[Any]) -> Iterator[tuple[str, str]]:
    left, right = Counter(map(_said, theirs)), Counter(map(_said, ours))
    for one in (left - right).elements():
        yield "requests", f"only theirs {one}"
    for one in (right - left).elements():
        yield "requests", f"only ours {one}"


def _said(value: Any) -> str:
    return "nothing" if value is _MISSING else json.dumps(value, sort_keys=True, ensure_ascii=False)
