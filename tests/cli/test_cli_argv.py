"""Our arguments end at the first `--`; the rest is the program's, untouched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui.cli.argv import split


@pytest.mark.parametrize(
    ("argv", "own", "launch"),
    [
        ([], [], None),
        (["firefox"], ["firefox"], None),
        (["--", "firefox"], [], ("firefox",)),
        (
            ["--record", "--", "a", "--", "b", "--record"],
            ["--record"],
            ("a", "--", "b", "--record"),
        ),
        (["--record", "--"], ["--record"], ()),
        (["--dir", "---", "--", ""], ["--dir", "---"], ("",)),
    ],
)
def test_split(argv: list[str], own: list[str], launch: tuple[str, ...] | None) -> None:
    assert split(argv) == (own, launch)


@given(st.lists(st.sampled_from(["--", "-", "a", "--record", ""])))
def test_nothing_is_lost(argv: list[str]) -> None:
    own, launch = split(argv)
    assert "--" not in own
    assert [*own, *(() if launch is None else ("--", *launch))] == argv
