from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from stacks_tui.capture import procfs
from stacks_tui.enrich import proc
from stacks_tui.enrich.clock import Clock, read_clock
from stacks_tui.spaces import Mapping

NOBODY = 4_190_000
ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        (f"/system.slice/docker-{ID}.scope", ID),
        (f"/docker/{ID}", ID),
        (f"/docker/{ID}/init.scope", ID),
        (
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container",
            ID,
        ),
        (f"/machine.slice/libpod-{ID}.scope", ID),
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-pod12ab.slice/cri-containerd-{ID}.scope",
            ID,
        ),
        (f"/kubepods/besteffort/pod2d3bf7c1-6bd0-4f1c-a1d9-1f5a3f1d2e00/{ID}", ID),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope", ID),
        (f"/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}", ID),
        (f"/docker/{'f' * 64}/docker/{ID}", ID),
        ("/lxc.payload.web-1/system.slice/cron.service", "web-1"),
        ("/lxc/web-1", "web-1"),
        ("/machine.slice/machine-deb12.scope", "deb12"),
        ("/", None),
        ("/system.slice/docker.service", None),
        ("/system.slice/containerd.service", None),
        ("/user.slice/user-1000.slice/session-3.scope", None),
    ],
)
def test_containers(cgroup: str, container: str | None) -> None:
    assert proc.container_of(cgroup) == container


def test_maps_are_read_with_all_they_may_hold() -> None:
    raw = (
        b"55d0c0000000-55d0c0002000 r--p 00000000 fe:01 42                         /usr/bin/x\n"
        b"55d0c0002000-55d0c0006000 r-xp 00002000 fe:01 42                         /usr/bin/x\n"
        b"7f0000000000-7f0000001000 rwxp 00000000 00:00 0 \n"
        b"7f0000001000-7f0000002000 --xs 00001000 00:05 7             /a b\\012\xff (deleted)\n"
        b"7f0000003000-7f0000004000 rwxp 00000000 00:00 0                          [anon:jit]\n"
        b"7fff00000000-7fff00002000 r-xp 00000000 00:00 0                          [vdso]\n"
        b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"
        b"torn"
    )
    deleted = b"/a b\n\xff (deleted)".decode("utf-8", "surrogateescape")
    assert list(procfs.parse_maps(raw)) == [
        Mapping(
            0x55D0C0002000, 0x55D0C0006000, 0x2000, "/usr/bin/x", None, os.makedev(0xFE, 1), 42
        ),
        Mapping(0x7F0000000000, 0x7F0000001000, 0, "//anon"),
        Mapping(0x7F0000001000, 0x7F0000002000, 0x1000, deleted, None, os.makedev(0, 5), 7),
        Mapping(0x7F0000003000, 0x7F0000004000, 0, "[anon:jit]"),
        Mapping(0x7FFF00000000, 0x7FFF00002000, 0, "[vdso]"),
    ]


def test_a_hostile_name_does_not_move_the_fields(tmp_path: Path) -> None:
    program = tmp_path / ") R 1 (\n\\"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(program), "60"])
    try:
        while procfs.comm(child.pid) != program.name:
            time.sleep(0.001)
        stat = procfs.stat(child.pid)
        assert stat is not None
        assert (stat.comm, stat.parent) == (program.name, os.getpid())
        assert not stat.kernel_thread
        one = next(found for found in proc.running() if found.tgid == child.pid)
        assert (one.comm, one.parent, one.start_ticks) == (
            program.name,
            os.getpid(),
            stat.start_ticks,
        )
        assert proc.thread_names(child.pid) == {child.pid: program.name}
        details = proc.details(child.pid)
        assert details.cmdline == f"{program} 60"
        assert details.exe == os.path.realpath("/bin/sleep")
    finally:
        child.kill()
        child.wait()


def test_who_is_gone_is_nothing() -> None:
    assert procfs.stat(NOBODY) is None
    assert procfs.comm(NOBODY) is None
    assert procfs.tgid_of(NOBODY) is None
    assert procfs.mappings(NOBODY) == ()
    assert procfs.threads(NOBODY) == []
    assert proc.details(NOBODY) == proc.Details()
    assert proc.exe_buildid(NOBODY) is None
    assert proc.thread_names(NOBODY) == {}


def test_a_zombie_is_nothing_but_a_name() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert procfs.comm(child.pid) == "true"
    assert procfs.mappings(child.pid) == ()
    assert proc.exe_buildid(child.pid) is None
    child.wait()


def test_both_clocks_agree() -> None:
    clock = read_clock()
    assert 0 <= clock.error_ns < 10**9
    before = time.time_ns()
    now = clock.to_epoch_ns(time.monotonic_ns())
    after = time.time_ns()
    slack = 10**9  # a clock that is being slewed or stepped meanwhile
    assert before - slack <= now <= after + slack


def test_a_column_is_moved_whole() -> None:
    clock = Clock(1_700_000_000_000_000_000, 3)
    column = np.array([0, 1, 1 << 62], np.uint64)
    found = clock.to_epoch(column)
    assert found.dtype == np.uint64
    assert found.tolist() == [clock.to_epoch_ns(one) for one in (0, 1, 1 << 62)]
    assert column.tolist() == [0, 1, 1 << 62]
