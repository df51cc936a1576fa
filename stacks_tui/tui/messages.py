"""What the thread that listens to a source tells the app."""

from __future__ import annotations

from textual.message import Message

from stacks_tui.live.snapshot import Snapshot
from stacks_tui.session.protocol import Frame


class Arrived(Message):
    """A frame came. Of snapshots only the newest that waits is handled: each holds totals."""

    def __init__(self, frame: Frame, source: int) -> None:
        super().__init__()
        self.frame = frame
        self.source = source
        """Number of the source it came from: one that was left is no longer listened to."""

    def can_replace(self, message: Message) -> bool:
        """Whether this takes the place of a message that waits."""
        return (
            isinstance(message, Arrived)
            and isinstance(self.frame, Snapshot)
            and isinstance(message.frame, Snapshot)
            and self.source == message.source
        )
