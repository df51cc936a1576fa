"""The program `stacks-export`: recordings to the files of other tools.

Goes out: 0 done, 1 failed, 2 bad usage, 3 this machine or user can't; what was made, and its
totals, on stdout, or the file itself with `-o -`. Everything that fails is told in one line.
"""

from __future__ import annotations

import difflib
import glob
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from stacks_tui import __version__, text
from stacks_tui.cli import export_options as options
from stacks_tui.cli import streams
from stacks_tui.cli.teller import Teller, Words, run_command
from stacks_tui.errors import UsageError
from stacks_tui.export.job import Baseline, ExportResult, Job, export, folder_of
from stacks_tui.export.model import Samples, ValueType
from stacks_tui.export.output import STDOUT
from stacks_tui.export.questions import STACKS, TABLES, TRACES, find_question, questions
from stacks_tui.export.registry import Format, all_formats, find_format
from stacks_tui.export.selection import Selection
from stacks_tui.export.task import ExportOptions, Progress
from stacks_tui.export.viewer import at_desktop, command_for, open_file, start
from stacks_tui.owner import User, invoking_user
from stacks_tui.python.shown import Shown
from stacks_tui.store.reader import last_recording

PROGRAM = "stacks-export"
_COMPLETION_VARIABLE = "_STACKS_EXPORT_COMPLETE"
_SHOWN_UNITS = {"nanoseconds": "ns", "bytes": "bytes", "count": ""}
_WINDOW = ("begin", "end", "last")
_QUIET_S = 1.0
"""Progress is shown only of what takes longer."""
_FOLDERS = ((STACKS, "For profiles"), (TRACES, "For traces"), (TABLES, "For tables"))


def run() -> NoReturn:
    """The console script."""
    streams.prepare()
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Do what these arguments ask; returns the exit code."""
    tell = Teller(PROGRAM, as_json="--json" in argv, debug="--debug" in argv)
    words = Words(
        _usage_line,
        stopped="stopped; nothing was written.",
        out_of_memory="out of memory; select less with --last, --pid or --command.",
    )
    return run_command(
        command_line(), argv, tell, words, complete_var=_COMPLETION_VARIABLE, obj=tell
    )


def command_line() -> click.Group:
    """The command, with one of its own for each format."""
    group = _Formats(
        PROGRAM,
        help="Turns a recording into the files of other tools: profiles, flame graphs, traces, "
        "tables. The totals are those of the recording, to the unit.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        epilog="stacks-export FORMAT --help tells the options, stacks-export queries what can be "
        "asked.",
    )
    for one in all_formats():
        group.add_command(options.Page(one, folder_of(one), _callback(one)))
    group.add_command(
        click.Command(
            "queries",
            params=[click.Argument(["names"], nargs=-1, metavar="[NAME]...")],
            callback=_queries,
            help="List the queries, or explain those that are named.",
        )
    )
    group.params.append(
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Print the version.",
        )
    )
    return group


class _Formats(click.Group):
    """The formats in their own order, not the alphabet's."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The order of the help page."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A format that there is not is told with the nearest one."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            find_format(args[0])
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        print(f"{PROGRAM} {__version__}")
        ctx.exit()


def _callback(one: Format[Any]) -> Callable[..., int]:
    def made(**given: Any) -> int:
        variant = given.pop("variant", one.name)
        return _export(one if variant == one.name else find_format(variant), given)

    return made


def _export(one: Format[Any], given: dict[str, Any]) -> int:
    tell: Teller = click.get_current_context().obj
    user = invoking_user()
    job = job_of(one, given, user)
    progress = _Progress(shown=sys.stderr.isatty() and not given["as_json"])
    try:
        result = export(job, progress, user=user)
    finally:
        progress.close()
    for note in result.notes:
        tell.note(note)
    if result.path is None:
        return 0
    if given["as_json"]:
        print(json.dumps(result_object(one, result)))
        return 0
    print(_shown(one, result), end="")
    if given.get("perfetto_ui"):
        _hand_over(result.path, user)
        return 0
    wanted, path = not given["no_open"] and at_desktop(user), result.path
    if one.page is not None and (wanted or given["page"]):
        page = one.page(job, path, user)
        print(f"  page: {text.printable(str(page.path))}, by {page.by}")
        one, path = find_format("html"), page.path
    _open(one, path, user, wanted=wanted)
    return 0


