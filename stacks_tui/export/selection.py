"""Which events an export takes: the filters, as parameters of prepared queries and in words.

Comes in: what the command line or a screen selected. Goes out: values for `$command`, `$buildid`,
`$pid`, `$thread`, `$cgroup`, `$span`, `$begin` and `$end`; null means no filter.
"""

from __future__ import annotations

from dataclasses import dataclass

from stacks_tui.store.manifest import iso_time
from stacks_tui.store.reader import Narrowing
from stacks_tui.text import printable

Value = str | int | float | bool | bytes | list[int] | list[str] | None


@dataclass(frozen=True, slots=True)
class Selection:
    """The filters; all that are given must hold."""

    command: str | None = None
    """Name of the process (comm)."""
    buildid: bytes | None = None
    """Of the executable."""
    pids: tuple[int, ...] = ()
    """Processes; empty: all."""
    thread: str | None = None
    """Name of the thread, or its number."""
    cgroup: str | None = None
    """Path of a cgroup, with all below it, or the name of a container."""
    span: str | None = None
    """Name of a span, or its number."""
    begin: int | None = None
    """ns since the Unix epoch: events that end at this time or later."""
    end: int | None = None
    """ns since the Unix epoch: events that end before. Adjacent windows add up to the whole."""

    narrowing: Narrowing | None = None
    """What the recording's views are replaced by: a filter of the screen."""
    filter: str = ""
    """In words: what `narrowing` lets pass."""

    def parameters(self) -> dict[str, Value]:
        """The values by the names that queries use; a build id as hexadecimal digits."""
        return {
            "command": self.command,
            "buildid": None if self.buildid is None else self.buildid.hex(),
            "pid": list(self.pids) or None,
            "thread": self.thread,
            "cgroup": self.cgroup,
            "span": self.span,
            "begin": self.begin,
            "end": self.end,
        }

    def words(self, *, times: bool = True) -> str:
        """The filters as text for comments and titles; empty: there are none."""
        parts = [
            f"{name} {printable(value)}"
            for name, value in (
                ("command", self.command),
                ("thread", self.thread),
                ("cgroup", self.cgroup),
                ("span", self.span),
            )
            if value is not None
        ]
        if self.buildid is not None:
            parts.append(f"build id {self.buildid.hex()}")
        if self.pids:
            parts.append(f"pid {', '.join(map(str, self.pids))}")
        if self.filter:
            parts.append(f"filter {printable(self.filter)}")
        if times and self.begin is not None:
            parts.append(f"from {iso_time(self.begin)}")
        if times and self.end is not None:
            parts.append(f"before {iso_time(self.end)}")
        return "; ".join(parts)
