"""`stacks_tui.open`: rows by SQL, by kind and by query, in Arrow, pandas and Polars."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from export_fixture import BUILDID, END, KERNEL, MS, TOTALS, samples_of, write_fixture
from nested_parquet import write_nested
from store_rows import EPOCH

import stacks_tui
from stacks_tui import library
from stacks_tui.errors import StacksError, UsageError
from stacks_tui.export.questions import STACKS, TABLES, TRACES, questions

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fixture(tmp_path_factory.mktemp("library") / "recording")


@pytest.fixture
def rec(path: Path) -> Any:
    with stacks_tui.open(path) as opened:
        yield opened


def needs(name: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec(name) is not None
    return pytest.mark.skipif(not there, reason=f"{name} is not installed")


def test_importing_the_package_loads_nothing_and_the_library_no_screen() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import stacks_tui;"
        "first = {n.partition('.')[0] for n in sys.modules}; stacks_tui.open;"
        "then = {n.partition('.')[0] for n in sys.modules};"
        "print(*sorted(first & {'duckdb', 'pyarrow', 'numpy'}));"
        "print(*sorted(then & {'textual', 'rich', 'bcc', 'click'}))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(ROOT)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n\n"
    with pytest.raises(AttributeError, match="'nothing'"):
        stacks_tui.nothing  # noqa: B018


def test_what_a_recording_is(rec: library.Recording, path: Path) -> None:
    assert (rec.path, rec.live, rec.begin, rec.end) == (path, False, EPOCH, END)
    assert rec.manifest is not None and rec.manifest.status.kinds["profile"].lost == 3
    assert repr(rec) == f"<recording {str(path)!r}>"


def test_sql_with_parameters(rec: library.Recording) -> None:
    rows = rec.sql(
        "select kind, count(*) as n from events where kind = $kind group by 1", kind="rss"
    )
    assert list(rows) == [{"kind": "rss", "n": 3}]
    assert (len(rows), rows.columns) == (1, ("kind", "n"))
    with pytest.raises(UsageError, match="wrong"):
        rec.sql("select nothing from events")
    with pytest.raises(UsageError, match="one SELECT"):
        rec.sql("copy events to 'x'")
    with pytest.raises(UsageError, match=r"\$kind"):
        rec.sql("select $kind")
    with pytest.raises(StacksError, match="failed"):
        rec.sql("select error('no')")


def test_the_connection_has_the_views_and_opens_nothing_else(
    rec: library.Recording, path: Path
) -> None:
    import duckdb

    found = rec.connection.sql("select count(*) from samples where ustack[1].name = 'leaf'")
    assert found is not None and found.fetchall() == [(5,)]
    with pytest.raises(duckdb.Error):
        rec.connection.sql("select * from '/etc/passwd'")
    secret = pa.table({"a": [1]})  # noqa: F841 - what a query must not see
    with pytest.raises(duckdb.Error):
        rec.connection.sql("select * from secret")


def test_events_stacks_and_processes(rec: library.Recording) -> None:
    events = rec.events("profile", command="job")
    assert len(events) == 5 and set(events.arrow()["kind"].to_pylist()) == {"profile"}
    ids = {row["id"]: row["frames"] for row in rec.stacks()}
    assert len(ids) == 5
    leaf = ids[events.arrow()["ustack"][0].as_py()][0]
    assert (leaf["name"], leaf["address"], leaf["buildid"]) == ("leaf", 0x1000, BUILDID)
    assert [row["comm"] for row in rec.processes()] == ["job", "other"]
    samples = rec.samples("profile", thread="reader")
    (row,) = samples
    assert [f["name"] for f in row["kstack"]] == ["vfs_read", "entry"] and row["wstack"] is None
    assert row["kstack"][0]["address"] == KERNEL
    assert len(rec.events()) == 30
    times = rec.events().arrow()["timestamp"].to_pylist()
    assert times == sorted(times)


@pytest.mark.parametrize("name", TOTALS)
def test_profiles_have_their_totals(name: str, rec: library.Recording) -> None:
    rows = rec.query(name if name != "rss" else f"pprof/{name}")
    table = rows.arrow()
    found = {
        column: sum(table[column].to_pylist())
        for column in rows.columns
        if column
        not in (
            "stack",
            "command",
            "pid",
            "thread",
            "span_name",
            "waker",
            "reason",
            "span",
            "ended",
        )
    }
    bare = {column.removesuffix("_ns").removesuffix("_bytes"): n for column, n in found.items()}
    assert bare == TOTALS[name]


def test_a_profile_has_stacks_values_and_labels(rec: library.Recording, path: Path) -> None:
    rows = rec.query("cpu", labels=("thread",))
    assert rows.columns == ("stack", "count", "cpu_ns", "thread")
    found = {tuple(row["stack"]): row for row in rows}
    assert found["vfs_read", "entry", "read", "main"] == {
        "stack": ["vfs_read", "entry", "read", "main"],
        "count": 1,
        "cpu_ns": 10 * MS,
        "thread": "reader",
    }
    assert found["leaf", "rec", "rec", "rec", "main"]["count"] == 3
    assert ("[no stack]",) in found
    assert len(rows) == len(samples_of(path, "cpu"))


def test_every_query_answers(rec: library.Recording, tmp_path: Path) -> None:
    names = stacks_tui.queries()
    assert len(names) == sum(len(questions(folder)) for folder in (STACKS, TABLES, TRACES))
    assert names["pprof/cpu"] == "Where was CPU time spent?"
    write_nested(tmp_path / "x.parquet", [{"timestamp": EPOCH, "kind": "profile", "tgid": 1}])
    with stacks_tui.open(tmp_path / "x.parquet") as nested:
        for name in names:
            assert (
                rec.query(name).columns == nested.query(name).columns
                or "profile" in name
                or (
                    name.startswith("pprof/")  # labels that nothing has are left out
                )
            )


def test_traces_and_tables(rec: library.Recording) -> None:
    waits = list(rec.query("waits"))
    assert waits[0]["name"] == "blocked: sleeping" and waits[0]["duration"] == 200_000.0
    assert waits[0]["stack"] == ["vfs_read", "entry", "read", "main"]
    assert rec.query("trace/rss").columns[:2] == ("event", "name")
    assert len(rec.query("slow_spans")) == 4
    assert len(rec.query("slow_spans", slow=0.05)) == 1
    assert len(rec.query("slow_spans", slow=timedelta(milliseconds=50))) == 1
    (row,) = (row for row in rec.query("events", thread="reader"))
    assert row["ustack"] == ["read", "main"]


def test_own_files(rec: library.Recording, tmp_path: Path) -> None:
    mine = tmp_path / "mine.sql"
    mine.write_text(
        "-- Mine?\n-- names: ustack\nselect ustack, $pid as p from events where kind = 'udp_send'"
    )
    assert list(rec.query(str(mine), pid=7)) == [{"ustack": ["read", "main"], "p": [7]}]
    with pytest.raises(UsageError, match=r"\$command"):
        rec.query(str(mine), command="job")
    mine.write_text("select\n  nothing\nfrom events")
    with pytest.raises(UsageError, match=r"mine.sql: .*line 2"):
        rec.query(str(mine))


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"command": "other"}, 1),
        ({"pid": 200}, 1),
        ({"pid": [100, 7]}, 5),
        ({"thread": 101}, 5),
        ({"thread": "reader"}, 1),
        ({"cgroup": "/a"}, 5),
        ({"buildid": BUILDID}, 3),
        ({"buildid": BUILDID.hex()}, 3),
        ({"begin": EPOCH + 300 * MS}, 4),
        ({"begin": timedelta(milliseconds=300), "end": timedelta(milliseconds=500)}, 2),
        ({"begin": datetime.fromtimestamp(1_700_000_000.3, UTC)}, 4),
        ({"end": datetime.fromtimestamp(1_700_000_000.3).astimezone()}, 2),
        ({"last": 9.61}, 3),
        ({"last": timedelta(seconds=9.6), "end": timedelta(seconds=0.45)}, 4),
        ({"command": None, "span": "load"}, 0),
        ({"command": "o'; drop view events; --"}, 0),
    ],
)
def test_filters(filters: dict[str, Any], count: int, rec: library.Recording) -> None:
    assert len(rec.events("profile", **filters)) == count
    assert sum(rec.query("cpu", **filters).arrow()["count"].to_pylist()) == count


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"comand": "x"}, "did you mean 'command'"),
        ({"begin": 1, "last": 1.0}, "exclude"),
        ({"buildid": "xyz"}, "value is wrong"),
        ({"pid": "no"}, "value is wrong"),
    ],
)
def test_wrong_filters_are_told(filters: dict[str, Any], says: str, rec: library.Recording) -> None:
    with pytest.raises(UsageError, match=says):
        rec.events(**filters)


@pytest.mark.parametrize("name", ["cpuu", "pprof/switches", "no/such/file.sql", "trace/"])
def test_unknown_queries_are_told(name: str, rec: library.Recording) -> None:
    with pytest.raises(UsageError):
        rec.query(name)


def test_what_is_no_recording_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a recording"):
        stacks_tui.open(tmp_path)
    with pytest.raises(UsageError, match="can't open"):
        stacks_tui.open(tmp_path / "none")


@needs("pandas")
def test_pandas_frames_are_exact(rec: library.Recording) -> None:
    frame = rec.events("rss").pandas()
    assert frame["delta"].sum() == 8192 and frame["delta"].isna().sum() == 1
    assert str(frame["ustack"].dtype) == "UInt64"
    stacks = rec.stacks().pandas()
    joined = frame.merge(stacks, left_on="ustack", right_on="id")
    assert len(joined) == 3  # ids above 2^53 are still those of the stacks
    assert rec.query("cpu").pandas()["cpu_ns"].sum() == 60 * MS


@needs("polars")
def test_polars_frames(rec: library.Recording) -> None:
    import polars as pl

    frame = rec.events("profile").polars()
    joined = frame.join(rec.stacks().polars(), left_on="ustack", right_on="id")
    assert joined.select(pl.col("duration").sum()).item() == 50 * MS
    cpu = rec.query("cpu").polars()
    leaf = cpu.group_by(pl.col("stack").list.first()).agg(pl.sum("cpu_ns")).sort("cpu_ns")
    assert leaf["stack"].to_list()[-1] == "leaf"


def test_frames_without_pandas_or_polars_say_what_lacks(
    rec: library.Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match="pandas"):
        rec.events().pandas()
    with pytest.raises(ImportError, match="polars"):
        rec.events().polars()
