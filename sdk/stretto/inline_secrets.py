"""Find keys that were written into a file, where everybody who reads it has them.

None is ever repeated. Strict files with one are refused; in others it is said in any case, and not used where it is
no more than a credential.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .findings import Findings
from .key_shapes import clean
from .yaml_text import Items, Origin, Place, Section

__all__ = ["CURE", "clean", "is_secret", "without_secrets"]

# Keys whose only content is a credential.
_NAMED = re.compile(
    r"(x[-_])?(api|goog[-_]api|access|auth|secret|private|client)?[-_]?(key|token|secret|password|passwd|credentials?)"
    r"|authorization|bearer|proxy[-_]authorization",
    re.IGNORECASE,
)
_HARMLESS = ("key", "prompt_cache_key")
_FREE = frozenset(("name", "description", "system_prompt", "prompt", "default_input", "task", "default_task", "role"))
# Where a credential may be left out, and the rest means what it meant.
_TAKEN_OUT = frozenset(("options", "params", "fallback"))
CURE = "name the variable that holds it with api_key_env"


def is_secret(name: str, value: Any) -> bool:
    """Tell whether a key and its value hold a credential."""
    if not isinstance(value, str) or not value.strip():
        return False
    return (_NAMED.fullmatch(name) is not None and name not in _HARMLESS) or clean(value) != value


def without_secrets(
    section: Section, findings: Findings, *, agent: str | None = None, file: str | None = None, what: str = ""
) -> Section:
    """Find the credentials of an agent, a profile or `defaults`.

    Args:
        section: its keys.
        findings: gets an error for each in a strict file, else a warning.
        agent: whose section it is.
        file: where it stands; None: the file of the findings.
        what: it belongs to, for the message, such as "profile 'fast': ".

    Returns:
        The section without those that are left out; the same one when there are none.
    """
    dropped = dict[str, Any]()
    for key, value in section.items():
        if key in _FREE or key.startswith("x-"):
            continue
        found = _Search(findings, agent, file, what)
        if key in _TAKEN_OUT:
            kept = found.taken_out(value, key, section.keys_at[key], key)
            if kept is not value:
                dropped[key] = kept
        elif key == "api_key" or (key == "api_key_env" and is_secret("", value)):
            found.say(key, section.keys_at[key], used=False)
            dropped[key] = None
        elif _holds(value):
            found.say(key, section.keys_at[key], used=True)
    return section if not dropped else _changed(section, dropped)


def _holds(value: Any) -> bool:
    """Tell whether there is what looks like a key anywhere in a value."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str) and is_secret("", one):
            return True
        left.extend(one.values() if isinstance(one, Section) else one if isinstance(one, Items) else ())
    return False


def _changed(section: Section, changes: Mapping[str, Any]) -> Section:
    made = Section(section.place)
    for key, value in section.items():
        if changes.get(key, value) is not None or value is None:
            made.put(key, changes.get(key, value), section.keys_at[key])
    made.origins = dict[str, Origin](section.origins)
    return made


class _Search:
    def __init__(self, findings: Findings, agent: str | None, file: str | None, what: str) -> None:
        self._findings = findings
        self._agent = agent
        self._file = file
        self._what = what

    def say(self, path: str, place: Place, *, used: bool) -> None:
        path = clean(path)
        if used:
            message = f"{self._what}{path} holds what looks like a key: it does not belong into a file"
        else:
            message = f"{self._what}{path} holds a key, which is not used: {CURE}"
        self._findings.warn(message, place, path, self._agent, file=self._file)

    def taken_out(self, value: Any, name: str, place: Place, path: str) -> Any:
        """Give a value without credentials; the same one when there are none, None when it is one itself."""
        if is_secret(name, value):
            self.say(path, place, used=False)
            return None
        if isinstance(value, Section):
            changes = dict[str, Any]()
            for key, one in value.items():
                kept = self.taken_out(one, key, value.keys_at[key], f"{path}.{key}")
                if kept is not one:
                    changes[key] = kept
            return _changed(value, changes) if changes else value
        if isinstance(value, Items):
            kept = [self.taken_out(one, name, at, path) for one, at in zip(value, value.items_at, strict=True)]
            if any(new is not old for new, old in zip(kept, value, strict=True)):
                made = Items(value.place)
                for new, old, at in zip(kept, value, value.items_at, strict=True):
                    if new is not None or old is None:
                        made.append(new)
                        made.items_at.append(at)
                return made
        return value
