"""Run a folder's `run.sh` on another kernel (emulated) or in another distribution (a chroot).

Comes in: what `prepare` made, and a code folder. Goes out: an exit status, and a folder with `log`,
`status` and whatever the script put into /tmp/out. Both runs see the code as /tmp/code.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import prepare

RESULT_BYTES = 16 << 20

BOOT_ARGUMENTS = (
    "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check random.trust_cpu=on"
)
"""panic=-1 with qemu's -no-reboot: a panic ends the guest instead of hanging it."""

ATTEMPTS = 4

OUT_OF_TIME = 124
NO_RESULT = 125


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run."""

    status: int
    """Exit status of the script; 124: out of time, 125: the guest ended with no result."""
    folder: Path
    seconds: float

    @property
    def log(self) -> str:
        """What the script printed, or the end of the console of a guest that never ran it."""
        for name in ("log", "console"):
            path = self.folder / name
            if path.exists():
                return path.read_text(errors="backslashreplace")
        return ""


def disk(number: int, file: Path, options: str = "") -> list[str]:
    """qemu's arguments for one virtio disk."""
    return [
        *("-drive", f"if=none,id=d{number},format=raw,file={file}{options}"),
        *("-device", f"virtio-blk-pci,drive=d{number}"),
    ]


def boot(kernel: str, suite: str, code: Path, out: Path, cpus: int, limit_s: float) -> Run:
    """Boot a kernel under emulation with a suite's image as its root, again when it panics.

    A kernel that patches its own code (static keys) now and then trips over the emulator, with an
    int3 that nobody expects; such a panic is no finding.
    """
    for _ in range(ATTEMPTS):
        result = boot_once(kernel, suite, code, out, cpus, limit_s)
        panicked = result.status == NO_RESULT and "Oops: int3" in result.log
        if not panicked:
            break
    return result


def boot_once(kernel: str, suite: str, code: Path, out: Path, cpus: int, limit_s: float) -> Run:
    """Boot a kernel under emulation with a suite's image as its root.

    The image is opened with snapshot=on, so it is never written and any number of guests share it.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in ("log", "status"):
        (out / name).unlink(missing_ok=True)
    tree = prepare.CACHE / "kernels" / kernel
    code_disk, result_disk = out / "code.tar", out / "result.tar"
    with tarfile.open(code_disk, "w", dereference=True) as tar:
        tar.add(code, ".")
    with result_disk.open("wb") as file:
        file.truncate(RESULT_BYTES)
    command = [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "2G"),
        *("-smp", str(cpus), "-nodefaults", "-no-reboot", "-display", "none"),
        *("-serial", f"file:{out / 'console'}", "-append", BOOT_ARGUMENTS),
        *("-kernel", str(prepare.kernel_image(tree)), "-initrd", f"{tree}.img"),
        *disk(0, prepare.CACHE / "roots" / f"{suite}.ext4", ",snapshot=on"),
        *disk(1, code_disk, ",readonly=on"),
        *disk(2, result_disk),
    ]
    began = time.monotonic()
    try:
        subprocess.run(command, timeout=limit_s, check=True)
    except subprocess.TimeoutExpired:
        return Run(OUT_OF_TIME, out, time.monotonic() - began)
    seconds = time.monotonic() - began
    with tarfile.open(result_disk) as tar:
        for member in tar.getmembers():
            if member.isfile() and (source := tar.extractfile(member)):
                target = out / Path(member.name).name
                target.write_bytes(source.read())
    status = out / "status"  # absent: the result disk is still all zeros
    return Run(int(status.read_text()) if status.exists() else NO_RESULT, out, seconds)


CHROOT_SCRIPT = """
set -e
for name in proc sys dev; do mount --rbind /$name "$ROOT/$name"; done
mount -t tmpfs tmp "$ROOT/tmp"
mkdir "$ROOT/tmp/code" "$ROOT/tmp/out"
mount --bind "$CODE" "$ROOT/tmp/code"
mount --bind "$OUT" "$ROOT/tmp/out"
exec chroot "$ROOT" /bin/sh -c 'cd /tmp/code && exec sh ./run.sh' </dev/null
"""
"""Run in a mount namespace of its own: everything mounted here is gone when it ends."""


def enter(suite: str, code: Path, out: Path, limit_s: float) -> Run:
    """Run in a suite's root folder on the running kernel."""
    out.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/root",
        "ROOT": str(prepare.CACHE / "roots" / suite),
        "CODE": str(code),
        "OUT": str(out),
    }
    began = time.monotonic()
    with (out / "log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "sh", "-c", CHROOT_SCRIPT],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = OUT_OF_TIME
    (out / "status").write_text(f"{status}\n")
    return Run(status, out, time.monotonic() - began)
