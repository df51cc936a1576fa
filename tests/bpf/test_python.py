"""Python frames in real recordings: each equals what the program saw of itself at that moment."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from recordings import Recorded, record
from workloads import SOURCES

pytestmark = pytest.mark.bpf

WORKLOAD = SOURCES / "pythons.py"
OLDEST, NEWEST = (3, 11), (3, 14)


def pythons() -> list[Path]:
    """One CPython of each kind and version that is installed here."""
    found = [Path("/usr/bin/python3"), *Path.home().glob(".pyenv/versions/3.*/bin/python3")]
    return sorted(path for path in found if path.exists() and OLDEST <= version(path) <= NEWEST)


def version(python: Path) -> tuple[int, int]:
    asked = [str(python), "-c", "import sys; print(*sys.version_info[:2])"]
    major, minor = subprocess.run(asked, capture_output=True, check=True, text=True).stdout.split()
    return int(major), int(minor)


PYTHONS = pythons()
CHAINS = "recursion threads short_threads asyncs generators callbacks fleeting odd_names forks"


def is_same(told: str, full: str) -> bool:
    """Whether it is the same text; a very long one may end early, and says so."""
    cut = len(full.encode("utf-16")) > 130 and told[-1] == "…" and full.startswith(told[:-1])
    return told == full or cut


def compare(recorded: Recorded, *truths: Path) -> int:
    """Compare the stack of each noted write with its note; returns how many there were."""
    recorded.assert_nothing_lost()
    rows = recorded.rows(
        """
        select e.tgid, e.amount, s.python, s.complete, s.frames, s.native
        from events e left join stacks s on s.id = e.ustack where e.kind = 'vfs_write'
        """
    )
    stacks = {(row["tgid"], row["amount"]): row for row in rows}
    count = 0
    for truth in truths:
        for tgid, notes in json.loads(truth.read_text()).items():
            for number, expected in notes.items():
                row = stacks[int(tgid), int(number)]
                assert (row["python"], row["complete"]) == ("whole", True), expected[:3]
                python = [f for f in row["frames"] if f["module"] == "[python]"]
                assert len(python) == len(expected)
                for frame, (name, file, line) in zip(python, expected, strict=True):
                    assert is_same(frame["name"], name)
                    assert is_same(frame["file"], file)
                    assert frame["line"] == line, (frame, line)
                others = [f for f in row["frames"] if f["module"] != "[python]"]
                # what is left of the native stack has no evaluation loop, and the rest of it
                assert not any(f["name"] == "_PyEval_EvalFrameDefault" for f in others)
                native = iter(row["native"])
                assert all(f in native for f in others)
                count += 1
    return count


@pytest.mark.parametrize("chain", CHAINS.split())
@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parent.parent.name)
def test_frames_are_those_that_the_program_sees(python: Path, chain: str, tmp_path: Path) -> None:
    truths = [tmp_path / "truth"] + [tmp_path / "truth.child"] * (chain == "forks")
    recorded = record(
        tmp_path / "r", "vfs:u", [str(python), "-E", str(WORKLOAD), chain, str(truths[0])]
    )
    assert compare(recorded, *truths) > 20


def test_a_virtual_environment(tmp_path: Path) -> None:
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    argv = ["-E", str(WORKLOAD), "callbacks", str(tmp_path / "truth")]
    recorded = record(tmp_path / "r", "vfs:u", [tmp_path / "v/bin/python", *argv])
    assert compare(recorded, tmp_path / "truth") > 20


EMBEDDED = """
#include <Python.h>
int main(int argc, char **argv) {
  (void)argc;
  wchar_t *name = Py_DecodeLocale(argv[1], 0);
  usleep(200000);  // long in the process before there is an interpreter
  Py_Initialize();
  wchar_t *args[] = {name, Py_DecodeLocale(argv[2], 0), Py_DecodeLocale(argv[3], 0)};
  PySys_SetArgvEx(3, args, 0);
  FILE *file = fopen(argv[1], "r");
  return PyRun_SimpleFile(file, argv[1]);
}
"""


@pytest.mark.skipif(
    not Path(sysconfig.get_path("include"), "Python.h").exists(), reason="no headers of Python"
)
def test_a_program_that_embeds_python(tmp_path: Path) -> None:
    (tmp_path / "embed.c").write_text(EMBEDDED)
    config = shutil.which("python3-config", path="/usr/bin") or "python3-config"
    flags = subprocess.run(
        [config, "--includes", "--ldflags", "--embed"], capture_output=True, text=True, check=True
    ).stdout.split()
    embed = tmp_path / "embed"
    command = ["gcc", "-O2", "-w", "-o", str(embed), str(tmp_path / "embed.c"), *flags]
    subprocess.run(command, check=True)
    argv = [str(embed), str(WORKLOAD), "callbacks", str(tmp_path / "truth")]
    assert compare(record(tmp_path / "r", "vfs:u", argv), tmp_path / "truth") > 20


def test_samples_at_any_instruction_are_whole_or_say_so(tmp_path: Path) -> None:
    code = """
import time
def leaf(n):
    return sum(i * i for i in range(n))
def deep(n):
    return leaf(50) if n == 0 else deep(n - 1)
def top():
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        max(range(3), key=lambda n: deep(n + 5))
top()
"""
    (tmp_path / "job.py").write_text(code)
    argv = [PYTHONS[-1], tmp_path / "job.py"]
    recorded = record(tmp_path / "r", "profile:u:2500", argv)
    rows = recorded.rows(
        """
        select s.python, list_transform(list_filter(s.frames, lambda f: f.module = '[python]'),
                   lambda f: f.name) as names, count(*) as count
        from events e join stacks s on s.id = e.ustack where s.python is not null group by all
        """
    )
    ways = {
        "whole": sum(row["count"] for row in rows if row["python"] == "whole"),
        "other": sum(row["count"] for row in rows if row["python"] != "whole"),
    }
    assert ways["whole"] > 9 * ways["other"]
    inner = ["leaf.<locals>.<genexpr>", "leaf"]
    for row in rows:
        names = [name for name in row["names"] or [] if "importlib" not in name]
        if row["python"] != "whole" or "top" not in names:
            continue
        body = names[: names.index("top")]
        while body and body[0] in inner:
            body.pop(0)
        deeper = [name for name in body if name == "deep"]
        assert body == [*deeper, *["top.<locals>.<lambda>"] * (len(body) - len(deeper))]
        assert len(deeper) <= 8
    counted = recorded.counts("profile").python
    assert counted["whole"] == ways["whole"]


def test_no_program_takes_half_of_what_the_verifier_allows() -> None:
    from stacks_tui.capture.programs import Programs
    from stacks_tui.kinds import parse_programs
    from stacks_tui.resources import folder

    programs = Programs(folder("bpf"), None, ring_bytes=32 << 20)
    try:
        for spec in parse_programs("profile:uk:99,switch:uk,rss:uk,vfs:uk"):
            programs.attach(spec)
        verified = programs.verified_instructions()
    finally:
        programs.close()
    assert not verified or {"python_raw", "python_frames_sample"} <= set(verified)
    assert all(count < 500_000 for count in verified.values()), verified
