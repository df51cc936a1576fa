"""The SQL prompt: a query above, its rows below.

Comes in: the folder of the recording. Goes out: nothing; queries run in `tui.sql_session`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import TextArea

from stacks_tui import text
from stacks_tui.tui.cells import fit
from stacks_tui.tui.screens.dialogs import Ask, Choose, Option
from stacks_tui.tui.widgets.bar import BarLine, Spot
from stacks_tui.tui.widgets.table import Column, Line, Table

if TYPE_CHECKING:
    import pyarrow as pa

    from stacks_tui.tui.sql_session import Answer, SqlSession

_FIRST = "select kind, count(*) as events, sum(duration) / 1e9 as seconds from events group by all"
_KEYWORDS = (
    "select", "from", "where", "group by all", "order by", "limit", "having", "join", "left join",
    "using", "count(*)", "sum(", "avg(", "quantile_cont(", "between", "distinct", "desc", "with",
)  # fmt: skip
_HISTORY = 200
_SHOWN_ROWS = 5000
_WIDEST = 60


class QueryArea(TextArea):
    """Where a query is typed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j,f5", "run", "run", show=False, priority=True, id="sql.run"),
        Binding("tab", "complete", "complete", show=False, priority=True, id="sql.complete"),
        Binding("ctrl+up", "older", "older query", show=False, id="sql.older"),
        Binding("ctrl+down", "newer", "newer query", show=False, id="sql.newer"),
        Binding("ctrl+o", "saved", "saved queries", show=False, id="sql.saved"),
        Binding("ctrl+s", "save", "save rows", show=False, id="sql.save"),
        Binding("escape", "leave", "stop or leave", show=False, priority=True, id="sql.leave"),
    ]

    async def action_run(self) -> None:
        """Run it."""
        await self._prompt.run_action("run")

    async def action_complete(self) -> None:
        """Complete the word."""
        await self._prompt.run_action("complete")

    async def action_older(self) -> None:
        """The query before."""
        self._prompt.recall(-1)

    async def action_newer(self) -> None:
        """The query after."""
        self._prompt.recall(1)

    async def action_saved(self) -> None:
        """Queries that ship with the program."""
        self._prompt.choose_saved()

    async def action_save(self) -> None:
        """Write the rows to a file."""
        self._prompt.save()

    async def action_leave(self) -> None:
        """Stop the query, or leave the prompt."""
        await self._prompt.leave()

    @property
    def _prompt(self) -> SqlPrompt:
        return cast("SqlPrompt", self.parent)

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter" and (
            "\n" not in self.text.strip() or self.text.rstrip().endswith(";")
        ):
            event.stop()
            event.prevent_default()
            await self.action_run()
            return
        await super()._on_key(event)


