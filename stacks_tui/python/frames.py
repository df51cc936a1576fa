"""Frames for the pairs of Python stacks: each code object's name, file and lines, made once.

Comes in: code objects as they are met, then pairs that name them. Goes out: frames of whatever type
the caller makes of them, the same object for the same instruction.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from stacks_tui.python.code import Code, read_code
from stacks_tui.python.runtime import OpenMemory
from stacks_tui.records import CodeRecord

CODES_LIMIT = 131_072
"""Code objects kept: twice what the kernel side remembers as published."""
FRAMES_LIMIT = 200_000
_LOW = (1 << 32) - 1

FrameT = TypeVar("FrameT")


@dataclass(frozen=True, slots=True)
class PythonFrame:
    """What is known of one Python frame."""

    name: str
    address: int
    """Of the code object in its process."""
    offset: int
    """From there to the instruction."""
    file: str | None
    line: int | None
    known: bool = True
    """Its code object was seen."""


class PythonFrames(Generic[FrameT]):
    """Code objects and the frames made of them. For one thread."""

    def __init__(
        self,
        make: Callable[[PythonFrame], FrameT],
        memory: Callable[[int], OpenMemory | None] = lambda tgid: None,
    ) -> None:
        """`memory`: of a process, for what is too long to be copied; None: it can't be had."""
        self._make = make
        self._memory = memory
        self._codes: OrderedDict[int, Code | None] = OrderedDict()
        self._frames: dict[tuple[int, int], FrameT | None] = {}

    def learn(self, record: CodeRecord) -> None:
        """Take in a code object."""
        memory = _Late(self._memory, record.tgid)
        try:
            self._codes[record.id] = read_code(record, memory)
        finally:
            memory.close()
        self._codes.move_to_end(record.id)
        if len(self._codes) > CODES_LIMIT:
            self._codes.popitem(last=False)

    def is_code(self, identity: int) -> bool:
        """Whether the object of this id is one of code, as far as is known."""
        return identity not in self._codes or self._codes[identity] is not None

    def frame(self, identity: int, at: int) -> FrameT | None:
        """The frame of a pair; None: a trampoline that no source has."""
        key = identity, at & _LOW
        if key in self._frames:
            return self._frames[key]
        code = self._codes.get(identity)
        offset = at & _LOW
        if code is None:  # it may yet be told of
            return self._make(PythonFrame(f"[python+{offset:#x}]", 0, offset, None, None, False))
        frame = None
        if not code.is_trampoline:
            line = code.line(offset)
            frame = self._make(PythonFrame(code.name, code.address, offset, code.file, line))
        if len(self._frames) > FRAMES_LIMIT:
            self._frames.clear()
        self._frames[key] = frame
        return frame


class _Late:
    """A process's memory, opened when it is first read."""

    def __init__(self, opener: Callable[[int], OpenMemory | None], tgid: int) -> None:
        self._opener = opener
        self._tgid = tgid
        self._memory: OpenMemory | None = None

    def read(self, address: int, size: int) -> bytes:
        """As `Memory.read`."""
        if self._memory is None:
            self._memory = self._opener(self._tgid)
        if self._memory is None:
            raise OSError("the process is gone")
        return self._memory.read(address, size)

    def close(self) -> None:
        """Let go of it."""
        if self._memory is not None:
            self._memory.close()
