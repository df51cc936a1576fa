"""Spans that a recorder sees from outside the process: what each request and task cost.

    import tracing_stacks
    tracing_stacks.init()
    with tracing_stacks.span("checkout", id=order, amount=size): ...

While nobody listens a span costs a tenth of a microsecond, and nothing leaves the process. Where
the C extension could not be built, all of this does nothing (`available` is False).
"""

from __future__ import annotations

from tracing_stacks._core import Span, available, current, listening, span
from tracing_stacks._init import init

__all__ = ["Span", "available", "current", "init", "listening", "span"]
__version__ = "0.1.0"
