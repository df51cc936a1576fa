"""The exceptions that reach a user, each with the exit code of its kind.

StacksError (1: failed)
├── UsageError (2: bad usage)
└── MachineError (3: this machine or user can't; the message holds the fix)

A message is one or two sentences: what is wrong, with the value; then what to do.
"""

from __future__ import annotations


class StacksError(Exception):
    """Something failed; nothing recorded is lost."""

    exit_code = 1


class UsageError(StacksError):
    """The command line, a specification or an input file is wrong."""

    exit_code = 2


class MachineError(StacksError):
    """This machine, kernel or user does not allow it."""

    exit_code = 3
