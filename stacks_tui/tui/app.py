"""The program with a screen: one source after another, one main screen.

Comes in: what to start or open, the user's taste, and how sources are made. Goes out: the directory
and outcome of the last session. A thread listens to the source and posts each frame; nothing else
happens in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.worker import get_current_worker

from stacks_tui import text
from stacks_tui.config import Config
from stacks_tui.live.snapshot import Snapshot
from stacks_tui.live.view import View
from stacks_tui.session.priority import as_usual
from stacks_tui.session.protocol import (
    Command,
    Ended,
    Frame,
    KindFailed,
    LogLine,
    Note,
    Opened,
    OptionsFor,
    Phase,
    SetRefresh,
    SetView,
    Start,
    Stop,
    TargetsEnded,
)
from stacks_tui.session.source import Source
from stacks_tui.tui import theme, words
from stacks_tui.tui.messages import Arrived
from stacks_tui.tui.screens.main import MainScreen
from stacks_tui.tui.terminal import Terminal
from stacks_tui.tui.wanted import Left, Wanted, what_is_started
from stacks_tui.tui.warm import warm
from stacks_tui.tui.widgets.paper import PaperLine

OpenLive = Callable[[Start], Source]
OpenRecording = Callable[[Path, View], Source]

_LOG_LINES = 2000
_IDLE_AFTER_S = 3.0
"""By then the first rows stand, as a rule."""
_LOOK_S = 1.0
"""How often it is looked whether there still is a terminal."""


class StacksApp(App[Left]):
    """See the module."""

    TITLE = "stacks-tui"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012  # as the base declares it
        (0, "-narrow"),
        (100, "-normal"),
        (140, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-tiny"),
        (14, "-short"),
        (28, "-tall"),
        (40, "-roomy"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q,ctrl+c", "leave", "quit", show=False, priority=True, id="app.quit")
    ]

    def __init__(
        self,
        wanted: Wanted,
        config: Config,
        open_live: OpenLive,
        open_recording: OpenRecording,
        options_for: OptionsFor | None = None,
    ) -> None:
        """`options_for`: a start for targets that are picked on the screen; None: there is none."""
        super().__init__(driver_class=Terminal, ansi_color=False)
        self.taste = config
        self.animation_level = "none"
        for one in theme.THEMES:
            self.register_theme(one)
        self.theme = config.theme
        self._wanted = wanted
        self._open_live, self._open_recording = open_live, open_recording
        self.options_for = options_for
        self._source: Source | None = None
        self._number = 0
        self._started: Start | None = None
        self._left = Left()
        self._leaving = False
        self._stopped_at = 0.0
        self._handled = threading.Event()
        """The last frame that was posted has been handled."""
        self.refresh_hz = config.refresh_hz
        self.directory = ""
        """Of the recording that is written or read; empty: none yet."""
        self.output = ""
        """Where the launched program's output goes."""
        self.live = False
        self.ended: Ended | None = None
        self.said: deque[PaperLine] = deque(maxlen=_LOG_LINES)
        self.main: MainScreen

    def get_default_screen(self) -> MainScreen:
        """The main screen, under all others."""
        window = {key: window for key, window, _ in words.WINDOWS}[self.taste.window]
        start = self._wanted.start
        view = start.view if start is not None else View()
        view = replace(view, window=window, minimum_share=self.taste.minimum_share)
        self.main = MainScreen(view)
        return self.main

    def on_mount(self) -> None:
        """Take the user's keys, then begin."""
        self.set_keymap(dict(self.taste.keys))
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            leave = functools.partial(self.call_later, self.action_leave)
            loop.add_signal_handler(signal.SIGTERM, leave)
            loop.set_default_executor(ThreadPoolExecutor(initializer=as_usual))
            self.set_timer(_IDLE_AFTER_S, self._load_the_rest)
            self.set_interval(_LOOK_S, self._look_at_terminal)
        if self._wanted.start is not None:
            self.begin(self._wanted.start)
        elif self._wanted.path is not None:
            self.look_at(self._wanted.path)
        else:
            self.call_after_refresh(self.main.action_targets)

    def _look_at_terminal(self) -> None:
        """Leave if it is gone; the collector writes its recording whole by itself."""
        if isinstance(self._driver, Terminal) and self._driver.gone:
            self._depart(at_once=True)

    @work(thread=True, group="warm", exit_on_error=False, name="warm")
    def _load_the_rest(self) -> None:
        warm()

    def handle_bindings_clash(self, clashed_bindings: set[Binding], node: object) -> None:
        """Tell once which keys mean two things."""
        names = ", ".join(sorted(binding.id or binding.key for binding in clashed_bindings))
        self.tell(f"keys clash in the configuration: {names}", "warning")

    # sources

    @property
    def can_restart(self) -> bool:
        """There was a live session, and it is over."""
        return self._started is not None and not self.live

    def begin(self, start: Start) -> None:
        """Collect."""
        collected = {spec.program for spec in start.options.programs}
        if words.PROGRAM_OF_TAB[self.main.desk.view.tab] not in collected:
            tabs = (tab for tab in words.TAB_ORDER if words.PROGRAM_OF_TAB[tab] in collected)
            self.main.desk.go(tab=next(tabs, self.main.desk.view.tab))
        start = replace(start, view=self.main.wanted(), refresh_hz=self.refresh_hz)
        self._started = start
        self.live, self.ended, self.directory = True, None, ""
        self.main.now("starting", what_is_started(start))
        self._take(self._open_live(start))

    def look_at(self, path: Path) -> None:
        """Show a recording."""
        self.live = False
        self.directory = str(path)
        self.main.now("recording" if self.ended is None else "ended")
        desk = self.main.desk
        if not desk.view.window.end:
            desk.view = replace(desk.view, window=words.WINDOWS[-1][1])
        try:
            self._take(self._open_recording(path, self.main.wanted()))
        except Exception as error:  # noqa: BLE001  # whatever is wrong with it is said
            self.tell(f"can't open {path}: {error}", "error")

    def restart(self) -> None:
        """Collect the same again, into a new folder."""
        if self._started is not None and not self.live:
            options = replace(self._started.options, directory=None)
            self.begin(replace(self._started, options=options))

    def _take(self, source: Source) -> None:
        self._leave_source()
        self._number += 1
        self._source = source
        self._listen(source, self._number)
        source.post(SetRefresh(self.refresh_hz))

    def _leave_source(self, *, at_once: bool = False) -> None:
        """Close the source before, where it can't hold up the screen; `at_once`: nor the end of the
        program, which the collector notices."""
        source, self._source = self._source, None
        if source is not None:
            threading.Thread(target=source.close, name="close", daemon=at_once).start()

    @work(thread=True, group="source", exit_on_error=False, name="source")
    def _listen(self, source: Source, number: int) -> None:
        worker = get_current_worker()
        while not worker.is_cancelled and number == self._number:
            try:
                frame = source.poll(0.25)
            except Exception as error:  # noqa: BLE001  # a dead source is told, never raised
                frame = Ended(failure=f"{type(error).__name__}: {error}", crashed=True, exit_code=1)
            if frame is not None:
                self._handled.clear()
                self.post_message(Arrived(frame, number))
                if isinstance(frame, Ended):
                    return
                while not self._handled.wait(0.25):  # a terminal may stand still: newer ones wait
                    if worker.is_cancelled or number != self._number:
                        return

    def send(self, command: Command) -> None:
        """Post a command to what is looked at."""
        if self._source is not None:
            self._source.post(command)

    def ask(self, view: View) -> None:
        """Want this view from now on."""
        self.send(SetView(view))

    def on_arrived(self, message: Arrived) -> None:
        """A frame of the source that is looked at."""
        try:
            if message.source == self._number:
                self._handle(message.frame)
        finally:
            self._handled.set()

    def _handle(self, frame: Frame) -> None:
        main = self.main
        match frame:
            case Snapshot():
                main.take(frame)
            case Phase(phase):
                main.now(
                    "writing" if phase == "writing" or self._leaving else main.mode, phase=phase
                )
                self.say(phase)
            case Opened(directory, live, _, output):
                self.directory, self.output = directory, output
                if live:
                    main.now("live")
                self.say(f"{'recording to' if live else 'opened'} {directory}")
                if output:
                    self.say(f"the program's output goes to {output}")
                main.opened()
            case Note(said):
                self.tell(said)
            case KindFailed(program, reason):
                self.tell(f"can't collect {program}: {reason}", "warning")
            case LogLine(said, level):
                self.say(said, {"warning": "warn", "error": "bad"}.get(level, ""))
            case TargetsEnded(status):
                told = "the targets have ended" if status is None else f"it ended, exit {status}"
                self._left = replace(self._left, exit_status=status)
                self.tell(told)
            case Ended():
                self._end(frame)

    def _end(self, ended: Ended) -> None:
        was_live, self.live = self.live, False
        if not was_live:
            if ended.failure:
                self.main.now("dead")
                self.tell(ended.failure, "error")
            return
        self.ended = ended
        outcome = ended.outcome
        self._left = replace(
            self._left,
            outcome=outcome,
            directory=ended.directory or self.directory,
            failure=ended.failure,
            exit_code=ended.exit_code,
        )
        self.say(f"ended: {ended.failure or 'all is written'}", "bad" if ended.failure else "head")
        if self._leaving:
            self._depart()
            return
        if ended.crashed:
            self.main.now("dead", phase=ended.failure)
            return
        if ended.failure:
            self.tell(ended.failure, "error")
        directory = ended.directory or self.directory
        if directory and (outcome is None or any(kind.events for kind in outcome.kinds)):
            self.look_at(Path(directory))
        else:
            self.main.now("dead" if ended.failure else "ended", phase=ended.failure)

    # what is said

    def say(self, said: str, look: str = "") -> None:
        """Into the log."""
        stamp = time.strftime("%H:%M:%S ")
        self.said.append(((stamp, "dim"), (text.printable(said), look)))

    def tell(self, said: str, severity: str = "information") -> None:
        """Into the log, and to the person for some seconds."""
        look = {"warning": "warn", "error": "bad"}.get(severity, "")
        self.say(said, look)
        self.notify(
            text.printable(said[:600]),
            severity="error" if severity == "error" else "warning" if look else "information",
            markup=False,
            timeout=6,
        )

    # leaving

    async def action_leave(self) -> None:
        """End the session and go; asked again while it writes: go at once."""
        if not self.live or self._source is None:
            self._depart()
        elif self._leaving and time.monotonic() - self._stopped_at > 0.5:
            self.say("left before all was written; it is recovered when it is opened", "warn")
            self._left = replace(self._left, directory=self.directory)
            self._depart(at_once=True)
        elif not self._leaving:
            self._leaving = True
            self._stopped_at = time.monotonic()
            self.main.leaving()
            self.send(Stop())

    def _depart(self, *, at_once: bool = False) -> None:
        self._number += 1  # the listener ends
        self._leave_source(at_once=at_once)
        self.exit(self._left)

    def on_unmount(self) -> None:
        """However the screen ends, the source is given back."""
        self._number += 1
        with contextlib.suppress(RuntimeError):
            self._leave_source()
