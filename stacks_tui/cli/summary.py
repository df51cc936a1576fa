"""A finished recording in words (by kind, the heaviest stacks, where it lies) or as JSON."""

from __future__ import annotations

from typing import Any

import click

from stacks_tui import text
from stacks_tui.session.status import KindOutcome, Outcome

_NONE = "-"


def summary_text(outcome: Outcome, cells: int, *, colour: bool = False) -> str:
    """The summary in lines of at most this many columns, ending with a newline."""
    lines = _table(outcome.kinds, colour=colour)
    if not outcome.kinds:
        lines = ["no events"]
    for kind in outcome.kinds:
        lines += _top(kind, cells)
    lines += ["", _place(outcome)]
    lines += [f"note: {text.printable(note)}" for note in outcome.notes]
    return "\n".join(lines) + "\n"


def _table(rows: tuple[KindOutcome, ...], *, colour: bool) -> list[str]:
    if not rows:
        return []
    cells: list[tuple[str, ...]] = [
        ("kind", "events", "lost", "truncated", "unresolved", "complete")
    ]
    for row in rows:
        complete = None if row.incomplete is None else 1 - row.incomplete
        shares = (row.truncated, row.unresolved, complete)
        cells.append(
            (
                row.kind.label,
                text.count(row.events),
                text.count(row.lost),
                *(_NONE if share is None else text.percent(share) for share in shares),
            )
        )
    widths = [max(map(text.cell_width, column)) for column in zip(*cells, strict=True)]
    lines = []
    for at, line in enumerate(cells):
        padded = [
            text.pad(cell, width, right=column > 0)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        if colour and at and rows[at - 1].lost:
            padded[2] = click.style(padded[2], fg="red", bold=True)
        lines.append("  ".join(padded))
    return lines


def _top(row: KindOutcome, cells: int) -> list[str]:
    if not row.top:
        return []
    values = [text.quantity(one.value, one.unit) for one in row.top]
    width = max(map(text.cell_width, values))
    lines = ["", f"{row.kind.label}: the heaviest stacks, leaf first"]
    for value, one in zip(values, row.top, strict=True):
        head = f"  {text.pad(value, width, right=True)}  "
        room = max(20, cells - text.cell_width(head))
        lines.append(head + text.chain(one.frames or ("[no stack]",), room))
    return lines


def _place(outcome: Outcome) -> str:
    length = text.duration(round(outcome.elapsed_s * 1e9))
    size = text.size(outcome.bytes_on_disk)
    return f"recording: {text.printable(str(outcome.directory))}  ({length}, {size})"


def summary_object(outcome: Outcome) -> dict[str, Any]:
    """The summary as JSON holds it; a path that is not UTF-8 has its bytes escaped."""
    return {
        "directory": text.valid(str(outcome.directory)),
        "elapsed_s": round(outcome.elapsed_s, 3),
        "bytes_on_disk": outcome.bytes_on_disk,
        "exit_status": outcome.exit_status,
        "failure": outcome.failure and text.valid(outcome.failure),
        "notes": [text.valid(note) for note in outcome.notes],
        "kinds": {row.kind.label: _kind_object(row) for row in outcome.kinds},
    }


def _kind_object(row: KindOutcome) -> dict[str, Any]:
    return {
        "events": row.events,
        "lost": row.lost,
        "truncated": row.truncated,
        "unresolved": row.unresolved,
        "incomplete": row.incomplete,
        "top": [
            {"value": one.value, "unit": one.unit, "frames": list(map(text.valid, one.frames))}
            for one in row.top
        ],
    }
