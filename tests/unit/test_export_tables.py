"""CSV, Arrow and the nested layout, read back by Python's csv, PyArrow, DuckDB and our reader."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from export_fixture import (
    BUILDID,
    HOSTILE,
    KERNEL,
    MS,
    TOTALS,
    samples_of,
    totals,
    write_fixture,
)
from nested_parquet import write_nested as write_bare
from store_rows import EPOCH, me

from stacks_tui.errors import StacksError, UsageError
from stacks_tui.export.formats.nested import SCHEMA
from stacks_tui.export.job import Job, Moment, export, preview
from stacks_tui.export.model import Origin, Rows, Window
from stacks_tui.export.registry import find_format
from stacks_tui.export.selection import Selection
from stacks_tui.export.task import CancelledError, Task
from stacks_tui.store.reader import open_recording

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ("csv", "arrow", "arrow-stream", "nested")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fixture(tmp_path_factory.mktemp("tables") / "recording")


def exported(name: str, recording: Path, path: Path, *queries: str, **more: Any) -> Path:
    export(Job((recording,), find_format(name), queries, path=path, **more), user=me())
    return path


def read(path: Path) -> pa.Table:
    """A table file by a reader that knows nothing of us."""
    if path.suffix == ".arrow":
        return pa.ipc.open_file(path).read_all()
    if path.suffix == ".arrows":
        return pa.ipc.open_stream(path).read_all()
    if path.suffix == ".csv":
        return duckdb.read_csv(str(path)).to_arrow_table()
    return duckdb.read_parquet(str(path)).to_arrow_table()


def cells(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


def rows_of(columns: dict[str, pa.Array], *, several: bool = False) -> Rows:
    """Rows as a query might return them."""
    batch = pa.RecordBatch.from_pydict(columns)
    origin = Origin(("r",), ("mine",), ("Mine?",), "", "", Window(0, 1))
    batches = [batch.slice(at, 1) for at in range(batch.num_rows)] if several else [batch]
    return Rows(batch.schema, iter(batches), batch.num_rows, origin)


def written(name: str, rows: Rows) -> bytes:
    out = io.BytesIO()
    find_format(name).write(rows, out, Task())
    return out.getvalue()


@pytest.mark.parametrize("extension", ["arrow", "arrows", "csv"])
def test_events_are_those_of_the_recording(extension: str, recording: Path, tmp_path: Path) -> None:
    name = {"arrows": "arrow-stream"}.get(extension, extension)
    path = exported(name, recording, tmp_path / f"x.{extension}")
    connection = duckdb.connect()
    connection.register("t", read(path))
    said = connection.sql(
        "select kind, count(*), sum(duration)::bigint, sum(amount)::bigint, sum(delta)::bigint, "
        "min(timestamp)::ubigint, max(timestamp)::ubigint from t group by kind order by kind"
    ).fetchall()
    with open_recording(recording, me()) as opened:
        expected = opened.sql(
            "select kind, count(*), sum(duration)::bigint, sum(amount)::bigint, "
            "sum(delta)::bigint, min(timestamp), max(timestamp) from events "
            "group by kind order by kind"
        ).fetchall()
    assert said == expected


def test_frames_of_events_are_names_leaf_first(recording: Path, tmp_path: Path) -> None:
    table = read(exported("arrow", recording, tmp_path / "x.arrow"))
    rows = [row for row in table.to_pylist() if row["kind"] == "profile"]
    assert [row["timestamp"] for row in rows] == [EPOCH + ms * MS for ms in range(100, 700, 100)]
    assert rows[0]["ustack"] == ["leaf", "rec", "rec", "rec", "main"] and rows[0]["kstack"] is None
    assert (rows[3]["kstack"], rows[3]["thread"]) == (["vfs_read", "entry"], "reader")
    assert rows[4]["ustack"] == [HOSTILE, "[job+0x7777]"]
    assert rows[5]["ustack"] is None and rows[0]["buildid"] == BUILDID
    assert table.schema.field("timestamp").type == pa.uint64()
    told = table.schema.metadata
    assert told[b"query"] == b"events" and b"lost while recording: profile 3" in told[b"comments"]


def test_csv_keeps_a_row_on_a_line_whatever_a_name_holds(recording: Path, tmp_path: Path) -> None:
    data = exported("csv", recording, tmp_path / "x.csv").read_bytes()
    head, *body = cells(data)
    assert data.count(b"\n") == len(body) + 1 and b"\x1b" not in data and b"\0" not in data
    assert all(len(row) == len(head) for row in body)
    odd = next(row for row in body if row[head.index("command")] == "other")
    assert json.loads(odd[head.index("ustack")]) == [HOSTILE, "[job+0x7777]"]  # nothing is lost
    span = next(row for row in body if "script" in row[head.index("trace_name")])
    assert span[head.index("trace_name")] == (
        "</script>\"';alert(1)\\n\\x1b]8;;x\\x07\\x00 [/] \\u202e 100"
    )
    assert body[0][head.index("buildid")] == BUILDID.hex()
    assert {row[head.index("delta")] for row in body} == {"", "16384", "-8192"}


@pytest.mark.parametrize(
    ("given", "cell"),
    [
        ("=1+2", '"\'=1+2"'),
        ("+x", '"\'+x"'),
        ("-[Object call]", '"\'-[Object call]"'),
        ("@plt", '"\'@plt"'),
        ("＝x", '"\'＝x"'),
        ("\t=x", '"\\t=x"'),
        ("\r\n=x", '"\\r\\n=x"'),
        ("a=b", '"a=b"'),
        ('say "a,b"', '"say ""a,b"""'),
        ("", '""'),
        (None, ""),
        ("größe\u2028", '"größe\\u2028"'),
    ],
)
def test_text_in_csv(given: str | None, cell: str) -> None:
    found = written("csv", rows_of({"a": pa.array([given, "x"]), "b": pa.array([1, 2])}))
    assert found.decode() == f'"a","b"\n{cell},1\n"x",2\n'