def _refuse_unfit(one: Format[Any], given: dict[str, Any]) -> None:
    """What is to be done with the file must be possible with it."""
    for option, fits in (("page", one.page is not None), ("perfetto_ui", one.perfetto)):
        name = f"--{option.replace('_', '-')}"
        if given.get(option) and not fits:
            raise UsageError(f"{name} does not go with --format {one.name}; leave one of them out.")
        if given.get(option) and (given["output"] == STDOUT or given["as_json"]):
            raise UsageError(f"{name} needs a file and a person; leave out -o - and --json.")


def job_of(one: Format[Any], given: dict[str, Any], user: User) -> Job:
    """The export that a command line asks for.

    Raises:
        UsageError: no such recording, or options that exclude each other.
    """
    if given["no_inlined"] and not (given["lines"] or given["binary"]):
        raise UsageError("--no-inlined goes with --lines or --binary; give one of them.")
    _refuse_unfit(one, given)
    this = _side(given, _recordings(given["recordings"], user))
    return Job(
        recordings=this.recordings,
        format=one,
        queries=tuple(given["queries"]),
        selection=this.selection,
        begin=this.begin,
        end=this.end,
        last_ns=this.last_ns,
        before=_before(given, this.recordings, user),
        options=ExportOptions(
            labels=tuple(given["labels"]) or None,
            minimum_share=given["minimum_share"],
            minimum_ns=None if given["slow"] is None else round(given["slow"] * 1e9),
            lines=given["lines"],
            inlined=not given["no_inlined"],
            binary=given["binary"],
            debuginfod=given["debuginfod"],
            offsets=given["offsets"],
            shown=Shown(given["shown"]),
            title=given["title"],
        ),
        path=given["output"],
    )


def _side(given: dict[str, Any], recordings: tuple[Path, ...]) -> Baseline:
    """The events that these options select."""
    return Baseline(
        recordings,
        Selection(
            command=given["command"],
            buildid=given["buildid"],
            pids=tuple(dict.fromkeys(pid for several in given["pids"] for pid in several)),
            thread=given["thread"],
            cgroup=given["cgroup"],
            span=given["span"],
        ),
        given["begin"],
        given["end"],
        None if given["last"] is None else round(given["last"] * 1e9),
    )


def _before(given: dict[str, Any], recordings: tuple[Path, ...], user: User) -> Baseline | None:
    """What is compared with: as the other side but for what is given; None: nothing is."""
    theirs = {
        name.removeprefix("before_"): value
        for name, value in given.items()
        if name.startswith("before_") and value not in (None, ())
    }
    if not theirs:
        return None
    named = theirs.pop("recordings", ())
    window = dict.fromkeys(_WINDOW) if any(name in theirs for name in _WINDOW) else {}
    return _side({**given, **window, **theirs}, _recordings(named, user) if named else recordings)


def _recordings(named: Sequence[str], user: User) -> tuple[Path, ...]:
    if not named:
        return (last_recording(user),)
    found: list[Path] = []
    for name in named:
        plain = Path(name)
        if plain.exists() or not glob.has_magic(name):
            found.append(plain)
            continue
        matching = sorted(glob.glob(name))  # noqa: PTH207 - an absolute pattern too
        if not matching:
            raise UsageError(f"nothing matches {name!r}; name a recording.")
        found += map(Path, matching)
    return tuple(dict.fromkeys(found))


def _shown(one: Format[Any], result: ExportResult) -> str:
    lines = [f"{text.printable(str(result.path))}  ({text.size(result.bytes)})"]
    before = dict(result.totals_before)
    for kind, total in result.totals:
        compared = f" (before: {_value(kind, before[kind])})" if kind in before else ""
        lines.append(f"  {text.printable(kind.name)}: {_value(kind, total)}{compared}")
    what = "samples" if one.wants is Samples else "rows" if not result.stacks else "events"
    counted = f"  {text.count(result.rows)} {what}"
    if result.stacks:
        counted += f", {text.count(result.stacks)} distinct stacks"
    lines.append(counted)
    if not result.rows:
        lines.append("  nothing in the recording answers this; see stacks-tui --open.")
    return "\n".join(lines) + "\n"


