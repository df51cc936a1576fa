"""A little more than its share of a busy machine, for the threads that a person waits for.

Comes in: nothing. Goes out: the nice value of threads. A key must be answered while others want all
CPUs; what the screen starts (the collector, programs, exports) has the usual one.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

NICE = -5
SWITCH_S = 0.001
"""How long one of our threads may run while that which answers keys waits (Python's own is five
times that)."""

_usual = os.getpriority(os.PRIO_PROCESS, 0)


def favour() -> None:
    """This thread, and those that it starts from now on."""
    sys.setswitchinterval(SWITCH_S)
    _set(min(NICE, _usual))


def as_usual() -> None:
    """This thread as it was before."""
    _set(_usual)


@contextlib.contextmanager
def starting_others() -> Iterator[None]:
    """Meanwhile this thread is as before, for what it starts to be so too."""
    now = os.getpriority(os.PRIO_PROCESS, 0)
    _set(_usual)
    try:
        yield
    finally:
        _set(now)


def _set(nice: int) -> None:
    with contextlib.suppress(OSError):  # of threads; where it is not allowed, it stays
        os.setpriority(os.PRIO_PROCESS, 0, nice)
