from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stacks_tui.capture import procfs, targets
from stacks_tui.capture.targets import (
    Targets,
    apply,
    check,
    comm_key,
    descendants,
    find_cgroup,
    members,
)
from stacks_tui.errors import MachineError, UsageError


class Maps:
    def __init__(self, on_add: Callable[[int], None] | None = None) -> None:
        self.tgids: set[int] = set()
        self.comms: set[bytes] = set()
        self.cgroup: tuple[int, int] | None = None
        self._on_add = on_add

    def add_tgid(self, tgid: int) -> None:
        self.tgids.add(tgid)
        if self._on_add:
            self._on_add(tgid)

    def remove_tgid(self, tgid: int) -> None:
        self.tgids.discard(tgid)

    def add_comm(self, key: bytes) -> None:
        self.comms.add(key)

    def set_cgroup(self, cgroup_id: int, level: int) -> None:
        self.cgroup = (cgroup_id, level)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("sh", b"sh" + bytes(14)),
        ("exactly-fifteen", b"exactly-fifteen\0"),
        ("a-name-longer-than-that", b"a-name-longer-t\0"),
        ("aaaaaaaaaaaaaaéb", b"aaaaaaaaaaaaaa\xc3\0"),  # the kernel cuts bytes
        ("\udcff", b"\xff" + bytes(15)),
    ],
)
def test_keys_are_the_kernel_s(name: str, key: bytes) -> None:
    assert comm_key(name) == key


def test_the_kernel_cuts_as_we_do(tmp_path: Path) -> None:
    program = tmp_path / "aaaaaaaaaaaaaaéb"
    program.write_text("#!/bin/sh\ncat /proc/$$/comm\n")
    program.chmod(0o755)
    out = subprocess.run([program], capture_output=True, check=True).stdout
    assert comm_key(program.name).rstrip(b"\0") == out.rstrip(b"\n")


def test_processes_must_run() -> None:
    check(Targets(pids=(os.getpid(),)))
    for pid in (4_190_000, 0, -1):
        with pytest.raises(UsageError, match=f"no process {pid};"):
            check(Targets(pids=(os.getpid(), pid)))
    with pytest.raises(UsageError, match="nothing to record"):
        check(Targets(follow=True))


def test_a_thread_is_told_from_its_process() -> None:
    numbers: list[int] = []
    ready, done = threading.Event(), threading.Event()

    def work() -> None:
        numbers.append(threading.get_native_id())
        ready.set()
        done.wait()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    try:
        with pytest.raises(UsageError, match=f"thread of process {os.getpid()}"):
            check(Targets(pids=(numbers[0],)))
    finally:
        done.set()
        thread.join()


def test_notes_name_what_is_cut_and_what_is_not_there() -> None:
    me = procfs.comm(os.getpid())
    assert me is not None
    assert check(Targets(comms=(me,))) == ()
    (cut, absent) = check(Targets(comms=("no-such-command-anywhere",)))
    assert cut.startswith("'no-such-command-anywhere' is matched as 'no-such-command'")
    assert "it is waited for" in absent
    (near,) = check(Targets(comms=(me[:-1] + "~",)))
    assert repr(me) in near
    for bad in ("", "a\0b"):
        with pytest.raises(UsageError, match="can't be the name"):
            check(Targets(comms=(bad,)))


def test_a_hostile_name_is_shown_escaped() -> None:
    (note,) = check(Targets(comms=("\x1b]8;;\udcff",)))
    assert note.isprintable()


def test_names_go_into_the_maps() -> None:
    maps = Maps()
    assert apply(Targets(comms=("a", "b"), everything=True), maps) == frozenset()
    assert maps.comms == {comm_key("a"), comm_key("b")}
    assert maps.tgids == set()


def family() -> subprocess.Popen[bytes]:
    """A shell with a child that has a child."""
    script = "sh -c 'sleep 60 & echo; wait' & wait"
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, process_group=0)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, 9)
    process.communicate()


def test_descendants_are_targets_when_followed() -> None:
    process = family()
    try:
        below = descendants([process.pid])
        assert len(below) == 2
        assert process.pid not in below
        assert below < descendants([os.getpid()])
        alone, all_of_them = Maps(), Maps()
        assert apply(Targets(pids=(process.pid,)), alone) == {process.pid}
        found = apply(Targets(pids=(process.pid,), follow=True), all_of_them)
        assert found == all_of_them.tgids == below | {process.pid}
    finally:
        end(process)


