"""A span as a decorator: each call of the function is a span of its own.

Of a coroutine function the span lasts until the coroutine returns, and is exited while it is
suspended; of a generator function too, so that the consumer's code between two values is not in
it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

from tracing_stacks._core import Span, in_steps, steps


def decorated(template: Span, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function within spans like the template; it stays a function of its sort."""
    if inspect.iscoroutinefunction(function):
        return _coroutine_function(template, function)
    if inspect.isasyncgenfunction(function):
        return _async_generator_function(template, function)
    if inspect.isgeneratorfunction(function):
        return _generator_function(template, function)
    another = template.another

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with another():
            return function(*args, **kwargs)

    return call


def _coroutine_function(
    template: Span, function: Callable[..., Awaitable[Any]]
) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        if in_steps():  # the task exits and enters it
            with template.another():
                return await function(*args, **kwargs)
        return await steps(function(*args, **kwargs), template.another())

    return call


def _generator_function(
    template: Span, function: Callable[..., Generator[Any, Any, Any]]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from steps(function(*args, **kwargs), template.another()))

    return call


def _async_generator_function(
    template: Span, function: Callable[..., AsyncGenerator[Any, Any]]
) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        inner = function(*args, **kwargs)
        own = template.another()
        resume: Callable[[Any], Awaitable[Any]] = inner.asend
        value: Any = None
        try:
            while True:
                own.enter()
                try:
                    item = await resume(value)
                except StopAsyncIteration:
                    return
                finally:
                    own.exit()
                try:
                    value = yield item
                    resume = inner.asend
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - it is the inner one's to handle
                    resume, value = inner.athrow, error
        finally:
            own.close()

    return call
