"""Answers about single spans while it is recorded: from what is written, not from what is kept.

Comes in: views of one instance. Goes out: answers, a moment later. A thread of its own opens the
recording as it is by then and asks it: so memory need not grow with the number of instances, and no
event is missing but the newest second's.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

from stacks_tui.errors import StacksError
from stacks_tui.live.answers import Answer
from stacks_tui.live.snapshot import Timeline
from stacks_tui.live.view import View
from stacks_tui.owner import invoking_user

READING = "reading this span's events from what is recorded …"
AGAIN_S = 2.0
"""After which an answer about an open span is made anew …"""
SHARE = 10
"""… or so many times as long as it took, if that is more."""
WRITTEN_NS = 3 * 10**9
"""After which all of a closed span is written."""
_NICE = 10
_MEMORY = 512 << 20
_NOTHING = Timeline(0, 1, ())


class Archive:
    """See the module. `answer` is asked by one thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._change = threading.Condition()
        self._wanted: View | None = None
        self._given: tuple[View, Answer] | None = None
        self._again = 0.0
        """When what is given is old; monotonic."""
        self._ended = False
        self._thread: threading.Thread | None = None

    def answer(self, view: View) -> tuple[View, Answer]:
        """The newest answer to this view, or to one that differs only in what is selected."""
        with self._change:
            given = self._given
            if given is None or given[0] != view or time.monotonic() > self._again:
                self._wanted = view
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="archive", daemon=True)
                    self._thread.start()
                self._change.notify()
        if given is not None and replace(given[0], selected=view.selected) == view:
            return given
        assert view.instance is not None
        one = view.instance
        return view, Answer(None, None, one.begin, one.until or time.time_ns(), READING)

    def close(self) -> None:
        """End; an answer that is under way is not waited for long."""
        with self._change:
            self._ended = True
            self._change.notify()
        if self._thread is not None:
            self._thread.join(1.0)

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
            began = time.monotonic()
            found = self._make(view)
            took = time.monotonic() - began
            with self._change:
                self._given = view, found
                self._again = time.monotonic() + max(AGAIN_S, SHARE * took)
                if _is_over(view) and found.rows is not None:
                    self._again = float("inf")

    def _make(self, view: View) -> Answer:
        from stacks_tui.live.answers import answer
        from stacks_tui.live.recorded import RecordedTotals  # DuckDB: who never asks does without
        from stacks_tui.store.reader import open_recording

        assert view.instance is not None
        try:
            with open_recording(self._directory, invoking_user(), _MEMORY, 1) as recording:
                return answer(RecordedTotals(recording), view, lambda: _NOTHING)
        except StacksError as error:
            return Answer(None, None, view.instance.begin, view.instance.until, str(error))


def _is_over(view: View) -> bool:
    """Nothing of its span can be written any more."""
    until = view.instance.until if view.instance is not None else 0
    return 0 < until < time.time_ns() - WRITTEN_NS
