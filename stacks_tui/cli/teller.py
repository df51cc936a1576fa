"""Runs a command, and says on stderr, in one line, what went wrong."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from stacks_tui import text
from stacks_tui.cli import streams
from stacks_tui.errors import StacksError, UsageError


@dataclass(frozen=True, slots=True)
class Teller:
    """A program's voice for failures and notes."""

    program: str
    as_json: bool = False
    debug: bool = False

    def failure(self, message: str, exit_code: int) -> int:
        """Say it; returns the exit code. Called from an `except` clause."""
        if self.debug and sys.exception() is not None:
            traceback.print_exc()
        if self.as_json:
            line = json.dumps({"error": text.valid(message), "exit_code": exit_code})
        else:
            line = f"{self.program}: {text.printable(message)}"
        self._say(line)
        return exit_code

    def note(self, message: str) -> None:
        """Say what is no failure; with `--json` it is in the object on stdout."""
        if not self.as_json:
            self._say(f"note: {text.printable(message)}")

    def _say(self, line: str) -> None:
        try:
            print(line, file=sys.stderr, flush=True)
        except OSError:
            streams.abandon(sys.stderr)


@dataclass(frozen=True, slots=True)
class Words:
    """What a command says where only it knows what is meant."""

    usage: Callable[[click.ClickException], str]
    """Click's finding as one line: what is wrong, then what to do."""
    stopped: str
    out_of_memory: str


def run_command(
    command: click.Command,
    args: Sequence[str],
    tell: Teller,
    words: Words,
    *,
    complete_var: str,
    obj: object,
) -> int:
    """Run a command with these arguments; returns its exit code, whatever went wrong."""
    try:
        result = command.main(
            args=list(args),
            prog_name=tell.program,
            complete_var=complete_var,
            standalone_mode=False,
            obj=obj,
        )
        sys.stdout.flush()
    except StacksError as error:
        return tell.failure(str(error), error.exit_code)
    except click.ClickException as error:
        return tell.failure(words.usage(error), UsageError.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return tell.failure(words.stopped, StacksError.exit_code)
    except BrokenPipeError:
        streams.abandon(sys.stdout)  # its reader went away: `| head`
        return StacksError.exit_code
    except MemoryError:
        return tell.failure(words.out_of_memory, StacksError.exit_code)
    except Exception as error:  # noqa: BLE001  # the one broad handler: no traceback for users
        what = f"internal error: {type(error).__name__}: {error}"
        hint = "" if tell.debug else "; run again with --debug for the traceback"
        return tell.failure(f"{what}{hint}.", StacksError.exit_code)
    return result if isinstance(result, int) else 0
