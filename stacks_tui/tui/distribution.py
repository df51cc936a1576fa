"""A histogram as lines of a table. Pure."""

from __future__ import annotations

from stacks_tui import text
from stacks_tui.live.snapshot import Histogram
from stacks_tui.tui import words
from stacks_tui.tui.cells import bar
from stacks_tui.tui.widgets.table import Column, Line

_BAR = 200
"""Cells of the longest bar; the table cuts them to its width."""


def columns(found: Histogram, width: int) -> tuple[Column, ...]:
    """From, to, how many; the bars take what is left."""
    return (
        Column("from", "from", 9, right=True),
        Column("to", "below", 9, right=True),
        Column("count", "events", 9, right=True),
        Column("share", "share", 6, right=True),
        Column("sum", "at most", 8, right=True, leave=1),
        Column("bar", found.by or "", 0),
    )


def lines(found: Histogram, width: int) -> list[Line]:
    """A line for each power of two between the least and the most that happened."""
    counts = found.counts
    full = [at for at, count in enumerate(counts) if count]
    if not full:
        return []
    total = sum(counts)
    most = max(counts)
    room = max(8, width - 52)
    shown = []
    above = total
    for at in range(full[0], full[-1] + 1):
        low = 0 if at == 0 else 1 << at
        count = counts[at]
        above -= count
        # share of events that are below this line's upper end
        upto = words.share((total - above) / total)
        drawn = ((bar(count / most, room), "bar"),)
        cells = (
            words.value(low, found.unit),
            words.value(1 << (at + 1), found.unit),
            text.si(count) if count else "·",
            words.share(count / total),
            upto,
            drawn,
        )
        shown.append(Line(at, cells))
    if found.other:
        what = (("not known one by one any more", "caller"),)
        shown.append(Line("other", ("", "", text.si(found.other), "", "", what), "dim"))
    return shown
