"""The summary: right figures, nothing unescaped, lines that fit."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from stacks_tui import text
from stacks_tui.cli.summary import summary_object, summary_text
from stacks_tui.kinds import Kind
from stacks_tui.session.status import KindOutcome, Outcome, TopStack

HOSTILE = "\x1b]8;;http://x\x07\n\u202e[red]\udcff"

OUTCOME = Outcome(
    Path("/data/one"),
    (
        KindOutcome(
            Kind.PROFILE,
            1_234_567,
            0,
            truncated=0.0,
            unresolved=0.0001,
            incomplete=0.00001,
            top=(
                TopStack(1_230_000_000, "ns", ("leaf", "caller", "main")),
                TopStack(45_000, "ns", (HOSTILE, "main")),
            ),
        ),
        KindOutcome(Kind.VFS_READ, 10, 3),
    ),
    elapsed_s=12.3,
    bytes_on_disk=5 << 20,
    notes=(HOSTILE,),
)


def test_the_whole_summary() -> None:
    assert summary_text(OUTCOME, 80).splitlines() == [
        "kind         events  lost  truncated  unresolved  complete",
        "profile   1,234,567     0      0.0 %      <0.1 %   >99.9 %",
        "vfs_read         10     3          -           -         -",
        "",
        "profile: the heaviest stacks, leaf first",
        "   1.23 s  leaf ← caller ← main",
        "  45.0 µs  \\x1b]8;;http://x\\x07\\n\\u202e[red]\\xff ← main",
        "",
        "recording: /data/one  (12.3 s, 5.00 MiB)",
        "note: \\x1b]8;;http://x\\x07\\n\\u202e[red]\\xff",
    ]


def test_lost_events_are_red_on_a_terminal() -> None:
    assert "\x1b[31m\x1b[1m   3\x1b[0m" in summary_text(OUTCOME, 80, colour=True)


def test_nothing_recorded_is_said() -> None:
    assert summary_text(Outcome(Path("/x")), 80).startswith("no events\n")


@given(st.lists(st.text(), max_size=8), st.integers(60, 200))
def test_stacks_fit_and_are_escaped(names: list[str], cells: int) -> None:
    top = (TopStack(1, "events", tuple(names)),)
    outcome = Outcome(Path("/x"), (KindOutcome(Kind.RSS, 1, top=top),))
    lines = summary_text(outcome, cells).split("\n")
    stack = lines[lines.index("rss: the heaviest stacks, leaf first") + 1]
    assert text.cell_width(stack) <= cells
    assert text.printable(stack) == stack


def test_json_holds_the_same_and_is_valid_unicode() -> None:
    found = json.loads(json.dumps(summary_object(OUTCOME)))
    json.dumps(found, ensure_ascii=False).encode("utf-8")
    assert found["kinds"]["profile"]["top"][0] == {
        "value": 1_230_000_000,
        "unit": "ns",
        "frames": ["leaf", "caller", "main"],
    }
    assert found["kinds"]["vfs_read"]["truncated"] is None
    assert found["bytes_on_disk"] == 5 << 20
