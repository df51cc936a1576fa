"""Every option of `stacks-export`, in one list by subject, and the help pages made of it."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from stacks_tui.cli import values
from stacks_tui.export.job import Moment
from stacks_tui.export.questions import ALL_LABELS, USUAL_LABELS, questions
from stacks_tui.export.registry import Format
from stacks_tui.python.shown import Shown

_FILTERS = "Which events"


class When(click.ParamType):
    """`12.5s` or `2m` after the recording began, or a time such as `2025-01-31T12:00:00`."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Moment:
        """Raises click.BadParameter for anything else."""
        if isinstance(value, Moment):
            return value
        if value == "0":
            return Moment(0, relative=True)
        if re.match(r"\d{4}-", value):
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                self.fail(f"{value!r} is no time; write 2025-01-31T12:00:00 (local).", param, ctx)
            seconds = int(moment.replace(microsecond=0).timestamp())
            return Moment(seconds * 10**9 + moment.microsecond * 1000, relative=False)
        seconds_after = values.Duration().convert(value, param, ctx)
        return Moment(round(seconds_after * 1e9), relative=True)


class Share(click.ParamType):
    """`0.5%`, or `0.005`: a share from 0 to 1."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Raises click.BadParameter for anything else."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)(%?)", value, re.ASCII)
        share = float(match[1]) / (100 if match[2] else 1) if match else 2.0
        if share > 1:
            self.fail(f"{value!r} is no share; write 0.5% or 0.005.", param, ctx)
        return share


class BuildId(click.ParamType):
    """Hexadecimal digits of a build id."""

    name = "hex"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        """Raises click.BadParameter for anything else."""
        if isinstance(value, bytes):
            return value
        if not re.fullmatch(r"(?:[0-9a-fA-F]{2}){1,64}", value, re.ASCII):
            self.fail(f"{value!r} is no build id; write its hexadecimal digits.", param, ctx)
        return bytes.fromhex(value)


class Query(click.ParamType):
    """A query's short name, or an SQL file."""

    name = "query"

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names of queries, and files."""
        if "/" in incomplete:
            return [CompletionItem(incomplete, type="file")]
        return [
            CompletionItem(one.name, help=one.answers)
            for one in questions(self._folder)
            if one.name.startswith(incomplete)
        ]


def groups() -> tuple[tuple[str, tuple[click.Option, ...]], ...]:
    """The options of every format, by subject."""
    return (
        (
            "Where from, where to",
            (
                click.Option(
                    ["recordings", "-r", "--recording"],
                    multiple=True,
                    metavar="DIR",
                    help="A recording; a pattern in quotes, or -r again, for several. "
                    "Default: the last.",
                ),
                click.Option(
                    ["output", "-o", "--output"],
                    type=click.Path(path_type=Path),
                    metavar="FILE",
                    help="The file to make, - for stdout. Default: named by recording and query.",
                ),
                click.Option(
                    ["no_open", "-n", "--no-open"],
                    is_flag=True,
                    help="Don't open the file. It is opened only for a person at a desktop.",
                ),
            ),
        ),
        (
            _FILTERS,
            (
                click.Option(
                    ["-c", "--command"], metavar="NAME", help="Of the processes of this name."
                ),
                click.Option(
                    ["pids", "--pid"],
                    type=values.Pids(),
                    multiple=True,
                    metavar="N[,N...]",
                    help="Of these processes. May be repeated.",
                ),
                click.Option(
                    ["--thread"], metavar="NAME", help="Of the threads of this name or number."
                ),
                click.Option(
                    ["--cgroup"],
                    metavar="PATH",
                    help="Of a cgroup and those below, or a container.",
                ),
                click.Option(["--span"], metavar="NAME", help="In spans of this name or number."),
                click.Option(
                    ["--buildid"],
                    type=BuildId(),
                    metavar="HEX",
                    help="Of the executable with this build id.",
                ),
                click.Option(
                    ["--begin"],
                    type=When(),
                    metavar="TIME",
                    help="Ended at this time or later: 12.5s after the recording began, "
                    "or 2025-01-31T12:00:00.",
                ),
                click.Option(
                    ["--end"], type=When(), metavar="TIME", help="Ended before this time."
                ),
                click.Option(
                    ["--last"], type=values.Duration(), metavar="TIME", help="Only the last 10s."
                ),
            ),
        ),
        (
            "How",
            (
                click.Option(
                    ["binary", "-b", "--binary"],
                    type=click.Path(path_type=Path),
                    metavar="FILE",
                    help="Of this executable, with source lines and inlined calls from this file; "
                    "a library or another module: only the lines.",
                ),
                click.Option(
                    ["lines", "-i", "--lines", "--inlined"],
                    is_flag=True,
                    help="Source lines and inlined calls of every module found on this machine.",
                ),
                click.Option(
                    ["no_inlined", "--no-inlined"],
                    is_flag=True,
                    help="Lines, but no inlined calls.",
                ),
                click.Option(
                    ["--debuginfod"],
                    is_flag=True,
                    help="Ask the debuginfod servers for debug information that is not here.",
                ),
                click.Option(
                    ["--offsets"], is_flag=True, help="Frames with their offset: name+0x1f."
                ),
                click.Option(
                    ["shown", "--python"],
                    type=click.Choice([one.value for one in Shown]),
                    default=Shown.MERGED.value,
                    show_default=True,
                    help="Of Python programs: its frames in place of the interpreter's, its frames "
                    "alone, or the interpreter's.",
                ),
                click.Option(
                    ["labels", "--label"],
                    multiple=True,
                    type=click.Choice(ALL_LABELS),
                    metavar="NAME",
                    help=f"Keep apart by {', '.join(ALL_LABELS)}. May be repeated. "
                    f"Default: {', '.join(USUAL_LABELS)}.",
                ),
                click.Option(
                    ["minimum_share", "--minimum"],
                    type=Share(),
                    metavar="SHARE",
                    help="Where the format can prune: draw as one what is below this share, "
                    "0.1%; 0: nothing. Default: what keeps the file small.",
                ),
                click.Option(
                    ["slow", "--slow"],
                    type=values.Duration(),
                    metavar="TIME",
                    help="What slow_spans takes for slow. Default: 10ms.",
                ),
                click.Option(["--title"], metavar="TEXT", help="Title, where the format has one."),
            ),
        ),
        (
            "Telling",
            (
                click.Option(
                    ["as_json", "--json"],
                    is_flag=True,
                    help="Say on stdout what was made, as a JSON object.",
                ),
                click.Option(["--debug"], is_flag=True, help="Show tracebacks."),
            ),
        ),
    )


def compared() -> tuple[str, tuple[click.Option, ...]]:
    """The options that say what is compared with: each filter once more."""
    filters = next(members for title, members in groups() if title == _FILTERS)
    return (
        "Compared with (what is not given is as above)",
        (
            click.Option(
                ["before_recordings", "--diff"],
                multiple=True,
                metavar="DIR",
                help="This recording, as what was before. Default: the same one.",
            ),
            *(
                click.Option(
                    [f"before_{one.name}", f"--diff-{one.opts[-1].removeprefix('--')}"],
                    type=one.type,
                    multiple=one.multiple,
                    metavar=one.metavar,
                    help=one.help,
                )
                for one in filters
            ),
        ),
    )


class Page(click.Command):
    """A format's command, with its options by subject."""

    def __init__(self, one: Format[Any], folder: str, callback: Any) -> None:
        own = []
        if one.variants:
            own.append(
                click.Option(
                    ["variant", "--format"],
                    type=click.Choice([one.name, *one.variants]),
                    default=one.name,
                    show_default=True,
                    help="The form of the file.",
                )
            )
        if one.page is not None:
            own.append(
                click.Option(
                    ["page", "--page"],
                    is_flag=True,
                    help="Make a web page of it too: by trace2html if that is installed, else by "
                    "the trace viewer of a Go tree, else our own.",
                )
            )
        if one.perfetto and not one.hidden:
            own.append(
                click.Option(
                    ["perfetto_ui", "--perfetto-ui"],
                    is_flag=True,
                    help="Hand it to ui.perfetto.dev: a server on this machine gives it to that "
                    "page once, and ends.",
                )
            )
        self._groups = groups()
        if one.compares:
            self._groups += (compared(),)
        if own:
            self._groups += (("Of this format", tuple(own)),)
        self._folder = folder
        super().__init__(
            one.name,
            params=[
                click.Argument(["queries"], nargs=-1, type=Query(folder), metavar="[QUERY]..."),
                *(option for _, members in self._groups for option in members),
            ],
            callback=callback,
            help=one.answers[:1].upper() + one.answers[1:] + ".",
            short_help=one.answers,
            hidden=one.hidden,
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the queries that fit, and the options by subject."""
        with formatter.section("Queries (or the path of an .sql file of yours)"):
            formatter.write_dl([(one.name, one.answers) for one in questions(self._folder)])
        for title, members in self._groups:
            records = [record for one in members if (record := one.get_help_record(ctx))]
            with formatter.section(title):
                formatter.write_dl(records)
