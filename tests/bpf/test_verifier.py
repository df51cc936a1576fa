"""Room before the verifier: what it works through for each program, of the million it allows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stacks_tui.capture.programs import Programs
from stacks_tui.kinds import PROGRAMS, parse_program
from stacks_tui.resources import folder

pytestmark = pytest.mark.bpf

LIMIT = 1_000_000
"""BPF_COMPLEXITY_LIMIT_INSNS."""


def test_every_program_needs_less_than_half_of_what_the_verifier_allows(
    record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    programs = Programs(folder("bpf"), None, ring_bytes=1 << 16)
    try:
        for program in PROGRAMS:
            if program.name not in programs.unavailable:
                programs.attach(parse_program(f"{program.name}:uk"))
        found = programs.verified_instructions()
    finally:
        programs.close()
    assert found, "this kernel does not tell (it does from 6.1 on)"
    with capsys.disabled():
        print()
        for name, count in sorted(found.items(), key=lambda pair: -pair[1]):
            print(f"{count:>9,}  {100 * count / LIMIT:5.1f} %  {name}")
            record_property(name, count)
    assert {"unwind_raw", "unwind_sample", "finish_raw", "finish_sample"} <= found.keys()
    assert {name: count for name, count in found.items() if count >= LIMIT // 2} == {}
