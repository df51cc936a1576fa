"""One export from end to end: recordings in, a whole file out, and what it holds.

Comes in: paths of recordings, a format, names of queries, a selection, options, callbacks. Goes
out: an `ExportResult`. The command line and the app both call `export`; `preview` tells beforehand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from stacks_tui.errors import StacksError, UsageError
from stacks_tui.export.gauge import EnoughError, Gauge
from stacks_tui.export.lines import read_buildid, with_lines
from stacks_tui.export.model import Origin, Rows, Samples, Trace, ValueType
from stacks_tui.export.output import STDOUT, output, packed
from stacks_tui.export.questions import STACKS, TABLES, TRACES, Question, find_question, recorded
from stacks_tui.export.registry import Format, all_formats
from stacks_tui.export.samples import load_samples
from stacks_tui.export.selection import Selection
from stacks_tui.export.tables import load_rows
from stacks_tui.export.task import ExportOptions, Progress, Task
from stacks_tui.export.timeline import load_trace
from stacks_tui.owner import User, invoking_user
from stacks_tui.resources import read_sql
from stacks_tui.store.reader import Recording, open_recording

DEFAULT_QUERIES = {
    STACKS: ("cpu",),
    TRACES: ("switches", "waits", "wakeups", "samples", "rss", "spans", "io"),
    TABLES: ("events",),
}
"""What is asked where nothing is named, by folder."""

PREVIEW_S = 1.5
"""How long a preview writes to nowhere."""
PREVIEW_MOST = 2_000_000
"""Events that a preview reads, where it must read each."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as a person gives it."""

    ns: int
    relative: bool
    """After the (first) recording began; otherwise since the Unix epoch."""

    def after(self, begin: int) -> int:
        """ns since the Unix epoch, of a recording that began then."""
        return self.ns + begin if self.relative else self.ns


@dataclass(frozen=True, slots=True)
class Baseline:
    """What an export is compared with; its fields are those of `Job`."""

    recordings: tuple[Path, ...]
    selection: Selection = field(default_factory=Selection)
    begin: Moment | None = None
    end: Moment | None = None
    last_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be exported, and where to."""

    recordings: tuple[Path, ...]
    format: Format[Any]
    queries: tuple[str, ...] = ()
    """Short names or SQL files; empty: the format's usual ones."""
    selection: Selection = field(default_factory=Selection)
    begin: Moment | None = None
    end: Moment | None = None
    """They take the place of the selection's."""
    last_ns: int | None = None
    """Only the last so many ns of what was recorded; sets the selection's begin."""
    before: Baseline | None = None
    """What is compared with, for formats that compare."""
    options: ExportOptions = field(default_factory=ExportOptions)
    path: Path | None = None
    """`-` for stdout; None: a name made of recording and queries, in the current folder."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export holds."""

    path: Path | None
    """None: it went to stdout."""
    bytes: int
    """0 where it went to stdout. Of a preview: expected ones."""
    totals: tuple[tuple[ValueType, int], ...]
    """What every viewer must show; empty for traces and tables."""
    rows: int
    """Samples, events or rows."""
    stacks: int
    """Distinct ones."""
    origin: Origin
    totals_before: tuple[tuple[ValueType, int], ...] = ()
    """The same of what is compared with."""
    notes: tuple[str, ...] = field(default=())


def export(
    job: Job,
    report: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    user: User | None = None,
) -> ExportResult:
    """Make the file.

    Raises:
        UsageError: a recording, query, filter or path is wrong.
        CancelledError: `cancelled` said so; nothing is left behind.
        StacksError: it failed; nothing is left behind.
    """
    user = invoking_user() if user is None else user
    task = Task(job.options, report, cancelled)
    path = job.path if job.path is not None else Path(_file_name(job))
    with _opened(job, user) as recordings:
        source = _load(job, recordings, task, user)
        with output(path, user) as file, packed(file, path, job.format.extension) as file:
            job.format.write(source, file, task)
        size = 0 if path == STDOUT else path.lstat().st_size
    return _result(source, None if path == STDOUT else path, size, task)


def preview(
    job: Job,
    report: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    user: User | None = None,
    patience_s: float = PREVIEW_S,
) -> ExportResult:
    """The totals and counts that `export` would give, with no file written.

    `bytes` is what the file would have: an estimate where writing it takes longer than
    `patience_s`; 0 where that can't be told.

    Raises:
        UsageError, CancelledError, StacksError: as `export`; StacksError also where so much was
            recorded that looking at it beforehand would take as long as the export.
    """
    task = Task(job.options, report, cancelled)
    user = invoking_user() if user is None else user
    with _opened(job, user) as recordings:
        if job.format.wants is not Samples:  # these are not summed: each event is a row
            _refuse_many(recordings)
        source = _load(job, recordings, task, user)
        gauge = Gauge(patience_s, report)
        task.report = gauge.progress
        try:
            with packed(cast(BinaryIO, gauge), job.path or Path(), job.format.extension) as file:
                job.format.write(source, file, task)
            size = gauge.size
        except EnoughError:
            size = gauge.estimate()
    return _result(source, None, size, task)


