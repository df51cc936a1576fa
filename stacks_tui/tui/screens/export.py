"""The export screen: what is shown, as a file for another program.

Comes in: the recording's folder, the view and its window. Goes out: a file; its path is said. The
formats are those of `export.registry`; what each would hold is told before it is written.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, ProgressBar, Static

from stacks_tui import text
from stacks_tui.errors import StacksError
from stacks_tui.live.snapshot import Snapshot
from stacks_tui.live.view import View
from stacks_tui.tui.export_plan import Plan, default_name, plan
from stacks_tui.tui.widgets.table import Column, Line, Table

if TYPE_CHECKING:
    from stacks_tui.export.job import ExportResult, Job
    from stacks_tui.export.registry import Format
    from stacks_tui.export.task import Progress

_COLUMNS = (Column("format", "format", 16), Column("says", "what one gets, and what opens it", 0))
_WAIT_S = 0.3
"""How long a format is looked at before its file is worked out."""


class ExportScreen(ModalScreen[None]):
    """See the module."""

    DEFAULT_CSS = """
    ExportScreen { align: center middle; background: $background 50%; }
    ExportScreen > Vertical {
        width: 96%; max-width: 110; height: auto; max-height: 90%; background: $surface;
        border: round $primary; padding: 0 1;
    }
    ExportScreen Table { height: 12; background: $surface; }
    ExportScreen Input, ExportScreen Input:focus {
        border: none; height: 1; padding: 0; background: $panel;
    }
    ExportScreen Static { height: auto; color: $text-muted; }
    ExportScreen ProgressBar { display: none; height: 1; }
    ExportScreen.-working ProgressBar { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "stop or back", priority=True, id="export.leave"),
        Binding("ctrl+s", "write", "write", priority=True, id="export.write"),
        Binding("ctrl+o", "open", "open it", priority=True, id="export.open"),
        Binding("down", "step(1)", show=False, priority=True, id="export.down"),
        Binding("up", "step(-1)", show=False, priority=True, id="export.up"),
    ]

    def __init__(
        self, directory: str, view: View, snap: Snapshot | None, *, at_once: str = ""
    ) -> None:
        """What is exported; `at_once`: the format that is written without a question."""
        super().__init__()
        self._directory, self._view, self._snap, self._at_once = directory, view, snap, at_once
        self._formats: dict[str, Format[Any]] = {}
        self._stop = threading.Event()
        self._working = False
        self._looked = threading.Event()
        """Set: nobody wants to know any more what the file would hold."""
        self._says: tuple[str, str] = ("", "")
        """What is planned, and what is to be expected of it."""
        self._written: tuple[Path, Job] | None = None
        self._named = False

    def compose(self) -> ComposeResult:
        """Formats, file name, what it holds."""
        with Vertical() as box:
            box.border_title = "export what is shown"
            box.border_subtitle = "enter write · ↑↓ format · ^o open it · esc back"
            yield Table(id="formats", empty="no format is installed")
            yield Input(placeholder="file", id="file", select_on_focus=False)
            yield Static("", markup=False, id="says")
            yield ProgressBar(show_eta=False, id="progress")

    def on_mount(self) -> None:
        """List the formats."""
        from stacks_tui.export.registry import all_formats

        every = {one.name: one for one in all_formats()}
        for one in every.values():
            if not one.hidden:
                self._formats[one.name] = one
                self._formats |= {f"{one.name}: {name}": every[name] for name in one.variants}
        table = self.query_one("#formats", Table)
        lines = [
            Line(name, (((name, "leaf"),), one.answers)) for name, one in self._formats.items()
        ]
        table.show(_COLUMNS, lines)
        self.query_one("#file", Input).focus()
        if self._at_once:
            table.move_to(self._at_once)
        self._chosen()
        if self._at_once:
            self.action_write()

    def _format(self) -> Format[Any] | None:
        line = self.query_one("#formats", Table).line
        return self._formats.get(str(line.key)) if line is not None else None

    def _plan(self) -> Plan | None:
        form = self._format()
        if form is None:
            return None
        name = self.query_one("#file", Input).value.strip()
        path = Path(name or default_name(self._directory, self._view, form)).expanduser()
        return plan(self._directory, self._view, self._snap, form, path)

    @on(Table.Chosen, "#formats")
    def _chosen(self) -> None:
        form = self._format()
        if form is None:
            return
        line = self.query_one("#file", Input)
        if not self._named:
            with line.prevent(Input.Changed):
                line.value = default_name(self._directory, self._view, form)
            line.action_end()
        found = self._plan()
        self._looked.set()
        if found is not None and not self._working:
            lacks = f"\nnot taken along: {found.lacks}" if found.lacks else ""
            self._expect(f"{found.says}{lacks}\nin {Path.cwd()}", "working out what it will hold …")
            if not self._at_once:
                self._looked = threading.Event()
                self._look(found.job, self._looked)

    def _expect(self, plan: str, expected: str) -> None:
        self._says = plan, expected
        self._say(f"{plan}\n{expected}")

    @work(thread=True, exclusive=True, group="look", exit_on_error=False)
    def _look(self, job: Job, looked: threading.Event) -> None:
        """What the file would hold: told when it is known, unless another one is chosen by then."""
        from stacks_tui.export.job import preview

        if looked.wait(_WAIT_S):
            return
        try:
            result = preview(job, cancelled=looked.is_set)
        except StacksError as error:
            said = str(error)
        except Exception as error:  # noqa: BLE001  # told, not raised: the session goes on
            said = f"{type(error).__name__}: {error}"
        else:
            about = f"about {text.size(result.bytes)}, " if result.bytes else ""
            said = f"expected: {about}{_held(result)}"
        if not looked.is_set():
            self.app.call_from_thread(self._looked_at, said, looked)

    def _looked_at(self, said: str, looked: threading.Event) -> None:
        if not looked.is_set() and not self._working:
            self._expect(self._says[0], said)

    @on(Input.Changed, "#file")
    def _renamed(self) -> None:
        self._named = True

    def _say(self, what: str) -> None:
        self.query_one("#says", Static).update("\n".join(map(text.printable, what.splitlines())))

    def action_step(self, rows: int) -> None:
        """Another format."""
        if not self._working:
            self.query_one("#formats", Table).action_step(rows)

    def action_leave(self) -> None:
        """Stop the export, or back."""
        if self._working:
            self._stop.set()
        else:
            self._looked.set()
            self.dismiss(None)

    @on(Input.Submitted, "#file")
    def _submitted(self) -> None:
        self.action_write()

    @on(Table.Activated, "#formats")
    def _activated(self) -> None:
        self.action_write()

    def action_write(self) -> None:
        """Write the file."""
        found = self._plan()
        form = self._format()
        if found is None or form is None or self._working:
            return
        self._working = True
        self._looked.set()
        self._stop.clear()
        self.add_class("-working")
        self._write(found.job)

    @work(thread=True, exclusive=True, group="export", exit_on_error=False)
    def _write(self, job: Job) -> None:
        from stacks_tui.export.job import export

        tell = self.app.call_from_thread
        try:
            result = export(job, lambda progress: tell(self._progress, progress), self._stop.is_set)
        except StacksError as error:
            tell(self._failed, str(error))
        except Exception as error:  # noqa: BLE001  # told, not raised: the session goes on
            tell(self._failed, f"{type(error).__name__}: {error}")
        else:
            tell(self._done, result, job)

    def _progress(self, progress: Progress) -> None:
        bar = self.query_one("#progress", ProgressBar)
        bar.update(total=progress.total or None, progress=progress.done)
        self._say(progress.phase)

    def _over(self) -> None:
        self._working = False
        self.remove_class("-working")

    def _failed(self, why: str) -> None:
        self._over()
        self._say(why)

    def _done(self, result: ExportResult, job: Job) -> None:
        self._over()
        path = (result.path or Path()).absolute()
        self._written = path, job
        said = [f"written: {path}", f"{text.size(result.bytes)}, {_held(result)}", *result.notes]
        self._say("\n".join(said))
        if self._at_once:
            self.dismiss(None)
            self.app.notify(
                "\n".join(map(text.printable, said)),
                title=self._at_once,
                markup=False,
                timeout=12,
            )

    def action_open(self) -> None:
        """Open what was written with the format's viewer, as the user who called sudo."""
        if self._written is None:
            self._say("write it first (enter)")
        elif not self._working:
            self._open(*self._written)

    @work(thread=True, exclusive=True, group="open", exit_on_error=False)
    def _open(self, path: Path, job: Job) -> None:
        from stacks_tui.export.registry import find_format
        from stacks_tui.export.viewer import command_for, start
        from stacks_tui.owner import invoking_user

        user = invoking_user()
        form, said = job.format, ""
        try:
            if form.page is not None:
                self.app.call_from_thread(self._say, "making a page of it …")
                page = form.page(job, path, user)
                form, path, said = find_format("html"), page.path, f"page by {page.by}: "
        except StacksError as error:
            self.app.call_from_thread(self._say, str(error))
            return
        found = command_for(form, path)
        if found is None:
            said += form.viewer_hint or "nothing here opens it;"
            said += f" it is {path}"
        elif user.uid == 0:
            said += f"{path}; not opened: a viewer never runs as root"
        elif start(found[0], user):
            said += f"{path}; opened with {found[1]}"
        else:
            said += f"{path}; can't start {found[0][0]}"
        self.app.call_from_thread(self._say, said)


def _held(result: ExportResult) -> str:
    """How much a file holds, in words."""
    counted = f"{text.count(result.rows)} {'samples' if result.totals else 'events'}"
    if result.stacks:
        counted += f", {text.count(result.stacks)} stacks"
    was = dict(result.totals_before)
    totals = [
        f"{kind.name} {_total(total, kind.unit)}"
        + (f" (before {_total(was[kind], kind.unit)})" if kind in was else "")
        for kind, total in result.totals
    ]
    return "; ".join([counted, *totals])


def _total(total: int, unit: str) -> str:
    return text.quantity(total, {"nanoseconds": "ns", "count": "events"}.get(unit, unit))