class SqlPrompt(Vertical):
    """See the module."""

    DEFAULT_CSS = """
    SqlPrompt { background: $background; }
    SqlPrompt QueryArea, SqlPrompt QueryArea:focus {
        height: 7; border: none; padding: 0 1; background: $surface; scrollbar-size-vertical: 1;
    }
    """

    class Answered(Message):
        """A query is over."""

        def __init__(self, answer: Answer) -> None:
            super().__init__()
            self.answer = answer

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # as every widget has it
        super().__init__(id=id)
        self._path: Path | None = None
        self._session: SqlSession | None = None
        self._history: list[str] = []
        self._back = 0
        self._words: tuple[str, ...] = _KEYWORDS
        self._result: pa.Table | None = None
        self._began = 0.0
        self._clock: Timer | None = None

    def compose(self) -> ComposeResult:
        """Query, state, rows."""
        yield QueryArea(_FIRST, soft_wrap=True, show_line_numbers=False, tab_behavior="focus")
        yield BarLine(id="sql_state")
        yield Table(id="sql_rows", empty="no rows yet")

    def on_mount(self) -> None:
        """Say what can be done."""
        self._say("")

    def on_unmount(self) -> None:
        """A query that still runs is stopped."""
        if self._session is not None:
            self._session.close()

    def point_at(self, path: Path) -> None:
        """Ask this recording from now on."""
        if path != self._path:
            self._path = path
            if self._session is not None:
                self._session.stop()
            self._session = None

    def focus_line(self) -> None:
        """Type."""
        self.query_one(QueryArea).focus()

    def put(self, query: str) -> None:
        """Show a query in the prompt, to run or change."""
        area = self.query_one(QueryArea)
        area.load_text(query)
        area.move_cursor(area.document.end)
        area.focus()

    def _say(self, what: str, look: str = "") -> None:
        keys = "enter/^j run · tab completes · ^o saved · ^↑ history · ^s save rows · esc back "
        short = "^j run · ^o saved · esc "
        left = [Spot(f" {what}", look or "plain")]
        self.query_one("#sql_state", BarLine).show(left, [Spot(keys, "", rank=1, short=short)])

    def action_run(self) -> None:
        """Run what is typed."""
        query = self.query_one(QueryArea).text.strip().rstrip(";")
        if not query:
            return
        session = self._open()
        if session is None:
            self._say("nothing is recorded yet", "warn")
            return
        if not session.run(query):
            self._say("a query runs already; esc stops it", "warn")
            return
        if not self._history or self._history[-1] != query:
            self._history.append(query)
            del self._history[:-_HISTORY]
        self._back = 0
        self._began = time.monotonic()
        self._say("running; esc stops it", "accent")
        if self._clock is None:
            self._clock = self.set_interval(0.5, self._tick)

    def _tick(self) -> None:
        """How long it has run, and how far it is."""
        session = self._session
        if session is None or not session.running:
            if self._clock is not None:
                self._clock.stop()
                self._clock = None
            return
        seconds = text.duration(round((time.monotonic() - self._began) * 1e9))
        done = session.progress()
        part = f", {done:.0%}" if 0 < done <= 1 else ""
        self._say(f"running for {seconds}{part}; esc stops it", "accent")

    def _open(self) -> SqlSession | None:
        if self._session is None and self._path is not None:
            from stacks_tui import schema
            from stacks_tui.owner import invoking_user
            from stacks_tui.tui.sql_session import SqlSession

            self._session = SqlSession(
                self._path,
                invoking_user(),
                self._tell,
            )
            names = {*schema.EVENTS.names, *schema.STACKS.names, *schema.PROCESSES.names}
            views = ("events", "stacks", "processes", "samples", "waits", "spans", "span_costs")
            self._words = tuple(sorted({*names, *views, *_KEYWORDS}))
            self._learn_words(self._session)
        return self._session

    @work(thread=True, exclusive=True, group="words", exit_on_error=False)
    def _learn_words(self, session: SqlSession) -> None:
        """All views, columns and macros of this recording."""
        found = session.words()
        self.app.call_from_thread(self._learnt, found)

    def _learnt(self, found: tuple[str, ...]) -> None:
        self._words = tuple(sorted({*self._words, *found}))

    def _tell(self, answer: Answer) -> None:
        self.post_message(self.Answered(answer))  # from the thread of the query

    @on(Answered)
    def _answered(self, message: Answered) -> None:
        answer = message.answer
        table = self.query_one("#sql_rows", Table)
        self._result = answer.table
        if answer.table is None:
            self._say(text.printable(answer.error), "warn")
            table.show((), (), empty=answer.error[:200] and "no rows")
            return
        columns, lines = as_lines(answer.table)
        table.show(columns, lines, empty="no rows")
        count = text.count(answer.table.num_rows)
        more = "more than " if answer.more else ""
        cut = f", the first {_SHOWN_ROWS:,} shown" if answer.table.num_rows > _SHOWN_ROWS else ""
        self._say(
            f"{more}{count} rows in {text.duration(round(answer.seconds * 1e9))}{cut}", "good"
        )

    def action_complete(self) -> None:
        """Complete the word before the cursor, or choose among several."""
        from stacks_tui.tui.sql_session import completions

        self._open()
        area = self.query_one(QueryArea)
        row, column = area.cursor_location
        before = area.document.get_line(row)[:column]
        found = completions(before, self._words)
        if not found:
            return
        start = column
        while start and (before[start - 1].isalnum() or before[start - 1] == "_"):
            start -= 1

        def take(word: object) -> None:
            if isinstance(word, str):
                area.replace(word, (row, start), (row, column))
                area.focus()

        if len(found) == 1:
            take(found[0])
        else:
            self.app.push_screen(Choose("complete", [Option(one, one) for one in found]), take)

    def recall(self, step: int) -> None:
        """An older or newer query."""
        if self._history:
            self._back = max(-len(self._history), min(-1, self._back + step))
            self.query_one(QueryArea).load_text(self._history[self._back])

    def choose_saved(self) -> None:
        """Choose among the query files that ask nothing but what a view can fill in, and the
        user's own."""
        from stacks_tui.owner import invoking_user
        from stacks_tui.store.queries import load_query, query_names
        from stacks_tui.tui.saved import saved_queries

        mine = saved_queries(invoking_user())
        live, tables = (
            [load_query(name) for name in query_names(room)] for room in ("live", "table")
        )
        queries = {one.name: one for one in (*live, *mine.queries, *tables)}
        options = [Option(name, name, one.question) for name, one in queries.items()]

        def take(name: object) -> None:
            if isinstance(name, str):
                self.put(queries[name].sql)

        if mine.left_out:
            more = f" (and {len(mine.left_out) - 1} more)" if len(mine.left_out) > 1 else ""
            self._say(text.printable(mine.left_out[0]) + more, "warn")
        self.app.push_screen(Choose("saved queries", options, narrow=True), take)

    def save(self) -> None:
        """Write the rows of the last result as CSV or Parquet."""
        result = self._result
        if result is None:
            self._say("there are no rows to save", "warn")
            return

        def take(name: str | None) -> None:
            if name:
                self._say(*_write(result, Path(name).expanduser()))

        says = "file name; .csv or .parquet"
        self.app.push_screen(Ask("save the rows", says, "rows.csv"), take)

    async def leave(self) -> None:
        """Stop the query that runs; else back to the table."""
        if self._session is not None and self._session.running:
            self._session.stop()
        else:
            await self.screen.run_action("panel('table')")


