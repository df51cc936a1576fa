"""Call frame instructions → rows, by programs written out by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unwind_images import TEXT, X86_CIE, Function, eh_frame, image, simple, sleb, uleb

from stacks_tui.elf import ElfImage
from stacks_tui.unwind import cfi, lanes
from stacks_tui.unwind.ehframe import GAP, UnwindTable, parse
from stacks_tui.unwind.entries import eh_frame as read_eh_frame
from stacks_tui.unwind.rows import (
    MAPPING,
    RA_ALONE,
    RA_AT_BASE,
    RA_BESIDE_FP,
    RBP_AT_RBP,
    RBP_UNKNOWN,
    ROW,
    Kind,
    find_row,
)

START = 0x100
"""The function's pc: from the base."""
VADDR = TEXT + 0x2000
Rule = tuple[str, int, int]


def table_of(
    code: bytes,
    cie: bytes = X86_CIE,
    size: int = 0x80,
    letters: bytes = b"zR",
    encoding: int = 0x1B,
    code_factor: int = 1,
) -> UnwindTable:
    functions = [Function(TEXT + START, size, code)]
    section, _ = eh_frame(functions, VADDR, cie, letters, encoding, code_factor=code_factor)
    return parse(ElfImage.from_bytes(image(section, VADDR)))


def rules(table: UnwindTable) -> dict[int, Rule]:
    """Kind, off and rbp by pc from the function's start."""
    return {
        pc - START: (Kind(kind).name, off, rbp)
        for pc, off, kind, rbp in table.rows.tolist()
        if pc >= START
    }


NONE = ("NONE", 0, 0)


def test_dtypes_are_what_the_kernel_reads() -> None:
    assert ROW.itemsize == 8
    assert MAPPING.itemsize == 32
    row = np.zeros(1, ROW)
    row[0] = (0x11223344, -2, Kind.RBP, -3)
    word = int(row.view("<u8")[0])
    assert word & 0xFFFFFFFF == 0x11223344
    assert (word >> 32 & 0xFFFF, word >> 48 & 255, word >> 56) == (0xFFFE, 2, 0xFD)


