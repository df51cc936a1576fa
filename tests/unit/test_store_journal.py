"""Journals: every batch back, and what a torn or forged file gives."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_rows import Frame, Stack, events, me

from stacks_tui.errors import StacksError
from stacks_tui.schema import EVENTS, STACKS
from stacks_tui.store.disk import DiskFullError
from stacks_tui.store.journal import Journal, read_journal
from stacks_tui.store.rows import stacks_batch


def write(folder: Path, batches: list[pa.RecordBatch], codec: str | None = None) -> Path:
    fd = os.open(folder, os.O_RDONLY)
    name = f"j{len(list(folder.iterdir()))}"
    journal = Journal(fd, name, me(), codec)
    for batch in batches:
        journal.append(batch)
    assert (folder / name).stat().st_size == journal.size  # nothing held back, before any close
    journal.close()
    os.close(fd)
    return folder / name


def read(path: Path, schema: pa.Schema = EVENTS) -> pa.Table:
    fd = os.open(path, os.O_RDONLY)
    try:
        return pa.Table.from_batches(read_journal(fd, schema), schema)
    finally:
        os.close(fd)


@pytest.mark.parametrize("codec", [None, "lz4"])
def test_batches_come_back_with_their_own_dictionaries_and_nulls(
    tmp_path: Path, codec: str | None
) -> None:
    batches = [
        events([1, 2], ustack=7, command="a"),
        events([3], kind="rss", command=None, delta=-4096, buildid=b"\xff\0"),
        events([4], kind="wait", command="bé\n", waker=5, open=True, state="S"),
    ]
    table = read(write(tmp_path, batches, codec))
    assert table.to_pylist() == [row for batch in batches for row in batch.to_pylist()]
    assert table.schema == EVENTS


def test_nested_stacks_come_back(tmp_path: Path) -> None:
    batch = stacks_batch([Stack(1, [Frame("a", line=3), Frame("b")]), Stack(2, [])])
    assert read(write(tmp_path, [batch], "lz4"), STACKS).to_pylist() == batch.to_pylist()


def test_every_cut_leaves_exactly_the_whole_batches(tmp_path: Path) -> None:
    batches = [events([1, 2]), events([3], ustack=1), events([4, 5, 6], command="other")]
    sizes = [write(tmp_path, batches[:n]).stat().st_size for n in range(4)]
    content = write(tmp_path, batches).read_bytes()
    torn = tmp_path / "torn"
    for cut in range(0, len(content) + 1, 7):
        torn.write_bytes(content[:cut])
        rows = read(torn).num_rows
        whole = sum(cut >= size for size in sizes[1:])
        # The end marker of a stream (8 bytes) may be missing: its batch is whole all the same.
        nearly = sum(cut >= size - 8 for size in sizes[1:])
        assert rows in {sum(b.num_rows for b in batches[:n]) for n in (whole, nearly)}


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_damaged_bytes_never_crash(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "damaged"
    good = tmp_path / "j0"
    if not good.exists():
        write(tmp_path, [events([1, 2], ustack=9), events([3])])
    content = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        table = read(path)
    except StacksError as error:
        assert str(error).isprintable()
    else:
        table.validate(full=True)
        assert table.num_rows <= 3


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"\xff" * 64, b"PAR1" * 100])
def test_foreign_bytes_are_an_empty_journal(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "foreign").write_bytes(content)
    assert read(tmp_path / "foreign").num_rows == 0


def test_a_journal_of_other_columns_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [pa.RecordBatch.from_pydict({"timestamp": ["x"]})])
    with pytest.raises(StacksError, match="damaged"):
        read(path)


def test_a_failed_append_leaves_the_batches_before_it_and_can_go_on(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    journal = Journal(fd, "j", me())
    journal.append(events([1]))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size + 100, limit[1]))
    try:
        with pytest.raises(DiskFullError, match=r"\A[^\n]*file size limit[^\n]*\Z"):
            journal.append(events([2, 3]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (tmp_path / "j").stat().st_size == journal.size
    journal.append(events([4]))
    journal.close()
    os.close(fd)
    assert read(tmp_path / "j").column("id").to_pylist() == [1, 4]


def test_an_existing_file_or_link_is_not_written_to(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "j").symlink_to("victim")
    with pytest.raises(StacksError, match="exists"):
        Journal(fd, "j", me())
    assert not (tmp_path / "victim").exists()
    os.close(fd)
