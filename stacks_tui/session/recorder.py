"""One recording from its start to its end.

Comes in: `RecordOptions`. Goes out: a folder on disk, a `Status` each second, and an `Outcome`.
`Session` is the machine with its switches (kinds go on and off while it runs); `record` runs it
headless.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stacks_tui import __version__
from stacks_tui.capture import procfs
from stacks_tui.capture.launch import Launched, launch
from stacks_tui.capture.probes import Probes
from stacks_tui.capture.programs import Programs
from stacks_tui.capture.sideband import Sideband
from stacks_tui.capture.targets import Targets, apply
from stacks_tui.diskcache import DiskCache
from stacks_tui.enrich.clock import read_clock
from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.enrich.spans import Spans
from stacks_tui.enrich.tasks import Tasks
from stacks_tui.errors import MachineError, StacksError, UsageError
from stacks_tui.kinds import PROGRAM_BY_NAME, PROGRAM_OF_KIND, Kind, ProgramSpec
from stacks_tui.owner import invoking_user
from stacks_tui.python.processes import PythonProcesses
from stacks_tui.records import PythonPart, StackStatus
from stacks_tui.resources import folder
from stacks_tui.session.follower import Follower, open_mapped, open_module
from stacks_tui.session.options import RecordOptions
from stacks_tui.session.pipeline import Pipeline, Tap
from stacks_tui.session.providers import KnownProviders
from stacks_tui.session.retarget import Retarget
from stacks_tui.session.status import KindCount, Outcome, Status, span_notes
from stacks_tui.session.stop import StopRequest
from stacks_tui.session.symbolizer import Symbolizer
from stacks_tui.store.manifest import (
    KindCounts,
    ManifestHeader,
    RecordingStatus,
    State,
    Totals,
)
from stacks_tui.store.writer import RecordingWriter, StoreOptions
from stacks_tui.symbols.resolver import Resolver
from stacks_tui.unwind.cached import open_cache
from stacks_tui.unwind.late import LateUnwinder
from stacks_tui.unwind.rows import MAPPING, ROW
from stacks_tui.unwind.tables import Tables

Report = Callable[[Status], None]

ROW_CHUNKS_FOR_ALL = 256
"""Chunks of 16,384 unwind rows (32 MB in all) where every process is recorded; else half of it."""

SWITCH_S = 0.0005
"""How long one of our threads may run while another waits (Python's own is ten times that): what
names stacks must not keep back what follows processes and empties the rings."""
NICE = -5
"""Of this process, where it may: on a busy machine stacks are lost for want of a CPU to read them.
It is that of all threads, for any may hold the interpreter's lock when it loses its CPU."""

LAST_WORDS_S = 2.0
"""How long a launched program has to end after ^C, which it got as well."""

_STATES = {"S": 0x1, "D": 0x2, "T": 0x4, "t": 0x8, "I": 0x402}
"""/proc/PID/stat's letters of threads that are off the CPU, as bits of prev_state."""


class Session:
    """A recording under way."""

    def __init__(
        self,
        options: RecordOptions,
        report: Report,
        launched: Launched | None = None,
        tap: Tap | None = None,
    ) -> None:
        """Prepare everything and attach; when this returns, it records.

        `tap` sees all that is written.

        Raises:
            MachineError: the machine does not allow it, or has none of the kinds asked for.
            UsageError, StacksError: the folder can't be made.
        """
        self._options = options
        self._report = report
        self._gaps: dict[Kind, list[tuple[int, int]]] = {}
        self._clock = read_clock()
        self._notes: list[str] = []
        self._failed: dict[str, str] = {}
        self._tap = tap
        self._told_at, self._told_events = time.monotonic(), 0
        self._told_faults: set[str] = set()
        self._open = contextlib.ExitStack()
        try:
            self._prepare(launched)
        except BaseException:
            self._open.close()
            raise

    def _prepare(self, launched: Launched | None) -> None:
        options = self._options
        sys.setswitchinterval(SWITCH_S)
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
        compiled = DiskCache("bpf", ".obj", 1, 32 << 20)
        tables_cache = open_cache()
        self._resolver = resolver = Resolver(ask_jvms=options.jvm)
        for closing in (compiled, tables_cache, resolver):
            self._open.callback(closing.close)
        self._programs = Programs(
            folder("bpf"),
            compiled,
            ring_bytes=options.ring_bytes,
            row_chunks=ROW_CHUNKS_FOR_ALL if options.targets.everything else None,
            max_frames=options.max_frames,
            unwind=options.unwind,
            expected=[spec.program for spec in options.programs],
            report=lambda phase: self._report(Status(phase)),
        )
        self._open.callback(self._programs.close)
        programs = self._possible(options.programs)
        targets = options.targets
        follow = targets.follow or bool(targets.argv)
        watched = replace(targets, follow=follow)
        self._programs.set_modes(everything=targets.everything, follow=follow)
        tasks = Tasks(watched)
        self._report(Status("looking at what runs"))
        tables = self._make_tables(tables_cache) if options.unwind else None
        pythons = PythonProcesses(self._programs, open_module, self._notes.append)
        if options.unwind:  # without the unwinder, no one knows where the loops' frames are
            pythons.start()
            self._open.callback(pythons.close)
        self._symbolizer = Symbolizer(
            resolver,
            LateUnwinder(open_module, tables_cache, options.max_frames),
            pythons.is_python,
        )
        self._spans = Spans(self._programs.spans.take)
        providers = KnownProviders()
        self._open.callback(providers.close)
        self._probes = Probes(
            self._programs,
            open_mapped,
            self._notes.append,
            by_process=_only_by_pid(watched),
            known=providers,
        )
        self._open.callback(self._probes.close)
        self._follower = Follower(
            Sideband(),
            tasks,
            tables,
            self._symbolizer.prefetch,
            pythons if options.unwind else None,
            self._probes.mapped,
        )
        self._open.callback(self._follower.close)
        if launched is not None:
            self._programs.add_tgid(launched.tgid)
            tasks.add_target(launched.tgid)
            self._follower.expect_exec(launched.tgid)
        tasks.scan()
        apply(watched, self._programs)
        self._follower.start()
        self._begin = self._clock.to_epoch_ns(time.monotonic_ns())
        self._writer = RecordingWriter.create(
            options.directory,
            invoking_user(),
            ManifestHeader(
                tool_version=__version__,
                host=socket.gethostname(),
                kernel=os.uname().release,
                clock_offset=self._clock.offset_ns,
                begin=self._begin,
                targets=tuple(_describe(targets)),
                programs=tuple(map(str, programs)),
                name=_name(targets),
            ),
            StoreOptions(
                rows_per_file=options.rows_per_file,
                seconds_per_file=options.seconds_per_file,
                row_group_rows=options.rows,
                compression=options.compression,
            ),
        )
        self._pipeline = Pipeline(
            self._programs,
            self._follower,
            self._symbolizer,
            self._writer,
            self._clock,
            self._spans,
            self._recording_status,
            self._tap,
        )
        self.targets = Retarget(targets, self._programs, self._follower)
        self._started = time.monotonic()
        for spec in programs:
            self._report(Status(f"attaching {spec.program}"))
            try:
                self._start_program(spec)
            except (MachineError, UsageError):
                raise
            except (StacksError, OSError) as error:
                self._notes.append(f"can't record {spec.program}: {error}")
                self._failed[spec.program] = str(error)
        if not self._programs.attached:
            raise MachineError(self._notes[0])
        if "switch" in self._programs.attached:
            self._programs.add_blocked_threads(_blocked_threads(self._follower.targets()))
        self._pipeline.start()

    @property
    def failure(self) -> BaseException | None:
        """What ended the recording early, such as a full disk."""
        return self._pipeline.failure or self._follower.failure

    @property
    def directory(self) -> Path:
        """Of the recording."""
        return self._writer.path

    @property
    def began(self) -> int:
        """ns since the Unix epoch."""
        return self._begin

    @property
    def attached(self) -> dict[str, ProgramSpec]:
        """What collects now, by program."""
        return self._programs.attached

    @property
    def failed(self) -> dict[str, str]:
        """Why a program does not collect: this kernel has not what it needs, or refused it."""
        return {**self._programs.unavailable, **self._failed}

    @property
    def gaps(self) -> dict[Kind, tuple[tuple[int, int], ...]]:
        """Times in which a kind did not collect, ns since the Unix epoch; end 0: up to now."""
        return {kind: tuple(gaps) for kind, gaps in list(self._gaps.items())}

    @property
    def stacks_lost(self) -> int:
        """Stacks that could not be received."""
        return sum(counts.stacks_lost for counts in self._programs.counters().values())

    def span_counts(self) -> dict[str, int]:
        """What went wrong with spans, by what it was; only what did."""
        counts = self._programs.spans.counts()
        counts["evicted"] = self._spans.evicted
        counts["unknown_close"] = counts.get("unknown_close", 0) + self._spans.unknown_close
        return {name: number for name, number in counts.items() if number}

    def processes(self) -> list[ProcessRow]:
        """The processes of interest as they are known now."""
        return self._follower.all_processes(self._clock)

    def attach(self, spec: ProgramSpec) -> None:
        """Switch a program on, or change it; the gap ends.

        Raises:
            MachineError: this kernel can't give it.
            StacksError: the kernel refused it.
        """
        try:
            self._start_program(spec)
        except OSError as error:
            raise StacksError(
                f"the kernel refused {spec.program}: {error.strerror or error}."
            ) from error
        self._failed.pop(spec.program, None)
        now = self._clock.to_epoch_ns(time.monotonic_ns())
        for kind in PROGRAM_BY_NAME[spec.program].kinds:
            gaps = self._gaps.get(kind, [])
            if gaps and not gaps[-1][1]:
                gaps[-1] = (gaps[-1][0], now)

    def _start_program(self, spec: ProgramSpec) -> None:
        if spec.program != "usdt":
            self._programs.attach(spec)
            return
        if "usdt" in self._programs.attached:
            self._stop_spans()
        self._probes.settle()
        self._programs.attach(spec)
        try:
            self._probes.start(spec, self._follower.mapped_targets())
        except BaseException:
            self._programs.detach("usdt")
            raise

    def _stop_spans(self) -> None:
        """Listen to no span any more; those that are open end here."""
        self._programs.detach("usdt")
        ended = time.monotonic_ns()
        self._probes.stop()
        self._pipeline.settle()
        self._pipeline.add(self._programs.spans.still_open(ended))

    def detach(self, program: str) -> None:
        """Switch a program off; the gap is kept in the manifest."""
        if program not in self._programs.attached:
            return
        if program == "usdt":
            self._stop_spans()
        else:
            self._programs.detach(program)
        ended = time.monotonic_ns()
        if program == "switch":  # how long they go on, nobody will see
            self._pipeline.add(self._programs.open_waits(ended))
        now = self._clock.to_epoch_ns(ended)
        for kind in PROGRAM_BY_NAME[program].kinds:
            self._gaps.setdefault(kind, []).append((now, 0))

    def status(self) -> Status:
        """How it stands; the rate is since the call before."""
        now = time.monotonic()
        counters = self._programs.counters()
        kinds = []
        for kind, counts in counters.items():
            received, truncated = self._pipeline.tally.of(kind)
            if received or counts.lost or PROGRAM_OF_KIND.get(kind) in self._programs.attached:
                kinds.append(KindCount(kind, received, counts.lost, truncated))
        total = sum(count.received for count in kinds)
        rate = (total - self._told_events) / max(now - self._told_at, 1e-9)
        self._told_at, self._told_events = now, total
        share, self._pipeline.tally.ring_share = self._pipeline.tally.ring_share, 0.0
        faults = self.span_counts()
        new = {name: number for name, number in faults.items() if name not in self._told_faults}
        self._told_faults |= set(new)
        # The list stays the same: other threads add to it.
        notes = (*(self._notes.pop(0) for _ in range(len(self._notes))), *span_notes(new))
        return Status(
            "recording",
            elapsed_s=now - self._started,
            rate=rate,
            kinds=tuple(kinds),
            ring_share=share,
            bytes_on_disk=self._writer.bytes_written,
            notes=notes,
        )

    def finish(self) -> Outcome:
        """Detach, write what is there, sum it up."""
        from stacks_tui.session.summary import bytes_on_disk  # DuckDB: a start does without

        self._report(Status("writing"))
        waits, spans = ("switch" in self._programs.attached, "usdt" in self._programs.attached)
        self._programs.detach_all()
        ended = time.monotonic_ns()
        self._pipeline.stop_reading()
        if waits:
            self._pipeline.add(self._programs.open_waits(ended))
        if spans:
            self._pipeline.add(self._programs.spans.still_open(ended))
        self._pipeline.finish(ended)
        elapsed_s = time.monotonic() - self._started
        failure = self.failure
        if failure is not None and not isinstance(failure, StacksError):
            failure = StacksError(f"internal error: {failure!r}")
        end = self._clock.to_epoch_ns(ended)
        try:
            outcome = self._close_recording(end, failure)
        except StacksError as error:
            failure = failure or error
            outcome = Outcome(self._writer.path, bytes_on_disk=bytes_on_disk(self._writer.path))
        finally:
            self._open.close()
        return replace(
            outcome,
            elapsed_s=elapsed_s,
            failure=None if failure is None else str(failure),
            notes=(*self._notes, *self._resolver.advice, *outcome.notes),
        )

    def _close_recording(self, end: int, failure: BaseException | None) -> Outcome:
        """Finish the files, count in them what is not known before, write the last manifest.

        Raises:
            StacksError: the files or the manifest can't be written; the manifest says so.
        """
        from stacks_tui.session.summary import kind_rows, outcome_of, summarize
        from stacks_tui.store.reader import open_recording

        writer = self._writer
        if failure is not None:
            with contextlib.suppress(StacksError):
                writer.close(self._counted(end, {}), State.FAILED, str(failure))
            return summarize(writer.path)
        try:
            writer.finish_tables()
            with open_recording(writer.path) as recording:
                rows = kind_rows(recording)
                manifest = writer.close(self._counted(end, {row["kind"]: row for row in rows}))
                return outcome_of(recording, rows, manifest)
        except StacksError:
            with contextlib.suppress(StacksError):
                writer.close(self._counted(end, {}))
            raise

    def close(self) -> None:
        """Give everything back, whatever happened."""
        self._open.close()

    def _possible(self, wanted: Iterable[ProgramSpec]) -> list[ProgramSpec]:
        """Those that this kernel can give; the others are named in a note."""
        specs = list(wanted)
        reasons = self._programs.unavailable
        for spec in specs:
            if spec.program in reasons:
                self._notes.append(f"can't record {spec.program}: {reasons[spec.program]}.")
        possible = [spec for spec in specs if spec.program not in reasons]
        if not possible:
            raise MachineError(self._notes[0])
        return possible

    def _make_tables(self, cache: DiskCache) -> Tables:
        tables = Tables(
            self._programs.table_memory("rows", ROW),
            self._programs.table_memory("mappings", MAPPING),
            self._programs,
            open_module,
            cache,
        )
        tables.start()
        self._open.callback(tables.close)
        return tables

    def _recording_status(self) -> RecordingStatus:
        return self._counted(self._clock.to_epoch_ns(time.monotonic_ns()), {})

    def _counted(self, end: int, rows: Mapping[str, Mapping[str, Any]]) -> RecordingStatus:
        """What is counted; `rows`: what the files hold, by kind, once they are whole."""
        counters = self._programs.counters()
        kinds = {}
        for kind, counts in counters.items():
            received, truncated = self._pipeline.tally.of(kind)
            gaps = tuple((begin, stop or end) for begin, stop in self._gaps.get(kind, []))
            if not (received or counts.happened or gaps):
                continue
            taken = self._stacks_by_end(kind, counts.user)
            row = rows.get(kind.label, {})
            parts = {
                part.name.lower(): row.get(f"python_{part.name.lower()}", 0) for part in PythonPart
            }
            kinds[kind.label] = KindCounts(
                received=received,
                lost=counts.lost,
                truncated=truncated,
                unresolved=row.get("unresolved", 0),
                incomplete={
                    status.name.lower(): number
                    for status, number in zip(StackStatus, taken, strict=True)
                    if number and status is not StackStatus.COMPLETE
                },
                python={name: number for name, number in parts.items() if number},
                gaps=gaps,
            )
        totals = Totals(
            stacks=self._pipeline.tally.stacks,
            stacks_lost=sum(counts.stacks_lost for counts in counters.values()),
            sideband_lost=self._follower.lost,
            skipped_runs=sum(self._programs.skipped_runs().values()),
            below_threshold=sum(counts.below for counts in counters.values()),
            spans=self.span_counts(),
        )
        return RecordingStatus(end, kinds, totals)

    def _stacks_by_end(self, kind: Kind, counted: Sequence[int]) -> list[int]:
        """User stacks of a kind by `StackStatus`: those unwound late count as they ended then."""
        late = self._symbolizer.unwound_late[kind].tolist()
        taken = [number + later for number, later in zip(counted, late, strict=True)]
        taken[StackStatus.NO_SPACE] -= sum(late)
        return taken


def record(options: RecordOptions, report: Report) -> Outcome:
    """Record until ^C, SIGTERM, the duration or the end of the launched program.

    Raises:
        UsageError, MachineError: it can't begin.
    """
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        argv = options.targets.argv
        launched = stack.enter_context(launch(argv)) if argv else None
        session = Session(options, report, launched)
        stack.callback(session.close)
        if launched is not None:
            launched.release()
        _run(session, options, report, stop, launched)
        if launched is not None and stop.signal == signal.SIGINT:
            launched.wait(LAST_WORDS_S)
        outcome = session.finish()
        if launched is not None:
            outcome = replace(outcome, exit_status=launched.poll())
        return outcome


def _run(
    session: Session,
    options: RecordOptions,
    report: Report,
    stop: StopRequest,
    launched: Launched | None,
) -> None:
    began = time.monotonic()
    end = began + options.duration_s if options.duration_s is not None else float("inf")
    ready = select.poll()
    ready.register(stop, select.POLLIN)
    if launched is not None:
        ready.register(launched, select.POLLIN)
    due = began + 1
    while not stop.requested and session.failure is None:
        now = time.monotonic()
        if now >= end:
            return
        ready.poll(max(0, round(1000 * (min(due, end) - now))) + 1)
        if launched is not None and launched.poll() is not None:
            return
        if time.monotonic() >= due:
            report(session.status())
            due = max(due + 1, time.monotonic())


def _only_by_pid(targets: Targets) -> bool:
    """Whether the processes that are recorded are known by number: no other can come."""
    return bool(targets.pids) and not (
        targets.comms or targets.cgroup or targets.everything or targets.argv or targets.follow
    )


def _blocked_threads(tgids: Iterable[int]) -> Iterable[tuple[int, int, int]]:
    """(tgid, pid, state bits) of the threads that are off the CPU now."""
    for tgid in tgids:
        for pid in procfs.threads(tgid):
            stat = procfs.stat(pid)
            if stat is not None and stat.state in _STATES:
                yield tgid, pid, _STATES[stat.state]


def _describe(targets: Targets) -> Iterable[str]:
    """The targets as the command line named them."""
    if targets.everything:
        yield "--all"
    yield from targets.comms
    yield from (f"--pid {pid}" for pid in targets.pids)
    if targets.cgroup is not None:
        yield f"--cgroup {targets.cgroup}"
    if targets.argv:
        yield f"-- {' '.join(targets.argv)}"
    if targets.follow:
        yield "--follow"


def _name(targets: Targets) -> str:
    """For the folder's name: what is recorded, in a word."""
    if targets.argv:
        return os.path.basename(targets.argv[0])  # noqa: PTH119  # of bytes that are no path of ours
    if targets.comms:
        return targets.comms[0]
    if targets.pids:
        return procfs.comm(targets.pids[0]) or f"pid-{targets.pids[0]}"
    return "all" if targets.everything else "cgroup"
