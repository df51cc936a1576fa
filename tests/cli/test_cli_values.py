"""Values of options: what is taken, what is refused, what Tab offers."""

from __future__ import annotations

import mmap

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui import kinds
from stacks_tui.cli import values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10.0), ("10s", 10.0), ("2m", 120.0), ("1.5h", 5400.0), ("500ms", 0.5), ("0.1", 0.1)],
)
def test_durations(text: str, seconds: float) -> None:
    assert values.Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-1", "1d", "1 s", "1e3", "nan", "inf", "١", "s", "9" * 12]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time"):
        values.Duration().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64K", 65536), ("64k", 65536), ("65536", 65536), ("16M", 1 << 24), ("16MiB", 1 << 24)],
)
def test_ring_sizes(text: str, size: int) -> None:
    assert values.RingBytes().convert(text, None, None) == size


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("100000", "nearest: 64K or 128K"),
        ("3M", "nearest: 2M or 4M"),
        ("1K", "out of range"),
        ("0", "out of range"),
        ("2G", "out of range"),
        ("big", "is not a size"),
        ("-64K", "is not a size"),
        ("64KK", "is not a size"),
    ],
)
def test_ring_sizes_that_the_kernel_refuses(text: str, says: str) -> None:
    with pytest.raises(click.BadParameter, match=says):
        values.RingBytes().convert(text, None, None)


@given(st.integers(0, 1 << 40))
def test_every_ring_size_taken_is_one_that_the_kernel_takes(number: int) -> None:
    try:
        size = values.RingBytes().convert(str(number), None, None)
    except click.BadParameter:
        return
    assert size == number
    assert size.bit_count() == 1
    assert size % mmap.PAGESIZE == 0


def test_pids() -> None:
    assert values.Pids().convert("12", None, None) == (12,)
    assert values.Pids().convert("12, 34,56", None, None) == (12, 34, 56)


@pytest.mark.parametrize("text", ["", "0", "-1", "1,,2", "x", "1.0", "²", "1" * 20])
def test_what_is_no_pid(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a process id"):
        values.Pids().convert(text, None, None)


@pytest.mark.parametrize("text", ["0", "-1", "513", "a", "1.5", ""])
def test_counts_tell_their_span(text: str) -> None:
    with pytest.raises(click.BadParameter, match="from 1 to 512"):
        values.Count(512).convert(text, None, None)


def test_a_path_is_no_name_of_a_process() -> None:
    with pytest.raises(
        click.BadParameter, match="give 'python3', or launch it: -- /usr/bin/python3"
    ):
        values.Comm().convert("/usr/bin/python3", None, None)
    assert values.Comm().convert("kworker/0:1", None, None) == "kworker/0:1"


def test_completion_offers_programs_not_named_yet() -> None:
    param = click.Option(["-p"])
    offered = values.Programs().shell_complete(click.Context(click.Command("x")), param, "rss:u,")
    names = [item.value for item in offered]
    assert names == [f"rss:u,{one.name}" for one in kinds.PROGRAMS if one.name != "rss"]
