"""The picker: processes, threads, names, cgroups and containers that run, narrowed as one types.

Comes in: /proc. Goes out: `Picked`. At first it chooses what to record; while recording it adds, or
drops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from stacks_tui import text
from stacks_tui.capture import procfs
from stacks_tui.enrich.proc import container_of, thread_names
from stacks_tui.errors import StacksError
from stacks_tui.session.protocol import AddTarget, Command, DropTarget, OptionsFor, Start
from stacks_tui.tui.screens.dialogs import Option, narrowed
from stacks_tui.tui.widgets.table import Column, Line, Table

if TYPE_CHECKING:
    from stacks_tui.tui.app import StacksApp

_COLUMNS = (
    Column("mark", "", 1),
    Column("what", "", 8),
    Column("name", "name", 18),
    Column("pid", "pid", 8, right=True),
    Column("says", "command", 0),
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing that can be recorded."""

    what: str
    """`process`, `thread`, `name`, `cgroup` or `container`."""
    name: str
    pid: int
    says: str
    cgroup: str = ""
    """Its path, of a cgroup or container."""


@dataclass(frozen=True, slots=True)
class Picked:
    """What was chosen."""

    pids: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    drop: tuple[int, ...] = ()


def candidates() -> list[Candidate]:
    """Processes that run (no kernel threads), newest first; names that several bear, or threads of
    their own name; cgroups and containers."""
    processes: list[tuple[int, Candidate]] = []
    names: dict[str, int] = {}
    threads: dict[str, set[str]] = {}
    cgroups: dict[str, int] = {}
    for tgid, stat in procfs.every_stat():
        if stat.kernel_thread:
            continue
        says = procfs.cmdline(tgid) or ""
        processes.append((stat.start_ticks, Candidate("process", stat.comm, tgid, says)))
        names[stat.comm] = names.get(stat.comm, 0) + 1
        for name in set(thread_names(tgid).values()) - {stat.comm}:
            threads.setdefault(name, set()).add(stat.comm)
        group = procfs.cgroup(tgid)
        if group and group != "/":
            cgroups[group] = cgroups.get(group, 0) + 1
    found = [one for _, one in sorted(processes, key=lambda pair: -pair[0])]
    several = [
        Candidate("name", name, 0, f"{number} processes, and those to come")
        for name, number in sorted(names.items())
        if number > 1
    ]
    of_threads = [
        Candidate("thread", name, 0, f"threads of this name, of {', '.join(sorted(of)[:4])}")
        for name, of in sorted(threads.items())
    ]
    return several + found + candidate_groups(cgroups) + of_threads


def candidate_groups(cgroups: dict[str, int], most: int = 1000) -> list[Candidate]:
    """Containers by what they are called, and the cgroups that hold processes; at most so many."""
    found = []
    for path, number in sorted(cgroups.items()):
        container = container_of(path)
        what, name = "cgroup", path.rpartition("/")[2]
        if container:
            what, name = "container", container[:12] if len(container) >= 32 else container
        found.append(Candidate(what, name, 0, f"{path}  ({number} processes)", path))
    return sorted(found, key=lambda one: one.what != "container")[:most]


