"""The extension where it was built, else what does nothing under the same names."""

from __future__ import annotations

import os
import sys

try:
    if "t" in sys.abiflags:  # free-threaded: its objects are laid out otherwise
        raise ImportError
    from tracing_stacks._spans import (
        Span,
        current,
        follow_greenlets,
        foreign,
        forked,
        in_steps,
        listening,
        semaphores,
        span,
        steps,
    )
except ImportError:
    from tracing_stacks._absent import (  # type: ignore[assignment]
        Span,
        current,
        follow_greenlets,
        foreign,
        forked,
        in_steps,
        listening,
        semaphores,
        span,
        steps,
    )

    available = False
    """Whether spans are told: the C extension could be built and loaded."""
else:
    available = True
    os.register_at_fork(after_in_child=forked)

__all__ = [
    "Span",
    "available",
    "current",
    "follow_greenlets",
    "foreign",
    "in_steps",
    "listening",
    "semaphores",
    "span",
    "steps",
]