def test_a_process_forked_meanwhile_is_found() -> None:
    first = family()
    late: list[subprocess.Popen[bytes]] = []

    def fork_once(tgid: int) -> None:
        if tgid == os.getpid() and not late:
            late.append(family())

    try:
        maps = Maps(fork_once)
        apply(Targets(pids=(os.getpid(),), follow=True), maps)
        assert {first.pid, late[0].pid} | descendants([late[0].pid]) <= maps.tgids
    finally:
        for process in (first, *late):
            end(process)


def test_children_of_a_name_are_followed(tmp_path: Path) -> None:
    program = tmp_path / "rare-name"
    program.write_text("#!/bin/sh\nsleep 60 & echo\nwait\n")
    program.chmod(0o755)
    process = subprocess.Popen([program], stdout=subprocess.PIPE, process_group=0)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        maps = Maps()
        apply(Targets(comms=("rare-name",), follow=True), maps)
        assert descendants([process.pid]) <= maps.tgids
        assert os.getpid() not in maps.tgids
    finally:
        end(process)


def unified() -> Path:
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return Path(line.split()[1])
    pytest.skip("no cgroup2 mounted")


def test_the_root_of_cgroups() -> None:
    root = unified()
    found = find_cgroup(root)
    assert (found.id, found.level) == (root.stat().st_ino, 0)
    maps = Maps()
    apply(Targets(cgroup=root), maps)
    assert maps.cgroup == (found.id, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a cgroup")
def test_a_cgroup_by_either_path() -> None:
    root = unified()
    outer = root / "stacks-tui-test"
    inner = outer / "a b"
    try:
        inner.mkdir(parents=True)
    except OSError:
        pytest.skip("cgroups can't be made here")
    process = subprocess.Popen(["sleep", "60"])
    try:
        (inner / "cgroup.procs").write_text(str(process.pid))
        by_absolute = find_cgroup(inner)
        assert by_absolute == find_cgroup(Path("stacks-tui-test/a b"))
        assert by_absolute.level == 2
        assert by_absolute.id == inner.stat().st_ino
        assert members(by_absolute) == members(find_cgroup(outer)) == {process.pid}
    finally:
        process.kill()
        process.wait()
        inner.rmdir()
        outer.rmdir()


def test_wrong_cgroups_are_named() -> None:
    root = unified()
    with pytest.raises(UsageError, match=r"no cgroup 'no/such\.slice'; .* are below"):
        find_cgroup(Path("no/such.slice"))
    with pytest.raises(UsageError, match="'/tmp' is not a cgroup"):
        find_cgroup(Path("/tmp"))
    with pytest.raises(UsageError, match=r"is not a cgroup|version 1"):
        find_cgroup(root / "..")


def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    fake = tmp_path / "proc"
    (fake / "self").mkdir(parents=True)
    (fake / "self/mountinfo").write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.setattr(procfs, "PROC", fake)


def test_version_1_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "cpu", tmp_path / "unified"
    (old / "job").mkdir(parents=True)
    new.mkdir()
    mount(
        tmp_path,
        monkeypatch,
        f"32 31 0:29 / {old} rw,relatime - cgroup cgroup rw,cpu",
        f"41 31 0:38 / {new} rw,relatime - cgroup2 cgroup2 rw",
    )
    with pytest.raises(UsageError, match=f"version 1; only those of version 2 work: below {new}"):
        find_cgroup(old / "job")


def test_no_cgroup2_says_how_to_mount_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(tmp_path, monkeypatch, "32 31 0:29 / /x rw - cgroup cgroup rw,cpu")
    with pytest.raises(MachineError, match="mount -t cgroup2"):
        find_cgroup(Path("x"))


def test_the_level_counts_from_the_tree_s_root(monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = targets._Mount(2, Path("/tmp"), Path("/a/b"))
    if os.stat("/proc/self/ns/cgroup").st_ino == targets._INITIAL_CGROUP_NAMESPACE:
        assert targets._root_level(mounted) == 2
    monkeypatch.setattr(targets, "_INITIAL_CGROUP_NAMESPACE", 0)
    with pytest.raises(MachineError, match="hidden from this container"):
        targets._root_level(mounted)
