"""Ctrl-C while a library computes: the call runs in a thread, so that the interrupt reaches us at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.1
"""How often to look whether the call has ended, on systems whose waits Ctrl-C does not wake."""


def interruptible(call: Callable[[], T], stop: Callable[[], None] | None) -> tuple[T, bool]:
    """
    Calls, and returns the result and whether the user interrupted.

    Parameters
    ----------
    call
        A long call into a library that releases the interpreter's lock.
    stop
        Makes the call end soon; None when nothing can, then the call is left behind.

    Raises
    ------
    KeyboardInterrupt
        On an interrupt without ``stop``, and on a second one.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, daemon=True).start()
    interrupted = False
    while not ended.is_set():
        try:
            ended.wait(POLL_S)
        except KeyboardInterrupt:
            if stop is None or interrupted:
                raise
            interrupted = True
            stop()
    if errors:
        raise errors[0]
    return results[0], interrupted
