"""The checks. Each looks at one thing, never raises, and says how to mend what is amiss."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stacks_tui import owner, text
from stacks_tui.capture import bcc_import
from stacks_tui.errors import MachineError, StacksError

OLDEST_KERNEL = (5, 15)
"""The floor of what is supported."""

MACHINES = ("x86_64",)

_OTHER_SOURCES = {"profile": "cpu-clock", "usdt": "user probes with semaphores"}
"""Of programs that attach to no tracepoint."""
_SUDO = "run it with sudo, or give CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE."

_CAPABILITIES = {"CAP_SYS_PTRACE": 19, "CAP_PERFMON": 38, "CAP_BPF": 39}
_CAP_SYS_ADMIN = 21

_BTF = Path("/sys/kernel/btf/vmlinux")
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""PROC_PID_INIT_INO: the inode of the first pid namespace."""

_ENOUGH_MEMORY = 512 << 20
_ENOUGH_DISK = 1 << 30

_RINGBUF = 27
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Check:
    """What one look at the machine found."""

    name: str
    ok: bool
    detail: str
    """What was found, without a full stop."""
    fix: str = ""
    """What to do; a sentence. Empty when all is well."""
    needed: bool = True
    """Nothing can be recorded without it."""


def require(checks: Iterable[Check]) -> None:
    """Raise MachineError for the first check that fails and is needed; looks no further."""
    for check in checks:
        if check.needed and not check.ok:
            raise MachineError(f"{check.detail}; {check.fix}")


def to_record() -> Iterator[Check]:
    """The quick checks before a recording, a few milliseconds, each made when it is asked for."""
    return (look() for look in (user, kernel, btf, bcc_installed, lockdown, ring_buffer))


def before_screen() -> Iterator[Check]:
    """Those of them that need no arrays: the collector itself tells what the kernel refuses."""
    return (look() for look in (user, kernel, btf, bcc_installed, lockdown))


def machine() -> Iterator[Check]:
    """All checks."""
    looks: tuple[Callable[[], Check], ...] = (
        user,
        kernel,
        btf,
        bcc_loads,
        lockdown,
        ring_buffer,
        sideband,
    )
    yield from (look() for look in looks)
    yield from programs()
    yield from (look() for look in (jit, pid_namespace, cgroup, folder, memory))


def user(euid: int | None = None, capabilities: int | None = None) -> Check:
    """Root, or the capabilities that do; the arguments stand for the process's own."""
    name = "root or capabilities"
    have = _effective_capabilities() if capabilities is None else capabilities
    missing = [cap for cap, bit in _CAPABILITIES.items() if not have >> bit & 1]
    if not missing or have >> _CAP_SYS_ADMIN & 1:
        is_root = (os.geteuid() if euid is None else euid) == 0
        return Check(name, True, "root" if is_root else ", ".join(_CAPABILITIES))
    return Check(name, False, f"not permitted without {' and '.join(missing)}", _SUDO)


def _effective_capabilities() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return int(match[1], 16) if match else 0


def kernel(release: str | None = None, architecture: str | None = None) -> Check:
    """A kernel that is new enough, on a processor that is known."""
    release = platform.release() if release is None else release
    architecture = platform.machine() if architecture is None else architecture
    detail = f"Linux {release}, {architecture}"
    match = re.match(r"([0-9]+)\.([0-9]+)", release)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if version < OLDEST_KERNEL:
        return Check("kernel", False, f"{detail} is too old", "it needs Linux 5.15 or newer.")
    if architecture not in MACHINES:
        return Check("kernel", False, f"{detail} is not supported", "it needs x86-64.")
    return Check("kernel", True, detail)


def btf(path: Path = _BTF) -> Check:
    """The kernel's type information."""
    if path.is_file():
        return Check("kernel types (BTF)", True, str(path))
    return Check(
        "kernel types (BTF)",
        False,
        f"no {path}",
        "boot a kernel with CONFIG_DEBUG_INFO_BTF=y, as those of the distributions are.",
    )


def bcc_installed() -> Check:
    """BCC's Python package, found but not loaded."""
    found = bcc_import.find_bcc()
    if found is not None:
        return Check("BCC", True, found)
    return Check("BCC", False, "BCC's Python package is not installed", _install_bcc())


def bcc_loads() -> Check:
    """BCC's Python package, loaded."""
    found = bcc_installed()
    if not found.ok:
        return found
    try:
        module = bcc_import.import_bcc()
    except MachineError as error:
        return _failed("BCC", error, _install_bcc())
    return Check(
        "BCC", True, f"{getattr(module, '__version__', 'unknown version')} in {found.detail}"
    )


def _install_bcc(release: Path = Path("/etc/os-release")) -> str:
    try:
        like = release.read_text(encoding="utf-8", errors="replace").lower()
    except OSError:
        like = ""
    if re.search(r"^id(_like)?=.*(fedora|rhel|centos)", like, re.MULTILINE):
        return "install it: dnf install python3-bcc"
    if re.search(r"^id(_like)?=.*arch", like, re.MULTILINE):
        return "install it: pacman -S python-bcc"
    return "install it: apt-get install python3-bpfcc"


