"""Cells: events that are alike in all that a screen distinguishes, added up.

Comes in: columns of equal length. Goes out: the same, filtered or joined. A live session's window
and a recording's query both give `Cells`; everything a screen shows is computed from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

NONE = -1
"""Of a stack, state or bin: there is none."""
OTHER = -2
"""It gave way to bounded memory."""
UNNAMED = -3
"""Of a stack: its frames have not come yet."""
OTHER_PID = 0xFFFFFFFF
"""Of pid or waker: gave way. (Pids have 22 bits.)"""


@dataclass(frozen=True, slots=True)
class Cells:
    """Columns of length n."""

    kind: npt.NDArray[np.uint8]
    tgid: npt.NDArray[np.uint32]
    """0 with `ustack` and `pid` OTHER: processes gave way too."""
    pid: npt.NDArray[np.uint32]
    ustack: npt.NDArray[np.int32]
    """Row of the stack table, NONE, OTHER or UNNAMED; likewise the other stacks."""
    kstack: npt.NDArray[np.int32]
    wstack: npt.NDArray[np.int32]
    waker: npt.NDArray[np.uint32]
    state: npt.NDArray[np.int8]
    """Place in `enrich.events.STATES`, or NONE."""
    span: npt.NDArray[np.int32]
    """Place in the list of span names, or NONE."""
    duration_bin: npt.NDArray[np.int8]
    """floor(log2(ns)), 0 for 0; waits: of the blocked time. NONE, OTHER."""
    amount_bin: npt.NDArray[np.int8]
    """floor(log2(bytes)); waits: of the runnable time."""
    count: npt.NDArray[np.int64]
    duration: npt.NDArray[np.int64]
    """ns."""
    amount: npt.NDArray[np.int64]
    """Bytes; wait: ns runnable; rss: the change."""

    def __len__(self) -> int:
        return len(self.kind)

    def take(self, chosen: npt.NDArray[np.generic]) -> Cells:
        """The cells of these places, or where this mask is set."""
        return Cells(*(getattr(self, one.name)[chosen] for one in fields(self)))


def empty() -> Cells:
    """No cells."""
    return joined([])


def joined(parts: Sequence[Cells]) -> Cells:
    """The cells of all parts; equal ones are not added up."""
    return Cells(
        *(
            np.concatenate([np.zeros(0, kind), *(getattr(part, name) for part in parts)])
            for name, kind in _TYPES.items()
        )
    )


_TYPES: dict[str, type[np.generic]] = {
    "kind": np.uint8,
    "tgid": np.uint32,
    "pid": np.uint32,
    "ustack": np.int32,
    "kstack": np.int32,
    "wstack": np.int32,
    "waker": np.uint32,
    "state": np.int8,
    "span": np.int32,
    "duration_bin": np.int8,
    "amount_bin": np.int8,
    "count": np.int64,
    "duration": np.int64,
    "amount": np.int64,
}
