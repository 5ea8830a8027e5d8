"""Wait for a coroutine from code that is not async: in a script, or in a notebook, where a loop runs already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


def waited_for(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; inside a running loop a thread of its own does it.

    Raises:
        BaseException: of the coroutine.
    """
    return _in_another_thread(main) if _loop_runs() else asyncio.run(main)


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_another_thread(main: Coroutine[Any, Any, T]) -> T:
    result: list[T] = []
    errors: list[BaseException] = []
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []
    stopped, ended = threading.Event(), threading.Event()

    async def stoppable() -> T:
        task = asyncio.current_task()
        assert task is not None
        begun.append((asyncio.get_running_loop(), task))
        if stopped.is_set():
            main.close()
            raise asyncio.CancelledError
        return await main

    def body() -> None:
        try:
            result.append(asyncio.run(stoppable()))
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
            errors.append(error)
        finally:
            ended.set()

    context = copy_context()  # the caller's span is the run's parent
    thread = threading.Thread(target=context.run, args=(body,), name="stretto:run_sync")
    try:
        thread.start()
        ended.wait()  # not join: after a Ctrl-C that takes the thread for ended (CPython 3.11)
    except RuntimeError:  # no thread could be started
        main.close()
        raise
    except BaseException:  # Ctrl-C in a notebook: nothing runs on
        stopped.set()
        for loop, task in begun:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(task.cancel)
        ended.wait()
        raise
    thread.join()
    if errors:
        raise errors[0]
    return result[0]
