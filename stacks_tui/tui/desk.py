"""Where a person stands: the view asked for, the way back, marks, pause. No Textual in here.

Comes in: what a key means. Goes out: the next `View`. All are plain steps on values, so that each
can be tested alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from stacks_tui.live.snapshot import Snapshot
from stacks_tui.live.terms import also
from stacks_tui.live.view import Group, Instance, Measure, Panel, Side, StackPart, Tab, View, Window
from stacks_tui.python.shown import Shown
from stacks_tui.tui import words

MINIMA = (0.0, 0.001, 0.01, 0.05)
_MOST_BACK = 50
_PLACE = (
    "tab", "panel", "group", "window", "filter", "tgid", "pid", "zoom", "instances", "instance",
    "children", "a", "b",
)  # fmt: skip
"""What of a view makes another place to go back to."""

PROCESS_SORTS = (
    "cpu_ns", "blocked_ns", "runnable_ns", "rss", "growth", "read", "write", "block_read",
    "block_write", "received", "sent", "name", "tgid",
)  # fmt: skip


@dataclass(slots=True)
class Desk:
    """See the module."""

    view: View
    back: list[View] = field(default_factory=list)
    paused: Window | None = None
    """The window to return to; None: not paused."""
    mark: Side | None = None
    """A, while B is still to come."""
    mark_name: str = ""
    pinned: frozenset[str] = frozenset()

    def go(self, **changes: Any) -> bool:
        """Change the view; whether it is another one now."""
        before = self.view
        if changes.get("tab", before.tab) is not before.tab and "panel" not in changes:
            alone = changes.get("instance", before.instance) is not None
            if changes["tab"] is Tab.SPANS and before.panel is Panel.TABLE and not alone:
                changes["panel"] = Panel.LEDGER
            elif before.panel is Panel.LEDGER:
                changes["panel"] = Panel.TABLE
        if changes.get("panel") in _NOT_OF_INSTANCES:
            changes.setdefault("instance", None)
        if "panel" in changes and changes["panel"] is not before.panel:
            changes.setdefault("selected", "")
            changes.setdefault("sort", _usual_sort(changes["panel"], before))
            changes.setdefault("reverse", False)
        if any(name in changes for name in ("tab", "group")):
            changes.setdefault("selected", "")
        if "tab" in changes and changes["tab"] is not before.tab:
            if before.group in _OF_WAITS and changes["tab"] not in _WAITS:
                changes.setdefault("group", Group.STACK)
            changes.setdefault("kinds", ())
            changes.setdefault("measure", Measure.MAIN)
            changes.setdefault("zoom", ())
        after = replace(before, **changes)
        if after == before:
            return False
        if any(getattr(before, name) != getattr(after, name) for name in _PLACE):
            self.back.append(before)
            del self.back[:-_MOST_BACK]
        self.view = after
        return True

    def go_back(self) -> bool:
        """To the view before; whether there was one."""
        if not self.back:
            return False
        self.view = self.back.pop()
        return True

    def clear(self) -> bool:
        """Drop the last thing that narrows: zoom, span, comparison, filter, process, brushed
        window."""
        view = self.view
        if view.zoom:
            return self.go(zoom=())
        if view.instance is not None:
            return self.go(panel=Panel.LEDGER, tab=Tab.SPANS, instances=True)
        if self.mark is not None and not view.compares:
            self.mark = None
            return True
        if view.compares:
            return self.end_comparison()
        if view.filter:
            return self.go(filter="")
        if view.tgid or view.pid:
            return self.go(tgid=0, pid=0)
        if view.window.end and self.paused is None:
            return self.go(window=words.WINDOWS[0][1] if not view.window.last_s else Window(10))
        return False

    def next_tab(self, step: int) -> bool:
        """The tab beside this one."""
        order = words.TAB_ORDER
        return self.go(tab=order[(order.index(self.view.tab) + step) % len(order)])

    def next_window(self, step: int) -> bool:
        """A longer or a shorter window."""
        known = [window for _, window, _ in words.WINDOWS]
        at = known.index(self.view.window) if self.view.window in known else -step
        return self.set_window(known[(at + step) % len(known)])

    def set_window(self, window: Window) -> bool:
        """This window; one that is asked for ends a pause."""
        self.paused = None
        return self.go(window=window)

    def pause(self, snap: Snapshot) -> None:
        """Stand still: the window is that which is shown."""
        self.paused = self.view.window
        if not self.view.window.end:
            self.view = replace(
                self.view, window=replace(self.view.window, begin=snap.begin, end=snap.end)
            )

    def resume(self) -> None:
        """Go on with the window from before."""
        if self.paused is not None:
            self.view = replace(self.view, window=self.paused)
            self.paused = None

    def next_part(self) -> bool:
        """User, kernel or both parts of stacks."""
        return self.go(stack_part=_after(self.view.stack_part, tuple(StackPart)), zoom=())

    def next_shown(self) -> bool:
        """Of Python programs: merged stacks, Python's frames alone, the interpreter's."""
        return self.go(shown=_after(self.view.shown, tuple(Shown)), zoom=())

    def next_measure(self) -> bool:
        """Amount, time or number, as far as the tab has them."""
        return self.go(
            measure=_after(
                self.view.measure, words.MEASURES_OF_TAB.get(self.view.tab, (Measure.MAIN,))
            )
        )

    def next_kinds(self) -> bool:
        """All kinds of the tab, then each alone."""
        kinds = words.KINDS_OF_TAB.get(self.view.tab, ())
        if not kinds:
            return False
        choices: tuple[tuple[str, ...], ...] = ((), *((kind,) for kind in kinds))
        return self.go(kinds=_after(self.view.kinds, choices))

    def next_minimum(self) -> bool:
        """A higher share below which rows are left out; then none."""
        higher = [one for one in MINIMA if one > self.view.minimum_share]
        return self.go(minimum_share=higher[0] if higher else 0.0)

    def sorts(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """What this panel can be sorted by."""
        return PROCESS_SORTS if self.view.panel is Panel.PROCESSES else columns

    def next_sort(self, step: int, columns: tuple[str, ...]) -> bool:
        """Sort by the column beside."""
        order = self.sorts(columns)
        if not order:
            return False
        at = order.index(self.view.sort) if self.view.sort in order else -1
        return self.go(sort=order[(at + step) % len(order)], reverse=False)

    def sort_by(self, column: str) -> bool:
        """Sort by this column; again: the other way."""
        if self.view.sort == column:
            return self.go(reverse=not self.view.reverse)
        return self.go(sort=column, reverse=False)

    def set_mark(self, side: Side, name: str) -> str:
        """Mark A, then B, then end the comparison; says what happened."""
        if self.view.compares:
            self.end_comparison()
            return "comparison ended"
        if self.mark is None:
            self.mark, self.mark_name = side, name
            return f"A is {name}; go to what it is to be compared with, and mark again"
        self.compare(self.mark, side, f"{self.mark_name} → {name}")
        return f"A is {self.mark_name.partition(' → ')[0]}, B is {name}"

    def open_instance(self, one: Instance, tab: Tab) -> bool:
        """The stacks of one span."""
        return self.go(
            panel=Panel.TABLE, tab=tab, group=Group.STACK, instance=one, sort="own", selected=""
        )

    def compare(self, a: Side, b: Side, name: str) -> None:
        """Show what differs between two sides."""
        self.mark, self.mark_name = a, name
        panel = self.view.panel if self.view.panel in _COMPARED else Panel.TABLE
        self.go(
            a=a,
            b=b,
            panel=panel,
            sort="change",
            reverse=False,
            zoom=(),
            tgid=0,
            pid=0,
            instance=None,
        )

    def end_comparison(self) -> bool:
        """Show one window again."""
        self.mark, self.mark_name = None, ""
        return self.go(a=None, b=None, sort="own", reverse=False, zoom=())

    def open_process(self, tgid: int, pid: int) -> bool:
        """The stacks of one process or thread."""
        return self.go(
            panel=Panel.TABLE, group=Group.STACK, tgid=tgid, pid=pid, sort="own", selected=""
        )


_WAITS = (Tab.BLOCKED, Tab.RUNNABLE)
_OF_WAITS = (Group.REASON, Group.WAKER)
"""Groups that only waits have."""
_NOT_OF_INSTANCES = (Panel.LEDGER, Panel.TIMELINE)
"""Panels that show all spans, or all there is."""
_COMPARED = (Panel.TABLE, Panel.TREE, Panel.FLAME)


def _usual_sort(panel: Panel, view: View) -> str:
    if panel is Panel.PROCESSES:
        return {
            Tab.BLOCKED: "blocked_ns", Tab.RUNNABLE: "runnable_ns", Tab.RSS: "growth",
            Tab.VFS: "write", Tab.BLOCK: "block_write", Tab.NET: "sent",
        }.get(view.tab, "cpu_ns")  # fmt: skip
    if panel is Panel.LEDGER:
        return "duration_ns" if view.instances else "busy_ns"
    return "change" if view.compares else "own"


def _after(now: Any, choices: tuple[Any, ...]) -> Any:
    at = choices.index(now) if now in choices else -1
    return choices[(at + 1) % len(choices)]


def drill(view: View, label: str, tgid: int, pid: int) -> dict[str, Any] | None:
    """What enter on a row of this group narrows to; None: the row has a stack to show."""
    if label.startswith("[no ") and view.group in (Group.LEAF, Group.MODULE):
        return None
    match view.group:
        case Group.PROCESS | Group.THREAD if tgid:
            thread = pid if view.group is Group.THREAD else 0
            return {"group": Group.STACK, "tgid": tgid, "pid": thread}
        case Group.LEAF:
            return {"group": Group.STACK, "filter": also(view.filter, "frame", label)}
        case Group.MODULE:
            return {"group": Group.STACK, "filter": also(view.filter, "module", label)}
        case Group.SPAN | Group.REASON | Group.CGROUP:
            term = also(view.filter, view.group.value, label)
            return {"group": Group.STACK, "filter": term}
        case _:
            return None
