"""Query files: complete heads, parameters as declared, right answers on rows one can add up."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from store_rows import EPOCH, Frame, Stack, events, header, me

from stacks_tui.errors import StacksError, UsageError
from stacks_tui.resources import folder, read_sql
from stacks_tui.store.manifest import RecordingStatus
from stacks_tui.store.queries import load_query, query_names
from stacks_tui.store.reader import Recording, open_recording
from stacks_tui.store.writer import RecordingWriter

LIVE = query_names("live")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    path = tmp_path_factory.mktemp("queries") / "r"
    writer = RecordingWriter.create(path, me(), header())
    writer.write_events(events([1, 2, 3], ustack=1, kstack=9, duration=100))
    writer.write_events(events([4], ustack=2, duration=250))
    writer.write_events(events([5], duration=1))
    writer.write_events(events([6, 7], kind="rss", ustack=1, amount=8192, delta=-4096))
    writer.write_events(events([8], kind="rss", ustack=2, amount=8192, delta=1))
    writer.write_events(events([9], kind="vfs_read", kstack=9, amount=2**40))
    writer.write_stacks(
        [
            Stack(1, [Frame("leaf"), Frame("main"), Frame("main")]),
            Stack(2, [Frame("[lib.so+0x1f]")], complete=False, truncated=True),
            Stack(9, [Frame("[k] read", 2**63)], complete=False),
        ]
    )
    writer.close(RecordingStatus(EPOCH))
    with open_recording(path, me()) as opened:
        yield opened


def test_live_queries_are_found() -> None:
    assert {"live/kinds", "live/top_stacks"} <= set(LIVE)


@pytest.mark.parametrize("name", LIVE)
def test_a_head_declares_what_the_query_uses(name: str, recording: Recording) -> None:
    query = load_query(name)
    assert query.question.endswith("?")
    with duckdb.connect() as connection:
        statements = connection.extract_statements(query.sql)
    assert len(statements) == 1
    assert statements[0].named_parameters == {name for name, _ in query.parameters}
    assert tuple(recording.ask(name, kind="profile", limit=5).column_names) == tuple(
        n for n, _ in query.columns
    )


def test_every_sql_file_says_what_it_answers() -> None:
    for path in folder("sql").rglob("*.sql"):
        first = path.read_text().splitlines()[0]
        assert first.startswith("-- ") and first[-1] in ".?"


def test_top_stacks_sum_what_the_kind_measures(recording: Recording) -> None:
    rows = recording.ask("live/top_stacks", kind="profile", limit=2).to_pylist()
    assert rows == [
        {
            "stack": ["[k] read", "leaf", "main", "main"],
            "count": 3,
            "value": 300,
            "unit": "ns",
            "complete": True,
        },
        {"stack": ["[lib.so+0x1f]"], "count": 1, "value": 250, "unit": "ns", "complete": False},
    ]
    rows = recording.ask("live/top_stacks", kind="rss", limit=5).to_pylist()
    assert [(row["value"], row["count"], row["unit"]) for row in rows] == [
        (1, 1, "bytes"),
        (-8192, 2, "bytes"),
    ]
    rows = recording.ask("live/top_stacks", kind="vfs_read", limit=5).to_pylist()
    assert [(row["value"], row["stack"]) for row in rows] == [(2**40, ["[k] read"])]
    assert recording.ask("live/top_stacks", kind="no'; kind", limit=5).num_rows == 0


def test_kinds_count_good_and_bad_stacks(recording: Recording) -> None:
    rows = {row.pop("kind"): row for row in recording.ask("live/kinds").to_pylist()}
    assert rows["profile"] == {
        "count": 5,
        "duration_ns": 551,
        "amount": 0,
        "stackless": 1,
        "truncated": 1,
        "incomplete": 1,
        "unresolved": 1,
        "python_whole": 0,
        "python_partial": 0,
        "python_none": 0,
    }
    assert rows["vfs_read"]["incomplete"] == 0  # a kernel stack reaches no program's start
    assert rows["rss"]["amount"] == 3 * 8192


@pytest.mark.parametrize(
    "name", ["", "../views", "live/../views", "/etc/passwd", "live/none", "a\0"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        load_query(name)


def test_a_missing_resource_is_told() -> None:
    with pytest.raises(StacksError, match="no query file"):
        read_sql("none.sql")
    assert (folder("bpf") / "event.h").is_file()
