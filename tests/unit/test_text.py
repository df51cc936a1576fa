"""Text for people: nothing steers the terminal, numbers don't lie, widths hold."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui import text

ANY = st.text(
    st.one_of(
        st.characters(),
        st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Mn"]),
        st.sampled_from("\x1b\x07\x9b\n\r\t\u202e\u2066\u200f\udcff\u2028"),
    )
)


@given(ANY)
def test_printable_leaves_nothing_that_steers_a_terminal(value: str) -> None:
    shown = text.printable(value)
    assert {unicodedata.category(char) for char in shown}.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    shown.encode("utf-8")  # no surrogate is left


@given(st.binary())
def test_printable_takes_any_bytes_of_the_system(raw: bytes) -> None:
    shown = text.printable(raw.decode("utf-8", "surrogateescape"))
    assert "\x1b" not in shown
    shown.encode("utf-8")


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Mn"])))
def test_printable_keeps_what_is_visible(value: str) -> None:
    assert text.printable(value) == value


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain name", "plain name"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]8;;http://x\x07", "\\x1b]8;;http://x\\x07"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\\xe9"),
        ("größe 漢字", "größe 漢字"),
    ],
)
def test_printable_writes_escapes(raw: str, shown: str) -> None:
    assert text.printable(raw) == shown


@given(ANY.map(text.printable), st.integers(0, 40))
def test_truncate_never_exceeds_its_width(value: str, cells: int) -> None:
    cut = text.truncate(value, cells)
    assert text.cell_width(cut) <= cells
    if text.cell_width(value) <= cells:
        assert cut == value
    elif cells:
        assert cut.endswith("…")
        assert value.startswith(cut[:-1])


@given(ANY.map(text.printable), st.integers(0, 60), st.booleans())
def test_pad_fills_to_its_width(value: str, cells: int, right: bool) -> None:
    padded = text.pad(value, cells, right=right)
    assert text.cell_width(padded) == max(cells, text.cell_width(value))
    assert padded.strip(" ") == value.strip(" ")


def test_widths_of_wide_and_combining_characters() -> None:
    assert text.cell_width("abc") == 3
    assert text.cell_width("漢字") == 4
    assert text.cell_width("e\u0301") == 1
    assert text.truncate("漢字漢字", 5) == "漢字…"
    assert text.truncate("漢字漢字", 4) == "漢…"


def test_chain_cuts_and_escapes() -> None:
    assert text.chain(["read", "\x1b[2J", "main"], 80) == "read ← \\x1b[2J ← main"
    assert text.chain(["read", "parse", "main"], 12) == "read ← pars…"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00k"),
        (1234, "1.23k"),
        (9_996, "10.0k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (45_600_000, "45.6M"),
        (0.5, "0.50"),
        (-1234, "-1.23k"),
        (10**30, "1000000000000E"),
    ],
)
def test_si(value: float, shown: str) -> None:
    assert text.si(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1024 * 1024 - 1, "1.00 MiB"),
        (5 * 2**30, "5.00 GiB"),
        (-4096, "-4.00 KiB"),
    ],
)
def test_size(value: int, shown: str) -> None:
    assert text.size(value) == shown


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (999_499, "999 µs"),
        (999_500, "1.00 ms"),
        (1_230_000, "1.23 ms"),
        (12_300_000_000, "12.3 s"),
        (99_940_000_000, "99.9 s"),
        (99_950_000_000, "1m 40s"),
        (245_000_000_000, "4m 05s"),
        (3_599_600_000_000, "1h 00m"),
        (7_380_000_000_000, "2h 03m"),
        (-1_500, "-1.50 µs"),
    ],
)
def test_duration(ns: int, shown: str) -> None:
    assert text.duration(ns) == shown


@given(st.integers(0, 10**20))
def test_durations_are_short(ns: int) -> None:
    assert 0 < len(text.duration(ns)) < 16


@given(st.integers(0, 10**7), st.integers(1, 10**7))
def test_percent_never_rounds_to_none_or_all(part: int, whole: int) -> None:
    part = min(part, whole)
    shown = text.percent(part / whole)
    assert (shown == "0.0 %") == (part == 0)
    assert (shown == "100.0 %") == (part == whole)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (1_230_000, "ns", "1.23 ms"),
        (2048, "bytes", "2.00 KiB"),
        (1234567, "events", "1,234,567 events"),
    ],
)
def test_quantity(value: int, unit: str, shown: str) -> None:
    assert text.quantity(value, unit) == shown


@given(ANY)
def test_valid_text_can_be_encoded_and_keeps_what_is_valid(value: str) -> None:
    valid = text.valid(value)
    valid.encode("utf-8")
    if not any("\ud800" <= char <= "\udfff" for char in value):
        assert valid == value