def lockdown(path: Path = Path("/sys/kernel/security/lockdown")) -> Check:
    """Whether the kernel's lockdown lets BPF read kernel memory."""
    try:
        found = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return Check("lockdown", True, "none")
    if "[confidentiality]" in found:
        return Check(
            "lockdown",
            False,
            "the kernel is locked down (confidentiality), and BPF can't read its memory",
            "boot with lockdown=integrity, or without.",
        )
    return Check("lockdown", True, found)


def ring_buffer() -> Check:
    """The bpf() system call, tried with the smallest ring buffer there is."""
    from stacks_tui.capture.bpf import BpfMap
    from stacks_tui.capture.compile import MapShape

    name = "BPF ring buffers"
    try:
        made = BpfMap(MapShape("doctor", _RINGBUF, 0, 0, _PAGE, 0))
    except StacksError as error:
        return _failed(name, error, f"{_SUDO} In a container: --privileged.")
    os.close(made.fd)
    return Check(name, True, "created one")


def sideband() -> Check:
    """perf_event_open(), tried with the records of forks, names and mappings."""
    from stacks_tui.capture.sideband import Sideband

    name = "perf events"
    try:
        with Sideband(1) as opened:
            return Check(name, True, f"opened on {len(opened.fds)} CPUs")
    except StacksError as error:
        return _failed(name, error, f"{_SUDO} In a container: --privileged.")


def programs() -> Iterator[Check]:
    """For each program of `-p`, whether this kernel has what it attaches to."""
    from stacks_tui.capture.btf import KernelTypes
    from stacks_tui.capture.layout import TRACEPOINTS, read_layout

    try:
        unavailable = read_layout(KernelTypes()).unavailable
    except StacksError as error:
        yield _failed("programs", error, "see the checks above.")
        return
    for program, tracepoints in TRACEPOINTS.items():
        if program in unavailable:
            fix = f"leave {program} out of -p."
            yield Check(f"-p {program}", False, unavailable[program], fix, needed=False)
        else:
            names = ", ".join(name for name, _ in tracepoints)
            yield Check(f"-p {program}", True, names or _OTHER_SOURCES[program])


def jit(path: Path = Path("/proc/sys/net/core/bpf_jit_enable")) -> Check:
    """Whether BPF is compiled to machine code."""
    name = "BPF compiler of the kernel"
    try:
        off = path.read_text(encoding="ascii", errors="replace").strip() == "0"
    except OSError:
        return Check(name, True, "on")
    if off:
        fix = "turn it on: sysctl net.core.bpf_jit_enable=1"
        return Check(name, False, "off: programs are interpreted, many times slower", fix, False)
    return Check(name, True, "on")


def pid_namespace(inode: int | None = None) -> Check:
    """Whether our process ids are the kernel's own."""
    name = "process ids"
    number = Path("/proc/self/ns/pid").stat().st_ino if inode is None else inode
    if number == _INITIAL_PID_NAMESPACE:
        return Check(name, True, "those of the host")
    return Check(
        name,
        False,
        "in a container with process ids of its own: --pid and names won't match the host's",
        "run on the host, or start the container with --pid=host.",
        needed=False,
    )


def cgroup() -> Check:
    """Whether `--cgroup` can work."""
    from stacks_tui.capture.targets import find_cgroup

    try:
        found = find_cgroup(Path())
    except StacksError as error:
        return _failed("cgroups (version 2)", error, "leave out --cgroup.", needed=False)
    return Check("cgroups (version 2)", True, str(found.path))


def folder() -> Check:
    """Whether recordings can be stored where they are by default, and how much room is there."""
    name = "folder of recordings"
    fix = "choose another with --dir."
    try:
        wanted = owner.data_folder(owner.invoking_user())
        existing = next(one for one in (wanted, *wanted.parents) if one.is_dir())
        room = os.statvfs(existing)
        writable = os.access(existing, os.W_OK | os.X_OK)
    except (StacksError, OSError) as error:
        return _failed(name, error, fix, needed=False)
    free = room.f_bavail * room.f_frsize
    if not writable or room.f_flag & os.ST_RDONLY:
        return Check(name, False, f"{wanted} can't be written", fix, needed=False)
    detail = f"{wanted}, {text.size(free)} free"
    return Check(name, free >= _ENOUGH_DISK, detail, "" if free >= _ENOUGH_DISK else fix, False)


def memory(path: Path = Path("/proc/meminfo")) -> Check:
    """Whether there is memory for the compiler, the rings and the recorder."""
    match = re.search(r"^MemAvailable:\s*([0-9]+) kB", path.read_text("ascii"), re.MULTILINE)
    available = int(match[1]) << 10 if match else 0
    enough = available >= _ENOUGH_MEMORY
    fix = "" if enough else "end something, or use a smaller --ring-bytes and --rows."
    return Check("memory", enough, f"{text.size(available)} available", fix, needed=False)


def _failed(name: str, error: Exception, fix: str, *, needed: bool = True) -> Check:
    """A check from an error's two sentences; `fix` where the error has only one."""
    what, _, how = str(error).partition(". ")
    return Check(name, False, what.rstrip("."), how or fix, needed)
