"""What the thread that listens to a source tells the app."""

from __future__ import annotations

from textual.message import Message

from stacks_tui.session.protocol import Frame


class Arrived(Message):
    """A frame came."""

    def __init__(self, frame: Frame, source: int) -> None:
        super().__init__()
        self.frame = frame
        self.source = source
        """Number of the source it came from: one that was left is no longer listened to."""
