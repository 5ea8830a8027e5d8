"""Hold a key so that it is in no text, and take known keys out of texts.

A `Secret` shows its value only through `reveal()`. A `Redactor` knows the keys of one run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NoReturn

from .errors import ConfigError

# Shorter ones stand in ordinary words too: "test", "none".
SHORTEST = 8
# What a key looks like when we were never told it: a gateway echoes its own, a file holds one by mistake.
_LOOKS_LIKE_A_KEY = re.compile(r"\bsk-[A-Za-z0-9_\-]{6,}|(?i:\bBearer\s+)[A-Za-z0-9._~+/\-]{6,}=*")
HIDDEN = "[redacted]"


class Secret:
    """A value that is in no repr, no log and no pickle.

    Args:
        value: the key itself, not empty.

    Raises:
        ConfigError: at construction, when the value is empty or not a text.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        given: Any = value
        if not isinstance(given, str) or not given.strip():
            raise ConfigError("a Secret needs a text that is not empty")
        self._value = value

    def reveal(self) -> str:
        """Give the value; the only way to it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled: give it again where it is needed")


class Redactor:
    """Take the keys of one run, and whatever looks like a key, out of a text.

    Args:
        secrets: the keys that the run may send; those of fewer than 8 characters are not looked for.
    """

    __slots__ = ("_firsts", "_longest", "_own", "_prefixes")

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        values = sorted({s.reveal() for s in secrets if len(s.reveal()) >= SHORTEST}, key=len, reverse=True)
        self._own = re.compile("|".join(map(re.escape, values))) if values else None
        self._prefixes = {value[:length] for value in values for length in range(1, len(value))}
        self._firsts = {value[0] for value in values}
        self._longest = len(values[0]) - 1 if values else 0

    @property
    def knows_keys(self) -> bool:
        """Whether there are keys that a model's text must not hold."""
        return self._own is not None

    def error_text(self, text: str) -> str:
        """For errors, logs, spans and reports: known keys, `sk-...` and `Bearer ...` are taken out."""
        return _LOOKS_LIKE_A_KEY.sub(HIDDEN, self.model_text(text))

    def model_text(self, text: str) -> str:
        """For what the model itself wrote: only the run's own keys are taken out."""
        return self._own.sub(HIDDEN, text) if self._own is not None else text

    def held_back(self, text: str) -> int:
        """Give how many characters at the end of a stream's text may be the begin of a key."""
        if self._own is None:
            return 0
        for start in range(max(0, len(text) - self._longest), len(text)):
            if text[start] in self._firsts and text[start:] in self._prefixes:
                return len(text) - start
        return 0
