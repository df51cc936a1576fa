"""Puts Python's frames into a resolved stack, in place of the interpreter's own.

Comes in: a stack record and what its addresses resolved to. Goes out: the stack with both: `frames`
merged, `native` as it was; or as it was, where the Python frames are not certain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stacks_tui.python.frames import PythonFrame, PythonFrames
from stacks_tui.python.merge import Merged, merge
from stacks_tui.python.shown import MODULE
from stacks_tui.records import PythonPart, PythonStatus, StackRecord
from stacks_tui.symbols.frames import Frame, ResolvedStack

_LOOP = "_PyEval_EvalFrameDefault"
_CHAINS = (PythonStatus.WHOLE, PythonStatus.CUT, PythonStatus.FAULT)


def make_frame(frame: PythonFrame) -> Frame:
    """A Python frame as it is stored: its address is that of the code object in its process."""
    return Frame(
        frame.name,
        frame.address,
        frame.offset,
        MODULE,
        None,
        frame.file,
        frame.line,
        resolved=frame.known,
    )


def with_python(
    resolved: ResolvedStack,
    record: StackRecord,
    frames: PythonFrames[Frame],
    is_python: Callable[[int, int], bool],
) -> ResolvedStack:
    """The stack with its Python frames; `is_python`: of a process (tgid) at a time (ns)."""
    count = len(record.user)
    if not count or len(resolved.frames) < count:
        return resolved
    kernel, native = resolved.frames[:-count], resolved.frames[-count:]
    loops = [at for at, frame in enumerate(native) if frame.name == _LOOP]
    if record.python is PythonStatus.WHOLE and len(record.stack_pointers) == count:
        merged = _merge(record, frames, loops)
        if merged is None:
            return replace(resolved, python=PythonPart.PARTIAL)
        placed: list[Frame] = []
        pairs = record.python_pairs
        for place in merged.places:
            if not place.python:
                placed.append(native[place.index])
                continue
            code, at = pairs[place.index].tolist()
            frame = frames.frame(code, at)
            if frame is not None:
                placed.append(frame)
        return replace(
            resolved,
            frames=(*kernel, *placed),
            native=resolved.frames,
            python=PythonPart.WHOLE,
            unresolved=sum(not frame.resolved for frame in (*kernel, *placed)),
        )
    if record.python is PythonStatus.UNKNOWN and not is_python(record.tgid, record.time):
        return resolved
    partial = loops or record.python in _CHAINS
    return replace(resolved, python=PythonPart.PARTIAL if partial else PythonPart.NONE)


def _merge(record: StackRecord, frames: PythonFrames[Frame], loops: list[int]) -> Merged | None:
    """The order of the frames; None: not all are certain."""
    if not all(map(frames.is_code, set(record.python_pairs["code"].tolist()) - {0})):
        return None
    merged = merge(record.stack_pointers.tolist(), record.python_pairs)
    if merged is None:
        return None
    # Where loops have a name, each must have a mark, but for the innermost that just began.
    unmarked = [at for at in loops if at not in merged.loops]
    if len(unmarked) > 1 or (unmarked and unmarked[0] > min(merged.loops)):
        return None
    return merged