def test_push_mov_pop() -> None:
    code = bytes([0x41, 0x0E, 16, 0x86, 2, 0x43, 0x0D, 6, 0x60, 0x0C, 7, 8, 0xC6])
    assert rules(table_of(code)) == {
        0: ("RSP", 1, 0),
        1: ("RSP", 2, -2),
        4: ("RBP", 2, -2),
        0x24: ("RSP", 1, 0),
        0x80: NONE,
    }


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        (b"\x07\x10", ("STOP", 0, 0)),  # undefined rip
        (b"\x0e\x00\x09\x10\x05", ("RAREG", 5 << 8, 0)),  # rip in rdi, as vfork
        (b"\x0c\x05\x00\x09\x10\x05", ("BAD", 0, 0)),
        (b"\x0e\x90\x10\x09\x10\x02", ("BAD", 0, 0)),  # 258 words: n doesn't fit
        (b"\x0c\x0a\x00", ("REG", 10 << 8, 0)),
        (b"\x0c\x11\x08", ("BAD", 0, 0)),
        (b"\x0c\x4b\x08", ("BAD", 0, 0)),  # no such register: not one of our own codes
        (b"\x0c\xc0\x00\x08", ("BAD", 0, 0)),
        (b"\x90\x02", ("BAD", 0, 0)),  # rip at cfa-16
        (b"\x0e\x0c", ("BAD", 0, 0)),  # no multiple of 8
        (b"\x0e" + uleb(32767 * 8), ("RSP", 32767, 0)),
        (b"\x0e" + uleb(32768 * 8), ("BAD", 0, 0)),
        (b"\x0e" + uleb(1 << 60), ("BAD", 0, 0)),
        (b"\x0f\x02\x77\x08", ("BAD", 0, 0)),
        (b"\x0f\x03\x77\x10\x06", ("DRSP", 2, 0)),
        (b"\x0f\x03\x76\x78\x06", ("DRBP", -1, 0)),
        (b"\x0f\x05\x77\x10\x06\x23\x08", ("DRSP8", 2, 0)),
        (b"\x0f\x05\x76\x58\x06\x23\x08", ("DRBP8", -5, 0)),
        (b"\x0f\x05\x76\x58\x06\x23\x10", ("BAD", 0, 0)),
        (b"\x0f\x0b\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22", ("PLT", 1, 0)),
        (b"\x86\x02", ("RSP", 1, -2)),
        (b"\x86" + uleb(128), ("RSP", 1, -128)),
        (b"\x86" + uleb(129), ("RSP", 1, RBP_UNKNOWN)),
        (b"\x86\x00", ("RSP", 1, RBP_UNKNOWN)),
        (b"\x10\x06\x02\x76\x00", ("RSP", 1, RBP_AT_RBP)),
        (b"\x10\x06\x02\x76\x08", ("RSP", 1, RBP_UNKNOWN)),
        (b"\x16\x06\x02\x76\x00", ("RSP", 1, RBP_UNKNOWN)),
        (b"\x10\x10\x02\x77\x00", ("BAD", 0, 0)),
        (b"\x14\x06\x02", ("RSP", 1, RBP_UNKNOWN)),
        (b"\x15\x06\x7e", ("RSP", 1, RBP_UNKNOWN)),
        (b"\x09\x06\x03", ("RSP", 1, RBP_UNKNOWN)),
        (b"\x07\x06", ("RSP", 1, RBP_UNKNOWN)),
        (b"\x86\x02\x08\x06", ("RSP", 1, 0)),
        (b"\x05\x06\x03", ("RSP", 1, -3)),
        (b"\x11\x06\x04", ("RSP", 1, -4)),
        (b"\x2f\x06\x02", ("RSP", 1, RBP_UNKNOWN)),  # above the CFA
        (b"\x86\x02\x06\x06", ("RSP", 1, 0)),
        (b"\x12\x06\x7e", ("RBP", 2, 0)),
        (b"\x13\x7d", ("RSP", 3, 0)),
        (b"\x2e\x20\x0e\x10", ("RSP", 2, 0)),
        (b"\x0b", ("BAD", 0, 0)),  # nothing remembered
        (b"\x3c", ("BAD", 0, 0)),  # no such opcode
        (b"\x2d", ("BAD", 0, 0)),  # aarch64's
    ],
)
def test_rules(code: bytes, rule: Rule) -> None:
    assert rules(table_of(code))[0] == rule
    # the same among so many others that all run at once
    functions = [Function(TEXT + START + 0x10 * n, 0x10, code) for n in range(100)]
    section, _ = eh_frame(functions, VADDR)
    table = parse(ElfImage.from_bytes(image(section, VADDR)))
    assert rules(table) == {0: rule, 0x640: NONE}


def test_def_cfa_register_after_an_expression_finds_the_old_offset() -> None:
    code = b"\x0e\x38\x41\x0f\x03\x77\x10\x06\x41\x0d\x07"
    assert rules(table_of(code)) == {
        0: ("RSP", 7, 0),
        1: ("DRSP", 2, 0),
        2: ("RSP", 7, 0),
        0x80: NONE,
    }


def test_restore_goes_back_to_the_cie() -> None:
    cie = X86_CIE + b"\x86\x03"
    assert rules(table_of(b"\x86\x02\x41\xc6\x41\x08\x06\x41\x06\x06", cie)) == {
        0: ("RSP", 1, -2),
        1: ("RSP", 1, -3),
        2: ("RSP", 1, 0),
        3: ("RSP", 1, -3),
        0x80: NONE,
    }


