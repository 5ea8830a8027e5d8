"""Let signals end a run: the first one cancels it, the second kills."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .run import Run


def stop_on_signals(live: Run) -> list[int]:
    """Let the first Ctrl-C, SIGTERM, SIGHUP or SIGQUIT cancel the run, and the second kill."""
    received: list[int] = []
    loop = asyncio.get_running_loop()
    ignored = [one for one in (signal.SIGHUP, signal.SIGQUIT) if signal.getsignal(one) == signal.SIG_IGN]  # nohup
    heard = [one for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT) if one not in ignored]

    def stop(number: int) -> None:
        received.append(number)
        from .script_process import any_living  # at work already, or a matter of milliseconds

        then = _go_down if any_living() else signal.SIG_DFL  # which needs nobody who listens
        for one in heard:
            loop.remove_signal_handler(one)
            signal.signal(one, then)
        live.cancel()

    for one in heard:
        loop.add_signal_handler(one, stop, one)
    return received


def _go_down(number: int, _: object) -> None:
    """Die of a signal, and take the scripts along: each has a session of its own, which the signal does not reach."""
    from .script_process import kill_all

    signal.signal(number, signal.SIG_DFL)
    kill_all()
    os.kill(os.getpid(), number)
