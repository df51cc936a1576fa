"""The README says what the code does: its tables are made of it, its commands parse.

Run as a program, this prints the tables as they should be.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from stacks_tui import kinds, schema
from stacks_tui.cli.argv import split
from stacks_tui.cli.main import COMMAND

README = Path(__file__).resolve().parents[2] / "README.md"


def program_rows() -> list[str]:
    rows = ["| `-p` | kinds | says | number, default |", "|---|---|---|---|"]
    for one in kinds.PROGRAMS:
        stored = ", ".join(f"`{kind.label}`" for kind in one.kinds)
        number = f"{one.number}, {one.default}" if one.number else ""
        row = f"| `{kinds.grammar(one)}` | {stored} | {one.answers} | {number} |"
        rows.append(row.replace("|  |", "| |"))
    return rows


def option_rows() -> list[str]:
    rows = ["| option | default | says |", "|---|---|---|"]
    for one in COMMAND.params:
        if isinstance(one, click.Option):
            names = ", ".join(sorted(one.opts, key=len))
            value = "" if one.is_flag else f" {one.metavar}"
            default = f"`{one.default}`" if one.show_default else ""
            rows.append(f"| `{names}{value}` | {default} | {one.help} |".replace("|  |", "| |"))
    return [row.replace("bash|zsh|fish", r"bash\|zsh\|fish") for row in rows]


def commands() -> list[str]:
    """Every line of a shell block of the README that starts the program."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if re.match(r"(sudo )?(\./)?stacks-tui ", line)]


@pytest.mark.parametrize("rows", [program_rows(), option_rows()], ids=["programs", "options"])
def test_tables_are_those_of_the_code(rows: list[str]) -> None:
    text = README.read_text("utf-8")
    assert "\n".join(rows) + "\n" in text, "should be:\n\n" + "\n".join(rows)


def test_the_readme_shows_commands() -> None:
    assert len(commands()) > 5


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line: str) -> None:
    words = shlex.split(line, comments=True)
    own, _ = split(words[words.index("sudo") + 2 if words[0] == "sudo" else 1 :])
    if own[:1] != ["--self-test"]:  # the script's own
        COMMAND.make_context("stacks-tui", own, resilient_parsing=False)


@pytest.mark.parametrize("table", ["EVENTS", "STACKS", "PROCESSES"])
def test_all_columns_are_described(table: str) -> None:
    text = README.read_text("utf-8")
    for name in getattr(schema, table).names:
        assert f"`{name}`" in text, f"column {name} of {table}"


if __name__ == "__main__":
    print("\n".join(program_rows()), "\n".join(option_rows()), sep="\n\n")
