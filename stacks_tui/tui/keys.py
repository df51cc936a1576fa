"""Every key of the main screen, in one list: bindings, help, palette and the line of hints.

Ids are `area.verb` and never change: users' files name them.
"""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding

from stacks_tui.kinds import PROGRAMS


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that a key does."""

    id: str
    keys: str
    action: str
    hint: str
    """One word for the line of hints."""
    says: str
    """A line for help and palette."""
    area: str

    def binding(self) -> Binding:
        """For Textual."""
        return Binding(self.keys, self.action, self.hint, show=False, id=self.id)


def _toggles() -> tuple[Key, ...]:
    return tuple(
        Key(
            f"kind.{one.name}",
            str(at),
            f"collect('{one.name}')",
            one.name,
            f"collect {one.name} events and look at them, or stop",
            "Collecting",
        )
        for at, one in enumerate(PROGRAMS, 1)
    )


KEYS: tuple[Key, ...] = (
    Key("view.table", "s", "panel('table')", "stacks", "the table", "Views"),
    Key("view.tree", "c", "panel('tree')", "calls", "who calls whom, to expand", "Views"),
    Key("view.flame", "f", "panel('flame')", "flame", "the flame graph", "Views"),
    Key(
        "view.processes", "o", "panel('processes')", "procs", "processes; enter opens one", "Views"
    ),
    Key(
        "view.ledger", "l", "panel('ledger')", "spans", "spans by name; again: one by one", "Views"
    ),
    Key(
        "view.children",
        "n",
        "children",
        "children",
        "spans: what they cost alone, or with all that lies in them",
        "Views",
    ),
    Key("view.threads", "O", "threads", "threads", "processes or threads", "Views"),
    Key(
        "view.histogram",
        "d",
        "panel('histogram')",
        "distr",
        "how long or large events are",
        "Views",
    ),
    Key("view.timeline", "t", "panel('timeline')", "time", "by second; brush a span", "Views"),
    Key("view.sql", "colon", "sql", "sql", "the SQL prompt", "Views"),
    Key(
        "view.show_sql",
        "S",
        "show_sql",
        "sql of this",
        "the SQL of this view, in the prompt",
        "Views",
    ),
    Key("tab.next", "tab", "next_tab(1)", "kind", "what is measured: next tab", "What and when"),
    Key("tab.choose", "x", "choose_tab", "what", "what is measured, from a list", "What and when"),
    Key("tab.previous", "shift+tab", "next_tab(-1)", "tab", "the tab before", "What and when"),
    Key("view.window", "w", "next_window(1)", "window", "a longer window", "What and when"),
    Key("view.window_back", "W", "next_window(-1)", "window", "a shorter window", "What and when"),
    Key("view.group", "g", "choose_group", "group", "what a row is", "What and when"),
    Key(
        "view.filter",
        "slash",
        "filter",
        "filter",
        "only what matches; !text excludes",
        "What and when",
    ),
    Key(
        "view.part",
        "u",
        "stack_part",
        "part",
        "user, kernel, or both parts of stacks",
        "What and when",
    ),
    Key(
        "view.python",
        "P",
        "python",
        "python",
        "Python stacks: merged, Python only, native only",
        "What and when",
    ),
    Key("view.measure", "v", "measure", "by", "amount, time or number of events", "What and when"),
    Key("view.kinds", "b", "kinds", "kinds", "reads, writes, or both", "What and when"),
    Key(
        "view.minimum",
        "percent_sign",
        "minimum_share",
        "min",
        "leave out what is small",
        "What and when",
    ),
    Key("view.back", "backspace", "back", "back", "the view before", "What and when"),
    Key(
        "view.clear",
        "escape",
        "clear",
        "clear",
        "drop zoom, filter, process, comparison",
        "What and when",
    ),
    Key("row.sort", "greater_than_sign", "sort(1)", "sort", "sort by the next column", "Rows"),
    Key("row.sort_back", "less_than_sign", "sort(-1)", "sort", "sort by the column before", "Rows"),
    Key("row.reverse", "r", "reverse", "reverse", "turn the order round", "Rows"),
    Key("row.pin", "asterisk", "pin", "pin", "keep the row on top", "Rows"),
    Key("row.copy", "y", "copy", "copy", "copy the stack to the clipboard", "Rows"),
    Key("flame.invert", "i", "invert", "invert", "callees, or callers (flame, calls)", "Rows"),
    Key("flame.find", "ctrl+f", "find", "find", "mark frames by name (flame)", "Rows"),
    Key(
        "compare.mark", "m", "mark", "mark", "mark A, then B: what differs; again: end", "Comparing"
    ),
    Key(
        "compare.more",
        "M",
        "compare",
        "compare",
        "compare with the time before, or a recording",
        "Comparing",
    ),
    Key("export.file", "e", "export", "export", "write a file for other programs", "Taking along"),
    Key(
        "export.pprof",
        "p",
        "export_at_once('pprof')",
        "pprof",
        "write this view for pprof at once",
        "Taking along",
    ),
    Key(
        "export.trace",
        "T",
        "export_at_once('trace')",
        "trace",
        "write a timeline of threads at once",
        "Taking along",
    ),
    Key(
        "session.pause",
        "space",
        "pause",
        "pause",
        "the screen stands; collecting goes on",
        "Session",
    ),
    Key("session.faster", "plus,equals_sign", "refresh(1)", "faster", "draw more often", "Session"),
    Key("session.slower", "minus", "refresh(-1)", "slower", "draw less often", "Session"),
    Key("session.target", "a", "targets", "target", "add or drop processes", "Session"),
    Key(
        "session.restart",
        "R",
        "restart",
        "restart",
        "collect again, into a new recording",
        "Session",
    ),
    Key("session.log", "L", "log", "log", "what was said so far", "Session"),
    Key("session.theme", "ctrl+t", "next_theme", "theme", "the next theme", "Session"),
    Key("session.help", "question_mark,f1", "help", "help", "these keys", "Session"),
    Key("session.quit", "q", "quit", "quit", "end, and say what was written", "Session"),
    *_toggles(),
)

BY_ID = {key.id: key for key in KEYS}

_COMMON = ("session.help", "view.filter")
_END = ("export.file", "view.sql", "session.pause", "session.quit")
HINTS: dict[str, tuple[str, ...]] = {
    "table": (*_COMMON, "view.flame", "view.group", "view.window", "compare.mark", *_END,
              "tab.next", "view.processes", "view.tree", "view.timeline", "row.copy"),
    "tree": (*_COMMON, "view.table", "view.flame", "flame.invert", "view.window", *_END,
             "tab.next"),
    "flame": (*_COMMON, "view.table", "flame.find", "flame.invert", "view.clear",
              "compare.mark", *_END, "tab.next"),
    "processes": (*_COMMON, "view.threads", "row.sort", "view.table", "compare.mark", *_END),
    "ledger": (*_COMMON, "view.ledger", "view.children", "view.histogram", "view.window",
               "row.sort", "compare.mark", *_END, "tab.next", "view.table"),
    "histogram": (*_COMMON, "tab.next", "view.measure", "view.kinds", "view.table", *_END),
    "timeline": (*_COMMON, "view.table", "view.clear", *_END),
    "nothing": ("session.help", "view.table", "session.pause", "session.quit"),
}  # fmt: skip
"""By panel, the most useful first: where it is narrow, the last ones are left out."""

SHOWN = {
    "slash": "/",
    "colon": ":",
    "question_mark": "?",
    "greater_than_sign": ">",
    "less_than_sign": "<",
    "percent_sign": "%",
    "asterisk": "*",
    "plus": "+",
    "equals_sign": "=",
    "minus": "-",
    "escape": "esc",
    "backspace": "⌫",
}


def shown(keys: str) -> str:
    """Keys as a person reads them."""
    return " ".join(SHOWN.get(key, key).replace("ctrl+", "^") for key in keys.split(","))


def known_ids() -> frozenset[str]:
    """Every id that a user's file may give other keys, of this screen and its widgets."""
    from stacks_tui.tui.widgets.filter import FilterLine
    from stacks_tui.tui.widgets.flame import FlameGraph
    from stacks_tui.tui.widgets.sql import QueryArea
    from stacks_tui.tui.widgets.table import Table
    from stacks_tui.tui.widgets.timeline import TimelineStrip

    found = {key.id for key in KEYS} | {"app.quit"}
    for widget in (FilterLine, FlameGraph, QueryArea, Table, TimelineStrip):
        found |= {one.id for one in widget.BINDINGS if isinstance(one, Binding) and one.id}
    return frozenset(found)
