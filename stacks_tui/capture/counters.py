"""What the BPF programs count, per kind: happened, lost, and what became of stacks.

Comes in: the per-CPU `counters` map. Goes out: sums over the CPUs. Received + lost = happened.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from stacks_tui.capture.bpf import BpfMap
from stacks_tui.kinds import Kind
from stacks_tui.records import StackStatus

_WORDS = 5 + len(StackStatus)


@dataclass(frozen=True, slots=True)
class KindCounts:
    """Sums since the programs were loaded."""

    happened: int
    """Events that should be stored."""
    lost: int
    """Of these, not stored: no room in the ring."""
    below: int
    """Not stored because shorter than asked for; not in `happened`."""
    stacks_lost: int
    """Stacks that found no room in their ring (their id comes again with its next event)."""
    kernel_cut: int
    """Kernel stacks with more frames than the kernel gives."""
    user: tuple[int, ...]
    """User stacks taken, by `StackStatus`."""


def read_given_up(counters: BpfMap) -> int:
    """Events given up because another task had taken over their scratch memory; of no kind."""
    raw = counters.get(struct.pack("<I", 0)) or b""
    return int(np.frombuffer(raw, "<u8").reshape(-1, _WORDS)[:, 1].sum())


def read_counters(counters: BpfMap) -> dict[Kind, KindCounts]:
    """One read of all kinds; each kind's numbers belong together but for events under way."""
    found = {}
    for kind in Kind:
        raw = counters.get(struct.pack("<I", kind)) or b""
        sums = np.frombuffer(raw, "<u8").reshape(-1, _WORDS).sum(axis=0).tolist()
        found[kind] = KindCounts(
            happened=sums[0],
            lost=sums[1],
            below=sums[2],
            stacks_lost=sums[3],
            kernel_cut=sums[4],
            user=tuple(sums[5:]),
        )
    return found