def _write(result: pa.Table, path: Path) -> tuple[str, str]:
    """Write a result; what to say, and how it looks."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    from stacks_tui.errors import StacksError
    from stacks_tui.export.output import output
    from stacks_tui.owner import invoking_user
    from stacks_tui.tui.sql_session import cell

    try:
        with output(path, invoking_user()) as file:
            if path.suffix == ".parquet":
                pyarrow.parquet.write_table(result, file)
            else:
                plain = [
                    column
                    if not pa.types.is_nested(column.type) and not pa.types.is_binary(column.type)
                    else pa.array([cell(one) for one in column.to_pylist()])
                    for column in result.columns
                ]
                pyarrow.csv.write_csv(pa.table(plain, names=result.column_names), file)
    except (StacksError, OSError, pa.ArrowException) as error:
        return text.printable(str(error)), "warn"
    return f"{text.count(result.num_rows)} rows written to {text.printable(str(path))}", "good"


def as_lines(table: pa.Table) -> tuple[list[Column], list[Line]]:
    """A result as a table's columns and lines, each column as wide as it needs."""
    import pyarrow as pa

    from stacks_tui.tui.sql_session import cell

    part = table.slice(0, _SHOWN_ROWS)
    shown = [[text.printable(cell(one)) for one in column.to_pylist()] for column in part.columns]
    columns = []
    last = table.num_columns - 1
    for at, (name, values) in enumerate(zip(table.column_names, shown, strict=True)):
        kind = table.schema.field(at).type
        wide = max(map(text.cell_width, [text.printable(name), *values[:200]]), default=1)
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        free = at == last and not number
        width = 0 if free else min(_WIDEST, wide)
        columns.append(
            Column(str(at), fit(text.printable(name), min(wide, _WIDEST)).rstrip(), width, number)
        )
    lines = [Line(at, cells) for at, cells in enumerate(zip(*shown, strict=True))]
    return columns, lines
