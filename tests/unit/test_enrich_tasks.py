from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stacks_tui.capture.sideband import Comm, Exit, Fork, Mapped
from stacks_tui.capture.targets import Targets
from stacks_tui.elf import ElfImage
from stacks_tui.enrich.clock import Clock
from stacks_tui.enrich.history import Execed, Exited, Forked, SpaceMade
from stacks_tui.enrich.processes import ProcessRow, table
from stacks_tui.enrich.tasks import Tasks
from stacks_tui.records import EVENT
from stacks_tui.schema import PROCESSES
from stacks_tui.spaces import Mapping

T = 10**15
"""A monotonic time later than anything read from /proc."""
SHELL, CHILD, THREAD = 4_000_000, 4_000_001, 4_000_002
"""Numbers of processes that don't exist: pid_max is smaller by default."""
SH, TRUE = b"\x01" * 20, b"\x02" * 20
CLOCK = Clock(5, 0)


@pytest.fixture(autouse=True)
def no_such_processes() -> None:
    if any(Path(f"/proc/{pid}").exists() for pid in (SHELL, CHILD, THREAD)):
        pytest.skip("the numbers used here are taken")


def events(*rows: tuple[int, int, int]) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    found = np.zeros(len(rows), EVENT)
    for at, (when, tgid, pid) in enumerate(rows):
        found[at]["time"], found[at]["tgid"], found[at]["pid"] = when, tgid, pid
    return found


def file(path: str, buildid: bytes | None, start: int = 0x1000) -> Mapping:
    return Mapping(start, start + 0x1000, 0, path, buildid)


def shell(tasks: Tasks) -> None:
    tasks.apply(
        [
            Fork(T, SHELL, 1, SHELL, 1),
            Comm(T + 10, SHELL, SHELL, "sh", True),
            Mapped(T + 11, SHELL, SHELL, file("/bin/sh", SH)),
            Mapped(T + 12, SHELL, SHELL, file("/lib/ld.so", b"\x09" * 20, 0x9000)),
        ]
    )


def child_runs_true(tasks: Tasks) -> None:
    tasks.apply(
        [
            Fork(T + 100, CHILD, SHELL, CHILD, SHELL),
            Comm(T + 110, CHILD, CHILD, "true", True),
            Mapped(T + 111, CHILD, CHILD, file("/bin/true", TRUE)),
            Exit(T + 150, CHILD, CHILD),
        ]
    )


def test_names_and_build_ids_hold_at_the_time_of_the_event() -> None:
    tasks = Tasks()
    shell(tasks)
    child_runs_true(tasks)
    batch = events(
        (T + 20, SHELL, SHELL),
        (T + 105, CHILD, CHILD),
        (T + 110, CHILD, CHILD),
        (T + 149, CHILD, CHILD),
        (T + 151, CHILD, CHILD),  # the last switch comes after the exit
    )
    columns = tasks.columns(batch)
    assert columns.command.to_pylist() == ["sh", "sh", "true", "true", "true"]
    assert columns.thread.to_pylist() == columns.command.to_pylist()
    assert columns.buildid.to_pylist() == [SH, SH, TRUE, TRUE, TRUE]


def test_threads_inherit_their_maker_s_name_and_rename() -> None:
    tasks = Tasks()
    shell(tasks)
    tasks.apply(
        [
            Fork(T + 30, SHELL, SHELL, THREAD, SHELL),
            Comm(T + 40, SHELL, THREAD, "worker", False),
            Comm(T + 50, SHELL, SHELL, "boss", False),
        ]
    )
    columns = tasks.columns(
        events((T + 35, SHELL, THREAD), (T + 45, SHELL, THREAD), (T + 55, SHELL, THREAD))
    )
    assert columns.thread.to_pylist() == ["sh", "worker", "worker"]
    assert columns.command.to_pylist() == ["sh", "sh", "boss"]


