"""Call a plain function in a thread of its own.

The loop's default executor has few threads and joins them at exit: fifteen functions would wait for each other, and an
abandoned one would keep the program from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

A = TypeVar("A")


async def in_thread(function: Callable[[A], Any], argument: A) -> Any:
    """Await `function(argument)`; when cancelled, the thread goes on and its result is dropped.

    Raises:
        BaseException: what the function raised.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if isinstance(error, StopIteration):  # a future refuses it
            error = RuntimeError(f"the function raised StopIteration: {error}")
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def run() -> None:
        value, error = None, None
        try:
            value = context.run(function, argument)
        except BaseException as raised:  # noqa: BLE001 - raised again where it is awaited
            error = raised
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    threading.Thread(target=run, name=f"stretto:{getattr(function, '__name__', 'function')}", daemon=True).start()
    return await future
