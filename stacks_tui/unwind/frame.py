"""How the innermost frame of code without rules stands: `enum frame` of bpf/unwind.h."""

from __future__ import annotations

from enum import IntEnum


class Frame(IntEnum):
    """Where its return address and the caller's rbp are."""

    WHOLE = 0
    """rbp points to them."""
    UNSURE = 1
    """So it seems, but there may be no frame yet, or none any more: a caller may be missing."""
    PUSHED = 2
    """The caller's rbp is at *(rsp), the return address behind it."""
    NONE = 3
    """The return address is at *(rsp), the caller's rbp is in rbp."""


def frame_without_code(is_code: bool, top: int, sp: int, bp: int) -> Frame:
    """As far as `top`, *(rsp), tells: the caller's rbp, or the address of code, or neither."""
    if top == bp and bp > sp:
        return Frame.PUSHED
    return Frame.UNSURE if is_code else Frame.WHOLE
