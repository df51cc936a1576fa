"""Files that lie: parsing ends soon, raises nothing but ElfError, and its rows keep their order."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unwind_images import TEXT, X86_CIE, Function, eh_frame, image, simple

from stacks_tui.elf import ElfError, ElfImage
from stacks_tui.unwind import cfi
from stacks_tui.unwind.ehframe import SCALAR_STEPS, UnwindTable, parse
from stacks_tui.unwind.rows import RBP_UNKNOWN, ROW, Kind

VADDR = TEXT + 0x2000
GZIP = Path("/usr/bin/gzip").read_bytes()
GOOD = simple(
    [Function(TEXT + 0x20 * n, 0x20, b"\x41\x0e\x10\x86\x02\x0a\x41\x0b") for n in range(90)]
)


def check(data: bytes) -> UnwindTable | None:
    """Parse; whatever comes out is a table that the kernel can search."""
    try:
        table = parse(ElfImage.from_bytes(data))
    except ElfError:
        return None
    rows = table.rows
    assert rows.dtype == ROW
    if len(rows):
        pcs = rows["pc"].astype(np.int64)
        assert pcs[0] == 0
        assert (np.diff(pcs) > 0).all()
        known = rows["kind"] <= max(Kind)
        assert known.all() or ElfImage.from_bytes(data).machine == 183
        saved = rows["rbp"][rows["rbp"] > 0]
        assert set(saved.tolist()) <= {1, RBP_UNKNOWN}
    return table


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_changed_bytes(data: st.DataObject) -> None:
    base = data.draw(st.sampled_from([GOOD, GZIP]))
    changed = bytearray(base)
    spans = [(0, 0x400), (len(base) - 0x2000, len(base)), (TEXT, len(base))]
    for _ in range(data.draw(st.integers(1, 8))):
        low, high = data.draw(st.sampled_from(spans))
        at = data.draw(st.integers(max(low, 0), high - 1))
        changed[at] = data.draw(st.sampled_from([0, 1, 0x0B, 0x7F, 0x80, 0xFF]))
    check(bytes(changed))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([GOOD, GZIP]), st.integers(0, 1 << 17))
def test_cut_short(base: bytes, length: int) -> None:
    check(base[:length])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.booleans(), st.sampled_from([62, 183]))
def test_random_sections(section: bytes, is_debug: bool, machine: int) -> None:
    name = b".debug_frame" if is_debug else b".eh_frame"
    check(image(section, VADDR, machine=machine, name=name))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=30), min_size=1, max_size=90), st.binary(max_size=20))
def test_random_instructions(programs: list[bytes], cie: bytes) -> None:
    functions = [Function(TEXT + 0x20 * n, 0x20, code) for n, code in enumerate(programs)]
    for code in (X86_CIE, cie):
        section, _ = eh_frame(functions, VADDR, code)
        check(image(section, VADDR))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 0x3000), st.integers(0, 0x3000)), max_size=50))
def test_search_tables_that_lie(table: list[tuple[int, int]]) -> None:
    functions = [Function(TEXT + 0x20 * n, 0x20, b"\x0e\x10") for n in range(20)]
    section, offsets = eh_frame(functions, VADDR)
    lies = [(TEXT + a, VADDR + b) for a, b in table]
    truth = [(f.start, VADDR + at) for f, at in zip(functions, offsets, strict=True)]
    found = check(image(section, VADDR, table=lies + truth))
    assert found is not None


def test_overlapping_records_are_not_each_read_to_the_end() -> None:
    # every offset is a record that spans the rest of the section: quadratic, if believed
    section, _ = eh_frame([Function(TEXT, 0x20, bytes(60000))], VADDR)
    table = [(TEXT, VADDR + at) for at in range(60000)]
    found = check(image(section, VADDR, table=table))
    assert found is not None
    assert found.functions == 1


def test_a_file_of_advances_spends_the_budget_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    original = cfi.Budget

    def counted(amount: int) -> cfi.Budget:
        budget = original(amount)
        steps.append(amount)
        return budget

    monkeypatch.setattr("stacks_tui.unwind.ehframe.Budget", counted)
    monkeypatch.setattr("stacks_tui.unwind.ehframe.SCALAR_STEPS", 5000)
    code = b"\x41\x0e\x10\x41\x0e\x18" * 20000
    section, _ = eh_frame([Function(TEXT, 0xFFF, code)], VADDR)
    found = check(image(section, VADDR))
    assert found is not None
    assert steps == [5000]
    assert found.rows["kind"][-2] == Kind.BAD  # where the budget was spent; then the end
    assert SCALAR_STEPS > 100_000


def test_a_cie_of_an_unknown_kind_gives_no_rules() -> None:
    functions = [Function(TEXT + 0x100, 0x20)]
    for letters in (b"zQ", b"w", b"zPR", b"zR" * 20):
        section, _ = eh_frame(functions, VADDR, letters=letters)
        found = check(image(section, VADDR))
        assert found is not None
        assert not (found.rows["kind"] == Kind.RSP).any()


def test_huge_sizes_in_headers_allocate_nothing() -> None:
    data = bytearray(GOOD)
    at = data.find(struct.pack("<I", 0x6474E550))
    for field in (8, 16, 32, 40):
        lie = bytearray(data)
        struct.pack_into("<Q", lie, at + field, 0x7FFFFFFFFFFFFFF0)
        check(bytes(lie))
    header = data.rfind(b"\x01\x1b\x03\x3b")
    struct.pack_into("<I", data, header + 8, 0xFFFFFFFF)
    found = check(bytes(data))
    assert found is not None
    assert found.functions == 90, "read without the table"
