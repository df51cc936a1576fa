"""Waiting for asyncio's locks and holding them, as spans: `id` is the lock, so holder meets waiter.

A span `lock.wait` lasts as long as the wait; a wait that need not happen is none. A span
`lock.hold` is entered and exited at once when a lock or semaphore has been got, and closed when
it is released. Spans are only made while somebody listens.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from tracing_stacks._core import Span, listening, span

_watching = False

_HELD = "_tracing_stacks_held"


def watch() -> None:
    """Wrap the classes of asyncio; those that derive from them and call them are covered."""
    global _watching
    if _watching:
        return
    _watching = True
    for holdable in (asyncio.Lock, asyncio.Semaphore):
        _wrap_acquire(holdable)
        _wrap_release(holdable)
    for kind, wait, ready in _WAITS:
        _wrap_wait(kind, wait, ready)


_WAITS: tuple[tuple[type, str, Callable[[Any], bool]], ...] = (
    (asyncio.Condition, "wait", lambda self: False),
    (asyncio.Event, "wait", lambda self: self.is_set()),
    (asyncio.Queue, "get", lambda self: not self.empty()),
    (asyncio.Queue, "put", lambda self: not self.full()),
)
"""What else is waited for, and when that wait is none."""


def _wrap_acquire(kind: Any) -> None:
    acquire = kind.acquire

    @functools.wraps(acquire)
    async def acquire_told(self: Any) -> Any:
        if not listening():
            return await acquire(self)
        if self.locked() or getattr(self, "_waiters", None):
            with span("lock.wait", id(self)):
                await acquire(self)
        else:
            await acquire(self)
        hold = span("lock.hold", id(self))
        hold.enter()
        hold.exit()
        self.__dict__.setdefault(_HELD, []).append((asyncio.current_task(), hold))
        return True

    kind.acquire = acquire_told


def _wrap_release(kind: Any) -> None:
    release = kind.release

    @functools.wraps(release)
    def release_told(self: Any) -> None:
        release(self)
        held: list[tuple[Any, Span]] | None = self.__dict__.get(_HELD)
        if held:
            # a semaphore may be released by another task than got it: then the oldest hold ends
            me = _task()
            mine = [i for i, (task, _) in enumerate(held) if task is me]
            held.pop(mine[-1] if mine else 0)[1].close()

    kind.release = release_told


def _task() -> Any:
    try:
        return asyncio.current_task()
    except RuntimeError:  # released by a callback
        return None


def _wrap_wait(kind: Any, name: str, ready: Callable[[Any], bool]) -> None:
    wait = getattr(kind, name)

    @functools.wraps(wait)
    async def wait_told(self: Any, *args: Any) -> Any:
        if not listening() or ready(self):
            return await wait(self, *args)
        with span("lock.wait", id(self)):
            return await wait(self, *args)

    setattr(kind, name, wait_told)
