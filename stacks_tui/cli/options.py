"""Every option of `stacks-tui`, in one list by subject, and the help page made of it."""

from __future__ import annotations

from pathlib import Path

import click

from stacks_tui import kinds
from stacks_tui.cli import values
from stacks_tui.session import options as defaults

SHELLS = ("bash", "zsh", "fish")

GROUPS: tuple[tuple[str, tuple[click.Option, ...]], ...] = (
    (
        "What to do",
        (
            click.Option(
                ["--record"],
                is_flag=True,
                help="Record with no screen, until ^C, --duration or the end of PROGRAM.",
            ),
            click.Option(
                ["open_dir", "--open"],
                is_flag=False,
                flag_value="",
                default=None,
                metavar="[DIR]",
                help="Look at a recording, recovering one that was killed; not on a terminal: "
                "summarize it. Default: the last.",
            ),
            click.Option(
                ["--doctor"],
                is_flag=False,
                flag_value="",
                default=None,
                metavar="[PID]",
                help="Say what this machine allows, and the fix for what it does not; "
                "with PID, how its code can be unwound.",
            ),
        ),
    ),
    (
        "Whom to record, beside COMMAND",
        (
            click.Option(
                ["pids", "--pid"],
                type=values.Pids(),
                multiple=True,
                metavar="N[,N...]",
                help="Processes by number. May be repeated.",
            ),
            click.Option(
                ["--cgroup"],
                type=click.Path(path_type=Path),
                metavar="PATH",
                help="All processes of a cgroup (version 2) and of those below it.",
            ),
            click.Option(["everything", "--all"], is_flag=True, help="Every process."),
            click.Option(
                ["--follow"],
                is_flag=True,
                help="Their children too. Always on for a launched PROGRAM.",
            ),
        ),
    ),
    (
        "What to record of them",
        (
            click.Option(
                ["programs", "-p", "--programs"],
                type=values.Programs(),
                default=kinds.DEFAULT_PROGRAMS,
                show_default=True,
                metavar="LIST",
                help="Programs, with commas between; see below.",
            ),
            click.Option(
                ["duration_s", "--duration"],
                type=values.Duration(),
                metavar="TIME",
                help="End after this time: 10, 10s, 2m, 1h.",
            ),
            click.Option(
                ["--max-frames"],
                type=values.Count(defaults.MOST_FRAMES),
                default=defaults.DEFAULT_MAX_FRAMES,
                show_default=True,
                metavar="N",
                help="Cut user stacks beyond this many frames, and mark them.",
            ),
            click.Option(
                ["--no-unwind"],
                is_flag=True,
                help="Walk user stacks by frame pointers only: cheaper, and mostly incomplete.",
            ),
            click.Option(
                ["--jvm"],
                is_flag=True,
                help="Ask JVMs (17 or later) for the names of the code that they made.",
            ),
            click.Option(
                ["--ring-bytes"],
                type=values.RingBytes(),
                default=str(defaults.DEFAULT_RING_BYTES >> 20) + "M",
                show_default=True,
                metavar="SIZE",
                help="Size of each ring between kernel and recorder: 64K, 16M. A power of two.",
            ),
        ),
    ),
    (
        "Where and how it is stored",
        (
            click.Option(
                ["directory", "-d", "--dir"],
                type=click.Path(path_type=Path),
                metavar="DIR",
                help="Folder of the recording. Default: a new one in your data folder.",
            ),
            click.Option(
                ["--rows"],
                type=values.Count(100_000_000),
                default=defaults.DEFAULT_ROWS,
                show_default=True,
                metavar="N",
                help="Rows in a row group.",
            ),
            click.Option(
                ["--rows-per-file"],
                type=values.Count(10_000_000_000),
                default=defaults.DEFAULT_ROWS_PER_FILE,
                show_default=True,
                metavar="N",
                help="Begin a new file after this many rows ...",
            ),
            click.Option(
                ["--seconds-per-file"],
                type=values.Duration(),
                default=f"{defaults.DEFAULT_SECONDS_PER_FILE:g}s",
                show_default=True,
                metavar="TIME",
                help="... or after this time, in seconds or as --duration.",
            ),
            click.Option(
                ["--compression"],
                default=defaults.DEFAULT_COMPRESSION,
                show_default=True,
                metavar="CODEC",
                help="Of the Parquet files: zstd, zstd:1 to zstd:22, snappy or none.",
            ),
        ),
    ),
    (
        "Others",
        (
            click.Option(
                ["--json"],
                is_flag=True,
                help="For machines: a status object a second on stderr, a summary on stdout.",
            ),
            click.Option(
                ["--debug"], is_flag=True, help="Show tracebacks, and what libraries print."
            ),
            click.Option(
                ["--completion"],
                type=click.Choice(SHELLS),
                metavar=f"[{'|'.join(SHELLS)}]",
                help="Print the completion script of a shell.",
            ),
            click.Option(["--version"], is_flag=True, help="Print the version."),
        ),
    ),
)

COMMANDS = click.Argument(["commands"], type=values.Comm(), nargs=-1, metavar="[COMMAND]...")

_ABOUT = """\
Records what processes do, and from which code: CPU time, waits and who ends them, memory, disk,
file and network IO. Each event is kept with its stack, in Parquet files that DuckDB, pandas and
Polars read. COMMAND is the name of a process or thread, as ps and top show it."""

_EXAMPLES = (
    ("nginx", "the live screen: by name, now and later"),
    ("-- python3 job.py", "launch it, and see what it does"),
    ("--record --duration 10 -- python3 job.py", "launch and record it"),
    ("--record nginx", "by name, now and later"),
    ("--record --pid 1234,5678 --follow", "these, their children"),
    ("--record --all -p profile:uk:99", "CPU, the whole machine"),
    ("--record -p switch:uk,vfs:u postgres", "waits and file IO"),
    ("--open", "the last one, on the screen"),
    ("--doctor", "what this machine can do"),
)


class Page(click.Command):
    """The command with a help page by subject, beginning with examples."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write both forms."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] [COMMAND]...")
        formatter.write_usage(ctx.command_path, "[OPTIONS] -- PROGRAM [ARG]...", " " * 7)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what it is for, and examples."""
        formatter.write_paragraph()
        formatter.write_text(_ABOUT)
        with formatter.section("Examples"):
            formatter.write_dl([(f"{ctx.command_path} {one}", what) for one, what in _EXAMPLES], 52)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by subject, and the programs of -p."""
        for title, members in GROUPS:
            records = [record for one in members if (record := one.get_help_record(ctx))]
            with formatter.section(title):
                formatter.write_dl(records)
        with formatter.section("Programs of -p, each NAME[:STACKS[:NUMBER]]"):
            formatter.write_dl(
                [(kinds.grammar(program), _describe(program)) for program in kinds.PROGRAMS]
            )
            formatter.write_paragraph()
            formatter.write_text("u takes the user's stack, k the kernel's; no letter, no stack.")
        with formatter.section("Exit status"):
            formatter.write_text(
                "0 done, 1 failed, 2 wrong usage, 3 this machine or user can't (the message says "
                "the fix). After a launched PROGRAM, its own."
            )


def _describe(program: kinds.Program) -> str:
    if program.number is None:
        return program.answers
    return f"{program.answers}; {program.number}, default {program.default}"
