"""Keep one value for each event loop.

What belongs to a loop (locks, sessions, timers) must not be shared by two; objects that hold such things may be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary, ref

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Make a value at first use on each running loop, and forget it with the loop.

    Args:
        make: called without arguments, in the loop that will use the value.
    """

    __slots__ = ("_last", "_make", "_values")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()
        # Who asked last, and for what: a WeakKeyDictionary takes a microsecond, and each call asks a dozen times.
        self._last: tuple[ref[asyncio.AbstractEventLoop], T] | None = None

    def get(self) -> T:
        """Give the running loop's value.

        Raises:
            RuntimeError: when no loop runs in this thread.
        """
        loop = asyncio.get_running_loop()
        last = self._last
        if last is not None and last[0]() is loop:
            return last[1]
        value = self._values.get(loop)
        if value is None:
            for known in self._values.keyrefs():  # a value that refers to its loop would keep it for ever
                if (other := known()) is not None and other.is_closed():
                    self._values.pop(other, None)
            value = self._values[loop] = self._make()
        self._last = ref(loop, self._forget), value
        return value

    def _forget(self, _: ref[asyncio.AbstractEventLoop]) -> None:
        self._last = None

    def known(self) -> T | None:
        """Give the running loop's value, or None when it has not been made yet."""
        return self._values.get(asyncio.get_running_loop())
