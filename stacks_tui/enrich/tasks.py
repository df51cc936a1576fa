"""Who is who: processes, threads, their names, executables and address spaces, at any late moment.

Comes in: side-band records, and /proc for what ran before. Goes out: columns for a batch of events
(command, thread, build id), address spaces for stacks, rows of the processes table. Read a batch of
events first, then the side-band, `apply` that, then ask for the batch: so nothing is missing.
"""

from __future__ import annotations

import time as clock
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stacks_tui.capture import procfs
from stacks_tui.capture.sideband import Comm, Exit, Fork, Mapped, Record
from stacks_tui.capture.targets import Targets, comm_key, descendants, find_cgroup, members
from stacks_tui.columns import Events
from stacks_tui.enrich import proc
from stacks_tui.enrich.clock import Clock
from stacks_tui.enrich.history import Execed, Exited, Forked, SpaceChange, SpaceHistory, SpaceMade
from stacks_tui.enrich.processes import Process, ProcessRow, RowDraft, finish, readable
from stacks_tui.enrich.timeline import ABSENT, PID_LIMIT, UNKNOWN, Timeline
from stacks_tui.spaces import AddressSpace

HORIZON_NS = 15_000_000_000
"""What changed or ended is still known for this long."""


@dataclass(frozen=True, slots=True)
class TaskColumns:
    """Columns of a batch of events, of its length; null: not known."""

    command: pa.DictionaryArray
    """int32 → string: comm of the process."""
    thread: pa.DictionaryArray
    """int32 → string: comm of the thread."""
    buildid: pa.DictionaryArray
    """int32 → binary: build id of the executable."""