def test_every_type_has_a_form_in_csv() -> None:
    with duckdb.connect() as connection:
        table = connection.sql(
            "select -5 as n, 2::hugeint ** 100 as h, 1.5::double as f, 1.25::decimal(9, 2) as d, "
            "true as b, 'x'::blob as raw, null as nothing, date '2025-01-31' as day, "
            "timestamp '2025-01-31 12:00:00' as moment, interval 1 day as span, uuid() as u, "
            "[1, null] as l, {'a': [{'b': '\"'}]} as s, map {'k': 1} as m, "
            "'x'::enum('x', 'y') as e, []::varchar[] as none"
        ).to_arrow_table()
    (batch,) = table.to_batches()
    rows = Rows(table.schema, iter([batch]), 1, Origin((), (), (), "", "", Window(0, 0)))
    head, row = cells(written("csv", rows))
    said = dict(zip(head, row, strict=True))
    assert said | {"u": "", "span": "", "h": ""} == {
        "n": "-5",
        "h": "",
        "f": "1.5",
        "d": "1.25",
        "b": "true",
        "raw": "78",
        "nothing": "",
        "day": "2025-01-31",
        "moment": "2025-01-31 12:00:00",
        "span": "",
        "u": "",
        "l": "[1,null]",
        "s": '{"a":[{"b":"\\""}]}',
        "m": '{"k":1}',
        "e": "x",
        "none": "[]",
    }
    assert float(said["h"]) == 2.0**100 and len(said["u"]) == 36 and said["span"]


def test_batches_of_a_result_are_one_file() -> None:
    columns = {"a": pa.array(["x", "=y", None]), "l": pa.array([["\x1b"], [], None])}
    for name in ("csv", "arrow", "arrow-stream"):
        assert written(name, rows_of(columns, several=True))
    assert written("csv", rows_of(columns, several=True)) == (
        b'"a","l"\n"x","[""\\u001B""]"\n"\'=y","[]"\n,\n'
    )
    read_back = pa.ipc.open_file(written("arrow", rows_of(columns, several=True))).read_all()
    assert read_back.to_pylist()[1] == {"a": "=y", "l": []}


