"""The grammar of `-p`, above all where it holds a path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui.errors import UsageError
from stacks_tui.kinds import ProgramSpec, parse_program, parse_programs

PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30).map(
    lambda text: "/" + text.replace("\\,", "")
)


@pytest.mark.parametrize(
    ("text", "user", "kernel", "path"),
    [
        ("usdt", False, False, ""),
        ("usdt:uk", True, True, ""),
        ("usdt:/usr/bin/app", False, False, "/usr/bin/app"),
        ("usdt:/usr/bin/app:u", True, False, "/usr/bin/app"),
        ("usdt:./u:k", False, True, "./u"),
        ("usdt:/a:b/c:uk", True, True, "/a:b/c"),
        ("usdt:/a:u:", False, False, "/a:u"),
        (r"usdt:/a\,b:u", True, False, "/a,b"),
    ],
)
def test_paths_and_letters(text: str, user: bool, kernel: bool, path: str) -> None:
    assert parse_program(text) == ProgramSpec("usdt", user, kernel, 0, path)


def test_a_comma_of_a_path_does_not_end_an_entry() -> None:
    specs = parse_programs(r"vfs:u,usdt:/a\,b:u,net")
    assert [str(spec) for spec in specs] == ["vfs:u", r"usdt:/a\,b:u", "net"]


@pytest.mark.parametrize("text", ["usdt:app", "usdt:x:u", "usdt:/a\0b", "usdt:uk:u"])
def test_what_is_neither_letters_nor_a_path(text: str) -> None:
    with pytest.raises(UsageError, match="usdt"):
        parse_program(text)


@given(path=PATHS, user=st.booleans(), kernel=st.booleans())
def test_an_entry_reads_back(path: str, user: bool, kernel: bool) -> None:
    spec = ProgramSpec("usdt", user, kernel, 0, path)
    assert parse_programs(f"vfs,{spec}")[1] == spec
