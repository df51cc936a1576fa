"""Splits the arguments at the first `--`, which no parser of options can tell from its absence."""

from __future__ import annotations

from collections.abc import Sequence


def split(argv: Sequence[str]) -> tuple[list[str], tuple[str, ...] | None]:
    """Our own arguments, and the program to launch with its arguments.

    The second is None where there is no `--`, and empty where nothing follows it. What follows
    belongs to the program to the last byte, further `--` included.
    """
    if "--" not in argv:
        return list(argv), None
    at = argv.index("--")
    return list(argv[:at]), tuple(argv[at + 1 :])
