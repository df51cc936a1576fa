"""The collector: a recording with a live model, in a process of its own.

Comes in: commands on standard input. Goes out: frames on standard output; a recording on disk,
whatever becomes of who started it. The rings are read by their own threads, so nothing here can
make them wait; when the commands end (the screen is gone), the recording is written whole.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from stacks_tui.capture import procfs, targets
from stacks_tui.capture.launch import Launched, launch
from stacks_tui.errors import StacksError
from stacks_tui.kinds import parse_program
from stacks_tui.live.answers import answer
from stacks_tui.live.model import LiveModel
from stacks_tui.live.snapshot import Timeline
from stacks_tui.live.view import Panel, View
from stacks_tui.owner import invoking_user
from stacks_tui.session.archive import Archive
from stacks_tui.session.header import Header
from stacks_tui.session.options import RecordOptions
from stacks_tui.session.outbox import Outbox
from stacks_tui.session.program_output import ProgramOutput
from stacks_tui.session.protocol import (
    AddTarget,
    Command,
    CommandReader,
    DropProgram,
    DropTarget,
    Ended,
    KindFailed,
    LogLine,
    Note,
    Opened,
    Phase,
    ProtocolError,
    SetProgram,
    SetRefresh,
    SetView,
    Start,
    Stop,
    TargetsEnded,
)
from stacks_tui.session.recorder import LAST_WORDS_S, Session
from stacks_tui.session.status import Outcome, Status
from stacks_tui.session.stop import StopRequest

MOST_HZ = 4.0
HELD_UP_S = 1.0
"""How often a snapshot is made anew while nobody takes them."""
MOST_OFTEN_MS = 10
"""Between two looks at what there is to do."""
SETTLED_NS = 2_000_000_000
"""After which no event of a second is on its way any more."""
_READ = 1 << 16
_OF_INSTANCES = (Panel.TABLE, Panel.TREE, Panel.FLAME, Panel.PROCESSES, Panel.HISTOGRAM)
"""Panels that may show the events of one span alone."""


def child() -> None:
    """The process's main: commands on descriptor 0, frames on what descriptor 1 was."""
    frames = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no frame
    commands = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os._exit(Collector(commands, Outbox(frames)).run())


