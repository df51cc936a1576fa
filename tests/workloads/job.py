"""A Python program that writes known bytes, sleeps known times, and starts a child that does too.

Usage: job.py --truth FILE
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

ROUNDS = 50


def nap(slept: list[int]) -> None:
    began = time.monotonic_ns()
    time.sleep(0.02)
    slept.append(time.monotonic_ns() - began)


def write_rows(fd: int, size: int) -> int:
    return sum(os.write(fd, bytes(size)) for _ in range(ROUNDS))


def main() -> None:
    fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    if sys.argv[1] == "--child":
        write_rows(fd, 302)
        return
    slept: list[int] = []
    written = write_rows(fd, 301)
    for _ in range(5):
        nap(slept)
    child = subprocess.Popen([sys.executable, __file__, "--child"])
    child.wait()
    truth = {
        "tgid": os.getpid(),
        "child": child.pid,
        "rounds": ROUNDS,
        "written": written,
        "slept_ns": slept,
    }
    with open(sys.argv[2] + ".partial", "w", encoding="utf-8") as file:
        json.dump(truth, file)
    if sys.argv[2] != os.devnull:  # a rename would replace the device
        os.rename(sys.argv[2] + ".partial", sys.argv[2])


main()
