"""A limit on the time that one call takes."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

_Found = TypeVar("_Found")

_GRACE = 1.0
"""Seconds from one interruption to the next: a call may clean up in them."""


class _TimeIsUp(BaseException):
    """Not an ``Exception``: the caller's function may catch those."""


def within(seconds: float | None, call: Callable[[], _Found]) -> _Found:
    """Call, and interrupt what runs too long as soon as it comes back to the interpreter.

    A loop that catches everything is interrupted where it does so; one that does it within another such loop
    cannot be. Outside the main thread, which alone gets signals, there is no limit.

    Raises:
        TimeoutError: it was interrupted.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        return call()
    own, tracer, end = sys._getframe(), sys.gettrace(), time.monotonic() + seconds + _GRACE / 2

    def interrupt(_: int, frame: FrameType | None) -> None:
        if time.monotonic() > end:  # it was caught: the line that comes next, in the handler, raises too
            while frame is not None and frame is not own:
                frame.f_trace = at_next_line
                frame = frame.f_back
            sys.settrace(at_next_line)
        raise _TimeIsUp

    def at_next_line(_: FrameType, event: str, __: Any) -> Any:
        if event == "line":
            raise _TimeIsUp
        return at_next_line

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, _GRACE)
    try:
        try:
            return call()
        finally:
            # Within the outer try: the signal may come until here.
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _TimeIsUp:
        raise TimeoutError(f"no score within the time limit of {seconds:g} s") from None
    finally:
        sys.settrace(tracer)
        signal.signal(signal.SIGALRM, before)