class TargetsScreen(ModalScreen[Picked | None]):
    """See the module."""

    DEFAULT_CSS = """
    TargetsScreen { align: center middle; background: $background 50%; }
    TargetsScreen > Vertical {
        width: 96%; max-width: 120; height: 90%; background: $surface; border: round $primary;
    }
    TargetsScreen Table { background: $surface; }
    TargetsScreen Input, TargetsScreen Input:focus {
        border: none; height: 1; padding: 0 1; background: $panel;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "back", id="targets.leave"),
        Binding("down", "step(1)", show=False, priority=True, id="targets.down"),
        Binding("up", "step(-1)", show=False, priority=True, id="targets.up"),
        Binding("pagedown", "step(10)", show=False, priority=True, id="targets.pagedown"),
        Binding("pageup", "step(-10)", show=False, priority=True, id="targets.pageup"),
        Binding("tab", "mark", "choose several", priority=True, id="targets.mark"),
        Binding("ctrl+d", "drop", "drop", priority=True, id="targets.drop"),
        Binding("f5", "reload", "look again", id="targets.reload"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._all: list[Candidate] = []
        self._marked: set[Candidate] = set()

    def compose(self) -> ComposeResult:
        """What narrows, and the list."""
        with Vertical() as box:
            box.border_title = "what to record"
            box.border_subtitle = "enter record · tab several · ^d drop · F5 again · esc back"
            yield Input(placeholder="name, number or part of the command or cgroup", id="narrow")
            yield Table(id="candidates")

    def on_mount(self) -> None:
        """Look at what runs, off the screen's thread."""
        self.query_one("#narrow", Input).focus()
        self.action_reload()

    @work(thread=True, exclusive=True, group="candidates")
    def action_reload(self) -> None:
        """Look again."""
        found = candidates()
        self.app.call_from_thread(self._found, found)

    def _found(self, found: list[Candidate]) -> None:
        self._all = found
        self._show()

    def _show(self) -> None:
        sought = self.query_one("#narrow", Input).value
        options = [Option(one, f"{one.name} {one.pid or ''}", one.says) for one in self._all]
        shown = [one.key for one in narrowed(options, sought)]
        lines = [self._line(one) for one in shown if isinstance(one, Candidate)]
        empty = "no process matches; names of what is to come can be given on the command line"
        self.query_one("#candidates", Table).show(_COLUMNS, lines, empty=empty)

    def _line(self, one: Candidate) -> Line:
        return Line(
            one,
            (
                "●" if one in self._marked else " ",
                one.what,
                ((text.printable(one.name), "leaf"),),
                str(one.pid or ""),
                ((text.printable(one.says[:500]), "caller"),),
            ),
            "pinned" if one in self._marked else "",
        )

    @on(Input.Changed, "#narrow")
    def _narrowed(self) -> None:
        self._show()

    def _here(self) -> Candidate | None:
        line = self.query_one("#candidates", Table).line
        return line.key if line is not None and isinstance(line.key, Candidate) else None

    def action_step(self, rows: int) -> None:
        """Move, also while one types."""
        self.query_one("#candidates", Table).action_step(rows)

    def action_mark(self) -> None:
        """Choose this one too."""
        here = self._here()
        if here is not None:
            self._marked ^= {here}
            self._show()
            self.action_step(1)

    def action_leave(self) -> None:
        """Choose nothing."""
        self.dismiss(None)

    def action_drop(self) -> None:
        """Record this process no longer."""
        here = self._here()
        if here is not None and here.pid:
            self.dismiss(Picked(drop=(here.pid,)))

    @on(Input.Submitted, "#narrow")
    @on(Table.Activated, "#candidates")
    def _done(self) -> None:
        here = self._here()
        chosen = self._marked or ({here} if here is not None else set())
        if chosen:
            self.dismiss(self.picked(chosen))

    @staticmethod
    def picked(chosen: set[Candidate]) -> Picked:
        """What these are to a recorder."""
        return Picked(
            pids=tuple(sorted(one.pid for one in chosen if one.what == "process")),
            names=tuple(sorted(one.name for one in chosen if one.what in ("name", "thread"))),
            cgroups=tuple(sorted(one.cgroup for one in chosen if one.cgroup)),
        )


def commands(picked: Picked) -> list[Command]:
    """For a collector that runs."""
    found: list[Command] = [AddTarget(pid=pid) for pid in picked.pids]
    found += [AddTarget(comm=name) for name in picked.names]
    found += [AddTarget(cgroup=path.lstrip("/")) for path in picked.cgroups]
    found += [DropTarget(pid) for pid in picked.drop]
    return found


def start(
    options_for: OptionsFor,
    picked: Picked,
    app: StacksApp,
) -> Start | None:
    """A session of what was picked; None: it can't be, and that was said."""
    if not (picked.pids or picked.names or picked.cgroups):
        return None
    if len(picked.cgroups) > 1:
        app.tell("one cgroup or container at a time can be recorded; a adds no second", "warning")
        return None
    try:
        return options_for(picked.pids, picked.names, "".join(picked.cgroups).lstrip("/"))
    except StacksError as error:
        app.tell(str(error), "error")
        return None
