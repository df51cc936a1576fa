"""The program `stacks-tui`: from arguments to an exit code.

Goes out: 0 done, 1 failed, 2 bad usage, 3 this machine or user can't; after a launched program, its
own. What can't be done is told in one line on stderr. Rooms that import much are loaded only by
the branch that needs them.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource
from click.shell_completion import get_completion_class

from stacks_tui import __version__, text
from stacks_tui.cli import argv as arguments
from stacks_tui.cli import options, streams
from stacks_tui.cli.teller import Teller, Words, run_command
from stacks_tui.errors import MachineError, StacksError, UsageError
from stacks_tui.kinds import ProgramSpec, parse_programs

if TYPE_CHECKING:
    from stacks_tui.config import Config
    from stacks_tui.session.options import RecordOptions
    from stacks_tui.session.status import Outcome

PROGRAM = "stacks-tui"
_COMPLETION_VARIABLE = "_STACKS_TUI_COMPLETE"

_MODES = {
    "record": "--record",
    "open_dir": "--open",
    "doctor": "--doctor",
    "completion": "--completion",
    "version": "--version",
}
_ALWAYS = frozenset({"json", "debug"})


@dataclass(frozen=True, slots=True)
class Request:
    """The command line as parsed, before anything was checked against the machine."""

    record: bool
    open_dir: str | None
    doctor: str | None
    pids: tuple[tuple[int, ...], ...]
    cgroup: Path | None
    everything: bool
    follow: bool
    programs: tuple[ProgramSpec, ...]
    duration_s: float | None
    max_frames: int
    no_unwind: bool
    jvm: bool
    ring_bytes: int
    directory: Path | None
    rows: int
    rows_per_file: int
    seconds_per_file: float
    compression: str
    json: bool
    debug: bool
    completion: str | None
    version: bool
    commands: tuple[str, ...]
    launch: tuple[str, ...] | None
    """The program after `--` and its arguments; None: no `--`, empty: nothing after it."""
    given: frozenset[str]
    """Names of the parameters that the command line itself gave."""

    @property
    def targeted(self) -> bool:
        """Something to record is named."""
        named = self.commands or self.pids or self.cgroup or self.everything
        return bool(named) or self.launch is not None


def run() -> NoReturn:
    """The console script."""
    streams.prepare()
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Do what these arguments ask; returns the exit code."""
    own, launch = arguments.split(argv)
    tell = Teller(PROGRAM, as_json="--json" in own, debug="--debug" in own)
    words = Words(
        _usage_line,
        stopped="stopped at once; a recording that had begun is recovered when it is opened.",
        out_of_memory="out of memory; try fewer programs or a smaller --rows.",
    )
    return run_command(COMMAND, own, tell, words, complete_var=_COMPLETION_VARIABLE, obj=launch)


