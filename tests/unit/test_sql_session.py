"""The SQL prompt's queries: stopped when asked, never beyond the recording, names to complete."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacks_tui.tui.sql_session import Answer, SqlSession

RECORDING = Path(__file__).parents[1] / "recordings" / "mixed"


class Asked:
    """A session, and what it answered last."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.last: Answer | None = None
        self.session = SqlSession(RECORDING, None, self._take)

    def _take(self, answer: Answer) -> None:
        self.last = answer
        self.answered.set()

    def begin(self, query: str) -> None:
        self.answered.clear()
        assert self.session.run(query)

    def end(self) -> Answer:
        assert self.answered.wait(60)
        assert self.last is not None
        return self.last


@pytest.fixture
def asked() -> Iterator[Asked]:
    found = Asked()
    yield found
    found.session.close()


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/hostname')",
        "select * from glob('/etc/*')",
        "select * from '/etc/passwd'",
        "from sniff_csv('/etc/passwd')",
        "select * from read_parquet('http://127.0.0.1/x.parquet')",
        "select * from parquet_metadata('/proc/self/environ')",
        "select * from duckdb_secrets()",
        "select getenv('HOME')",
        "copy (select 1) to '/tmp/stacks-tui-test.csv'",
        "export database '/tmp/stacks-tui-test'",
        "attach '/tmp/stacks-tui-test.db'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "create table t as select 1",
        "drop view events",
        "select 1; select 2",
        "pragma database_list",
    ],
)
def test_nothing_but_the_recording_is_reached(asked: Asked, query: str) -> None:
    asked.begin(query)
    answer = asked.end()
    assert answer.table is None
    assert answer.error and "\n" not in answer.error


def test_the_next_query_may_follow_the_answer_at_once(asked: Asked) -> None:
    for number in range(3):
        asked.begin(f"select {number} as n")
        table = asked.end().table
        assert table is not None and table.to_pylist() == [{"n": number}]


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) from range(10000000) a, range(10000000) b",
        "with recursive t(a) as (select 1 union all select a + 1 from t) select max(a) from t",
    ],
)
def test_a_long_one_is_stopped(asked: Asked, query: str) -> None:
    asked.begin(query)
    time.sleep(0.5)
    assert asked.session.running and not asked.session.run("select 1")
    asked.session.stop()
    assert asked.end().error == "stopped"
    assert not asked.session.running


def test_it_tells_how_far_it_is(asked: Asked) -> None:
    asked.begin("select count(*) from range(100000) a, range(1000000) b")
    end = time.monotonic() + 60
    while asked.session.progress() <= 0:
        assert time.monotonic() < end and asked.session.running
        time.sleep(0.05)
    assert 0 < asked.session.progress() <= 1
    asked.session.stop()
    asked.end()


def test_many_rows_are_cut_and_that_is_told(asked: Asked) -> None:
    asked.begin("select * from range(10000000)")
    answer = asked.end()
    assert answer.more and answer.table is not None and answer.table.num_rows == 100_000


def test_what_is_typed_can_be_completed_by_all_names(asked: Asked) -> None:
    words = asked.session.words()
    assert {"events", "waits", "reason", "spans", "span_costs", "kstack", "reason_of"} <= set(words)
    assert not any("_files" in word or "_rows" in word for word in words)