@pytest.mark.parametrize("depth", [1, 4, 5, 9])
def test_remembered_states_nest(depth: int) -> None:
    code = b""
    expected: dict[int, Rule] = {}
    for level in range(depth):
        expected[level] = ("RSP", level + 2, -2 - level)
        code += b"\x0e" + uleb(8 * (level + 2)) + b"\x86" + uleb(level + 2) + b"\x0a\x41"
    expected[depth] = ("RSP", 1, 0)
    code += b"\x0e\x08\xc6"
    for level in reversed(range(depth)):
        code += b"\x41\x0b"
        expected[2 * depth - level] = ("RSP", level + 2, -2 - level)
    functions = [Function(TEXT + START + 0x20 * n, 0x20, code) for n in range(80)]
    section, _ = eh_frame(functions, VADDR)
    table = parse(ElfImage.from_bytes(image(section, VADDR)))
    for n in range(80):
        for pc, (kind, off, rbp) in expected.items():
            row = table.rows[find_row(table.rows, START + 0x20 * n + pc)]
            assert row.tolist()[1:] == (off, Kind[kind], rbp)
    assert table.one_by_one == (80 if depth > 4 else 0)


def test_advances_of_every_size() -> None:
    code = b"\x0e\x10\x02\x05\x0e\x18\x03\x10\x00\x0e\x20\x04\x20\x00\x00\x00\x0e\x28"
    code += b"\x1d" + struct.pack("<Q", 8) + b"\x0e\x30"
    assert list(rules(table_of(code))) == [0, 5, 0x15, 0x35, 0x3D, 0x80]


def test_set_loc() -> None:
    code = b"\x0e\x10\x01" + struct.pack("<Q", TEXT + START + 0x30) + b"\x0e\x18"
    found = rules(table_of(code, encoding=0x04))
    assert found == {0: ("RSP", 2, 0), 0x30: ("RSP", 3, 0), 0x80: NONE}
    back = b"\x0e\x10\x01" + struct.pack("<Q", TEXT) + b"\x0e\x18"
    assert rules(table_of(back, encoding=0x04))[0] == ("BAD", 0, 0)


@pytest.mark.parametrize("encoding", [0x00, 0x03, 0x04, 0x0B, 0x0C, 0x10, 0x1B, 0x1C])
def test_encodings_of_addresses(encoding: int) -> None:
    found = rules(table_of(b"\x42\x0e\x10", encoding=encoding))
    assert found == {0: ("RSP", 1, 0), 2: ("RSP", 2, 0), 0x80: NONE}


def test_code_factor() -> None:
    found = rules(table_of(b"\x42\x0e\x10\x02\x04\x0e\x18", code_factor=4))
    assert list(found) == [0, 8, 0x18, 0x80]


def test_rows_never_leave_their_function() -> None:
    functions = [
        Function(TEXT + START, 0x10, b"\x7f\x0e\x10"),
        Function(TEXT + START + 0x10, 0x80),
    ]
    table = parse(ElfImage.from_bytes(simple(functions)))
    assert rules(table) == {0: ("RSP", 1, 0), 0x90: NONE}


def test_wide_holes_have_no_rule_and_padding_keeps_the_one_before() -> None:
    functions = [
        Function(TEXT + START, 0x10, b"\x0e\x10"),
        Function(TEXT + START + 0x10 + GAP - 1, 0x10, b"\x0e\x18"),
        Function(TEXT + START + 0x80, 0x10, b"\x0e\x20"),
    ]
    table = parse(ElfImage.from_bytes(simple(functions)))
    second = 0x10 + GAP - 1
    assert rules(table) == {
        0: ("RSP", 2, 0),
        second: ("RSP", 3, 0),
        second + 0x10: NONE,
        0x80: ("RSP", 4, 0),
        0x90: NONE,
    }
    assert table.rows[0].tolist() == (0, 0, Kind.NONE, 0)


def test_a_function_inside_another_leaves_no_hole() -> None:
    functions = [
        Function(TEXT + START, 0x100, b"\x0e\x10"),
        Function(TEXT + START + 0x40, 0x10, b"\x0e\x18"),
    ]
    found = rules(parse(ElfImage.from_bytes(simple(functions))))
    assert NONE not in [rule for pc, rule in found.items() if pc < 0x100]