def _usage_line(error: click.ClickException) -> str:
    """Click's finding as one line: what is wrong, then what to do."""
    if isinstance(error, click.NoSuchOption):
        known = [name for param in COMMAND.params for name in param.opts if name.startswith("--")]
        near = difflib.get_close_matches(error.option_name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"see {PROGRAM} --help."
        return f"no option {error.option_name}; {hint}"
    if isinstance(error, click.BadParameter) and error.param is not None:
        name = error.param.opts[-1] if isinstance(error.param, click.Option) else "COMMAND"
        return f"{name}: {_one_line(error.message)}"
    return f"{_one_line(error.format_message())} See {PROGRAM} --help."


def _one_line(message: str) -> str:
    return " ".join(message.split())


@click.pass_context
def _start(ctx: click.Context, /, **values: Any) -> int:
    given = frozenset(
        name
        for name in values
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE and values[name] != ()
    )
    request = Request(**values, launch=ctx.obj, given=given)
    mode = _mode(request)
    if mode == "version":
        print(f"{PROGRAM} {__version__}")
        return 0
    if mode == "completion":
        return _completion(ctx.command, request.completion or "")
    if mode == "doctor":
        return _doctor(request)
    if mode == "open_dir":
        return _open(request)
    if mode == "live":
        return _live(request)
    return _record(request)


def _mode(request: Request) -> str:
    """The one thing asked for; nothing named: the live screen.

    Raises:
        UsageError: no terminal for the screen, two that exclude each other, or an option without
            meaning for it.
    """
    modes = [name for name in _MODES if name in request.given]
    if len(modes) > 1:
        first, second = (_MODES[name] for name in modes[:2])
        raise UsageError(f"{first} and {second} exclude each other; give one of them.")
    if not modes:
        if not _on_screen() or "json" in request.given:
            raise UsageError("the live screen needs a terminal of its own; add --record.")
        return "live"
    mode = modes[0]
    if mode != "record":
        spare = sorted(request.given - _ALWAYS - {mode})
        names = [_spelling(name) for name in spare] + ["--"] * (request.launch is not None)
        if names:
            raise UsageError(f"{names[0]} has no meaning with {_MODES[mode]}; leave it out.")
    return mode


def _spelling(name: str) -> str:
    for param in COMMAND.params:
        if param.name == name:
            return param.opts[-1] if isinstance(param, click.Option) else "COMMAND"
    return name


def _completion(command: click.Command, shell: str) -> int:
    source = get_completion_class(shell)
    if source is None:
        raise UsageError(f"no completion for {shell!r}; there is one for {options.SHELLS}.")
    print(source(command, {}, PROGRAM, _COMPLETION_VARIABLE).source())
    return 0


def _doctor(request: Request) -> int:
    if request.doctor:
        if not (request.doctor.isascii() and request.doctor.isdigit() and int(request.doctor)):
            raise UsageError(
                f"--doctor: {request.doctor!r} is not a process id; give a number, or none."
            )
        return _doctor_process(int(request.doctor), as_json=request.json)

    from stacks_tui.doctor import checks, report

    found = list(checks.machine())
    if request.json:
        print(json.dumps(report.machine_object(found)))
    else:
        print(report.machine_text(found), end="")
    return 0 if report.passed(found) else MachineError.exit_code


def _doctor_process(pid: int, *, as_json: bool) -> int:
    from stacks_tui.doctor import process

    found = process.describe(pid)
    if as_json:
        print(json.dumps(process.process_object(found)))
    else:
        print(process.process_text(found), end="")
    return 0


def _on_screen() -> bool:
    """Whether a person sees what is printed, and can answer."""
    return all(one.isatty() for one in (sys.stdin, sys.stdout, sys.stderr))  # drawn on stderr


def _open(request: Request) -> int:
    directory = Path(request.open_dir) if request.open_dir else None
    if _on_screen() and not request.json:
        return _open_screen(directory)

    from stacks_tui.session.summary import summarize

    _show(summarize(directory), as_json=request.json)
    return 0


def _open_screen(directory: Path | None) -> int:
    from stacks_tui.owner import invoking_user
    from stacks_tui.store.reader import last_recording, open_recording

    user = invoking_user()
    path = last_recording(user) if directory is None else directory
    taste = _taste()

    from stacks_tui.tui.run import show
    from stacks_tui.tui.wanted import Wanted

    def check() -> None:
        _check_keys(taste)
        open_recording(path, user).close()  # what is wrong with it is said before the screen opens

    return show(Wanted(path=path), taste, check=check).exit_code


def _taste() -> Config:
    """The user's configuration."""
    from stacks_tui import config
    from stacks_tui.owner import invoking_user

    return config.load(invoking_user())


def _check_keys(taste: Config) -> None:
    """Hold the user's keys against what the screen knows, which loads it.

    Raises:
        UsageError: a key has no meaning.
    """
    if not taste.keys:
        return

    from stacks_tui import config
    from stacks_tui.owner import invoking_user
    from stacks_tui.tui.keys import known_ids

    config.check_keys(taste, known_ids(), str(config.config_path(invoking_user())))


def _live(request: Request) -> int:
    taste = _taste()
    if taste.programs is not None and "programs" not in request.given:
        request = replace(request, programs=parse_programs(taste.programs))

    from stacks_tui.capture import targets
    from stacks_tui.doctor import checks
    from stacks_tui.session.protocol import Start
    from stacks_tui.tui.run import show
    from stacks_tui.tui.wanted import Wanted

    def options_for(pids: tuple[int, ...], names: tuple[str, ...], cgroup: str) -> Start:
        picked = replace(
            request, pids=(pids,), commands=names, cgroup=Path(cgroup) if cgroup else None
        )
        wanted = record_options(picked)
        targets.check(wanted.targets)
        return Start(wanted, refresh_hz=taste.refresh_hz)

    if request.targeted:
        wanted = record_options(request)
        notes = targets.check(wanted.targets)
        start = Start(wanted, refresh_hz=taste.refresh_hz)
        checks.require(checks.before_screen())
        left = show(Wanted(start), taste, notes=notes, check=lambda: _check_keys(taste))
    else:
        checks.require(checks.before_screen())
        left = show(Wanted(), taste, options_for, check=lambda: _check_keys(taste))
    if left.outcome is not None:
        _show(left.outcome, as_json=False)
    elif left.directory:
        print(f"recording: {text.printable(left.directory)}")
    if left.failure:
        kind = MachineError if left.exit_code == MachineError.exit_code else StacksError
        raise kind(left.failure)
    return left.exit_code or left.exit_status or 0


def _record(request: Request) -> int:
    wanted = record_options(request)

    from stacks_tui.capture import targets
    from stacks_tui.doctor import checks

    notes = targets.check(wanted.targets)
    checks.require(checks.to_record())

    from stacks_tui.lean import without_pandas

    without_pandas()

    from stacks_tui.cli.progress import reporter
    from stacks_tui.session.recorder import record
    from stacks_tui.session.status import Status

    report = reporter(sys.stderr, as_json=request.json)
    try:
        report(Status("starting", notes=notes))
        outcome = record(wanted, report)
    finally:
        report.close()
    _show(outcome, as_json=request.json)
    if outcome.failure:
        raise StacksError(outcome.failure)
    return outcome.exit_status or 0


def record_options(request: Request) -> RecordOptions:
    """The recording that a command line asks for.

    Raises:
        UsageError: nothing to record, or targets that contradict each other.
    """
    from stacks_tui.capture.targets import Targets
    from stacks_tui.session.options import RecordOptions

    pids = tuple(dict.fromkeys(pid for several in request.pids for pid in several))
    commands = tuple(dict.fromkeys(request.commands))
    if request.launch == ():
        raise UsageError(f"no program after --; for example: {PROGRAM} --record -- python3 job.py")
    if not (commands or pids or request.cgroup or request.everything or request.launch):
        raise UsageError(
            "nothing to record; name a command (--record nginx), --pid N, --cgroup PATH or --all, "
            "or launch a program (--record -- python3 job.py)."
        )
    if request.everything and (commands or pids or request.cgroup):
        spare = "COMMAND" if commands else "--pid" if pids else "--cgroup"
        raise UsageError(f"--all records every process; leave out {spare}.")
    if "compression" in request.given:
        from stacks_tui.store.parquet import parse_compression

        parse_compression(request.compression)
    return RecordOptions(
        programs=request.programs,
        targets=Targets(
            comms=commands,
            pids=pids,
            cgroup=request.cgroup,
            everything=request.everything,
            argv=request.launch or (),
            follow=request.follow,
        ),
        directory=request.directory,
        duration_s=request.duration_s,
        rows=request.rows,
        rows_per_file=request.rows_per_file,
        seconds_per_file=request.seconds_per_file,
        compression=request.compression,
        ring_bytes=request.ring_bytes,
        json=request.json,
        debug=request.debug,
        max_frames=request.max_frames,
        unwind=not request.no_unwind,
        jvm=request.jvm,
    )


def _show(outcome: Outcome, *, as_json: bool) -> None:
    from stacks_tui.cli.summary import summary_object, summary_text

    if as_json:
        print(json.dumps(summary_object(outcome)), flush=True)
        return
    terminal = sys.stdout.isatty()
    cells = shutil.get_terminal_size().columns if terminal else 200
    colour = terminal and not os.environ.get("NO_COLOR")
    print(summary_text(outcome, cells, colour=colour), end="", flush=True)


COMMAND = options.Page(
    PROGRAM,
    params=[*(one for _, members in options.GROUPS for one in members), options.COMMANDS],
    callback=_start,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    add_help_option=True,
)
"""Parsing, help and completion; what it parsed goes to `_start`."""