def test_nothing_recorded_is_a_file_without_rows(recording: Path, tmp_path: Path) -> None:
    nobody = Selection(command="nobody")
    for name, suffix in zip(FORMATS, ("csv", "arrow", "arrows", "parquet"), strict=True):
        path = exported(name, recording, tmp_path / f"none.{suffix}", selection=nobody)
        table = read(path)
        assert table.num_rows == 0 and "timestamp" in table.column_names


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("filters", "count", "waits"),
    [
        ({"selection": Selection(command="other")}, 2, 0),
        ({"selection": Selection(pids=(200,))}, 2, 0),
        ({"selection": Selection(thread="reader")}, 1, 0),
        ({"selection": Selection(cgroup="/a")}, 28, 4),
        ({"selection": Selection(span="load")}, 4, 0),
        ({"selection": Selection(buildid=BUILDID)}, 3, 0),
        ({"begin": Moment(300 * MS, relative=True), "end": Moment(500 * MS, relative=True)}, 2, 0),
        ({"last_ns": 1}, 1, 1),
    ],
)
def test_filters(
    name: str, filters: dict[str, Any], count: int, waits: int, recording: Path
) -> None:
    queries = ("events",) if name != "nested" else ()
    told = preview(Job((recording,), find_format(name), queries, **filters), user=me())
    assert told.rows == count - (waits if name == "nested" else 0)


def test_several_recordings_follow_each_other(recording: Path, tmp_path: Path) -> None:
    for name in FORMATS:
        job = Job((recording, recording), find_format(name), path=tmp_path / name)
        assert export(job, user=me()).rows == 2 * (26 if name == "nested" else 30)


