"""Checks of the machine: each tells what is amiss and the fix, and never raises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stacks_tui.capture import bcc_import
from stacks_tui.doctor import checks, process, report
from stacks_tui.errors import MachineError, UsageError

ALL = (1 << 41) - 1


@pytest.mark.parametrize(
    ("euid", "capabilities", "ok", "says"),
    [
        (0, ALL, True, "root"),
        (1000, 1 << 19 | 1 << 38 | 1 << 39, True, "CAP_BPF"),
        (1000, 1 << 21, True, "CAP_BPF"),
        (1000, 0, False, "CAP_SYS_PTRACE and CAP_PERFMON and CAP_BPF"),
        (0, 0, False, "CAP_BPF"),  # root of a container without any
        (1000, 1 << 19 | 1 << 38, False, "without CAP_BPF"),
    ],
)
def test_user(euid: int, capabilities: int, ok: bool, says: str) -> None:
    check = checks.user(euid, capabilities)
    assert check.ok is ok
    assert says in check.detail
    assert ok or "sudo" in check.fix


@pytest.mark.parametrize(
    ("release", "architecture", "ok"),
    [
        ("5.15.0", "x86_64", True),
        ("6.1.0-18-amd64", "x86_64", True),
        ("5.14.21", "x86_64", False),
        ("4.19", "x86_64", False),
        ("nonsense", "x86_64", False),
        ("6.1.0", "riscv64", False),
    ],
)
def test_kernel(release: str, architecture: str, ok: bool) -> None:
    check = checks.kernel(release, architecture)
    assert check.ok is ok
    assert bool(check.fix) is not ok


def test_no_btf(tmp_path: Path) -> None:
    check = checks.btf(tmp_path / "vmlinux")
    assert not check.ok
    assert check.needed
    assert "CONFIG_DEBUG_INFO_BTF" in check.fix


def test_no_bcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bcc_import, "find_bcc", lambda: None)
    for check in (checks.bcc_installed(), checks.bcc_loads()):
        assert not check.ok
        assert "install it: " in check.fix


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("[none] integrity confidentiality\n", True),
        ("none [integrity] confidentiality\n", True),
        ("none integrity [confidentiality]\n", False),
    ],
)
def test_lockdown(tmp_path: Path, text: str, ok: bool) -> None:
    path = tmp_path / "lockdown"
    path.write_text(text)
    assert checks.lockdown(path).ok is ok
    assert checks.lockdown(tmp_path / "absent").ok


def test_what_only_slows_or_narrows_is_not_needed(tmp_path: Path) -> None:
    off = tmp_path / "jit"
    off.write_text("0\n")
    little = tmp_path / "meminfo"
    little.write_text("MemTotal: 9 kB\nMemAvailable:    1024 kB\n")
    found = [checks.jit(off), checks.memory(little), checks.pid_namespace(4026532000)]
    assert [check.ok for check in found] == [False, False, False]
    assert not any(check.needed for check in found)
    assert all(check.fix for check in found)
    assert report.passed(found)
    assert checks.pid_namespace(0xEFFFFFFC).ok


def test_require_stops_at_the_first_that_fails() -> None:
    def looks() -> Iterator[checks.Check]:
        yield checks.Check("a", True, "fine")
        yield checks.Check("b", False, "odd", "leave it.", needed=False)
        yield checks.Check("c", False, "gone", "bring it back.")
        raise AssertionError("looked further")

    with pytest.raises(MachineError, match=r"^gone; bring it back\.$"):
        checks.require(looks())


def test_every_check_of_this_machine_answers() -> None:
    found = list(checks.machine())
    names = [check.name for check in found]
    assert len(set(names)) == len(names)
    assert all(check.detail and not check.detail.endswith(".") for check in found)
    assert all(check.fix for check in found if not check.ok)
    text = report.machine_text(found)
    assert all(name in text for name in names)


@pytest.mark.bpf
def test_a_machine_that_loads_programs_passes() -> None:
    needed = [check for check in checks.machine() if check.needed]
    assert [check for check in needed if not check.ok] == []


def test_a_process_has_its_code_listed() -> None:
    import os

    found = process.describe(os.getpid())
    shown = process.process_text(found)
    libc = next(line for line in shown.splitlines() if "libc.so.6" in line)
    assert "unwind table: .eh_frame" in libc
    assert "frame pointers" not in libc
    assert f"process {os.getpid()} (" in shown
    assert len(process.process_object(found)["mappings"]) == len(found.mappings) > 2
    with pytest.raises(UsageError, match="no process"):
        process.describe(999_999_999)