def test_functions_outside_of_code_are_left_out() -> None:
    functions = [Function(0, 0x10), Function(TEXT + START, 0x10), Function(VADDR, 0x10)]
    table = parse(ElfImage.from_bytes(simple(functions)))
    assert table.functions == 1


def test_signal_frame_is_the_kernels_or_bad() -> None:
    kernels = b"\x0f\x04\x77\xa0\x01\x06"
    assert rules(table_of(kernels, letters=b"zRS"))[0] == ("SIGNAL", 0, 0)
    assert rules(table_of(b"", letters=b"zRS"))[0] == ("BAD", 0, 0)


def test_signal_return_without_a_rule_is_found_in_a_self_contained_program() -> None:
    text = bytearray(b"\x90" * 0x1000)
    text[0x500:0x509] = b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05"
    section, _ = eh_frame([Function(TEXT + START, 0x40)], VADDR)
    table = parse(ElfImage.from_bytes(image(section, VADDR, bytes(text))))
    kinds = {
        pc: table.rows["kind"][find_row(table.rows, pc)] for pc in (0x4FF, 0x500, 0x508, 0x509)
    }
    assert kinds == {0x4FF: Kind.SIGNAL, 0x500: Kind.SIGNAL, 0x508: Kind.SIGNAL, 0x509: Kind.NONE}


def test_plt_with_another_entry_point_becomes_plain_rows() -> None:
    code = b"\x0f\x0b\x77\x08\x80\x00\x3f\x1a\x39\x2a\x33\x24\x22"  # from the 9th byte on
    found = rules(table_of(code, size=0x30))
    assert found == {
        **dict.fromkeys((0x00, 0x10, 0x20), ("RSP", 1, 0)),
        **{pc + 9: ("RSP", 2, 0) for pc in (0x00, 0x10, 0x20)},
        0x30: NONE,
    }


def test_debug_frame_fills_what_eh_frame_leaves_out() -> None:
    section = struct.pack("<IIBBBB", 20, 0xFFFFFFFF, 4, 0, 8, 0) + b"\x01\x78\x10" + X86_CIE
    section = section + bytes(24 - len(section))
    for start, code in ((TEXT + START, b"\x0e\x10"), (TEXT + START + 0x40, b"\x0e\x18")):
        body = struct.pack("<IQQ", 0, start, 0x20) + code + bytes(2)
        section += struct.pack("<I", len(body)) + body
    data = image(section, VADDR, name=b".debug_frame")
    table = parse(ElfImage.from_bytes(data))
    assert table.source == ".debug_frame"
    assert rules(table) == {0: ("RSP", 2, 0), 0x20: NONE, 0x40: ("RSP", 3, 0), 0x60: NONE}


def test_base_takes_high_addresses_into_32_bits() -> None:
    high = 0x7F0000002000
    section, _ = eh_frame([Function(high + START, 0x20)], high + 0x2000)
    table = parse(ElfImage.from_bytes(image(section, high + 0x2000, text_vaddr=high)))
    assert table.base == high
    assert rules(table) == {0: ("RSP", 1, 0), 0x20: NONE}


def test_other_machines_are_not_supported() -> None:
    section, _ = eh_frame([Function(TEXT + START, 0x20)], VADDR)
    table = parse(ElfImage.from_bytes(image(section, VADDR, machine=8)))
    assert not table.supported
    assert "machine 8" in table.source
    assert not len(table.rows)


def test_32_bit_code_is_not_supported() -> None:
    head = b"\x7fELF\x01\x01\x01" + bytes(9)
    head += struct.pack("<HHIIIIIHHHHHH", 3, 3, 1, 0, 0, 0, 0, 52, 32, 0, 40, 0, 0)
    table = parse(ElfImage.from_bytes(head + bytes(100)))
    assert table.source == "unsupported: 32-bit code of machine 3"
    assert not table.supported