def test_a_number_used_again_is_another_process() -> None:
    tasks = Tasks()
    shell(tasks)
    child_runs_true(tasks)
    tasks.apply(
        [
            Fork(T + 200, CHILD, SHELL, CHILD, SHELL),
            Comm(T + 210, CHILD, CHILD, "false", True),
            Mapped(T + 211, CHILD, CHILD, file("/bin/false", b"\x03" * 20)),
        ]
    )
    columns = tasks.columns(
        events((T + 120, CHILD, CHILD), (T + 205, CHILD, CHILD), (T + 212, CHILD, CHILD))
    )
    assert columns.command.to_pylist() == ["true", "sh", "false"]
    assert columns.buildid.to_pylist() == [TRUE, SH, b"\x03" * 20]
    old, new = tasks.space_at(CHILD, T + 149), tasks.space_at(CHILD, T + 212)
    assert old is not None
    assert new is not None
    assert [one.path for one in old.mappings] == ["/bin/true"]
    assert [one.path for one in new.mappings] == ["/bin/false"]
    assert old.generation != new.generation
    assert [row.comm for row in tasks.processes(CLOCK) if row.tgid == CHILD] == [
        "sh",
        "true",
        "sh",
        "false",
    ]


def test_rows_end_with_an_exec_or_the_process() -> None:
    tasks = Tasks()
    shell(tasks)
    child_runs_true(tasks)
    rows = [row for row in tasks.processes(CLOCK) if row.tgid in (SHELL, CHILD)]
    assert rows[1:] == [
        ProcessRow(SHELL, T + 15, None, 1, "sh", None, "/bin/sh", SH, None, None),
        ProcessRow(CHILD, T + 105, T + 115, SHELL, "sh", None, "/bin/sh", SH, None, None),
        ProcessRow(CHILD, T + 115, T + 155, SHELL, "true", None, "/bin/true", TRUE, None, None),
    ]
    made = table(rows)
    assert made.schema == PROCESSES
    made.validate(full=True)


def test_the_process_ends_with_its_last_thread() -> None:
    tasks = Tasks()
    shell(tasks)
    tasks.apply([Fork(T + 30, SHELL, SHELL, THREAD, SHELL), Exit(T + 40, SHELL, SHELL)])
    assert tasks.processes(CLOCK)[-1].end is None
    assert tasks.columns(events((T + 45, SHELL, THREAD))).command.to_pylist() == ["sh"]
    tasks.apply([Exit(T + 50, SHELL, THREAD)])
    assert tasks.processes(CLOCK)[-1].end == T + 55


def test_the_dead_are_forgotten_and_their_rows_given_once() -> None:
    tasks = Tasks(horizon_ns=1000)
    shell(tasks)
    child_runs_true(tasks)
    assert tasks.take_ended(CLOCK) == []
    tasks.apply([Comm(T + 1149, SHELL, SHELL, "sh", False)])
    assert tasks.space_at(CHILD, T + 140) is not None
    tasks.apply([Comm(T + 1200, SHELL, SHELL, "sh", False)])
    assert tasks.space_at(CHILD, T + 140) is None
    assert tasks.comm(CHILD) is None
    assert tasks.comm(SHELL) == "sh"
    assert [(row.tgid, row.comm) for row in tasks.take_ended(CLOCK)] == [
        (CHILD, "sh"),
        (CHILD, "true"),
    ]
    assert tasks.take_ended(CLOCK) == []
    assert CHILD not in {row.tgid for row in tasks.processes(CLOCK)}


def test_memory_is_flat_over_many_processes() -> None:
    tasks = Tasks(Targets(pids=(1,)), horizon_ns=1000)
    shell(tasks)
    for n in range(2000):
        at = T + 1000 + n * 100
        tasks.apply(
            [
                Fork(at, CHILD + n, SHELL, CHILD + n, SHELL),
                Comm(at + 10, CHILD + n, CHILD + n, f"p{n}", True),
                Mapped(at + 20, CHILD + n, CHILD + n, file("/bin/x", TRUE)),
                Exit(at + 30, CHILD + n, CHILD + n),
            ]
        )
        tasks.take_new_spaces()
    for sized in (tasks._processes, tasks._ends, tasks._exited, tasks._names._log, tasks._done):
        assert len(sized) < 40


def test_an_end_that_was_not_told_is_found() -> None:
    tasks = Tasks(horizon_ns=1000)
    shell(tasks)  # it doesn't run
    tasks.apply([Fork(T + 5000, CHILD, 1, CHILD, 1)])
    tasks.apply([Exit(T + 5001, CHILD, CHILD)])
    assert tasks._processes[SHELL].ended == T + 5000
    tasks.apply([Fork(T + 7000, CHILD, 1, CHILD, 1)])
    assert SHELL not in tasks._processes


