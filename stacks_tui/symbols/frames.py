"""What a stack resolves to: frames with names, leaf first. The values that symbols hands on."""

from __future__ import annotations

from dataclasses import dataclass

from stacks_tui.records import PythonPart, StackStatus


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, as `schema.FRAME` stores it."""

    name: str
    """Demangled; `[module+0xvaddr]` or `[0xaddress]` when no symbol holds the address."""
    address: int
    """Start of the symbol as an address of its file; kernel and JIT: absolute."""
    offset: int
    """From `address` to the instruction (callers: the return address)."""
    module: str | None
    """Full path as the process's kernel names it, `[kernel]`, `[nf_tables]`, `[vdso]`, `[jit]`,
    `[anon]`; None: the address was in no mapping."""
    buildid: bytes | None
    file: str | None = None
    line: int | None = None
    inlined: bool = False
    resolved: bool = True
    """A symbol was found. Not stored: the name tells."""


@dataclass(frozen=True, slots=True)
class ResolvedStack:
    """One stack with its frames, leaf first; kernel frames before the user's when it has both."""

    id: int
    frames: tuple[Frame, ...]
    complete: bool
    """The outermost frame is a start of a thread or program."""
    truncated: bool
    """There were more frames than the cap."""
    status: StackStatus
    unresolved: int
    """Frames with no symbol."""
    native: tuple[Frame, ...] | None = None
    """Where `frames` has Python frames in place of the interpreter's: the stack with those."""
    python: PythonPart | None = None
    """None: the process is not known to be Python."""