@pytest.mark.parametrize("name", ["csv", "arrow", "arrow-stream", "nested"])
def test_stdout_gets_the_same_file(name: str, recording: Path, tmp_path: Path) -> None:
    run = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); "
        "from stacks_tui.cli.export import run; run()"
    )
    words = ["arrow", "--format", name] if name == "arrow-stream" else [name]
    command = [sys.executable, "-P", "-c", run, str(ROOT), *words, "-r", str(recording)]
    done = subprocess.run([*command, "-o", "-"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    path = exported(name, recording, tmp_path / "x")
    if name.startswith("arrow"):  # what lies below a null is anything
        (tmp_path / "piped").write_bytes(done.stdout)
        opened = pa.ipc.open_file if name == "arrow" else pa.ipc.open_stream
        assert opened(tmp_path / "piped").read_all().equals(opened(path).read_all())
    else:
        assert done.stdout == path.read_bytes()


def test_a_cancelled_export_leaves_nothing(recording: Path, tmp_path: Path) -> None:
    for name in FORMATS:
        job = Job((recording,), find_format(name), path=tmp_path / name)
        with pytest.raises(CancelledError):
            export(job, cancelled=lambda: True, user=me())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def nested(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported("nested", recording, tmp_path_factory.mktemp("nested") / "x.parquet")


def test_the_nested_layout_has_its_columns_types_and_no_nulls(nested: Path) -> None:
    file = pq.ParquetFile(nested)
    assert file.schema_arrow.names == SCHEMA.names
    shown = str(file.schema)
    assert "optional" not in shown
    for column in ("uint64", "uint32", "uint16"):
        assert any(str(field.type) == column for field in file.schema_arrow)
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    table = file.read()
    assert all(column.null_count == 0 for column in table.columns)
    times = table.column("timestamp").to_pylist()
    assert times == sorted(times)
    rows = {row["timestamp"]: row for row in table.to_pylist()}
    assert "wait" not in {row["kind"] for row in rows.values()}
    none = rows[EPOCH + 600 * MS]
    assert (none["ustack"], none["kstack"], none["span_id"], none["trace_name"]) == ([], [], 0, "")
    reading = rows[EPOCH + 400 * MS]
    assert reading["kstack"] == [
        {"name": "vfs_read", "address": KERNEL, "offset": 9},
        {"name": "entry", "address": KERNEL + 64, "offset": 5},
    ]
    assert rows[EPOCH + 500 * MS]["ustack"][0]["name"] == HOSTILE


def test_the_nested_layout_gives_the_same_totals(nested: Path) -> None:
    of_waits = {"offcpu", "blocked", "runnable", "wakers", "wait_wakers", "wait_reasons"}
    by_more = {"rss", "span_wait"}  # by the order of rows, and by when the recording ended
    for name in set(TOTALS) - of_waits - by_more:
        assert totals(samples_of(nested, name)) == TOTALS[name], name
    # one slice ends 400 ms before the next begins: there, that is the only wait
    assert totals(samples_of(nested, "offcpu")) == {"count": 1, "offcpu": 400 * MS}
    # changes are what differs between rows of a process
    assert totals(samples_of(nested, "rss")) == {"count": 3, "growth": 0}


def test_nested_again_is_the_same(nested: Path, tmp_path: Path) -> None:
    again = exported("nested", nested, tmp_path / "again.parquet")
    thrice = exported("nested", again, tmp_path / "thrice.parquet")
    assert pq.read_table(thrice).equals(pq.read_table(again))


def test_a_bare_recording_comes_back_as_it_was(tmp_path: Path) -> None:
    user = [("leaf", 16, 1), ("main", 2**63, 2), ("main", 2**63, 2)]
    row = {"tgid": 7, "command": "job", "buildid": b"\xaa" * 20, "timestamp": EPOCH}
    write_bare(
        tmp_path / "bare.parquet",
        [
            row | {"kind": "profile", "cpu": 3, "pid": 8, "ustack": user, "duration": 10_101_010},
            row | {"kind": "rss", "timestamp": EPOCH + 1, "amount": 2**33},
            row | {"kind": "tcp_send", "timestamp": EPOCH + 2, "amount": 7, "kstack": user},
            row
            | {"kind": "trace_exit", "timestamp": EPOCH + 3, "span_id": 5, "pid": 9, "id": 4}
            | {"trace_name": "s", "parent_id": 2},
        ],
    )
    back = exported("nested", tmp_path / "bare.parquet", tmp_path / "back.parquet")
    given, found = (
        duckdb.read_parquet(str(path)).to_arrow_table().to_pylist()
        for path in (tmp_path / "bare.parquet", back)
    )
    assert found == given


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("select 1 as timestamp", "no 'duration'"),
        ("select * replace ('x' as cpu) from ({})", "'cpu' is 'string'"),
        ("select * replace (-1 as cpu) from ({})", "'cpu' is"),
        ("select * replace (null::varchar as command) from ({})", "has nulls"),
        ("-- Mine?\n-- frames: nothing\nselect 1 as timestamp", "'nothing'"),
        ("-- Mine?\n-- names: timestamp\nselect 'x' as timestamp", "'timestamp'"),
    ],
)
def test_rows_that_are_not_of_the_layout_are_told(
    sql: str, says: str, recording: Path, tmp_path: Path
) -> None:
    given = (
        "select timestamp, duration, kind, 0 as cpu, tgid, 0 as span_id, 0 as parent_id, 0 as id, "
        "amount, pid, 'c' as command, '' as trace_name, ''::blob as buildid, "
        "[{'name': 'n', 'address': 1, 'offset': 2}] as ustack, [] as kstack from events"
    )
    (tmp_path / "mine.sql").write_text(sql.replace("{}", given))
    with pytest.raises(StacksError, match=says):
        exported("nested", recording, tmp_path / "x", str(tmp_path / "mine.sql"))
    assert not (tmp_path / "x").exists()


def test_own_queries_get_frames_by_their_head(recording: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.sql"
    mine.write_text(
        "-- Mine?\n-- names: ustack\n-- frames: kstack\n"
        "select ustack, kstack, 7::ubigint as n, count(*) as c from events where kind = 'profile' "
        "group by all order by c desc, ustack nulls last"
    )
    first, second, *_ = read(
        exported("arrow", recording, tmp_path / "x.arrow", str(mine))
    ).to_pylist()
    assert first == {
        "ustack": ["leaf", "rec", "rec", "rec", "main"],
        "kstack": [],
        "n": 7,
        "c": 3,
    }
    assert second["kstack"][0] == {"name": "vfs_read", "address": KERNEL, "offset": 9}


def test_a_table_holds_one_query(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one query"):
        exported("csv", recording, tmp_path / "x", "events", "io_sizes")