def test_changes_of_spaces_come_in_order_and_only_of_targets() -> None:
    tasks = Tasks(Targets(pids=(SHELL,), follow=True))
    tasks.add_target(SHELL)
    tasks._kept[SHELL] = T * 2  # told to us before it was forked
    shell(tasks)
    child_runs_true(tasks)
    tasks.apply([Fork(T + 160, THREAD, 1, THREAD, 1), Exit(T + 170, THREAD, THREAD)])
    changes = tasks.take_new_spaces()
    kinds = [
        (type(one).__name__, one.child if isinstance(one, Forked) else one.tgid) for one in changes
    ]
    assert kinds == [
        ("Forked", SHELL),
        ("Execed", SHELL),
        ("SpaceMade", SHELL),
        ("Forked", CHILD),
        ("Execed", CHILD),
        ("SpaceMade", CHILD),
        ("Exited", CHILD),
    ]
    made = [one for one in changes if isinstance(one, SpaceMade)]
    assert [one.path for one in made[0].space.mappings] == ["/bin/sh", "/lib/ld.so"]
    assert [one.path for one in made[1].space.mappings] == ["/bin/true"]
    assert isinstance(changes[1], Execed)
    assert isinstance(changes[-1], Exited)
    assert tasks.take_new_spaces() == []


def test_what_is_mapped_around_a_fork_is_told_around_it() -> None:
    tasks = Tasks()
    shell(tasks)
    tasks.take_new_spaces()
    tasks.apply(
        [
            Mapped(T + 20, SHELL, SHELL, file("/a", None, 0x20000)),
            Mapped(T + 21, SHELL, SHELL, file("/b", None, 0x30000)),
            Fork(T + 22, CHILD, SHELL, CHILD, SHELL),
            Mapped(T + 23, SHELL, SHELL, file("/c", None, 0x40000)),
        ]
    )
    one, forked, two = tasks.take_new_spaces()
    assert isinstance(one, SpaceMade)
    assert isinstance(two, SpaceMade)
    assert isinstance(forked, Forked)
    assert [m.path for m in one.space.mappings][-2:] == ["/a", "/b"]
    assert [m.path for m in two.space.mappings][-1] == "/c"
    child = tasks.space_at(CHILD, T + 30)
    assert child is not None
    assert child.mappings == one.space.mappings


@pytest.mark.parametrize("follow", [False, True])
def test_targets_by_name(follow: bool) -> None:
    tasks = Tasks(Targets(comms=("a-name-longer-than-15",), follow=follow))
    tasks.apply(
        [
            Fork(T, SHELL, 1, SHELL, 1),
            Comm(T + 1, SHELL, SHELL, "a-name-longer-t", True),
            Mapped(T + 2, SHELL, SHELL, file("/x", SH)),
            Fork(T + 3, CHILD, SHELL, CHILD, SHELL),
        ]
    )
    assert tasks.is_target(SHELL)
    assert tasks.is_target(CHILD)  # it has the name
    assert {SHELL, CHILD} <= {row.tgid for row in tasks.processes(CLOCK)}
    tasks.take_new_spaces()
    tasks.apply([Fork(T + 4, THREAD, CHILD, THREAD, CHILD), Comm(T + 5, THREAD, THREAD, "x", True)])
    told = tasks.take_new_spaces()
    # an exec ends a target by name, and is told all the same: what was published is wrong now
    assert Execed(T + 5, THREAD) in told
    assert (Forked(T + 4, CHILD, THREAD) in told) is follow
    assert tasks.is_target(THREAD) is follow
    tasks.apply([Comm(T + 6, THREAD, THREAD, "y", True)])
    assert tasks.take_new_spaces() == ([Execed(T + 6, THREAD)] if follow else [])
    assert ("y" in {row.comm for row in tasks.processes(CLOCK)}) is follow
    tasks.apply([Fork(T + 6, THREAD + 1, THREAD, THREAD + 1, THREAD)])
    assert tasks.is_target(THREAD + 1) is follow


