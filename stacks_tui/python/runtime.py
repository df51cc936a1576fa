"""Finds CPython in a process, and makes sure that it is laid out as thought before it is believed.

Comes in: an ELF image, and the memory of a process that has it mapped. Goes out: a `Runtime`, with
the bytes for the kernel. The symbols are in `.dynsym` of every python and libpython, stripped or
not, and of programs that embed one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from stacks_tui.elf import EM_X86_64, SHT_DYNSYM, ElfImage
from stacks_tui.python.layout import (
    DEBUG_OFFSETS_BYTES,
    NO_CFRAME,
    Layout,
    LayoutError,
    layout_of,
)

RUNTIME, VERSION, CODE_TYPE, NONE = "_PyRuntime", "Py_Version", "PyCode_Type", "_Py_NoneStruct"
_NAMES = (RUNTIME, VERSION, CODE_TYPE, NONE)
_STRINGS_LIMIT = 64 << 20
_SYMBOL = np.dtype(
    [
        ("name", "<u4"),
        ("info", "u1"),
        ("other", "u1"),
        ("section", "<u2"),
        ("value", "<u8"),
        ("size", "<u8"),
    ]
)
_THREADS = 64
"""Thread states that a check looks at."""
_MASK = (1 << 64) - 1
_word = struct.Struct("<Q")


class Memory(Protocol):
    """The memory of one process."""

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes.

        Raises:
            OSError: not all of it can be read.
        """


class OpenMemory(Memory, Protocol):
    """Such memory, to be closed by whoever got it."""

    def close(self) -> None:
        """Let go of it."""


class ProcessMemory:
    """The memory of a running process, until `close`. An exec ends what it can read."""

    def __init__(self, tgid: int) -> None:
        """Open it.

        Raises:
            OSError: there is no such process, or it may not be read.
        """
        self._fd = os.open(f"/proc/{tgid}/mem", os.O_RDONLY | os.O_CLOEXEC)

    def read(self, address: int, size: int) -> bytes:
        """As `Memory.read`."""
        if not 0 <= address < 1 << 63:
            raise OSError("no address of a process")
        data = os.pread(self._fd, size, address)
        if len(data) != size:
            raise OSError("the memory is gone")
        return data

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


class Found(Enum):
    """What a check says of a process."""

    GOOD = "good"
    NOT_YET = "not yet"
    """No interpreter or no frame is there to check with."""
    WRONG = "wrong"
    """Not laid out as thought; or it changed while it was read."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """CPython in one process."""

    layout: Layout
    runtime: int
    """Address of `_PyRuntime`; the following likewise."""
    none: int
    code_type: int

    def pack(self) -> bytes:
        """The `struct python` of bpf/python.h."""
        # Before 3.13 the code of a mark is no object of its own: each is one.
        none = self.none if self.layout.minor >= 13 else 0
        return self.layout.pack(self.runtime, none, self.code_type)


def find_symbols(image: ElfImage) -> Mapping[str, int] | None:
    """The addresses (of the file) by symbol; None: there is no CPython 3.11 or later in the file.

    Raises:
        ElfError: the file can't be read.
    """
    section = image.section_of_type(SHT_DYNSYM)
    if section is None or image.elfclass != 64 or image.machine != EM_X86_64:
        return None
    if not section.link < len(image.sections):
        return None
    strings = image.content(image.sections[section.link], _STRINGS_LIMIT)
    places = {name: strings.find(b"\0" + name.encode() + b"\0") + 1 for name in _NAMES}
    if not all(places.values()):
        return None
    raw = image.content(section, _STRINGS_LIMIT)
    table = np.frombuffer(raw, _SYMBOL, len(raw) // _SYMBOL.itemsize)
    found = {}
    for name, place in places.items():
        defined = np.flatnonzero((table["name"] == place) & (table["section"] != 0))
        if not len(defined):
            return None  # only wanted from another file
        found[name] = int(table["value"][defined[0]])
    return found


def read_runtime(symbols: Mapping[str, int], bias: int, memory: Memory) -> Runtime:
    """CPython as a process has it; `bias`: what its addresses are above those of `symbols`.

    Raises:
        LayoutError: a version or build that is not known.
        OSError: the process is gone.
    """
    at = {name: (value + bias) & _MASK for name, value in symbols.items()}
    (version,) = struct.unpack("<I", memory.read(at[VERSION], 4))
    if version >> 24 != 3:
        raise LayoutError(f"version {version >> 24}.{version >> 16 & 255} is not known")
    raw = memory.read(at[RUNTIME], DEBUG_OFFSETS_BYTES)
    layout = layout_of(version >> 16 & 255, raw)
    return Runtime(layout, at[RUNTIME], at[NONE], at[CODE_TYPE])


def check(runtime: Runtime, memory: Memory) -> Found:
    """Walk the thread states as the kernel side does, and see that each thing is what it should be.

    The process runs on meanwhile: a wrong answer may be one of the moment; ask again.
    """
    try:
        return _check(runtime, memory)
    except OSError:
        return Found.WRONG


def _check(runtime: Runtime, memory: Memory) -> Found:
    layout = runtime.layout

    def word(address: int) -> int:
        return int(_word.unpack(memory.read(address & _MASK, 8))[0])

    interpreter = word(runtime.runtime + layout.interpreters)
    if not interpreter:
        return Found.NOT_YET
    thread = word(interpreter + layout.interpreter_threads)
    none_type = word(runtime.none + 8)
    frames = 0
    for _ in range(_THREADS):
        if not thread:
            break
        if word(thread + layout.thread_interpreter) != interpreter:
            return Found.WRONG
        identity = word(thread + layout.thread_id)
        if not identity:
            return Found.NOT_YET  # a state whose thread has not begun
        if word(identity) != identity:  # pthread_self() points at itself
            return Found.WRONG
        frame = word(thread + layout.thread_frame)
        if frame and layout.cframe != NO_CFRAME:
            frame = word(frame + layout.cframe)
        if frame:
            kind = word((word(frame + layout.code) & ~7) + 8)
            if kind not in (runtime.code_type, none_type):
                return Found.WRONG
            frames += kind == runtime.code_type
        thread = word(thread + layout.thread_next)
    return Found.GOOD if frames else Found.NOT_YET
