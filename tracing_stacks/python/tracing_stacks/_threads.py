"""Jobs of thread pools: each is a span, child of the one that was open where it was submitted."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tracing_stacks._core import Span, current, span

_always = False
"""Whether jobs submitted outside any span are spans too."""
_watching = False


def watch(always: bool) -> None:
    """Wrap what is submitted from now on."""
    global _always, _watching
    _always = _always or always
    if _watching:
        return
    _watching = True
    pools: Any = ThreadPoolExecutor
    submit = pools.submit

    @functools.wraps(submit)
    def submit_job(
        self: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        if _always or current():
            return submit(self, _run, span(_name(function)), function, *args, **kwargs)
        return submit(self, function, *args, **kwargs)

    pools.submit = submit_job


def _run(job: Span, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    with job:
        return function(*args, **kwargs)


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        # asyncio.to_thread gives a call of contextvars.Context.run
        run = getattr(function.func, "__name__", "") == "run" and function.args
        function = function.args[0] if run else function.func
    return getattr(function, "__qualname__", None) or type(function).__name__