def test_hostile_names() -> None:
    tasks = Tasks()
    raw = b"\xff\x1b]8;;[/]'\"\n".decode("utf-8", "surrogateescape")
    tasks.apply(
        [
            Fork(T, SHELL, 1, SHELL, 1),
            Comm(T + 1, SHELL, SHELL, raw, True),
            Mapped(T + 2, SHELL, SHELL, file("/tmp/" + raw, SH)),
        ]
    )
    columns = tasks.columns(events((T + 3, SHELL, SHELL)))
    columns.command.validate(full=True)
    assert columns.command.to_pylist() == ["\\xff\x1b]8;;[/]'\"\n"]
    rows = [row for row in tasks.processes(CLOCK) if row.tgid == SHELL]
    table(rows).validate(full=True)
    assert rows[-1].exe == "/tmp/\\xff\x1b]8;;[/]'\"\n"


def test_records_of_strangers_are_taken() -> None:
    tasks = Tasks()
    tasks.apply(
        [
            Exit(T, SHELL, SHELL),
            Mapped(T + 1, SHELL, SHELL, file("/late", None)),
            Comm(T + 2, CHILD, THREAD, "thread", False),
            Fork(T + 3, CHILD, CHILD, THREAD + 1, THREAD),
            Fork(T + 4, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        ]
    )
    columns = tasks.columns(events((T + 5, CHILD, THREAD + 1), (T + 5, 0, 0), (T + 5, 9, THREAD)))
    assert columns.thread.to_pylist() == ["thread", "swapper", "thread"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    code = "import sys; print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.communicate()


def test_what_ran_before_is_known(sleeper: subprocess.Popen[bytes]) -> None:
    pid = sleeper.pid
    tasks = Tasks(Targets(pids=(pid,)))
    tasks.scan()
    name = Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    with open(f"/proc/{pid}/exe", "rb") as exe:
        buildid = ElfImage.from_fd(exe.fileno()).build_id
    now = time.monotonic_ns()
    columns = tasks.columns(events((now, pid, pid)))
    assert columns.command.to_pylist() == [name]
    assert columns.buildid.to_pylist() == [buildid]
    changes = tasks.take_new_spaces()
    assert [(type(one), one.tgid) for one in changes if isinstance(one, SpaceMade)] == [
        (SpaceMade, pid)
    ]
    (row,) = tasks.processes(CLOCK)
    assert (row.tgid, row.start, row.end, row.parent) == (pid, None, None, os.getpid())
    assert row.comm == name
    assert row.exe == os.readlink(f"/proc/{pid}/exe")
    assert row.cmdline is not None
    assert row.cmdline.startswith(f"{sys.executable} -c import sys")
    assert row.buildid == buildid


def test_a_thread_seen_first_in_an_event_is_looked_up() -> None:
    ready, done = threading.Event(), threading.Event()
    numbers: list[int] = []

    def work() -> None:
        numbers.append(threading.get_native_id())
        Path(f"/proc/self/task/{numbers[0]}/comm").write_text("unheard-of")
        ready.set()
        done.wait()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    try:
        tasks = Tasks()
        columns = tasks.columns(events((5, os.getpid(), numbers[0]), (6, SHELL, SHELL)))
    finally:
        done.set()
        thread.join()
    assert columns.thread.to_pylist() == ["unheard-of", None]
    assert columns.command.to_pylist()[1] is None
    assert columns.buildid.to_pylist()[1] is None


def test_a_child_of_what_ran_before_has_its_executable(sleeper: subprocess.Popen[bytes]) -> None:
    """Its own /proc is gone: the parent's tells."""
    tasks = Tasks()
    tasks.scan()
    pid = sleeper.pid
    later = time.monotonic_ns()
    tasks.apply([Fork(later, CHILD, pid, CHILD, pid), Exit(later + 10, CHILD, CHILD)])
    parent = tasks.columns(events((later, pid, pid))).buildid.to_pylist()
    assert tasks.columns(events((later + 5, CHILD, CHILD))).buildid.to_pylist() == parent
    space = tasks.space_at(CHILD, later + 5)
    assert space is not None
    assert any("libc" in one.path for one in space.mappings)