def _refuse_many(recordings: Sequence[Recording]) -> None:
    text = read_sql("export/counted.sql")
    count = sum(recording.sql(text).fetchall()[0][0] for recording in recordings)
    if count > PREVIEW_MOST:
        raise StacksError(f"{count:,} events were recorded: too many to tell beforehand.")


def folder_of(one: Format[Any]) -> str:
    """The folder of `sql/` whose queries fit a format."""
    return {Samples: STACKS, Trace: TRACES, Rows: TABLES}[one.wants]


def _load(
    job: Job, recordings: Sequence[Recording], task: Task, user: User
) -> Samples | Trace | Rows:
    folder = folder_of(job.format)
    for recording in recordings:
        if recording.live:
            task.note(
                f"{str(recording.path)!r} is still being written; what came later is not seen."
            )
    asked = _questions(job, folder)
    selection = _selection(job, recordings, task)
    if job.before is not None and not job.format.compares:
        those = ", ".join(one.name for one in all_formats() if one.compares)
        raise UsageError(f"{job.format.name} files can't compare; these can: {those}.")
    if job.format.wants is Trace:
        return with_lines(load_trace(recordings, asked, selection, task), task)
    if job.format.wants is Rows:
        return load_rows(recordings, asked, selection, task)
    if job.before is None:
        return with_lines(load_samples(recordings, asked, selection, task), task)
    with _opened(job.before, user) as others:
        before = others, _selection(job.before, others, task)
        return with_lines(load_samples(recordings, asked, selection, task, before), task)


def _selection(side: Job | Baseline, recordings: Sequence[Recording], task: Task) -> Selection:
    """The selection with what only the recordings tell: their times, and a binary's build id."""
    selection = side.selection
    spans = [recorded(recording) for recording in recordings]
    first = min(span.begin for span in spans)
    if side.begin is not None:
        selection = replace(selection, begin=side.begin.after(first))
    if side.end is not None:
        selection = replace(selection, end=side.end.after(first))
    if side.last_ns is not None:
        if selection.begin is not None:
            raise UsageError("--last and --begin exclude each other; give one of them.")
        last = max(span.end for span in spans) + 1
        end = last if selection.end is None else min(last, selection.end)
        selection = replace(selection, begin=max(end - side.last_ns, 0))
    if None not in (selection.begin, selection.end) and selection.begin >= selection.end:  # type: ignore[operator]
        raise UsageError("--begin is not before --end; nothing can be between them.")
    binary = task.options.binary
    if binary is None or selection.buildid is not None:
        return selection
    buildid = read_buildid(binary)
    text = read_sql("export/runs.sql")
    if any(recording.sql(text, buildid=buildid.hex()).fetchall() for recording in recordings):
        return replace(selection, buildid=buildid)
    task.note(
        f"{str(binary)!r} is no executable of this recording, so events of all are "
        "taken; lines come from it where its build id fits."
    )
    return selection


def _questions(job: Job, folder: str) -> tuple[Question, ...]:
    names = job.queries or job.format.queries or DEFAULT_QUERIES[folder]
    return tuple(find_question(name, folder) for name in dict.fromkeys(names))


@contextlib.contextmanager
def _opened(side: Job | Baseline, user: User) -> Iterator[list[Recording]]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(open_recording(path, user)) for path in side.recordings]
        if side.selection.narrowing is not None:
            for recording in found:
                recording.narrow(side.selection.narrowing)
        yield found


def _file_name(job: Job) -> str:
    folder = folder_of(job.format)
    recording = job.recordings[0].resolve().name.removesuffix(".parquet")
    names = "-".join(question.name for question in _questions(job, folder))
    return f"{recording}-{names}"[:120] + job.format.extension


def _result(
    source: Samples | Trace | Rows, path: Path | None, size: int, task: Task
) -> ExportResult:
    totals = source.totals() if isinstance(source, Samples) else ()
    before = source.totals_before() if isinstance(source, Samples) else ()
    rows = source.rows if isinstance(source, Rows) else len(source)
    stacks = 0 if isinstance(source, Rows) else len(source.stacks)
    if isinstance(source, Samples):  # those that samples have
        stacks = len(np.unique(source.stack_of))
    notes = tuple(task.notes)
    return ExportResult(path, size, totals, rows, stacks, source.origin, before, notes)
