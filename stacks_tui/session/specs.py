"""How programs are switched on where nothing else was asked for."""

from __future__ import annotations

from stacks_tui.kinds import DEFAULT_PROGRAMS, PROGRAMS, ProgramSpec, parse_programs


def default_spec(program: str) -> ProgramSpec:
    """As in the default of `-p`; others with user stacks."""
    for spec in parse_programs(DEFAULT_PROGRAMS):
        if spec.program == program:
            return spec
    number = next(one.default for one in PROGRAMS if one.name == program)
    return ProgramSpec(program, user=True, number=number)