class Tasks:
    """The processes and threads of the machine, from `scan` on. Not thread-safe."""

    def __init__(self, targets: Targets | None = None, horizon_ns: int = HORIZON_NS) -> None:
        targets = targets or Targets(everything=True)
        self._targets = targets
        self._horizon = horizon_ns
        self._keys = frozenset(map(comm_key, targets.comms))
        self._inherits = targets.follow or targets.cgroup is not None
        self._kept: dict[int, int] = {}
        """Targets for as long as they live: since when, by tgid."""
        self._named: set[int] = set()
        """Targets until their next exec: by name."""
        self._left: set[int] = set()
        """Targets by name that an exec made none since the last `take_new_spaces`."""
        self._processes: dict[int, Process] = {}
        self._names: Timeline[str] = Timeline(pa.string(), readable)
        self._exes: Timeline[bytes] = Timeline(pa.binary())
        self._seen = np.zeros(PID_LIMIT, np.bool_)
        self._now = 0
        self._ends: deque[tuple[int, int, Process]] = deque()
        """(time, pid, process) of what has ended and isn't forgotten yet."""
        self._exited: dict[int, int] = {}
        self._swept = 0
        self._done: deque[tuple[int, RowDraft]] = deque()
        self._changes: list[Forked | Execed | Exited | tuple[Process, int]] = []
        self._mapped: dict[int, int] = {}
        """By tgid: place in `_changes` of the mapping that a further one replaces."""
        self._set_name(0, 0, "swapper")
        self._exes.learn(0, ABSENT)

    # ---- coming in

    def scan(self, wanted: Callable[[int], bool] | None = None) -> None:
        """Read what runs now: all processes' names; of targets, threads, details and mappings too.

        Call it when the side-band is on. `wanted` tells further tgids that are to be targets.
        """
        now = clock.monotonic_ns()
        found = proc.running()
        targets = self._targets
        chosen = set(targets.pids)
        if targets.cgroup is not None:
            chosen |= members(find_cgroup(targets.cgroup))
        if wanted is not None:
            chosen.update(one.tgid for one in found if wanted(one.tgid))
        for one in found:
            if one.tgid not in self._processes:
                self._find(one, now)
        if targets.follow:
            chosen |= descendants(chosen | self._named | set(self._kept))
        for tgid in chosen:
            self._kept.setdefault(tgid, now)
        for tgid in chosen | self._named | set(self._kept):
            if tgid in self._processes:
                self._take_interest(self._processes[tgid])

    def add_target(self, tgid: int) -> None:
        """Make a process a target for as long as it lives, such as one that was launched."""
        self._kept[tgid] = clock.monotonic_ns()
        process = self._processes.get(tgid)
        if process is not None:
            self._take_interest(process)

    def drop_target(self, tgid: int) -> None:
        """It is no target by its number any more; what is known of it stays."""
        self._kept.pop(tgid, None)

    def add_comm(self, key: bytes) -> None:
        """Who takes this name (`comm_key`) from now on is a target; who bears it, is added."""
        self._keys |= {key}

    def inherit(self) -> None:
        """Children of targets are targets from now on, as those of a cgroup are."""
        self._inherits = True

    def apply(self, records: Sequence[Record]) -> None:
        """Take in records, as `Sideband.read` gives them."""
        for record in records:
            if isinstance(record, Mapped):
                self._map(record)
            elif isinstance(record, Comm):
                self._rename(record)
            elif isinstance(record, Fork):
                self._fork(record)
            else:
                self._exit(record)
        if records:
            self._now = max(self._now, records[-1].time)
            self._forget()

    # ---- going out

    def columns(self, events: Events) -> TaskColumns:
        """The names and build ids of a batch of records.EVENT at their times."""
        times = np.ascontiguousarray(events["time"])
        tgids = np.ascontiguousarray(events["tgid"])
        pids = np.ascontiguousarray(events["pid"])
        fresh = ~self._seen.take(tgids, mode="clip")
        if fresh.any():
            for tgid in np.unique(tgids[fresh]).tolist():
                self._see(tgid)
        threads = self._names.codes(times, pids)
        commands = self._names.codes(times, tgids)
        nameless = set(self._names.unknown(threads, pids) + self._names.unknown(commands, tgids))
        if nameless:
            for pid in nameless:
                self._names.learn(pid, self._names.code(procfs.comm(pid)))
            threads = self._names.codes(times, pids)
            commands = self._names.codes(times, tgids)
        builds = self._exes.codes(times, tgids)
        unread = self._exes.unknown(builds, tgids)
        if unread:
            for tgid in unread:
                if tgid in self._processes:
                    self._find_buildid(self._processes[tgid])
                else:
                    self._exes.learn(tgid, ABSENT)
            builds = self._exes.codes(times, tgids)
        return TaskColumns(
            self._names.array(commands), self._names.array(threads), self._exes.array(builds)
        )

    def space_at(self, tgid: int, time: int) -> AddressSpace | None:
        """The address space of a process at `time`, monotonic ns; None: not known any more."""
        process = self._processes.get(tgid)
        while process is not None and process.before is not None and time < process.born:
            process = process.before
        return None if process is None else process.spaces.at(time)

    def take_new_spaces(self) -> list[SpaceChange]:
        """What changed in the address spaces of targets since the last call, in order."""
        changes, self._changes = self._changes, []
        left, self._left = self._left, set()
        self._mapped.clear()
        found: list[SpaceChange] = []
        for change in changes:
            if isinstance(change, Forked):
                if self.is_target(change.child):
                    found.append(change)
            elif isinstance(change, tuple):
                process, time = change
                if self.is_target(process.tgid):
                    space = process.spaces.at(time)
                    if space is not None:
                        found.append(SpaceMade(time, process.tgid, space))
            elif isinstance(change, Exited) or self.is_target(change.tgid) or change.tgid in left:
                found.append(change)
        return found

    def is_target(self, tgid: int) -> bool:
        """Whether a process is recorded, as far as fork and names tell; or it had events."""
        if self._targets.everything or tgid in self._kept or tgid in self._named:
            return True
        process = self._processes.get(tgid)
        return process is not None and process.interesting

    def comm(self, pid: int) -> str | None:
        """The newest name of a thread; None: not known."""
        return self._names.value(self._names.current(pid))

    def processes(self, clock: Clock) -> list[ProcessRow]:
        """Rows of all interesting processes, without those that `take_ended` gave before."""
        rows = [finish(tgid, row, clock) for tgid, row in self._done]
        for process in self._processes.values():
            if process.row.keep and process.row.buildid is None:
                self._find_buildid(process)
            rows += [finish(process.tgid, row, clock) for row in process.rows if row.keep]
        return rows

    def take_ended(self, clock: Clock) -> list[ProcessRow]:
        """Rows of processes that ended more than the horizon ago; each is given once."""
        rows = [finish(tgid, row, clock) for tgid, row in self._done]
        self._done.clear()
        return rows

    # ---- records

    def _fork(self, record: Fork) -> None:
        tgid, pid, time = record.tgid, record.pid, record.time
        process = self._processes.get(tgid)
        if process is not None and time <= process.read_at and pid in process.threads:
            return  # /proc told
        self._exited.pop(pid, None)
        if tgid == record.parent_tgid:
            if process is None:
                process = self._processes[tgid] = self._strange(tgid)
            process.threads.add(pid)
        else:
            parent = self._processes.get(record.parent_tgid)
            if process is not None:
                self._retire(process)
                process.before = None
            born = self._processes[tgid] = self._born(record, parent)
            born.before = process
        name = self._names.current(record.parent_pid)
        self._names.change(pid, time, name)
        if self._keys and (text := self._names.value(name)) is not None:
            self._match(tgid, text)

    def _born(self, record: Fork, parent: Process | None) -> Process:
        tgid, time = record.tgid, record.time
        row = RowDraft(time, record.parent_tgid, self.comm(record.parent_pid))
        history = SpaceHistory(tgid, time, None if parent is None else parent.spaces)
        process = Process(tgid, [row], history, {record.pid}, born=time)
        self._exes.change(tgid, time, self._exes.current(record.parent_tgid))
        self._seen[tgid] = False
        if self._kept.get(tgid, 0) < time:
            self._kept.pop(tgid, None)
        self._named.discard(tgid)
        self._mapped.pop(record.parent_tgid, None)
        self._mapped.pop(tgid, None)
        self._changes.append(Forked(time, record.parent_tgid, tgid))
        if parent is not None:
            old = parent.row
            row.exe, row.buildid, row.details = old.exe, old.buildid, old.details
            if row.buildid is None:
                process.shares = parent.shares or (parent, old)
            if self._inherits and self.is_target(parent.tgid):
                self._kept[tgid] = time
        process.interesting = row.keep = self._targets.everything or tgid in self._kept
        return process

    def _exit(self, record: Exit) -> None:
        process = self._processes.get(record.tgid)
        if process is None or (record.time <= process.read_at and record.pid in process.threads):
            return
        process.threads.discard(record.pid)
        if record.pid != record.tgid:
            self._end(record.time, record.pid, process)
        if not process.threads and process.ended is None:
            process.ended = process.row.end = record.time
            process.spaces.alive = False
            self._end(record.time, record.tgid, process)
            self._mapped.pop(record.tgid, None)
            if self.is_target(record.tgid):
                self._changes.append(Exited(record.time, record.tgid))

    def _end(self, time: int, pid: int, process: Process) -> None:
        self._exited[pid] = time
        self._ends.append((time, pid, process))

    def _rename(self, record: Comm) -> None:
        tgid, time = record.tgid, record.time
        process = self._processes.get(tgid)
        if process is None:
            process = self._processes[tgid] = self._strange(tgid)
        if time <= process.read_at:
            return
        self._set_name(record.pid, time, record.name)
        if record.exec:
            self._exec(process, record)
        elif record.pid == tgid:
            process.row.comm = record.name
        self._match(tgid, record.name)
        if record.exec and self.is_target(tgid):
            self._take_interest(process)

    def _exec(self, process: Process, record: Comm) -> None:
        tgid, time = record.tgid, record.time
        old = process.row
        old.end = time
        process.rows = [row for row in process.rows[:-1] if row.keep] + [old]
        process.interesting = self._targets.everything or tgid in self._kept
        if self._exes.current(tgid) == UNKNOWN:  # too late to read it, but for a relative
            self._exes.learn(tgid, self._exes.code(self._inherited_buildid(process)))
        process.rows.append(RowDraft(time, old.parent, record.name, _same_cgroup(old.details)))
        process.details_read = False
        process.threads = {tgid}
        process.wants_exe = True
        process.shares = None
        process.spaces.forget_before(time - self._horizon)
        process.spaces.exec(time)
        self._exes.change(tgid, time, UNKNOWN)
        self._seen[tgid] = False
        if tgid in self._named:
            self._left.add(tgid)
        self._named.discard(tgid)
        self._mapped.pop(tgid, None)
        self._changes.append(Execed(time, tgid))

    def _map(self, record: Mapped) -> None:
        process = self._processes.get(record.tgid)
        if process is None:
            process = self._processes[record.tgid] = self._strange(record.tgid)
        mapping = record.mapping
        if process.wants_exe and not mapping.path.startswith(("[", "//")):
            process.wants_exe = False
            process.row.exe = mapping.path
            if mapping.buildid is not None:
                process.row.buildid = mapping.buildid
                self._exes.learn(record.tgid, self._exes.code(mapping.buildid))
        process.spaces.forget_before(record.time - self._horizon)
        process.spaces.map(record.time, mapping)
        self._add_mapped(process, record.time)

    def _add_mapped(self, process: Process, time: int) -> None:
        at = self._mapped.get(process.tgid)
        if at is None:
            self._mapped[process.tgid] = len(self._changes)
            self._changes.append((process, time))
        else:
            self._changes[at] = (process, time)

    def _find(self, one: proc.Running, now: int) -> None:
        """A process that ran before."""
        row = RowDraft(None, one.parent, one.comm)
        history = SpaceHistory(one.tgid, alive=not one.kernel_thread)
        process = Process(one.tgid, [row], history, {one.tgid}, read_at=now)
        self._processes[one.tgid] = process
        self._names.learn(one.tgid, self._names.code(one.comm))
        if one.kernel_thread:
            self._exes.learn(one.tgid, ABSENT)
            self._match(process.tgid, one.comm)
            return
        for pid, name in proc.thread_names(one.tgid).items():
            process.threads.add(pid)
            self._names.learn(pid, self._names.code(name))
            self._match(one.tgid, name)

    def _strange(self, tgid: int) -> Process:
        """A process of which no fork was told: it began before, or a record was lost."""
        return Process(tgid, [RowDraft(None, None, None)], SpaceHistory(tgid), {tgid})

    # ---- names and targets

    def _set_name(self, pid: int, time: int, name: str) -> None:
        self._names.change(pid, time, self._names.code(name))

    def _match(self, tgid: int, name: str) -> None:
        if self._keys and comm_key(name) in self._keys and not self.is_target(tgid):
            if self._targets.follow:
                self._kept[tgid] = self._now
            else:
                self._named.add(tgid)
            if tgid in self._processes:
                self._take_interest(self._processes[tgid])

    def _see(self, tgid: int) -> None:
        """The first event of a process, or of its new executable."""
        if not 0 <= tgid < PID_LIMIT:
            return
        self._seen[tgid] = True
        if tgid == 0:
            return
        process = self._processes.get(tgid)
        if process is None:
            process = self._processes[tgid] = self._strange(tgid)
            process.row.comm = procfs.comm(tgid)
        self._take_interest(process)
        for row in process.rows:
            row.keep = True  # the event may be of the one before

    def _take_interest(self, process: Process) -> None:
        process.row.keep = True
        if process.ended is not None:
            process.interesting = True
            return
        if not process.interesting:
            process.interesting = True
            self._add_mapped(process, clock.monotonic_ns())
        row = process.row
        if row.details is None or (row.start is not None and not process.details_read):
            process.details_read = True
            fresh = proc.details(process.tgid)
            if fresh.exe is not None or row.details is None:
                row.details = fresh
        if row.buildid is None and not process.wants_exe:
            self._find_buildid(process)

    def _find_buildid(self, process: Process) -> None:
        """Learn the build id of what a process executes from its file, or a relative's."""
        if process.ended is None:
            process.row.buildid = proc.exe_buildid(process.tgid)
        if process.row.buildid is None:
            process.row.buildid = self._inherited_buildid(process)
        self._exes.learn(process.tgid, self._exes.code(process.row.buildid))

    def _inherited_buildid(self, process: Process) -> bytes | None:
        """What the process has from whom it was forked, and hasn't changed by an exec."""
        if process.row.buildid is None and process.shares is not None:
            relative, row = process.shares
            if row.buildid is None and relative.row is row and relative.ended is None:
                row.buildid = proc.exe_buildid(relative.tgid)
            process.row.buildid = row.buildid
        return process.row.buildid

    # ---- forgetting

    def _retire(self, process: Process) -> None:
        """Its number belongs to another process now, or its horizon has passed."""
        self._done.extend((process.tgid, row) for row in process.rows if row.keep)
        if process.ended is None:
            process.ended = process.row.end = process.row.end or self._now
        process.spaces.alive = False

    def _forget(self) -> None:
        before = self._now - self._horizon
        while self._ends and self._ends[0][0] < before:
            time, pid, process = self._ends.popleft()
            if self._exited.get(pid) == time:
                del self._exited[pid]
                self._names.forget(pid)
                if pid == process.tgid:
                    self._exes.forget(pid)
            if pid == process.tgid and self._processes.get(pid) is process:
                del self._processes[pid]
                self._kept.pop(pid, None)
                self._named.discard(pid)
                self._seen[pid] = False
                self._retire(process)
        self._names.forget_before(before)
        self._exes.forget_before(before)
        if self._now - self._swept > self._horizon:
            self._sweep(before)

    def _sweep(self, before: int) -> None:
        """What no record tells: old spaces of quiet processes, ends that were lost."""
        self._swept = self._now
        running = set(procfs.tgids())
        for tgid, process in self._processes.items():
            process.spaces.forget_before(before)
            if process.born < before:
                process.before = None
            began = process.row.start or process.read_at
            if process.ended is None and tgid not in running and began < before:
                process.ended = process.row.end = self._now
                process.spaces.alive = False
                self._changes.append(Exited(self._now, tgid))
                self._end(self._now, tgid, process)


def _same_cgroup(old: proc.Details | None) -> proc.Details | None:
    """What an exec leaves as it was."""
    return None if old is None else proc.Details(cgroup=old.cgroup, container=old.container)
