"""Side-band records of real processes: perf_event_open(2) as root, no BPF."""

from __future__ import annotations

import ctypes
import itertools
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stacks_tui.capture.launch import launch
from stacks_tui.capture.sideband import Comm, Exit, Fork, Mapped, Record, Sideband
from stacks_tui.capture.targets import Targets
from stacks_tui.elf import ElfImage
from stacks_tui.enrich.clock import read_clock
from stacks_tui.enrich.history import SpaceMade
from stacks_tui.enrich.tasks import Tasks
from stacks_tui.records import EVENT

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

DEADLINE_S = 30


def buildid_of(path: str) -> bytes | None:
    with open(path, "rb") as file:
        return ElfImage.from_fd(file.fileno()).build_id


def drain(sideband: Sideband, enough: Callable[[list[Record]], bool]) -> list[Record]:
    found: list[Record] = []
    end = time.monotonic() + DEADLINE_S
    while not enough(found) and time.monotonic() < end:
        found += sideband.read()
    return found


def until_exit(sideband: Sideband, tgid: int) -> list[Record]:
    return drain(
        sideband,
        lambda seen: any(isinstance(one, Exit) and one.pid == tgid for one in seen),
    )


def test_two_hundred_runs_of_true() -> None:
    loop = "for i in $(seq 200); do /bin/true; done"
    with Sideband() as sideband, launch(["sh", "-c", loop]) as child:
        tasks = Tasks(Targets(argv=("sh",), follow=True))
        tasks.scan()
        tasks.add_target(child.tgid)
        child.release()
        assert child.wait() == 0
        records = until_exit(sideband, child.tgid)
        tasks.apply(records)
        assert sideband.lost == 0
    assert [one.time for one in records] == sorted(one.time for one in records)
    true = os.path.realpath("/bin/true")
    rows = [row for row in tasks.processes(read_clock()) if row.comm == "true"]
    assert len({row.tgid for row in rows}) == len(rows) == 200
    assert {row.exe for row in rows} == {true}
    assert {row.buildid for row in rows} == {buildid_of(true)}
    assert {row.parent for row in rows} == {child.tgid}
    assert all(row.start and row.end and row.start < row.end for row in rows)
    # each one's mappings and names at a moment of its life, after it has ended
    execs = [one for one in records if isinstance(one, Comm) and one.exec and one.name == "true"]
    ends = {one.tgid: one.time for one in records if isinstance(one, Exit)}
    batch = np.zeros(2 * len(execs), EVENT)
    for at, one in enumerate(execs):
        space = tasks.space_at(one.tgid, ends[one.tgid])
        assert space is not None
        by_path = {m.path: m.buildid for m in space.mappings}
        assert by_path[true] == buildid_of(true)
        assert any("libc.so" in path and by_path[path] for path in by_path)
        assert "[vdso]" in by_path
        for place, when in ((2 * at, one.time - 1), (2 * at + 1, ends[one.tgid])):
            batch[place]["time"], batch[place]["tgid"] = when, one.tgid
            batch[place]["pid"] = one.pid
    columns = tasks.columns(batch)
    assert columns.command.to_pylist() == ["sh", "true"] * 200
    ids = columns.buildid.to_pylist()
    assert set(ids[1::2]) == {buildid_of(true)}
    assert set(ids[::2]) == {buildid_of(os.path.realpath("/bin/sh"))}


def test_a_chain_of_execs() -> None:
    script = "exec env sh -c 'exec env true'"
    with Sideband() as sideband, launch(["sh", "-c", script]) as child:
        tasks = Tasks(Targets(argv=("sh",)))
        tasks.scan()
        tasks.add_target(child.tgid)
        child.release()
        child.wait()
        records = until_exit(sideband, child.tgid)
    names = [
        one.name for one in records if isinstance(one, Comm) and one.exec and one.tgid == child.tgid
    ]
    assert names == ["sh", "env", "sh", "env", "true"]
    tasks.apply(records)
    rows = [row for row in tasks.processes(read_clock()) if row.tgid == child.tgid]
    assert [row.comm for row in rows[1:]] == names
    assert [os.path.basename(row.exe or "") for row in rows[1:]] == [
        os.path.basename(os.path.realpath(f"/usr/bin/{name}")) for name in names
    ]
    for row, following in itertools.pairwise(rows):
        assert row.end == following.start


