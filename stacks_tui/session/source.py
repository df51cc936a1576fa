"""What a screen looks at: a running collector, or a recording. Both send the same frames.

LiveSource(Start(options, view))            session.supervisor: a collector process of its own
RecordingSource(path, view, baseline=None)  session.playback: a recording, by its queries
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from stacks_tui.session.protocol import Command, Frame


class Source(Protocol):
    """One thread may post while another takes frames; `close` may be called by any."""

    def post(self, command: Command) -> None:
        """Send a command; returns at once. After the end nothing happens.

        A recording answers `SetView` and `SetRefresh`, ends at `Stop`, and says by a `Note` that
        the others have no meaning.
        """

    def poll(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame; None: none came in this time (None: wait for ever), or after `Ended`."""

    def frames(self) -> Iterator[Frame]:
        """All frames up to and including `Ended`; waits for each."""

    def close(self) -> None:
        """Give everything back. A collector that still runs is asked to stop, and waited for."""
