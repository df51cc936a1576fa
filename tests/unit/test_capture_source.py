"""The text that BCC gets, and what is cut out of it."""

from __future__ import annotations

from stacks_tui.capture.layout import TASK_TRACEPOINTS, TRACEPOINTS
from stacks_tui.capture.source import only, programs, splice
from stacks_tui.resources import folder

TEXT = """int one(void *ctx) {
  if (1) {
    return 0;
  }
  return helper(ctx);
}

static int helper(void *ctx) { return 1; }
int two(void *ctx) { return helper(ctx); }
int three(void *ctx) {
  return 0;
}
"""


def test_other_programs_are_cut_out_and_lines_stay_where_they_are() -> None:
    assert programs(TEXT) == ["one", "two", "three"]
    kept = only(TEXT, ["two"])
    assert programs(kept) == ["two"]
    assert kept.splitlines()[6:9] == TEXT.splitlines()[6:9]
    assert kept.count("\n") == TEXT.count("\n")
    assert "return helper" in kept
    assert "one" not in kept
    assert only(TEXT, ["one", "two", "three"]) == TEXT


def test_what_is_attached_is_there() -> None:
    found = programs(splice(folder("bpf")))
    assert len(found) == len(set(found))
    attached = {function for _, function in TASK_TRACEPOINTS}
    attached.update(function for pairs in TRACEPOINTS.values() for _, function in pairs)
    assert attached <= set(found)
