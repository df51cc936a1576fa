"""The memory of a copied stack (below rsp; pages that were not there), and frames without code."""

from __future__ import annotations

import numpy as np
import pytest

from stacks_tui.unwind.frame import Frame, frame_without_code
from stacks_tui.unwind.late import PAGE, RED_ZONE, Memory, Unreadable

ALL = (1 << 64) - 1
SP = 0x7FFC_0000_0E00


def _words(addresses: range) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Memory in which each word is its own address."""
    return np.array(addresses, np.uint64)


def test_a_copy_begins_below_the_stack_pointer_and_ends_with_its_words() -> None:
    memory = Memory(_words(range(SP - RED_ZONE, SP + 0x100, 8)), SP, ALL)
    for address in (SP - RED_ZONE, SP - 8, SP, SP + 0xF8):
        assert memory.read(address) == address
    for address in (SP - RED_ZONE - 8, SP + 0xFC, SP + 0x100, 0, -8, 1 << 64):
        with pytest.raises(Unreadable):
            memory.read(address)


def test_pages_that_are_not_there_are_no_zeros() -> None:
    first = range(SP - RED_ZONE, (SP | PAGE - 1) + 1, 8)
    behind = range(first.stop + 3 * PAGE, first.stop + 4 * PAGE + 0x80, 8)
    words = np.concatenate([_words(first), _words(behind)])
    memory = Memory(words, SP, 0b110001)
    across = behind.start + PAGE
    for address in (first.start, first.stop - 8, behind.start, across - 8, across, behind.stop - 8):
        assert memory.read(address) == address
    assert memory.read(across - 4) == across - 8 >> 32 | (across & 0xFFFFFFFF) << 32
    for address in (first.stop, first.stop - 4, behind.start - 8, behind.stop):
        with pytest.raises(Unreadable):
            memory.read(address)


def test_the_page_of_the_stack_pointer_itself_may_be_missing() -> None:
    there = range((SP | PAGE - 1) + 1, (SP | PAGE - 1) + 0x101, 8)
    memory = Memory(_words(there), SP, 0b10)
    assert memory.read(there.start) == there.start
    with pytest.raises(Unreadable):
        memory.read(SP)


@pytest.mark.parametrize(
    ("is_code", "top", "frame"),
    [
        (False, SP + 0x40, Frame.PUSHED),  # rbp itself
        (True, 0x401000, Frame.UNSURE),
        (False, 0x401000, Frame.WHOLE),
        (False, 0, Frame.WHOLE),
    ],
)
def test_without_code_only_a_pushed_frame_pointer_is_certain(
    is_code: bool, top: int, frame: Frame
) -> None:
    assert frame_without_code(is_code, top, SP, SP + 0x40) is frame


def test_what_is_below_the_stack_pointer_is_no_frame_pointer() -> None:
    assert frame_without_code(False, 0, SP, 0) is Frame.WHOLE
