"""What stands in for the extension where there is none: spans that are never told."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Span:
    """A span that nobody will see; it still refuses to be entered twice."""

    __slots__ = ("amount", "closed", "entered", "exit_stack", "id", "name")
    span_id = 0
    parent_id = 0

    def __init__(self, name: str, id: int, amount: int, exit_stack: bool) -> None:
        self.name = name
        self.id = id
        self.amount = amount
        self.exit_stack = exit_stack
        self.entered = False
        self.closed = False

    def enter(self) -> Span:
        """Enter it."""
        if self.entered:
            raise RuntimeError("this span is already entered")
        self.entered = True
        self.closed = False
        return self

    def exit(self) -> None:
        """Exit it."""
        self.entered = False

    def close(self) -> None:
        """End it."""
        self.entered = False
        self.closed = True

    def another(self) -> Span:
        """A new span of the same name, id and amount."""
        return Span(self.name, self.id, self.amount, self.exit_stack)

    __enter__ = enter

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __call__(self, function: _Function) -> _Function:
        return function


def span(name: str, id: int = 0, amount: int = 0, exit_stack: bool = False) -> Span:
    """A span that nobody will see."""
    if not isinstance(name, str):
        raise TypeError("span() needs a name, which is a string")
    return Span(name, id, amount, exit_stack)


def foreign(name: str, id: int, span_id: int, parent_id: int) -> Span:
    """The same for a span of another tracer."""
    return Span(name, id, 0, False)


def steps(inner: Any, span: str | Span | None = None) -> Any:
    """The inner one itself."""
    return inner


def in_steps() -> bool:
    """Never."""
    return False


def follow_greenlets(settrace: Callable[..., Any]) -> None:
    """There is nothing to follow them with."""


def current() -> int:
    """No span."""
    return 0


def listening() -> bool:
    """Nobody."""
    return False


def semaphores() -> tuple[int, int, int, int, int]:
    """Five times nobody."""
    return (0, 0, 0, 0, 0)


def forked() -> None:
    """Nothing to forget."""
