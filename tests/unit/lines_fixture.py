"""A C++ program with calls inlined three deep, and a recording of each of its instructions."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from store_rows import EPOCH, Frame, Stack, events, header, me

from stacks_tui.export.lines import read_buildid
from stacks_tui.store.manifest import RecordingStatus
from stacks_tui.store.writer import RecordingWriter

CODE = r"""
#include <vector>
static inline unsigned long mix(unsigned long x) {
  x ^= x >> 33; x *= 0xff51afd7ed558ccdUL;
  return x ^ (x >> 29);
}
static inline unsigned long twice(unsigned long x) { return mix(mix(x) + 7); }
__attribute__((noinline)) unsigned long work(const std::vector<unsigned long>& v) {
  unsigned long s = 0;
  for (auto x : v)
    s += twice(x);
  return s;
}
int main(int argc, char**) {
  std::vector<unsigned long> v(1000, argc);
  return work(v) == 0;
}
"""


def build(folder: Path) -> Path:
    """The program, at -O2 -g; skips where there is no compiler."""
    compiler = shutil.which("g++")
    if compiler is None or shutil.which("addr2line") is None:
        pytest.skip("no g++ or addr2line")
    (folder / "work.cpp").write_text(CODE)
    command = [compiler, "-O2", "-g", "-Wl,--build-id", "-o", "work", "work.cpp"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "work"


def addresses_of(binary: Path, function: str) -> list[int]:
    """Every instruction of a function."""
    out = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(binary)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    body = out.partition(f"<{function}>:\n")[2].partition("\n\n")[0]
    return [int(line.partition(":")[0], 16) for line in body.splitlines()]


def write_worked(path: Path, binary: Path) -> Path:
    """A recording with a sample at each instruction of `work`."""
    buildid = read_buildid(binary)
    writer = RecordingWriter.create(path, me(), header())
    code = addresses_of(binary, "_Z4workRKSt6vectorImSaImEE")
    for at, address in enumerate(code):
        frame = Frame("work(…)", code[0], address - code[0], str(binary), buildid)
        writer.write_stacks([Stack(at + 1, [frame])])
        writer.write_events(events([at], ustack=at + 1, buildid=buildid))
    writer.close(RecordingStatus(EPOCH + 1))
    return path
