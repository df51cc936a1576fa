"""OpenTelemetry's spans as ours, without a change of code: OTEL_PYTHON_CONTEXT=tracing_stacks.

OpenTelemetry finds `Context` by its entry point. A span that becomes the current one of a context
is entered, and exited when it ceases to be; it is closed when it ends. `span_id` and `parent_id`
are OpenTelemetry's own, `id` is the low half of the trace's. Remote spans and those that are not
sampled are not told: they have no name.
"""

from __future__ import annotations

import functools
from typing import Any

# the module, not its function: it may be half imported, for its own imports load this context
from opentelemetry.context.context import Context as Values
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

from tracing_stacks import _greenlets, _tasks, _threads
from tracing_stacks._core import Span, available, foreign

_LOW_HALF = (1 << 64) - 1
_OURS = "_tracing_stacks_span"


class Context(ContextVarsRuntimeContext):
    """OpenTelemetry's usual context, which enters and exits the spans that pass through it."""

    def __init__(self) -> None:
        super().__init__()
        if available:
            # tasks and jobs of a request are its children; others are nobody's concern
            _tasks.watch(always=False)
            _threads.watch(always=False)
            _greenlets.watch()

    def attach(self, context: Values) -> Any:
        """Make it the current context."""
        entered = _span_of(context)
        # attached once more while it is open, with other baggage: it stays where it is
        if entered is None or entered.entered or entered.closed:
            return super().attach(context)
        entered.enter()
        return _Token(super().attach(context), entered)

    def detach(self, token: Any) -> None:
        """Make the context before it the current one again."""
        if isinstance(token, _Token):
            token.entered.exit()
            token = token.token
        super().detach(token)


class _Token:
    """What `attach` gives and `detach` takes."""

    __slots__ = ("entered", "token")

    def __init__(self, token: Any, entered: Span) -> None:
        self.token = token
        self.entered = entered


def _span_of(context: Values) -> Span | None:
    # imported here: OpenTelemetry loads this module in the middle of its own import
    from opentelemetry.trace import get_current_span

    theirs: Any = get_current_span(context)
    ours: Span | None = getattr(theirs, _OURS, None)
    if ours is not None or not available or not theirs.is_recording():
        return ours
    ids = theirs.get_span_context()
    parent = getattr(theirs, "parent", None)
    ours = foreign(
        getattr(theirs, "name", "span"),
        ids.trace_id & _LOW_HALF,
        ids.span_id,
        parent.span_id if parent is not None else 0,
    )
    try:
        setattr(theirs, _OURS, ours)
    except AttributeError:  # a tracer's own class, with slots
        return None
    _close_at_end(type(theirs))
    return ours


def _close_at_end(kind: Any) -> None:
    end = kind.end
    if hasattr(end, _OURS):
        return

    @functools.wraps(end)
    def end_and_close(self: Any, *args: Any, **kwargs: Any) -> None:
        end(self, *args, **kwargs)
        ours: Span | None = getattr(self, _OURS, None)
        if ours is not None:
            ours.close()

    setattr(end_and_close, _OURS, True)
    kind.end = end_and_close
