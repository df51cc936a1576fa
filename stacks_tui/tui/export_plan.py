"""What an export of the screen takes along: the view as queries and a selection.

Comes in: the recording's folder, a view, a format. Goes out: a job, what it says, and what of the
view it can't take.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacks_tui import text
from stacks_tui.live.filter_sql import narrowing, of_side
from stacks_tui.live.snapshot import Snapshot
from stacks_tui.live.view import Group, Measure, Panel, Side, StackPart, Tab, View
from stacks_tui.tui import words

if TYPE_CHECKING:
    from stacks_tui.export.job import Baseline, Job
    from stacks_tui.export.registry import Format
    from stacks_tui.export.selection import Selection

QUERIES: dict[tuple[Tab, Measure], tuple[str, ...]] = {
    (Tab.CPU, Measure.MAIN): ("cpu",),
    (Tab.SLICES, Measure.MAIN): ("slices",),
    (Tab.BLOCKED, Measure.MAIN): ("blocked",),
    (Tab.BLOCKED, Measure.COUNT): ("offcpu",),
    (Tab.RUNNABLE, Measure.MAIN): ("runnable",),
    (Tab.RUNNABLE, Measure.COUNT): ("offcpu",),
    (Tab.RSS, Measure.MAIN): ("rss",),
    (Tab.BLOCK, Measure.MAIN): ("block",),
    (Tab.BLOCK, Measure.DURATION): ("block_time",),
    (Tab.VFS, Measure.MAIN): ("vfs",),
    (Tab.NET, Measure.MAIN): ("net",),
    (Tab.SPANS, Measure.MAIN): ("span_time",),
}
"""Which query of `sql/pprof` shows what a tab shows."""
TRACED: dict[Tab, tuple[str, ...]] = {
    Tab.RSS: ("rss",),
    Tab.BLOCK: ("io", "io_rate"),
    Tab.VFS: ("io", "io_rate"),
    Tab.NET: ("io", "io_rate"),
    Tab.RUNNABLE: ("run_queue",),
    Tab.SPANS: ("spans", "stuck_spans"),
}
"""Which queries of `sql/trace` a tab adds to the usual ones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be written, in words."""

    job: Job
    says: str
    lacks: str
    """What of the view an export can't take along; empty: nothing."""


def queries_of(view: View) -> tuple[str, ...]:
    """The queries for a view; the tab's own where its measure has none."""
    if view.group is Group.REASON and view.tab in (Tab.BLOCKED, Tab.RUNNABLE):
        return ("wait_reasons",)
    return QUERIES.get((view.tab, view.measure)) or QUERIES[(view.tab, Measure.MAIN)]


def plan(directory: str, view: View, snap: Snapshot | None, form: Format[Any], path: Path) -> Plan:
    """The job for this view in this format."""
    from stacks_tui.export.job import DEFAULT_QUERIES, Job
    from stacks_tui.export.model import Samples, Trace
    from stacks_tui.export.questions import TRACES
    from stacks_tui.export.selection import Selection
    from stacks_tui.export.task import ExportOptions

    whole = not view.window.end and not view.window.last_s
    begin = snap.begin if snap is not None and not whole else None
    end = snap.end if snap is not None and not whole else None
    kinds = form.wants is Samples and bool(view.kinds)
    selection = _narrowed(
        Selection(
            pids=(view.tgid,) if view.tgid else (),
            thread=str(view.pid) if view.pid else None,
            begin=begin,
            end=end,
        ),
        view,
        kinds=kinds,
    )
    if view.instance is not None:
        one = view.instance
        selection = replace(
            selection,
            pids=(one.tgid,),
            span=str(one.span_id),
            begin=one.begin,
            end=one.until + 1 if one.until else None,
        )
    lacks = []
    if view.zoom and view.panel in (Panel.FLAME, Panel.TREE):
        lacks.append("the zoom")
    queries = queries_of(view) if form.wants is Samples else ()
    if form.wants is Trace:
        usual = DEFAULT_QUERIES[TRACES]
        queries = tuple(dict.fromkeys((*usual, *TRACED.get(view.tab, ()))))
    options = ExportOptions(shown=view.shown, main=_main(view))
    job = Job((Path(directory),), form, queries, selection, options=options, path=path)
    if view.a is not None and view.b is not None:
        before, after = (_side(job, view, side, kinds=kinds) for side in (view.a, view.b))
        job = replace(
            job,
            recordings=after.recordings,
            selection=after.selection,
            last_ns=after.last_ns,
            before=before if form.compares else None,
        )
        if not form.compares:
            lacks.append(f"A of the comparison ({_where(before)})")
    where = _where(job)
    if job.before is not None:
        where = f"{_where(job.before)} → {where}"
    what = ", ".join(queries) or "the format's usual queries"
    return Plan(job, f"{what}; {where}", " and ".join(lacks))


def _narrowed(selection: Selection, view: View, *, kinds: bool) -> Selection:
    """With the view's filter, and the part of stacks that it shows."""
    said = view.filter
    if kinds:
        said = f"{said} {', '.join(view.kinds)}".strip()
    if view.stack_part is not StackPart.BOTH:
        said = f"{said}{'; ' * bool(said)}{words.PART_NAME[view.stack_part]} of stacks"
    return replace(selection, narrowing=narrowing(view, kinds=kinds), filter=said)


def _main(view: View) -> str | None:
    """Which of the query's values the view shows."""
    if view.measure is Measure.COUNT:
        return "count"
    if view.tab is Tab.VFS and view.measure is Measure.DURATION:
        return "vfs_time"
    if view.group is Group.REASON and view.tab in (Tab.BLOCKED, Tab.RUNNABLE):
        return view.tab.value
    return None


def _side(job: Job, view: View, side: Side, *, kinds: bool) -> Baseline:
    """What one side of a comparison takes its events from."""
    from stacks_tui.export.job import Baseline

    window = side.window
    selection = replace(
        job.selection,
        pids=(side.tgid,) if side.tgid else job.selection.pids,
        thread=str(side.pid) if side.pid else job.selection.thread,
        begin=window.begin if window.end else None,
        end=window.end or None,
    )
    selection = _narrowed(selection, of_side(view, side), kinds=kinds)
    return Baseline(
        (Path(side.recording),) if side.recording else job.recordings,
        selection,
        last_ns=window.last_s * 10**9 if window.last_s and not window.end else None,
    )


def _where(side: Job | Baseline) -> str:
    last = f"the last {text.duration(side.last_ns)}" if side.last_ns else ""
    said = "; ".join(filter(None, (side.selection.words(), last)))
    return f"{said or 'everything'} in {side.recordings[0].name}"


def default_name(directory: str, view: View, form: Format[Any]) -> str:
    """A file name in the current folder that is still free."""
    from stacks_tui.export.model import Trace

    what = "trace" if form.wants is Trace else view.tab.value
    base = f"{Path(directory).name}-{what}"
    for at in range(1, 1000):
        name = f"{base}{f'-{at}' if at > 1 else ''}{form.extension}"
        if not Path(name).exists():
            return name
    return f"{base}{form.extension}"