def test_thread_names_and_hostile_bytes() -> None:
    raw = b"\xff\x1b]8;;'\"\n"
    names = (b"first", raw)
    with Sideband() as sideband:
        numbers: list[int] = []

        def work() -> None:
            numbers.append(threading.get_native_id())
            for name in names:
                with open(f"/proc/self/task/{numbers[0]}/comm", "wb") as file:
                    file.write(name)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        records = until_exit(sideband, numbers[0])
    mine = [one for one in records if getattr(one, "pid", 0) == numbers[0]]
    assert isinstance(mine[0], Fork)
    assert mine[0].tgid == mine[0].parent_tgid == os.getpid()
    told = [os.fsencode(one.name) for one in mine if isinstance(one, Comm)]
    assert told == list(names)
    assert not any(one.exec for one in mine if isinstance(one, Comm))
    assert isinstance(mine[-1], Exit)


def test_library_and_anonymous_code_mapped_later() -> None:
    """What a process that ran before maps is added to what it had, with the kernel's build id."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    tasks = Tasks(Targets(pids=(os.getpid(),)))
    with Sideband() as sideband:
        tasks.scan()
        (made,) = tasks.take_new_spaces()
        assert isinstance(made, SpaceMade)
        library = next(Path("/usr/lib").glob("*/libnss_hesiod*.so*"), None) or next(
            Path("/usr/lib").glob("*/libanl.so.1")
        )
        library = library.resolve()
        assert all(one.path != str(library) for one in made.space.mappings)
        loaded = ctypes.CDLL(str(library))
        assert loaded is not None
        address = libc.mmap(None, 8192, 5, 0x22, -1, 0)
        records = drain(
            sideband,
            lambda seen: any(
                isinstance(one, Mapped) and one.mapping.start == address for one in seen
            ),
        )
        tasks.apply(records)
    now = time.monotonic_ns()
    space = tasks.space_at(os.getpid(), now)
    assert space is not None
    anonymous = space.find(address)
    assert anonymous is not None
    assert anonymous.path == "//anon"
    (found,) = [one for one in space.mappings if one.path == str(library)]
    assert found.buildid == buildid_of(str(library))
    changed = tasks.take_new_spaces()
    assert isinstance(changed[-1], SpaceMade)
    assert changed[-1].space == space


def test_a_full_ring_counts_what_it_lost() -> None:
    loop = "for i in $(seq 60); do /bin/true; done"
    with Sideband(pages_per_cpu=1) as sideband:
        subprocess.run(["sh", "-c", loop], check=True)
        first = sideband.read()  # what found room
        assert first
        # the kernel tells of the loss once there is room again
        end = time.monotonic() + DEADLINE_S
        while not sideband.lost and time.monotonic() < end:
            subprocess.run(["true"], check=True)
            sideband.read()
        assert sideband.lost > 0


def test_the_ring_wraps_many_times() -> None:
    """60 short processes are many rings of a page; all arrive, whole, when read in time."""
    with Sideband(pages_per_cpu=2) as sideband:
        seen: list[Record] = []
        for _ in range(60):
            subprocess.run(["true"], check=True)
            seen += sideband.read()
        seen += sideband.read()
        assert sideband.lost == 0
    runs = [one for one in seen if isinstance(one, Comm) and one.exec and one.name == "true"]
    assert len(runs) >= 60


def test_the_first_record_wakes() -> None:
    with Sideband() as sideband:
        poll = select.epoll()
        for fd in sideband.fds:
            poll.register(fd, select.EPOLLIN)
        sideband.read()
        subprocess.run([sys.executable, "-S", "-c", ""], check=True)
        assert poll.poll(DEADLINE_S)
        poll.close()
        assert sideband.read()


def test_descriptors_are_given_back() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with Sideband() as sideband:
        assert len(sideband.fds) == os.cpu_count()
    assert set(os.listdir("/proc/self/fd")) == before