def _value(kind: ValueType, total: int) -> str:
    unit = _SHOWN_UNITS.get(kind.unit, kind.unit)
    return text.quantity(total, unit) if unit else text.count(total)


def result_object(one: Format[Any], result: ExportResult) -> dict[str, Any]:
    """The result as JSON holds it."""
    return {
        "format": one.name,
        "path": text.valid(str(result.path)),
        "bytes": result.bytes,
        "rows": result.rows,
        "stacks": result.stacks,
        "totals": _totals(result.totals),
        "totals_before": _totals(result.totals_before),
        "notes": [text.valid(note) for note in result.notes],
    }


def _totals(totals: tuple[tuple[ValueType, int], ...]) -> list[dict[str, Any]]:
    return [{"name": kind.name, "unit": kind.unit, "value": total} for kind, total in totals]


def _open(one: Format[Any], path: Path, user: User, *, wanted: bool) -> None:
    found = command_for(one, path)
    if found is None:
        if one.viewer_hint:
            print(f"  {one.viewer_hint}")
        return
    command, what = found
    if wanted:
        print(f"  opening {what}; ^C ends it", flush=True)
        if open_file(command, user):
            return
    print(f"  open it: {text.printable(' '.join(command))}")


def _hand_over(path: Path, user: User) -> None:
    from stacks_tui.export.handover import hand_over  # only here: an HTTP server loads much

    def tell(link: str) -> None:
        print(
            f"  open it: {link}\n  it is given once, within five minutes; ^C ends this", flush=True
        )
        command = shutil.which("xdg-open")
        if command is not None and at_desktop(user):
            start([command, link], user)

    given = hand_over(path, user, tell)
    print("  handed over." if given else "  nobody came for it; drag it to ui.perfetto.dev.")


def _queries(names: tuple[str, ...]) -> None:
    if not names:
        for folder, title in _FOLDERS:
            formats = ", ".join(
                one.name for one in all_formats() if folder_of(one) == folder and not one.hidden
            )
            print(f"{title}{f' ({formats})' if formats else ''}:")
            for one in questions(folder):
                print(f"  {one.name:<14} {one.answers}")
            print()
        print(f"{PROGRAM} queries NAME explains one; a path ending in .sql is one of your own.")
        return
    for name in names:
        _explain(name)


def _explain(name: str) -> None:
    found = [
        (title, one) for folder, title in _FOLDERS for one in questions(folder) if one.name == name
    ]
    if not found:
        near = [one.name for folder, _ in _FOLDERS for one in questions(folder)]
        close = difflib.get_close_matches(name, near, 1, 0.4)
        if close and "/" not in name and not name.endswith(".sql"):
            raise UsageError(f"no query {name!r}; did you mean {close[0]!r}?")
        found = [("Yours", find_question(name, STACKS))]
    for title, one in found:
        print(f"{one.name} ({title.lower()}): {one.answers}")
        for column, meaning in (*one.columns, *((f"${n}", m) for n, m in one.parameters)):
            print(f"  {column}: {meaning}" if meaning else f"  {column}")
        body = [line for line in one.sql.splitlines() if not line.startswith("--")]
        print("\n".join(["", *(f"    {line}" for line in body), ""]))


class _Progress:
    """One line on a terminal, rewritten, once the work takes long."""

    def __init__(self, *, shown: bool) -> None:
        self._begin = self._last = time.monotonic()
        self._wanted = shown
        self._written = False

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if not self._wanted or now - self._begin < _QUIET_S or now - self._last < 0.1:
            return
        self._last = now
        share = f" {text.percent(progress.done / progress.total)}" if progress.total else ""
        print(f"\r\x1b[K{progress.phase}{share}", end="", file=sys.stderr, flush=True)
        self._written = True

    def close(self) -> None:
        """Erase the line."""
        if self._written:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _usage_line(error: click.ClickException) -> str:
    """Click's finding as one line: what is wrong, then what to do."""
    message = " ".join(error.format_message().split())
    if isinstance(error, click.BadParameter) and isinstance(error.param, click.Option):
        message = f"{error.param.opts[-1]}: {' '.join(error.message.split())}"
    ctx = getattr(error, "ctx", None)
    where = ctx.command_path if ctx is not None else PROGRAM
    return f"{message} See {where} --help."
