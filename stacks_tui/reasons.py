"""Why a thread waits: `sql/reasons.toml`, the one table from the kernel's functions to words.

Comes in: the names of a kernel stack's frames, leaf first, and the state in which the thread left.
Goes out: a reason of a word or two. `sql/reasons.sql` says the same in SQL.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from stacks_tui.resources import read_sql
from stacks_tui.text import sql_literal

PREEMPTED = "preempted"
NO_STACK = "asleep (no kernel stack)"
UNKNOWN = "other wait"

OF_STATES = {"disk": "disk", "exiting": "exit", "stopped": "signal", "traced": "signal"}
"""What the state alone says, where there is no kernel stack."""

_ENTRY = re.compile(r"(?:__(?:x64|arm64|ia32|do|se)_)?(?:compat_)?sys_([a-z0-9_]+)")
_SUFFIX = re.compile(r"\.(?:isra|constprop|part|cold|llvm)[.0-9a-z]*.*$")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One row of the table."""

    functions: str
    """A regular expression that the whole name matches; empty: none does."""
    syscalls: str
    says: str
    late: bool
    """A more telling frame further out takes its place."""


@lru_cache(maxsize=1)
def patterns() -> tuple[Pattern, ...]:
    """The table, the first that matches counts."""
    rows = tomllib.loads(read_sql("reasons.toml"))["reason"]
    return tuple(
        Pattern(
            "|".join(row.get("functions", ())),
            "|".join(row.get("syscalls", ())),
            row["says"],
            row.get("late", False),
        )
        for row in rows
    )


def reason(names: Iterable[str], state: str = "") -> str:
    """The reason of a wait with this kernel stack (leaf first) in this state (`enrich.events`)."""
    if state == PREEMPTED:
        return PREEMPTED
    found = ""
    empty = True
    for name in names:
        empty = False
        says, late, entered = _of_frame(name)
        if says and not late:
            return says
        found = found or says
        if entered:
            return found or entered
    if empty:
        return OF_STATES.get(state, NO_STACK)
    return found or UNKNOWN


def as_macros() -> str:
    """The table as SQL: macros `function_tells` and `call_tells`, which `sql/reasons.sql` uses.
    Patterns that are constants are compiled once, not for each name."""

    def cases(chosen: list[tuple[str, str]]) -> str:
        return " ".join(
            f"when regexp_full_match(p_name, {sql_literal(pattern)}) then {says}"
            for pattern, says in chosen
            if pattern
        )

    functions = [
        (one.functions, f"struct_pack(says := {sql_literal(one.says)}, late := {one.late})")
        for one in patterns()
    ]
    calls = [(one.syscalls, sql_literal(one.says)) for one in patterns()]
    return (
        f"create macro function_tells(p_name) as case {cases(functions)} end;"
        f"create macro call_tells(p_name) as case {cases(calls)} end;"
    )


@lru_cache(maxsize=16_384)
def _of_frame(name: str) -> tuple[str, bool, str]:
    """What a function says, whether that is late, and what the system call says that it enters."""
    plain = _SUFFIX.sub("", name)
    one = next((one for one in _compiled() if one[0].fullmatch(plain)), None)
    entry = _ENTRY.fullmatch(plain)
    entered = ""
    if entry is not None:
        entered = next((says for _, calls, says, _ in _compiled() if calls.fullmatch(entry[1])), "")
    return (one[2], one[3], entered) if one is not None else ("", False, entered)


@lru_cache(maxsize=1)
def _compiled() -> tuple[tuple[re.Pattern[str], re.Pattern[str], str, bool], ...]:
    return tuple(
        (
            re.compile(one.functions or "(?!)"),
            re.compile(one.syscalls or "(?!)"),
            one.says,
            one.late,
        )
        for one in patterns()
    )
