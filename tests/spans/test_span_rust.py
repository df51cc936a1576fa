"""The Rust layer, built offline with the distribution's crates."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import listener
import pytest
from span_programs import no_rust, rust_spans
from test_span_notes import assert_are_the_probes, assert_semaphores_are_mapped_once, notes

pytestmark = pytest.mark.skipif(no_rust() is not None, reason=str(no_rust()))


def run(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    truth = tmp_path / "truth"
    subprocess.run([rust_spans(), *arguments, "--truth", truth], check=True)
    told: dict[str, Any] = json.loads(truth.read_text())
    return told


def test_it_has_the_probes() -> None:
    found = notes(rust_spans())
    assert_are_the_probes(found)
    assert_semaphores_are_mapped_once(rust_spans(), found)


def test_it_runs_while_nobody_listens(tmp_path: Path) -> None:
    assert len(run(tmp_path, "tasks", "3")["spans"]) == 18


@pytest.mark.bpf
@pytest.mark.skipif(listener.missing() is not None, reason=str(listener.missing()))
def test_what_it_tells_is_what_happened(tmp_path: Path) -> None:
    with listener.listening(rust_spans(), listener.PROBES[:4]) as heard:
        truth = run(tmp_path, "tasks", "3")
    spans = {span["span_id"]: span for span in truth["spans"]}
    enters = [one for one in heard.fired if one.what == "enter"]
    assert Counter(one.span_id for one in enters) == {
        span_id: span["enters"] for span_id, span in spans.items()
    }
    seen = set()
    for one in enters:
        span = spans[one.span_id]
        told = (one.parent_id, one.id, one.amount, one.text, one.length)
        name = span["name"]
        assert told == (span["parent_id"], span["id"], span["amount"], name, len(name))
        assert one.again == (one.span_id in seen)
        seen.add(one.span_id)
    exits = Counter(one.span_id for one in heard.fired if one.what in ("exit", "exit_stack"))
    assert exits == Counter(one.span_id for one in enters)
    with_stack = {one.span_id for one in heard.fired if one.what == "exit_stack"}
    assert with_stack == {span_id for span_id, span in spans.items() if span["name"] == "query"}
    closes = Counter(one.span_id for one in heard.fired if one.what == "close")
    assert closes == dict.fromkeys(spans, 1)