def test_aarch64_places_of_the_return_address() -> None:
    cie = b"\x0c\x1f\x00"

    def rows(code: bytes) -> list[tuple[int, int, int]]:
        functions = [Function(TEXT + START, 0x100, code)]
        section, _ = eh_frame(functions, VADDR, cie, ra=30, code_factor=4)
        found = parse(ElfImage.from_bytes(image(section, VADDR, machine=183))).rows
        return [(kind, off, fp) for pc, off, kind, fp in found.tolist() if START <= pc < START + 4]

    assert rows(b"") == [(Kind.RSP, 0, 0)]
    assert rows(b"\x2d\x0e\x20\x9d\x04\x9e\x03") == [(Kind.RSP | RA_BESIDE_FP, 4, -4)]
    assert rows(b"\x0e\x30\x9e\x06") == [(Kind.RSP | RA_ALONE, 6, -6)]
    big = b"\x0e" + uleb(4096) + b"\x9d" + uleb(512) + b"\x9e" + uleb(511)
    assert rows(big) == [(Kind.RSP | RA_AT_BASE, 512, 0)]
    assert rows(b"\x0c\x1d\x10\x9d\x02\x9e\x01") == [(Kind.RBP | RA_BESIDE_FP, 2, -2)]
    assert rows(b"\x07\x1e") == [(Kind.STOP, 0, 0)]
    assert rows(b"\x0e\x20\x9e\x81\x01") == [(Kind.BAD, 0, 0)]  # too far for a row


_registers = st.integers(0, 20)
_numbers = st.one_of(st.integers(0, 200), st.integers(0, 1 << 40))
_instructions = st.one_of(
    st.integers(0x40, 0x50).map(lambda op: bytes([op])),
    st.tuples(_registers, _numbers).map(lambda p: bytes([0x80 | p[0]]) + uleb(p[1])),
    _registers.map(lambda register: bytes([0xC0 | register])),
    _numbers.map(lambda n: b"\x0e" + uleb(n)),
    st.tuples(_registers, _numbers).map(lambda p: b"\x0c" + uleb(p[0]) + uleb(p[1])),
    st.integers(0, 100).map(lambda n: b"\x0d" + uleb(n)),
    st.integers(0, 255).map(lambda n: bytes([2, n])),
    st.integers(0, 65535).map(lambda n: b"\x03" + n.to_bytes(2, "little")),
    st.sampled_from([b"\x0a", b"\x0b", b"\x00", b"\x0f\x03\x77\x10\x06", b"\x10\x06\x02\x76\x00"]),
    st.tuples(_registers, st.integers(-9, 9)).map(lambda p: b"\x11" + uleb(p[0]) + sleb(p[1])),
    _numbers.map(lambda n: b"\x2e" + uleb(n)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(_instructions, max_size=12).map(b"".join), min_size=1, max_size=12))
def test_many_at_once_make_the_same_lines_as_one_by_one(programs: list[bytes]) -> None:
    programs = programs * (64 // len(programs) + 7)
    functions = [Function(TEXT + 0x20 * n, 0x20, code) for n, code in enumerate(programs)]
    section, _ = eh_frame(functions, VADDR, X86_CIE + b"\x86\x05")
    elf = ElfImage.from_bytes(image(section, VADDR, bytes(0x1000)))
    found = read_eh_frame(elf, cfi.X86_64, cfi.Budget(1 << 20))
    assert found is not None
    made, _ = lanes.run(found.frames, found.entries, found.cies, cfi.X86_64, cfi.Budget(1 << 20))
    for number, start in enumerate(found.entries.start.tolist()):
        lines: list[cfi.Line] = []
        entries = found.entries
        cie = found.cies[int(entries.cie[number])]
        cfi.interpret(
            found.frames,
            int(entries.at[number]),
            int(entries.end[number]),
            start,
            cie,
            cfi.X86_64,
            cie.state,
            [],
            lines,
            cfi.Budget(1 << 20),
        )
        mine = made[made[:, lanes.LANE] == number][:, : lanes.LANE].tolist()
        assert [tuple(line) for line in mine] == lines
