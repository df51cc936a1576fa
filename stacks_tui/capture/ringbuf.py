"""The two BPF ring buffers, mapped into memory and read without a call per event.

Comes in: a ring's map. Goes out: events by column, or the new stacks. The layout is
the kernel's (kernel/bpf/ringbuf.c): a page with the consumer's position, one with the producer's,
then the data, mapped twice in a row so that no record wraps. Each record has a head of 8 bytes: its
length, and a bit that it is still being written.
"""

from __future__ import annotations

import mmap
import struct

import numpy as np

from stacks_tui.capture.bpf import BpfMap
from stacks_tui.columns import EventBuffer
from stacks_tui.records import (
    NO_PAIRS,
    NO_POINTERS,
    PYTHON_CODE,
    PYTHON_PAIR,
    RECORD,
    STACK_HEADER,
    AwaitsRecord,
    CodeRecord,
    PythonStatus,
    RecordCode,
    StackFlag,
    StackRecord,
    StackStatus,
)

_PAGE = mmap.PAGESIZE
_HEAD = 8
_BUSY = 1 << 31
_HEADER = struct.Struct("<QQIIHHBBBBHHI")
"""`STACK_HEADER`, quicker to unpack."""
assert _HEADER.size == STACK_HEADER.itemsize
_FLAGS, _COPY, _CODE = 29, int(StackFlag.COPY), int(StackFlag.CODE)
"""Where it has its flags, and two of them."""
_LENGTH = struct.Struct("<I").unpack_from

Taken = StackRecord | CodeRecord | AwaitsRecord
"""What the stacks ring holds."""

BLOCK = 2048
"""Events that are taken at a time: they stay in the processor's cache (200 KB)."""


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

    def read(self, into: EventBuffer) -> int:
        """Move unread events into a buffer, as many as it has room for; returns how many."""
        start, unread = self._ring.unread()
        if not unread:
            return 0
        size = RECORD.itemsize
        count = min(unread // size, into.room)
        words = self._ring.data[start : start + count * size].view("<u8").reshape(count, size // 8)
        before = into.count
        for at in range(0, count, BLOCK):
            block = words[at : at + BLOCK]
            busy = np.flatnonzero(block[:, 0] & np.uint64(_BUSY))
            into.add(block[: busy[0] if busy.size else len(block), 1:])
            if busy.size:
                break
        taken = into.count - before
        if taken and into.newest(1)["kind"][0] == RecordCode.SPAN:
            into.drop_last()  # the next one is its name
            taken -= 1
        self._ring.release(taken * size)
        return taken


class StackRing:
    """The stacks ring: a head and addresses, of differing length."""

    def __init__(self, ring: BpfMap, copies: BpfMap) -> None:
        """`copies`: where the kernel is told how many bytes of copied stacks were taken."""
        self._ring = _Ring(ring)
        self._taken = np.frombuffer(copies.map_memory(_PAGE), "<u8", 1, offset=8)
        self._copied = 0

    @property
    def fill(self) -> float:
        """Share of the ring that is unread, 0…1."""
        return self._ring.unread()[1] / self._ring.size

    def read(self, most: int = 4096, *, more_copies: bool = True) -> list[bytes]:
        """Copies of up to `most` unread records, in the ring's order: for `decode`, whenever.

        Their place is given back at once, and with `more_copies` the kernel is allowed to copy as
        many stacks again as were read up to now; while all is decoded it may write 10 MB.
        """
        start, unread = self._ring.unread()
        if not unread and more_copies and self._taken[0] == self._copied:
            return []
        data = self._ring.data[start : start + unread].tobytes()
        bodies: list[bytes] = []
        at = 0
        while at + _HEAD <= unread and len(bodies) < most:
            (length,) = _LENGTH(data, at)
            if length & _BUSY:
                break
            bodies.append(data[at + _HEAD : at + _HEAD + length])
            at += (_HEAD + length + 7) & ~7
        self._ring.release(at)
        self._copied += sum(len(body) for body in bodies if body[_FLAGS] & _COPY)
        if more_copies:
            self._taken[0] = self._copied
        return bodies


def is_code(body: bytes) -> bool:
    """Whether a record of the stacks ring is a code object."""
    return bool(body[_FLAGS] & _CODE)


def decode(body: bytes) -> Taken:
    """A record of the stacks ring: a `STACK_HEADER` and what follows it."""
    head = _HEADER.unpack_from(body)
    identity, time, tgid, pid, kernel, user, status, flags, kind, python, by_pointer, pairs, _ = (
        head
    )
    if flags & StackFlag.CODE:
        return _decode_code(identity, time, tgid, body)
    if flags & StackFlag.AWAITS:
        return AwaitsRecord(identity, body[_HEADER.size :].rstrip(b"\0"))
    addresses = np.frombuffer(body, "<u8", offset=_HEADER.size)
    end = kernel + user
    pointers, frames = NO_POINTERS, NO_PAIRS
    if pairs:
        split = end + (user + 1) // 2
        pointers = addresses[end:split].view("<u4")[:user]
        frames = addresses[split : split + 2 * pairs].view(PYTHON_PAIR)
    return StackRecord(
        id=identity,
        time=time,
        tgid=tgid,
        pid=pid,
        kernel=addresses[:kernel],
        user=addresses[kernel:end],
        status=StackStatus(status),
        flags=StackFlag(flags),
        by_frame_pointer=by_pointer,
        kind=kind,
        python=PythonStatus(python),
        stack_pointers=pointers,
        python_pairs=frames,
    )


def _decode_code(identity: int, time: int, tgid: int, body: bytes) -> CodeRecord:
    content = np.frombuffer(body, PYTHON_CODE, 1, _HEADER.size)[0]
    return CodeRecord(
        id=identity,
        time=time,
        tgid=tgid,
        address=int(content["address"]),
        type=int(content["type"]),
        minor=int(content["minor"]),
        object=bytes(content["object"]),
        qualname=bytes(content["qualname"]),
        filename=bytes(content["filename"]),
        linetable=body[_HEADER.size + PYTHON_CODE.itemsize :],
    )
