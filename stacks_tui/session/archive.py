"""Answers while it is recorded from what is written, not from what is kept.

Comes in: views of one span, or timelines of what passes a filter. Goes out: answers, a moment
later. A thread of its own opens the recording as it is by then and asks it: so memory need not grow
with the number of spans or with what a filter may ask, and no event is missing but the newest
seconds'.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stacks_tui.errors import StacksError
from stacks_tui.live.answers import Answer
from stacks_tui.live.snapshot import Timeline
from stacks_tui.live.view import ALL, Panel, View
from stacks_tui.owner import invoking_user

if TYPE_CHECKING:
    from stacks_tui.store.reader import Recording

READING = "reading this span's events from what is recorded …"
READING_STRIPS = "reading what passes from what is recorded …"
AGAIN_S = 2.0
"""After which an answer about what goes on is made anew …"""
SHARE = 10
"""… or so many times as long as it took, if that is more."""
WRITTEN_NS = 3 * 10**9
"""After which all that has happened is written."""
_NICE = 10
_MEMORY = 512 << 20


class Archive:
    """See the module. It is asked by one thread."""

    def __init__(self, directory: Path, memory: int = _MEMORY) -> None:
        """`memory`: bytes that its queries may take; one that needs more has no answer, and says
        so."""
        self._directory = directory
        self._memory = memory
        self._change = threading.Condition()
        self._wanted: View | None = None
        self._working: View | None = None
        """What is being answered."""
        self._recording: Recording | None = None
        """What is being asked for it."""
        self._dropped = False
        """What is being answered is no longer wanted."""
        self._given: tuple[View, Answer] | None = None
        self._again = 0.0
        """When what is given is old; monotonic."""
        self._ended = False
        self._thread: threading.Thread | None = None

    def answer(self, view: View) -> tuple[View, Answer]:
        """The newest answer to this view, or to one that differs only in what is selected."""
        given = self._ask(view)
        if given is not None and _alike(given[0], view):
            return given
        assert view.instance is not None
        one = view.instance
        return view, Answer(None, None, one.begin, one.until or time.time_ns(), READING)

    def timeline(self, view: View) -> Timeline:
        """The newest strips of what passes the view's filter, whatever else the view has.

        Raises:
            StacksError: there are none yet, or can't be; it says why.
        """
        asked = View(
            panel=Panel.TIMELINE,
            window=ALL,
            shown=view.shown,
            filter=view.filter,
            tgid=view.tgid,
            pid=view.pid,
        )
        given = self._ask(asked)
        if given is None or given[0] != asked:
            raise StacksError(READING_STRIPS)
        if not isinstance(given[1].rows, Timeline):
            raise StacksError(given[1].note)
        return given[1].rows

    def close(self) -> None:
        """End; an answer that is under way is dropped."""
        with self._change:
            self._ended = True
            self._change.notify()
        for _ in range(10):  # one between two queries does not notice
            if self._thread is None or not self._thread.is_alive():
                return
            with self._change:
                self._drop()
            self._thread.join(0.1)

    def _ask(self, view: View) -> tuple[View, Answer] | None:
        """What is given by now; the thread is told if that is old, or is no answer to this."""
        with self._change:
            given = self._given
            new = given is not None and given[0] == view and time.monotonic() <= self._again
            if new or (self._working == view and not self._dropped):
                self._wanted = None
            else:
                self._wanted = view
                if self._working is not None and not _alike(self._working, view):
                    self._drop()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="archive", daemon=True)
                    self._thread.start()
                self._change.notify()
            return given

    def _drop(self) -> None:
        if self._working is not None:
            self._dropped = True
        if self._recording is not None:
            self._recording.interrupt()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # of this thread alone
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while True:
            with self._change:
                while self._wanted is None and not self._ended:
                    self._change.wait()
                if self._ended or self._wanted is None:
                    return
                view, self._wanted = self._wanted, None
                self._working, self._dropped = view, False
            began = time.monotonic()
            found = self._make(view)
            took = time.monotonic() - began
            with self._change:
                self._working = None
                if self._dropped:
                    continue
                self._given = view, found
                self._again = time.monotonic() + max(AGAIN_S, SHARE * took)
                if _is_over(view) and found.rows is not None:
                    self._again = float("inf")

    def _make(self, view: View) -> Answer:
        begin, end = 0, 0
        if view.instance is not None:
            begin, end = view.instance.begin, view.instance.until
        try:
            return self._read(view)
        except StacksError as error:
            return Answer(None, None, begin, end, str(error))
        except Exception as error:  # noqa: BLE001  # the thread goes on, and the screen says it
            what = f"internal error: {type(error).__name__}: {error}."
            return Answer(None, None, begin, end, what)

    def _read(self, view: View) -> Answer:
        from stacks_tui.live.answers import answer
        from stacks_tui.live.recorded import RecordedTotals  # DuckDB: who never asks does without
        from stacks_tui.store.reader import open_recording

        with open_recording(self._directory, invoking_user(), self._memory, 1) as recording:
            with self._change:
                if self._dropped:
                    raise StacksError("nobody wants it any more.")
                self._recording = recording
            try:
                totals = RecordedTotals(recording)
                return answer(totals, view, lambda: totals.timeline(view, _written(recording)))
            finally:
                with self._change:
                    self._recording = None


def _alike(one: View, other: View) -> bool:
    """They differ at most in what is selected."""
    return replace(one, selected=other.selected) == other


def _written(recording: Recording) -> int:
    """Up to when all is in it; 0: it is whole."""
    if not recording.live or recording.manifest is None:
        return 0
    return recording.manifest.status.end - WRITTEN_NS


def _is_over(view: View) -> bool:
    """Nothing of its span can be written any more."""
    until = view.instance.until if view.instance is not None else 0
    return 0 < until < time.time_ns() - WRITTEN_NS
