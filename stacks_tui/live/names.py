"""What processes, threads and spans are called."""

from __future__ import annotations

from dataclasses import dataclass, field

from stacks_tui.enrich.processes import ProcessRow


@dataclass(slots=True)
class Names:
    """By number; who is not there has no name."""

    commands: dict[int, str] = field(default_factory=dict)
    """By tgid: comm of the process."""
    threads: dict[int, str] = field(default_factory=dict)
    """By pid: comm of the thread."""
    tgids: dict[int, int] = field(default_factory=dict)
    """By pid."""
    processes: dict[int, ProcessRow] = field(default_factory=dict)
    """By tgid: the newest row of it."""
    spans: list[str] = field(default_factory=list)
    """By the number that cells have."""
    resident: dict[int, int] = field(default_factory=dict)
    """By tgid: bytes, the newest known."""

    def command(self, tgid: int) -> str:
        """comm of a process; empty: not known."""
        row = self.processes.get(tgid)
        return self.commands.get(tgid) or (row.comm if row is not None and row.comm else "")