class Collector:
    """One recording, steered by commands."""

    def __init__(self, commands: int, outbox: Outbox) -> None:
        self._fd = commands
        self._outbox = outbox
        self._reader = CommandReader()
        self._waiting: list[Command] = []
        self._gone = False
        """No command can come any more."""
        self._view = View()
        self._interval = 0.5
        self._due = 0.0
        self._stopping: Stop | None = None

    def run(self) -> int:
        """Record until told to stop; returns the exit code."""
        ended = Ended(failure="the collector was never told what to record.", exit_code=1)
        start = self._first()
        if start is not None:
            self._view = start.view
            self._set_refresh(start.refresh_hz)
            ended = self._record(start.options)
        self._outbox.send(ended)
        self._outbox.close()
        return ended.exit_code

    def _first(self) -> Start | None:
        while not self._gone:
            self._read()
            for command in self._take():
                if isinstance(command, Start):
                    return command
        return None

    def _record(self, options: RecordOptions) -> Ended:
        directory = ""
        try:
            with contextlib.ExitStack() as stack:
                stop = stack.enter_context(StopRequest())
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
                for note in targets.check(options.targets):
                    self._outbox.send(Note(note))
                launched, output = self._launch(options, stack)
                model = LiveModel()
                session = Session(options, self._report, launched, model)
                stack.callback(session.close)
                model.begin(session.began)
                directory = str(session.directory)
                where = output.put_into(session.directory) if output is not None else ""
                tgid = launched.tgid if launched is not None else 0
                self._outbox.send(Opened(directory, live=True, tgid=tgid, output=where))
                for program, reason in session.failed.items():
                    if any(spec.program == program for spec in options.programs):
                        self._outbox.send(KindFailed(program, reason))
                if launched is not None:
                    launched.release()
                archive = stack.enter_context(contextlib.closing(Archive(session.directory)))
                self._run(session, model, archive, options, stop, launched)
                return self._finish(session, launched, directory)
        except StacksError as error:
            return Ended(directory, failure=str(error), exit_code=error.exit_code)
        except KeyboardInterrupt:
            return Ended(directory, failure="stopped at once.", exit_code=1)
        except Exception as error:  # noqa: BLE001  # the process's last words
            self._outbox.send(LogLine(repr(error), "error"))
            what = f"internal error: {type(error).__name__}: {error}."
            return Ended(directory, failure=what, exit_code=1)

    def _launch(
        self, options: RecordOptions, stack: contextlib.ExitStack
    ) -> tuple[Launched | None, ProgramOutput | None]:
        argv = options.targets.argv
        if not argv:
            return None, None
        output = stack.enter_context(ProgramOutput(options.directory, invoking_user()))
        with output.as_standard_streams():
            launched = launch(argv)
        return stack.enter_context(launched), output

    def _run(
        self,
        session: Session,
        model: LiveModel,
        archive: Archive,
        options: RecordOptions,
        stop: StopRequest,
        launched: Launched | None,
    ) -> None:
        header = Header(session, model, options.programs)
        self._outbox.send(Phase("recording"))
        began = time.monotonic()
        end = began + options.duration_s if options.duration_s is not None else float("inf")
        watched = set(options.targets.pids)
        second = began
        ready = select.poll()
        ready.register(self._fd, select.POLLIN)
        ready.register(stop, select.POLLIN)
        if launched is not None:
            ready.register(launched, select.POLLIN)
        failure_told = False
        while not (self._stopping or stop.requested or session.failure or self._outbox.broken):
            now = time.monotonic()
            if now >= end:
                return
            wait = min(second + 1, end, self._due) - now
            events = dict(ready.poll(max(MOST_OFTEN_MS, round(1000 * wait))))
            if self._fd in events:
                self._read()
                for command in self._take():
                    self._obey(command, session, watched)
                if self._gone:
                    return
            if launched is not None and launched.poll() is not None:
                self._outbox.send(TargetsEnded(launched.poll()))
                return
            if time.monotonic() >= second + 1:
                second = max(second + 1, time.monotonic() - 1)
                model.set_processes(session.processes())
                model.advance(time.time_ns() - SETTLED_NS)
                self._look_at(watched)
                if model.failure is not None and not failure_told:
                    failure_told = True
                    what = f"the live figures stopped ({model.failure!r}); the recording goes on."
                    self._outbox.send(LogLine(what, "error"))
            if self._is_due():
                self._show(session, model, archive, header)

    def _show(self, session: Session, model: LiveModel, archive: Archive, header: Header) -> None:
        self._due = time.monotonic() + self._interval
        view = self._view
        if view.instance is not None and view.panel in _OF_INSTANCES:
            view, found = archive.answer(view)
        else:

            def timeline() -> Timeline:
                return archive.timeline(view) if view.narrows else model.timeline(header.gaps())

            found = answer(model.view(), view, timeline)
        status = session.status()
        for note in status.notes:
            self._outbox.send(Note(note))
        self._outbox.send(header.snapshot(view, found, status, time.time_ns()))

    def _is_due(self) -> bool:
        due = self._due
        if self._outbox.snapshot_waits:  # they are not taken: nobody looks
            due = max(due, due - self._interval + HELD_UP_S)
        return time.monotonic() >= due

    def _finish(self, session: Session, launched: Launched | None, directory: str) -> Ended:
        if launched is not None and self._stopping and self._stopping.end_program:
            launched.send(signal.SIGINT)
            launched.wait(LAST_WORDS_S)
        outcome: Outcome = session.finish()
        if launched is not None:
            outcome = replace(outcome, exit_status=launched.poll())
        failure = outcome.failure or ""
        return Ended(directory, outcome, failure, exit_code=1 if failure else 0)

    def _report(self, status: Status) -> None:
        self._outbox.send(Phase(status.phase))
        for note in status.notes:
            self._outbox.send(Note(note))

    def _look_at(self, watched: set[int]) -> None:
        """Tell when the last of the processes named by number has ended; once."""
        if watched and not any(procfs.tgid_of(pid) for pid in watched):
            watched.clear()
            self._outbox.send(TargetsEnded(None))

    def _obey(self, command: Command, session: Session, watched: set[int]) -> None:
        try:
            if isinstance(command, SetView):
                self._view = command.view
                self._due = 0.0
            elif isinstance(command, SetRefresh):
                self._set_refresh(command.hz)
            elif isinstance(command, Stop):
                self._stopping = command
            elif isinstance(command, SetProgram):
                self._attach(command.spec, session)
                self._due = 0.0
            elif isinstance(command, DropProgram):
                session.detach(command.program)
                self._due = 0.0
            elif isinstance(command, AddTarget):
                _add_target(command, session)
                watched.update({command.pid} - {0})
            elif isinstance(command, DropTarget):
                session.targets.drop(command.pid)
                watched.discard(command.pid)
        except StacksError as error:
            self._outbox.send(Note(str(error)))

    def _attach(self, text: str, session: Session) -> None:
        spec = parse_program(text)
        self._outbox.send(Phase(f"attaching {spec.program}"))
        try:
            session.attach(spec)
        except StacksError as error:
            self._outbox.send(KindFailed(spec.program, str(error)))
        self._outbox.send(Phase("recording"))

    def _set_refresh(self, hz: float) -> None:
        self._interval = 1 / min(hz, MOST_HZ) if hz > 0 else float("inf")
        self._due = min(self._due, time.monotonic() + self._interval) if hz > 0 else float("inf")

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ)
            self._gone = not data
            self._waiting += self._reader.feed(data)
        except (OSError, ProtocolError) as error:
            self._outbox.send(LogLine(str(error), "error"))
            self._gone = True

    def _take(self) -> Iterator[Command]:
        while self._waiting:
            yield self._waiting.pop(0)


def _add_target(command: AddTarget, session: Session) -> None:
    if command.pid:
        session.targets.add_pid(command.pid)
    if command.comm:
        session.targets.add_comm(command.comm)
    if command.cgroup:
        session.targets.add_cgroup(str(Path(command.cgroup)))
