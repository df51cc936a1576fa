"""The lines above and below the view, made of a snapshot. Pure: values in, spots out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stacks_tui import text
from stacks_tui.live.snapshot import Collecting, Gauge, ProgramState, Snapshot, Trust
from stacks_tui.live.view import Measure, Panel, StackPart, Tab, View
from stacks_tui.python.shown import Shown
from stacks_tui.tui import words
from stacks_tui.tui.cells import pool, spark
from stacks_tui.tui.widgets.bar import Spot

_DOT = {Collecting.ON: "●", Collecting.OFF: "○", Collecting.FAILED: "✗"}
_LOOK = {Collecting.ON: "good", Collecting.OFF: "", Collecting.FAILED: "failed"}


@dataclass(frozen=True, slots=True)
class State:
    """What of the screen is not in a snapshot."""

    what: str
    """What is looked at: targets, or a recording's name; printable."""
    mode: str
    """`live`, `paused`, `ended`, `recording`, `starting`, `dead`."""
    phase: str = ""
    """While it starts or writes: what it does."""


_MODES = {
    "live": ("▶ live", "good"),
    "paused": ("⏸ paused", "warn"),
    "ended": ("■ ended", "accent"),
    "recording": ("◆ recording", "accent"),
    "starting": ("… starting", "accent"),
    "writing": ("… writing", "accent"),
    "dead": ("✗ collector died", "bad"),
}


def title(state: State, view: View, snap: Snapshot | None) -> tuple[list[Spot], list[Spot]]:
    """What is looked at, how much of it, since when, over which window."""
    left = [Spot(" stacks-tui ", "accent", rank=6), Spot(f" {state.what} ", "name")]
    right: list[Spot] = []
    mode, look = _MODES[state.mode]
    if snap is not None:
        who = f"· {_several(snap.processes, 'process', 'es')} · {_several(snap.threads, 'thread')} "
        short = f"· {text.si(snap.processes)} p · {text.si(snap.threads)} t "
        left.append(Spot(who, rank=5, short=short))
        at = snap.time if state.mode in ("live", "paused") else snap.end
        right.append(Spot(f"{words.clock(max(0, at - snap.began))}  ", "plain", rank=2))
    right.append(Spot(mode, look, "pause", rank=1))
    if state.phase and state.mode in ("starting", "writing"):
        right.append(Spot(f": {state.phase}", "plain", rank=3))
    began = snap.began if snap else 0
    window = words.window_name(view.window, 0, began)
    if view.instance is not None:
        right.append(Spot(f"  span #{view.instance.span_id} ", "name"))
        return left, right
    right.append(Spot(f"  {window} ▾ ", "name", "choose_window"))
    return left, right


def _several(number: int, what: str, ending: str = "s") -> str:
    return f"{text.count(number)} {what}{ending if number != 1 else ''}"


def kinds(
    programs: tuple[ProgramState, ...], snap: Snapshot | None
) -> tuple[list[Spot], list[Spot]]:
    """Which programs collect, with their digits; the rate of events."""
    left = [Spot(" ")]
    for at, program in enumerate(programs, 1):
        name = words.SHORT_PROGRAM.get(program.program, program.program)
        action = f"collect('{program.program}')"
        lost = program.lost > 0
        look = "failed" if lost else _LOOK[program.state]
        rate = f" {text.si(program.rate)}/s" if program.rate >= 0.5 else ""
        left += [
            Spot(f"{at} ", "key", action),
            Spot(f"{name} ", "plain" if program.state is Collecting.ON else "", action),
            Spot(_DOT[program.state] + "!" * lost, look, action),
            Spot(rate, "", action, rank=3),
            Spot("  ", rank=1, short=" "),
        ]
    right = []
    if snap is not None:
        right = [Spot(f"{text.si(round(snap.rate))} ev/s ", "plain", rank=2)]
    return left, right


_GAUGE: dict[str, tuple[str, Callable[[float], str]]] = {
    "cpu": ("cpu", lambda value: f"{value * 100:.0f} %"),
    "blocked": ("blocked", words.seconds_per_second),
    "runnable": ("runnable", words.seconds_per_second),
    # nobody tells how much it was before the first change
    "rss": ("rss", lambda value: words.short_size(round(value)) if value else "–"),
    "read": ("read", words.rate),
    "write": ("write", words.rate),
    "received": ("↓", words.rate),
    "sent": ("↑", words.rate),
}
_GAUGE_RANK = {"cpu": 0, "blocked": 0, "runnable": 2, "rss": 1, "received": 4, "sent": 4}


def gauges(found: tuple[Gauge, ...], width: int) -> list[Spot]:
    """The numbers with their past, as many as have room."""
    cells = 6 if width < 100 else 10 if width < 140 else 14
    left = [Spot(" ")]
    for gauge in found:
        if gauge.name not in _GAUGE or not gauge.measured:
            continue
        name, shown = _GAUGE[gauge.name]
        rank = _GAUGE_RANK.get(gauge.name, 3)
        past = spark(pool(gauge.past, cells) if len(gauge.past) > cells * 4 else gauge.past, cells)
        left += [
            Spot(f"{name} ", rank=rank),
            Spot(f"{shown(gauge.value)} ", "name", rank=rank),
            Spot(past, "spark", rank=rank),
            Spot("  ", rank=rank),
        ]
    return left


