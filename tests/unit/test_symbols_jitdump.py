"""Jitdumps: whole, growing, half written, hostile; trusted only from the process's owner."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui.spaces import Mapping, make_space
from stacks_tui.symbols.jitdump import JitDump, dump_path

PID = 77
HEADER = struct.pack("<IIIIIIQQ", 0x4A695444, 1, 40, 62, 0, PID, 0, 0)


def load(start: int, size: int, name: bytes, index: int = 0) -> bytes:
    body = struct.pack("<IIQQQQ", PID, PID, start, start, size, index) + name + b"\0" + bytes(size)
    return struct.pack("<IIQ", 0, 16 + len(body), 0) + body


def move(old: int, new: int, size: int, index: int) -> bytes:
    body = struct.pack("<IIQQQQQ", PID, PID, new, old, new, size, index)
    return struct.pack("<IIQ", 1, 16 + len(body), 0) + body


def lines(start: int, *entries: tuple[int, int, bytes]) -> bytes:
    body = struct.pack("<QQ", start, len(entries))
    for address, line, file in entries:
        body += struct.pack("<QII", address, line, 0) + file + b"\0"
    return struct.pack("<IIQ", 2, 16 + len(body), 0) + body


@pytest.fixture
def dump(tmp_path: Path) -> tuple[JitDump, Path]:
    """A dump of process PID, and the file to write."""
    process = tmp_path / str(PID)
    (process / "root" / "tmp").mkdir(parents=True)
    (process / "status").write_text(f"Uid:\t{os.getuid()}\t{os.getuid()}\nNSpid:\t{PID}\n")
    path = process / "root" / "tmp" / f"jit-{PID}.dump"
    return JitDump(PID, f"/tmp/jit-{PID}.dump", tmp_path, patience=0.0), path


def names(dump: JitDump, *addresses: int) -> list[bytes | None]:
    return [
        found.name if found is not None else None
        for found in dump.find(np.array(addresses, np.uint64))
    ]


def test_names_code_and_what_later_takes_its_place(dump: tuple[JitDump, Path]) -> None:
    reader, path = dump
    path.write_bytes(HEADER + load(0x1000, 0x100, b"one") + load(0x1080, 0x10, b"two", 1))
    assert reader.refresh()
    assert names(reader, 0xFFF, 0x1000, 0x107F, 0x1080, 0x108F, 0x1090, 0x1100) == [
        *(None, b"one", b"one", b"two", b"two", b"one", None)
    ]
    assert not reader.refresh()
    reader.close()


def test_reads_on_and_leaves_half_a_record_for_later(dump: tuple[JitDump, Path]) -> None:
    reader, path = dump
    second = load(0x2000, 0x20, b"second", 1)
    path.write_bytes(HEADER + load(0x1000, 0x20, b"first") + second[:30])
    assert reader.refresh()
    assert names(reader, 0x1000, 0x2000) == [b"first", None]
    with path.open("ab") as file:
        file.write(second[30:])
    assert reader.refresh()
    assert names(reader, 0x1000, 0x2000) == [b"first", b"second"]
    reader.close()


def test_is_read_to_its_end_after_the_process_ended(dump: tuple[JitDump, Path]) -> None:
    reader, path = dump
    path.write_bytes(HEADER)
    assert reader.open()
    (path.parents[2] / "status").unlink()
    with path.open("ab") as file:
        file.write(load(0x1000, 0x20, b"last"))
    assert reader.refresh()
    assert names(reader, 0x1000) == [b"last"]
    reader.close()


def test_follows_moved_code_with_its_lines(dump: tuple[JitDump, Path]) -> None:
    reader, path = dump
    told = lines(0x1000, (0x1000, 7, b"a.js"), (0x1010, 9, b"\xff"))
    path.write_bytes(HEADER + told + load(0x1000, 0x20, b"f", 5) + move(0x1000, 0x5000, 0x20, 5))
    assert reader.refresh()
    (found,) = reader.find(np.array([0x5010], np.uint64))
    assert found is not None
    assert found.name == b"f"
    assert found.lines == ((0x5000, b"a.js", 7), (0x5010, b"a.js", 9))
    reader.close()


def test_lines_that_are_no_lines_of_the_code_are_left_out(dump: tuple[JitDump, Path]) -> None:
    reader, path = dump
    path.write_bytes(HEADER + lines(0x1000, (0x9000, 7, b"a")) + load(0x1000, 0x20, b"f"))
    assert reader.refresh()
    (found,) = reader.find(np.array([0x1000], np.uint64))
    assert found is not None
    assert found.lines == ()
    reader.close()


@pytest.mark.parametrize("header", [b"", HEADER[:39], HEADER.replace(b"DTiJ", b"XXXX")])
def test_takes_nothing_from_another_file(dump: tuple[JitDump, Path], header: bytes) -> None:
    reader, path = dump
    path.write_bytes(header + load(0x1000, 0x20, b"f"))
    reader.refresh()
    assert names(reader, 0x1000) == [None]
    reader.close()


def test_takes_nothing_that_others_can_write(dump: tuple[JitDump, Path]) -> None:
    reader, path = dump
    path.write_bytes(HEADER + load(0x1000, 0x20, b"f"))
    path.chmod(0o666)
    assert not reader.refresh()
    path.chmod(0o644)
    target = path.with_name("other")
    path.rename(target)
    path.symlink_to(target)
    assert not reader.refresh()
    reader.close()


def test_finds_the_dump_that_is_mapped() -> None:
    mapped = [
        Mapping(0x1000, 0x2000, 0, "/home/x/jit-9.dump"),
        Mapping(0x3000, 0x4000, 0, "//anon"),
    ]
    assert dump_path(make_space(9, 0, mapped)) == "/home/x/jit-9.dump"
    assert dump_path(make_space(9, 0, mapped[1:])) is None


@given(st.binary(max_size=300), st.integers(0, 120))
def test_no_bytes_make_it_fail(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    folder = tmp_path_factory.mktemp("proc")
    process = folder / str(PID)
    (process / "root" / "tmp").mkdir(parents=True)
    (process / "status").write_text(f"Uid:\t{os.getuid()}\nNSpid:\t{PID}\n")
    whole = HEADER + lines(0x1000, (0x1000, 7, b"a")) + load(0x1000, 0x20, b"f") + noise
    data = whole[: 40 + at] + noise + whole[40 + at :]
    (process / "root" / "tmp" / f"jit-{PID}.dump").write_bytes(data)
    reader = JitDump(PID, f"/tmp/jit-{PID}.dump", folder, patience=0.0)
    reader.refresh()
    reader.find(np.array([0, 0x1000, (1 << 64) - 1], np.uint64))
    reader.close()
