"""Await chains of tasks as stacks: what each frame waits for, innermost first.

Comes in: the text that a program gave, whatever it is. Goes out: a `ResolvedStack`. A line is a
frame: qualified name, file, line number, with tabs between. A chain that was cut does not end with
the end of a line.
"""

from __future__ import annotations

from stacks_tui.records import AwaitsRecord, StackStatus
from stacks_tui.symbols.frames import Frame, ResolvedStack

MODULE = "[await]"
_MOST_LINE = 1 << 31


def await_stack(record: AwaitsRecord) -> ResolvedStack:
    """The stack of a chain. A line that is not as it should be is a frame's name as a whole."""
    text = record.text.decode("utf-8", "surrogateescape")
    frames = tuple(map(_frame, filter(None, text.split("\n"))))
    whole = record.text.endswith(b"\n")
    status = StackStatus.COMPLETE if whole else StackStatus.CUT
    return ResolvedStack(record.id, frames, whole, not whole, status, 0)


def _frame(text: str) -> Frame:
    name, file, line = text, None, None
    parts = text.split("\t")
    if len(parts) == 3 and parts[0] and parts[2].isascii() and parts[2].isdigit():
        name, file = parts[0], parts[1] or None
        line = int(parts[2]) if len(parts[2]) < 11 and int(parts[2]) < _MOST_LINE else None
    return Frame(name, 0, 0, MODULE, None, file, line)
