"""The help page: where one stands, what it shows, and the keys. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from stacks_tui.live.view import Tab, View
from stacks_tui.tui import keys, words
from stacks_tui.tui.cells import fit
from stacks_tui.tui.widgets.paper import PaperLine

_PANEL = {
    "table": (
        "Each row is a call path or what it was grouped by (g). enter opens a row: its whole "
        "stack, or the stacks of that function, module, process, thread, reason, cgroup or span."
    ),
    "tree": "Who calls whom: enter opens and closes. i turns it round, from leaf to callers.",
    "flame": (
        "As wide as its share. Arrows and clicks move, enter zooms, esc goes back, ^f marks names, "
        "n finds the next. Blue is the kernel, grey has no name."
    ),
    "ledger": (
        "What spans cost in the window. l: by name, one by one. enter: the spans of a name, "
        "then the stacks of one span alone. n: a name's own costs, or with all that lies in it. "
        "busy: entered; open ones count up to now. stuck: no sign of life for a second. ≥, "
        "since seen: it began before it was listened to. m on two rows compares their stacks. / "
        "takes span: and process:. Where there are none: import tracing_stacks (README, Spans)."
    ),
    "processes": "All kinds beside one another. enter opens the stacks of one; O shows threads.",
    "histogram": "How long or how large events are, by powers of two. v and b choose of what.",
    "timeline": "By second. Drag, or enter at begin and end: the span is the window of every view.",
    "nothing": "SELECT over events, stacks, processes, samples. ^j or F5 runs, ^c stops.",
}
_WIDGETS: dict[str, tuple[tuple[str, str], ...]] = {
    "table": (("↑ ↓ k j", "row"), ("← →", "text of long stacks"), ("enter", "open the row")),
    "tree": (("↑ ↓ k j", "row"), ("enter", "open or close")),
    "flame": (("arrows", "frame"), ("enter", "zoom"), ("n N", "next, previous match")),
    "processes": (("↑ ↓ k j", "row"), ("enter", "its stacks")),
    "ledger": (("↑ ↓ k j", "row"), ("enter", "its spans, then the stacks of one")),
    "timeline": (("← →", "second"), ("shift+← →", "ten"), ("enter", "begin, end of the span")),
}
_MEANING = {
    Tab.CPU: "self: samples of this stack times the period. total, of a function: wherever it is.",
    Tab.BLOCKED: "Time off the CPU and not able to run. g reason names what was waited for.",
    Tab.RUNNABLE: "Time able to run and without a CPU: the machine is too busy.",
    Tab.RSS: "Bytes by which resident memory grew (+) or shrank (-) while this stack ran.",
    Tab.BLOCK: "Bytes from and to disks, by who issued them. v: by time.",
    Tab.VFS: "Bytes by read and write calls. each: time per call; v: by time or number.",
    Tab.NET: "Bytes by TCP and UDP sockets.",
    Tab.SPANS: "Time in spans that programs mark, from entering to leaving.",
    Tab.SLICES: "Time on a CPU between two switches: exact, where CPU is sampled.",
}
_TRUST = (
    ("lost", "events that happened and could not be received; received + lost = happened"),
    ("truncated", "events whose stack was cut"),
    ("unresolved", "events with a frame that has no name"),
    ("complete", "events whose user stack reaches a start of a thread or program"),
    ("ring", "the buffer between kernel and collector at its fullest; at 100 % events are lost"),
    ("own cost", "what collecting itself takes: part of a core, memory"),
)


def lines(panel: str, view: View, taste: Mapping[str, str], width: int) -> list[PaperLine]:
    """The page in lines of so many cells; `taste`: the user's own keys by id."""
    found: list[PaperLine] = []

    def prose(said: str) -> None:
        found.extend(((f" {line}", ""),) for line in wrap(said, width - 2))

    found.append(((f" You are here: {panel_name(panel)}", "head"),))
    prose(_PANEL.get(panel, ""))
    prose(_MEANING.get(view.tab, ""))
    for pressed, says in _WIDGETS.get(panel, ()):
        found.append(((fit(f"  {pressed}", 14), "key"), (says, "")))
    areas = dict.fromkeys(key.area for key in keys.KEYS)
    for area in areas:
        found += [(), ((f" {area}", "head"),)]
        for key in keys.KEYS:
            if key.area == area:
                pressed = keys.shown(taste.get(key.id, key.keys))
                pieces = [
                    (fit(f"  {pressed}", 14), "key"),
                    (fit(key.says, min(60, width - 16)), ""),
                ]
                if width > 100:
                    pieces.append((f"  {key.id}", "dim"))
                found.append(tuple(pieces))
    found += [(), ((" The strip above the keys: how far to trust it", "head"),)]
    for name, says in _TRUST:
        found.append(((fit(f"  {name}", 14), "key"), (says, "")))
    found += [(), ((" Filter", "head"),)]
    prose(
        "Words that must all hold, anywhere in the stack or its process: text, !text to exclude, "
        "/regex/. frame: module: process: thread: span: reason: cgroup: before it "
        "looks there only; = in place of the colon: exactly this name."
    )
    prose("^p: all of this by name. Keys and themes are set in config.toml (see the README).")
    return found


def panel_name(panel: str) -> str:
    """What a view is called."""
    known = {one.value: f"{name}: {says}" for one, name, says in words.PANELS}
    return known.get(panel, "the SQL prompt")


def wrap(said: str, width: int) -> list[str]:
    """Text in lines of so many cells (ours, so ASCII words)."""
    out: list[str] = [""]
    for word in said.split():
        if out[-1] and len(out[-1]) + 1 + len(word) > width:
            out.append("")
        out[-1] = f"{out[-1]} {word}".strip()
    return out
