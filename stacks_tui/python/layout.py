"""Where CPython keeps threads, frames and code objects, by version. Twin of bpf/python.h.

Comes in: a minor version, from 3.13 on also the table that `_PyRuntime` begins with. Goes out: a
`Layout`. Offsets of 3.11 and 3.12 are those of their headers (Include/internal); from 3.13 on a
process tells its own (`_Py_DebugOffsets`), but where its groups begin changes between versions, so
a version that is not known here is not read at all.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MINORS = (11, 12, 13, 14)
"""The versions 3.x whose frames are known."""
DEBUG_OFFSETS_BYTES = 512
"""Of `_PyRuntime`: enough for the groups that are needed."""
NO_CFRAME = 0xFFFFFFFF
_NO_ENTRY = 127
"""Behind what is read of a frame: there is no such flag."""
_FIRST_MARK = 3
"""FRAME_OWNED_BY_CSTACK; 3.14: FRAME_OWNED_BY_INTERPRETER."""
_NEVER_MARK = 255

_KERNEL = struct.Struct("<QQ20IQ")


class LayoutError(Exception):
    """Why the Python frames of a process can't be read: one phrase."""


@dataclass(frozen=True, slots=True)
class CodeLayout:
    """Offsets in a code object, and in the str objects that it points to."""

    firstlineno: int
    instructions: int
    identity: int
    """16 bytes that tell it from other code objects that had the same address."""
    ascii: int
    """Where the characters of an ASCII str begin."""
    wide: int
    """Where those of another compact str begin."""
    filename: int = 112
    qualname: int = 128
    linetable: int = 136


CODE_LAYOUTS = {
    11: CodeLayout(72, 184, 128, 48, 72),
    12: CodeLayout(68, 192, 80, 40, 56),
    13: CodeLayout(68, 200, 80, 40, 56),
    14: CodeLayout(68, 208, 80, 40, 56),
}
"""By minor version. `identity`: in 3.11 two pointers, later it holds the unique co_version."""

STRING_LENGTH, STRING_STATE = 16, 32
BYTES_LENGTH, BYTES_DATA = 16, 32


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets of what leads to a thread's frames, bytes."""

    minor: int
    interpreters: int
    """In `_PyRuntime`: the first interpreter."""
    interpreter_next: int
    interpreter_threads: int
    thread_next: int
    thread_interpreter: int
    thread_id: int
    thread_frame: int
    cframe: int
    """The frame's pointer in what `thread_frame` points to; NO_CFRAME: it points to the frame."""
    code: int
    previous: int
    instruction: int
    owner: int
    entry: int
    mark: int

    def pack(self, runtime: int, none: int, code_type: int) -> bytes:
        """The `struct python` of a process with these addresses."""
        code = CODE_LAYOUTS[self.minor]
        return _KERNEL.pack(
            runtime,
            none,
            self.interpreters,
            self.interpreter_next,
            self.interpreter_threads,
            self.thread_next,
            self.thread_id,
            self.thread_frame,
            self.cframe,
            self.code,
            self.previous,
            self.instruction,
            self.owner,
            self.entry,
            self.mark,
            code.identity,
            code.qualname,
            code.filename,
            code.linetable,
            code.firstlineno,
            0,
            self.minor,
            code_type,
        )


_BY_HEADERS = {
    11: Layout(
        minor=11,
        interpreters=40,
        interpreter_next=0,
        interpreter_threads=16,
        thread_next=8,
        thread_interpreter=16,
        thread_id=152,
        thread_frame=56,
        cframe=8,
        code=32,
        previous=48,
        instruction=56,
        owner=69,
        entry=68,
        mark=_NEVER_MARK,
    ),
    12: Layout(
        minor=12,
        interpreters=40,
        interpreter_next=0,
        interpreter_threads=72,
        thread_next=8,
        thread_interpreter=16,
        thread_id=136,
        thread_frame=56,
        cframe=0,
        code=0,
        previous=8,
        instruction=56,
        owner=70,
        entry=_NO_ENTRY,
        mark=_FIRST_MARK,
    ),
}

_GROUPS = {13: (19, 28, 34), 14: (22, 31, 39)}
"""By minor version: the u64 of `_Py_DebugOffsets` at which thread state, interpreter frame and code
object begin. Runtime and interpreter state lie before them, at 3 and 6, in all versions."""


def layout_of(minor: int, debug_offsets: bytes) -> Layout:
    """The layout of CPython 3.`minor`; `debug_offsets`: the beginning of `_PyRuntime`.

    Raises:
        LayoutError: a version or build that is not known.
    """
    if minor not in MINORS:
        raise LayoutError(f"version 3.{minor} is not known")
    if minor in _BY_HEADERS:
        return _BY_HEADERS[minor]
    if len(debug_offsets) < DEBUG_OFFSETS_BYTES or debug_offsets[:8] != b"xdebugpy":
        raise LayoutError("it does not tell its offsets")
    told = struct.unpack_from("<64Q", debug_offsets)
    if told[1] >> 16 & 0xFF != minor or told[1] >> 24 != 3:
        raise LayoutError("it tells the offsets of another version")
    if told[2]:
        raise LayoutError("free-threaded builds are not known")
    thread, frame, code = _GROUPS[minor]
    layout = Layout(
        minor=minor,
        interpreters=told[5],
        interpreter_next=told[8],
        interpreter_threads=told[9],
        thread_next=told[thread + 2],
        thread_interpreter=told[thread + 3],
        thread_id=told[thread + 5],
        thread_frame=told[thread + 4],
        cframe=NO_CFRAME,
        previous=told[frame + 1],
        code=told[frame + 2],
        instruction=told[frame + 3],
        owner=told[frame + 5],
        entry=_NO_ENTRY,
        mark=_FIRST_MARK,
    )
    known = CODE_LAYOUTS[minor]
    same = (known.filename, known.qualname, known.linetable, known.firstlineno, known.instructions)
    if same != (told[code + 1], *told[code + 3 : code + 6], told[code + 9]):
        raise LayoutError("its code objects are laid out in an unknown way")
    words = (layout.code, layout.previous, layout.instruction)
    if any(word % 8 or word > 72 for word in words) or layout.owner > 79:
        raise LayoutError("its frames are laid out in an unknown way")
    if max(layout.interpreters, layout.interpreter_threads, layout.thread_id) > 1 << 20:
        raise LayoutError("its threads are laid out in an unknown way")
    return layout