def tabs(
    view: View, programs: Mapping[str, ProgramState], marks: str = ""
) -> tuple[list[Spot], list[Spot]]:
    """What is measured; and how it is grouped, filtered and narrowed."""
    left: list[Spot] = []
    for tab, name, _ in words.TABS:
        program = programs.get(words.PROGRAM_OF_TAB[tab])
        has = program is not None and (program.state is Collecting.ON or program.received > 0)
        active = tab is view.tab
        look = "active" if active else "plain" if has else ""
        rank = 0 if active else 1 if tab is not Tab.SLICES else 6
        left.append(Spot(f" {name} ", look, f"tab('{tab.value}')", rank))
    right = [*chips(view), *([Spot(f" {marks} ", "warn", rank=3)] if marks else [])]
    if view.panel is Panel.TABLE:
        right.append(Spot(f"  {words.GROUP_NAME[view.group]} ▾ ", "name", "choose_group"))
    else:
        name = words.PANEL_NAME.get(view.panel, "")
        if view.panel is Panel.LEDGER and view.instances:
            name = "one by one"
        elif view.panel is Panel.LEDGER:
            name = "with children" if view.children else "own costs"
        right.append(Spot(f"  {name} ", "name"))
    return left, right


def chips(view: View) -> list[Spot]:
    """What narrows the view, each with a click that takes it away."""
    found = []
    if view.instance is not None:
        name = text.truncate(text.printable(view.instance.name), 14)
        found.append(Spot(f" {name} ", "warn", "drop_instance"))
    if view.filter:
        found.append(Spot(f" /{text.printable(view.filter[:40])} ", "warn", "clear_filter", 2))
    if view.tgid:
        who = f"thread {view.pid}" if view.pid else f"pid {view.tgid}"
        found.append(Spot(f" {who} ", "warn", "clear_process", 2))
    if view.kinds:
        found.append(Spot(f" {' '.join(view.kinds)} ", "accent", "kinds", 4))
    if view.measure is not Measure.MAIN:
        found.append(Spot(f" by {words.MEASURE_NAME[view.measure]} ", "accent", "measure", 4))
    if view.stack_part is not StackPart.BOTH:
        found.append(Spot(f" {words.PART_NAME[view.stack_part]} ", "accent", "stack_part", 4))
    if view.shown is not Shown.MERGED:
        found.append(Spot(f" {words.SHOWN_NAME[view.shown]} ", "accent", "python", 3))
    if view.minimum_share:
        found.append(Spot(f" ≥{words.share(view.minimum_share)} ", "accent", "minimum_share", 5))
    if view.inverted and view.panel in (Panel.TREE, Panel.FLAME):
        found.append(Spot(" callers ", "accent", "invert", 4))
    if view.zoom:
        found.append(Spot(f" zoom {len(view.zoom)} ", "accent", "unzoom", 4))
    return found


def trust(found: Trust | None, began: int) -> tuple[list[Spot], list[Spot], bool]:
    """How much of it can be trusted, and whether something was lost."""
    if found is None:
        return [Spot(" no events yet")], [], False
    alarm = bool(found.lost or found.stacks_lost)
    left: list[Spot] = []
    if alarm:
        left.append(Spot(f" LOST {text.count(found.lost or found.stacks_lost)} ", "bad"))
        worst = max(found.losses, key=lambda loss: loss.lost, default=None)
        if worst is not None:
            since = f" since {words.clock(max(0, worst.since - began))}" if worst.since else ""
            kind = f" {text.printable(worst.kind)}"
            if len(found.losses) > 1:
                kind += f" +{len(found.losses) - 1}"
            left.append(
                Spot(f"{kind}{since}", "name", rank=1, short=kind + since.replace("since ", ""))
            )
            if worst.advice:
                advice = text.printable(worst.advice)
                short = f": {advice.partition(', or ')[0]}"
                left.append(Spot(f": {advice}", "plain", rank=2, short=short))
        elif found.stacks_lost:
            left.append(Spot(" stacks: their events have none", "name", rank=2))
        left.append(Spot(" ·", rank=4))
    else:
        left.append(Spot(" lost 0 ·", "good"))
    for name, short, part, bad in (
        ("truncated", "trunc", found.truncated, 0.05),
        ("unresolved", "unres", found.unresolved, 0.2),
    ):
        shown = "–" if part is None else text.percent(part).replace(" ", "")
        look = "warn" if part is not None and part > bad else ""
        left.append(Spot(f" {name} {shown} ·", look, rank=5, short=f" {short} {shown} ·"))
    complete = "–" if found.complete is None else text.percent(found.complete).replace(" ", "")
    look = "warn" if found.complete is not None and found.complete < 0.8 else ""
    left.append(Spot(f" complete {complete}", look, rank=3 if alarm else 1))
    right = []
    if found.cpu is not None:
        full = found.ring > 0.5
        left.append(
            Spot(f" · ring {text.percent(found.ring).replace(' ', '')}", "warn" * full, rank=4)
        )
        cost = f"{found.cpu * 100:.1f}% cpu, {words.short_size(found.memory)}"
        right.append(Spot(f" own cost {cost} ", rank=6, short=f" {cost} "))
    return left, right, alarm
