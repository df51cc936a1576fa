"""asyncio's tasks, and uvloop's: each coroutine that becomes one is wrapped in `steps`.

A task factory does it. It has to be there before the first task is made, so every loop gets it
when it is made; a factory that the program sets itself is called by ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from asyncio import events
from collections.abc import Callable
from typing import Any

from tracing_stacks._core import current, steps

_always = False
"""Whether tasks made outside any span are spans too."""
_watching = False


def watch(always: bool) -> None:
    """Wrap the tasks of the loop that runs and of all that are made from now on."""
    global _always, _watching
    _always = _always or always
    if not _watching:
        _watching = True
        _wrap_makers()
    with contextlib.suppress(RuntimeError):
        _install(asyncio.get_running_loop())


def _wrap_makers() -> None:
    loops: Any = asyncio.BaseEventLoop
    base_init = loops.__init__
    new_event_loop = events.new_event_loop
    runner_init = asyncio.Runner.__init__

    @functools.wraps(base_init)
    def init_loop(self: asyncio.BaseEventLoop) -> None:
        base_init(self)
        _install(self)

    @functools.wraps(new_event_loop)
    def make_loop() -> asyncio.AbstractEventLoop:
        return _install(new_event_loop())

    @functools.wraps(runner_init)
    def init_runner(
        self: asyncio.Runner,
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        # None stays None: Runner treats a loop of its own making differently
        factory = loop_factory and (lambda: _install(loop_factory()))
        runner_init(self, debug=debug, loop_factory=factory)

    # the first for asyncio's own loops however they are made, the others for uvloop's
    loops.__init__ = init_loop
    asyncio.new_event_loop = events.new_event_loop = make_loop
    asyncio.Runner.__init__ = init_runner  # type: ignore[method-assign]


def _install(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    kind = type(loop)
    if not hasattr(kind.set_task_factory, "_tracing_stacks"):
        kind.set_task_factory = _wrap_setter(kind.set_task_factory)  # type: ignore[method-assign]
    if not hasattr(loop.get_task_factory(), "_tracing_stacks"):
        loop.set_task_factory(loop.get_task_factory())
    return loop


def _wrap_setter(set_task_factory: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(set_task_factory)
    def set_wrapped(self: asyncio.AbstractEventLoop, factory: Callable[..., Any] | None) -> None:
        set_task_factory(self, _factory(factory or _plain_task))

    set_wrapped._tracing_stacks = True  # type: ignore[attr-defined]
    return set_wrapped


def _factory(inner: Callable[..., Any]) -> Callable[..., Any]:
    if hasattr(inner, "_tracing_stacks"):
        return inner

    def task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        named = _always or current()
        return inner(loop, steps(coroutine, _name(coroutine) if named else None), **options)

    task._tracing_stacks = True  # type: ignore[attr-defined]
    return task


def _name(coroutine: Any) -> str:
    # what async generators make on their way out has no qualified name
    return getattr(coroutine, "__qualname__", None) or type(coroutine).__name__


def _plain_task(
    loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop, **options)
