"""Decoding of side-band records from bytes, laid out by hand as perf_event_open(2) says."""

from __future__ import annotations

import os
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui.capture import sideband
from stacks_tui.capture.sideband import Comm, Decoder, Exit, Fork, Mapped, Record, unwrap
from stacks_tui.errors import MachineError
from stacks_tui.spaces import Mapping


def record(kind: int, misc: int, body: bytes, when: int, cpu: int = 0) -> bytes:
    tail = struct.pack("<IIQII", 1, 1, when, cpu, 0)
    return struct.pack("<IHH", kind, misc, 8 + len(body) + len(tail)) + body + tail


def name(raw: bytes) -> bytes:
    raw += b"\0"
    return raw.ljust((len(raw) + 7) // 8 * 8, b"\0")


def comm(tgid: int, pid: int, raw: bytes, time: int, misc: int = 0) -> bytes:
    return record(3, misc, struct.pack("<II", tgid, pid) + name(raw), time)


def task(kind: int, tgid: int, parent: int, pid: int, parent_pid: int, time: int) -> bytes:
    return record(kind, 0, struct.pack("<IIIIQ", tgid, parent, pid, parent_pid, time), time)


def mapped(raw: bytes, time: int, buildid: bytes | None = None, prot: int = 5) -> bytes:
    place = struct.pack("<IIQQQ", 7, 8, 0x1000, 0x2000, 0x3000)
    if buildid is None:
        file = struct.pack("<IIQQ", 8, 1, 99, 0)
    else:
        file = struct.pack("<B3x20s", len(buildid), buildid)
    body = place + file + struct.pack("<II", prot, 2) + name(raw)
    return record(10, 1 << 14 if buildid is not None else 0, body, time)


def decode(data: bytes) -> tuple[list[Record], int]:
    found: list[Record] = []
    lost = Decoder().decode(data, found)
    return found, lost


def test_each_kind() -> None:
    data = (
        task(7, 20, 10, 20, 11, 1)
        + comm(20, 20, b"true", 2, 1 << 13)
        + comm(20, 21, b"worker", 3)
        + mapped(b"/usr/bin/true", 4, b"\xab" * 20)
        + mapped(b"/nobuildid", 5)
        + mapped(b"[vdso]", 6, b"")
        + mapped(b"/data", 7, prot=1)
        + record(2, 0, struct.pack("<QQ", 5, 42), 8)
        + record(99, 0, b"\1" * 16, 9)
        + task(4, 20, 10, 21, 11, 10)
    )
    found, lost = decode(data)
    assert lost == 42
    assert found == [
        Fork(1, 20, 10, 20, 11),
        Comm(2, 20, 20, "true", True),
        Comm(3, 20, 21, "worker", False),
        Mapped(4, 7, 8, Mapping(0x1000, 0x3000, 0x3000, "/usr/bin/true", b"\xab" * 20)),
        Mapped(5, 7, 8, Mapping(0x1000, 0x3000, 0x3000, "/nobuildid", None, os.makedev(8, 1), 99)),
        Mapped(6, 7, 8, Mapping(0x1000, 0x3000, 0x3000, "[vdso]", None)),
        Exit(10, 20, 21),
    ]


@given(st.binary(max_size=15).filter(lambda raw: b"\0" not in raw))
def test_any_bytes_of_a_name_survive(raw: bytes) -> None:
    found, _ = decode(comm(1, 1, raw, 1) + mapped(b"/" + raw, 2))
    assert isinstance(found[0], Comm)
    assert os.fsencode(found[0].name) == raw
    assert isinstance(found[1], Mapped)
    assert os.fsencode(found[1].mapping.path) == b"/" + raw


def test_a_build_id_longer_than_its_field_is_cut() -> None:
    data = bytearray(mapped(b"/x", 1, b"\1" * 20))
    data[40] = 255
    found, _ = decode(bytes(data))
    assert isinstance(found[0], Mapped)
    assert found[0].mapping.buildid == b"\1" * 20


def test_a_record_of_no_size_does_not_hang() -> None:
    with pytest.raises(ValueError, match="0 bytes"):
        decode(struct.pack("<IHH", 3, 0, 0) * 4)


def test_names_are_bounded_and_shared() -> None:
    decoder = Decoder()
    found: list[Record] = []
    for n in range(3 * Decoder._MOST):
        decoder.decode(comm(1, 1, b"n%d" % n, n), found)
    assert len(decoder._names) <= Decoder._MOST
    decoder.decode(comm(1, 1, b"same", 1) * 2, found)
    assert isinstance(found[-1], Comm)
    assert isinstance(found[-2], Comm)
    assert found[-1].name is found[-2].name


@given(
    tail=st.integers(0, 1 << 40), length=st.integers(1, 64), pad=st.sampled_from([8, 16, 32, 64])
)
def test_the_ring_s_end_is_no_end(tail: int, length: int, pad: int) -> None:
    length = min(length, pad)
    ring = bytearray(pad)
    wanted = bytes(n % 251 for n in range(length))
    for n, byte in enumerate(wanted):
        ring[(tail + n) % pad] = byte
    assert unwrap(memoryview(ring), pad, tail, tail + length) == wanted


def test_refusal_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(cpu: int, bits: tuple[int, ...]) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sideband, "_open_with", refuse)
    with pytest.raises(MachineError, match=r"permission denied\. Run with sudo"):
        sideband.Sideband()


def test_kernels_without_build_ids_are_asked_without(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def old_kernel(cpu: int, bits: tuple[int, ...]) -> int:
        asked.append(bits)
        if 34 in bits:
            raise OSError(22, "Invalid argument")
        return 5

    monkeypatch.setattr(sideband, "_open_with", old_kernel)
    assert sideband._open(0) == 5
    assert [34 in bits for bits in asked] == [True, False]


def test_pages_are_a_power_of_two() -> None:
    with pytest.raises(ValueError, match="power of two"):
        sideband.Sideband(pages_per_cpu=3)


class Rings:
    """Stands for the decoded rings: what each further reading finds."""

    def __init__(self, *readings: list[Record]) -> None:
        self._readings = list(readings)

    def __call__(self) -> list[Record]:
        return self._readings.pop(0) if self._readings else []


def test_a_late_record_of_another_cpu_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sideband, "online_cpus", list)
    band = sideband.Sideband()
    readings: list[list[Record]] = [
        [Exit(9, 1, 1)],
        [Exit(5, 1, 1), Exit(11, 1, 1)],
        [Exit(10, 1, 1)],
    ]
    monkeypatch.setattr(band, "_decode", Rings(*readings))
    assert [one.time for one in band.read()] == [5, 9, 10, 11]
    assert band.read() == []


def test_under_a_flood_only_what_is_settled_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sideband, "online_cpus", list)
    monkeypatch.setattr(time, "monotonic_ns", iter(range(10, 1000, 10)).__next__)
    band = sideband.Sideband()
    flood: list[list[Record]] = [[Exit(10 * n + 5, 1, 1)] for n in range(12)]
    monkeypatch.setattr(band, "_decode", Rings(*flood))
    first = band.read()
    assert [one.time for one in first] == [5, 15, 25, 35, 45, 55, 65, 75]
    assert [one.time for one in first + band.read()] == [10 * n + 5 for n in range(12)]
