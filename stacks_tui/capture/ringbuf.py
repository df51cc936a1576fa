"""The two BPF ring buffers, mapped into memory and read without a call per event.

Comes in: a ring's map. Goes out: a NumPy array of events, copied, or the new stacks. The layout is
the kernel's (kernel/bpf/ringbuf.c): a page with the consumer's position, one with the producer's,
then the data, mapped twice in a row so that no record wraps. Each record has a head of 8 bytes: its
length, and a bit that it is still being written.
"""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

from stacks_tui.capture.bpf import BpfMap
from stacks_tui.records import EVENT, STACK_HEADER, StackFlag, StackRecord, StackStatus

_PAGE = mmap.PAGESIZE
_HEAD = 8
_BUSY = 1 << 31
_RECORD = np.dtype([("length", "<u4"), ("page", "<u4"), ("event", EVENT)])

MOST_EVENTS = 1 << 16
"""Events that one read gives at most (6 MB), so that a batch stays small."""


class _Ring:
    """Positions and data of one ring; read by one thread."""

    def __init__(self, ring: BpfMap) -> None:
        self.size = ring.max_entries
        self._memory = ring.map_memory(_PAGE)
        self._shared = ring.map_memory(_PAGE + 2 * self.size, offset=_PAGE, writable=False)
        self._consumer = np.frombuffer(self._memory, "<u8", 1)
        self._producer = np.frombuffer(self._shared, "<u8", 1)
        self.data = np.frombuffer(self._shared, np.uint8, 2 * self.size, _PAGE)

    def unread(self) -> tuple[int, int]:
        """(offset of the first unread byte in `data`, how many are unread)."""
        position = int(self._consumer[0])
        return position % self.size, int(self._producer[0]) - position

    def release(self, count: int) -> None:
        """Give `count` bytes back to the kernel."""
        self._consumer[0] += np.uint64(count)


class EventRing:
    """The events ring: every record is one `EVENT`."""

    def __init__(self, ring: BpfMap) -> None:
        self._ring = _Ring(ring)

    @property
    def fill(self) -> float:
        """Share of the ring that is unread, 0…1."""
        return self._ring.unread()[1] / self._ring.size

    def read(self) -> npt.NDArray[np.void]:
        """Copies of the unread events in the ring's order: dtype `EVENT`, at most `MOST_EVENTS`."""
        start, unread = self._ring.unread()
        count = min(unread // _RECORD.itemsize, MOST_EVENTS)
        records = np.frombuffer(
            self._ring.data[start : start + count * _RECORD.itemsize].data, _RECORD, count
        )
        busy = np.flatnonzero(records["length"] & np.uint32(_BUSY))
        if busy.size:
            count = int(busy[0])
        events = np.empty(count, EVENT)
        events[:] = records["event"][:count]
        self._ring.release(count * _RECORD.itemsize)
        return events


class StackRing:
    """The stacks ring: a head and addresses, of differing length."""

    def __init__(self, ring: BpfMap) -> None:
        self._ring = _Ring(ring)

    @property
    def fill(self) -> float:
        """Share of the ring that is unread, 0…1."""
        return self._ring.unread()[1] / self._ring.size

    def read(self, most: int = 4096) -> list[StackRecord]:
        """Copies of up to `most` unread stacks."""
        start, unread = self._ring.unread()
        data = self._ring.data
        stacks: list[StackRecord] = []
        at = 0
        while at + _HEAD <= unread and len(stacks) < most:
            here = start + at
            length = int.from_bytes(data[here : here + 4].tobytes(), "little")
            if length & _BUSY:
                break
            body = data[here + _HEAD : here + _HEAD + length].tobytes()
            stacks.append(decode_stack(body))
            at += (_HEAD + length + 7) & ~7
        self._ring.release(at)
        return stacks


def decode_stack(body: bytes) -> StackRecord:
    """A record of the stacks ring: a `STACK_HEADER` and its addresses."""
    head = np.frombuffer(body, STACK_HEADER, 1)[0]
    kernel, user = int(head["n_kernel"]), int(head["n_user"])
    addresses = np.frombuffer(body, "<u8", offset=STACK_HEADER.itemsize)
    return StackRecord(
        id=int(head["id"]),
        time=int(head["time"]),
        tgid=int(head["tgid"]),
        pid=int(head["pid"]),
        kernel=addresses[:kernel],
        user=addresses[kernel : kernel + user],
        status=StackStatus(int(head["status"])),
        flags=StackFlag(int(head["flags"])),
        by_frame_pointer=int(head["by_frame_pointer"]),
        kind=int(head["kind"]),
    )
