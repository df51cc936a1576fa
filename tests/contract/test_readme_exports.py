"""The README's section on exports: its table is made of the code, its commands parse.

Run as a program, this prints the table as it should be.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from stacks_tui.cli import export
from stacks_tui.export.questions import ALL_LABELS, STACKS, TABLES, TRACES, USUAL_LABELS, questions

README = Path(__file__).resolve().parents[2] / "README.md"


def query_rows() -> list[str]:
    rows = ["| for | query | answers |", "|---|---|---|"]
    for folder, what in ((STACKS, "profiles"), (TRACES, "traces"), (TABLES, "tables")):
        rows += [f"| {what} | `{one.name}` | {one.answers} |" for one in questions(folder)]
    return rows


def commands() -> list[str]:
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if re.match(r"(\./)?stacks-export ", line)]


def test_the_table_of_queries_is_that_of_the_code() -> None:
    rows = query_rows()
    assert "\n".join(rows) + "\n" in README.read_text("utf-8"), "\n".join(rows)


def test_the_section_shows_commands() -> None:
    assert len(commands()) > 5


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line: str) -> None:
    words = shlex.split(line.partition(" | ")[0], comments=True)
    name, *rest = words[1:]
    export.command_line().commands[name].make_context(name, rest)


def test_labels_are_those_of_the_code() -> None:
    text = README.read_text("utf-8")
    for name in (*USUAL_LABELS, *(set(ALL_LABELS) - {"kind"})):
        assert f"`{name}`" in text


if __name__ == "__main__":
    print("\n".join(query_rows()))
