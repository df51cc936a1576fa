"""The programs of `corpus/`: how each is built, and how far its own opinion of its stack goes.

Goes out: `CASES`, and `build`, which makes one in a folder and returns the command that runs it.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "corpus"
TRUTH = "{truth}"
"""In a command: the file that it is to write."""


class Verdict(Enum):
    """What must hold for the stacks of a case."""

    WHOLE = "each is complete, and equal to the program's own"
    SAME = "those that are complete are equal to the program's own"
    AMONG = "those that are complete have the program's own frames, in order, and reach a start"
    OPEN = "those that are complete begin as the program's own, which knows no more"
    NONE = "none is complete"


@dataclass(frozen=True)
class Case:
    """One program."""

    name: str
    sources: tuple[str, ...]
    flags: tuple[str, ...] = ()
    verdict: Verdict = Verdict.WHOLE
    compiler: str = "gcc"
    shared: tuple[str, ...] = ()
    """Flags of corpus.c."""
    after: tuple[tuple[str, ...], ...] = ()
    """Commands on the program, `{}`, when it is built."""
    arguments: tuple[str, ...] = (TRUTH,)
    least: int = 1
    """Points that it has at least."""
    least_complete: float = 0.0
    """Share of the stacks that are complete, at least, where the verdict does not say it."""
    late: bool = True
    """Whether its stacks fit a copy, and come slowly enough for it."""
    in_namespace: bool = False
    """Whether it lies at its path for itself only, where everybody else sees another program."""
    late_verdict: Verdict | None = None
    """Of copies, where it is another: a copy holds no second stack, such as a signal's, and a file
    that only the process saw is gone with it."""


_SHADOW = ("-finstrument-functions",)
_NO_RULES = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fomit-frame-pointer")

CASES: tuple[Case, ...] = (
    Case("frames", ("frames.c",), least=25, late=False),
    Case("frames_O0", ("frames.c",), ("-O0",), least=25, late=False),
    Case("frames_pointers", ("frames.c",), ("-fno-omit-frame-pointer",), least=25, late=False),
    Case("frames_realigned", ("frames.c",), ("-mstackrealign", "-mavx2"), least=25, late=False),
    Case("frames_static", ("frames.c",), ("-static",), least=25, late=False),
    Case("frames_static_pie", ("frames.c",), ("-static-pie", "-fPIE"), least=25, late=False),
    Case("frames_not_pie", ("frames.c",), ("-no-pie", "-fno-pie"), least=25, late=False),
    Case("frames_stripped", ("frames.c",), after=(("strip", "{}"),), least=25, late=False),
    Case("frames_lld", ("frames.c",), ("-Wl,-z,separate-code", "-Wl,-z,now"), late=False),
    Case("signals", ("signals.c",), least=400, late_verdict=Verdict.SAME),
    Case("null_call", ("signals.c",), ("-DFAULT",), Verdict.SAME, least_complete=0.4),
    Case(
        "steps",
        ("steps.c",),
        ("-Wl,-z,now",),
        Verdict.SAME,
        least=900,
        least_complete=0.9,
        late=False,
    ),
    Case(
        "steps_lazy",
        ("steps.c",),
        ("-DLAZY", "-Wl,-z,lazy"),
        Verdict.SAME,
        least=400,
        least_complete=0.5,
        late=False,
    ),
    Case("exceptions", ("exceptions.cpp",), ("-std=c++17",), compiler="g++", least=12),
    Case("threads", ("threads.c",), ("-pthread",), least=25),
    Case("spawn", ("spawn.c",), least=4),
    Case("assembler", ("by_hand.c", "assembler.S"), least=3),
    Case("assembler_rbx", ("by_hand.c", "assembler.S"), ("-DRBX",)),
    Case("assembler_unframed", ("by_hand.c", "assembler.S"), ("-DUNFRAMED",), Verdict.NONE),
    Case("leaf", ("leaf.c", "leaf.S"), least=7),
    Case("leaf_steps", ("leaf.c", "leaf.S"), ("-DSTEP",), least=13, late_verdict=Verdict.SAME),
    Case("leaf_pad", ("leaf.c", "leaf.S"), ("-DPAD",), Verdict.NONE),
    Case("coroutines", ("coroutines.c",), verdict=Verdict.SAME, least=3),
    Case(
        "coroutines_pointers",
        ("coroutines.c",),
        ("-O0", "-fno-omit-frame-pointer"),
        verdict=Verdict.SAME,
        least=3,
    ),
    Case("coroutines_bare", ("coroutines.c",), ("-DBARE",), Verdict.NONE, least=3),
    Case(
        "debug_frame",
        ("frames.c",),
        (*_SHADOW, *_NO_RULES, "-g"),
        Verdict.AMONG,
        shared=("-DSHADOW",),
        least=25,
        least_complete=1.0,
        late=False,
    ),
    Case(
        "debug_frame_alone",
        ("frames.c",),
        (*_SHADOW, *_NO_RULES, "-g"),
        Verdict.AMONG,
        shared=("-DSHADOW", "-g", *_NO_RULES),
        after=(("objcopy", "--remove-section", ".eh_frame", "{}"),),
        least=25,
        late=False,
    ),
    Case(
        "no_rules",
        ("frames.c",),
        (*_SHADOW, *_NO_RULES),
        Verdict.AMONG,
        shared=("-DSHADOW",),
        least=25,
        late=False,
    ),
    Case("rust", ("rusty.rs",), compiler="rustc", least=8),
    Case("go", ("gopher.go", "gopher_raw.go"), verdict=Verdict.AMONG, compiler="go", least=6),
    Case(
        "musl",
        ("frames.c",),
        (),
        Verdict.OPEN,
        "musl-gcc",
        ("-DFIND_OBJECT",),
        least=25,
        late=False,
    ),
    Case(
        "musl_static",
        ("frames.c",),
        ("-static",),
        Verdict.OPEN,
        "musl-gcc",
        ("-DFIND_OBJECT",),
        late=False,
    ),
    Case(
        "musl_signals", ("signals.c",), ("-static",), Verdict.OPEN, "musl-gcc", ("-DFIND_OBJECT",)
    ),
    Case("m32", ("frames.c",), ("-m32",), Verdict.NONE, shared=("-m32",), late=False),
    Case(
        "deleted",
        ("variant.c",),
        ("-DVARIANT=gone", "-DPADDING=100"),
        arguments=("delete", "{program}", TRUTH),
        late=False,
    ),
    Case(
        "replaced",
        ("variant.c",),
        ("-DVARIANT=old", "-DPADDING=100"),
        arguments=("replace", "{program}", "{program}.new", TRUTH),
    ),
    Case(
        "container",
        ("variant.c",),
        ("-DVARIANT=inside", "-DPADDING=100"),
        in_namespace=True,
        late_verdict=Verdict.SAME,
    ),
    Case(
        "container_nameless",
        ("variant.c",),
        ("-DVARIANT=inside", "-DPADDING=100", "-Wl,--build-id=none"),
        in_namespace=True,
        late_verdict=Verdict.SAME,
    ),
)

_OTHERS = ("-O2", "-DVARIANT=outside", "-DPADDING=5000")
_IN_NAMESPACE = ("unshare", "-m", "sh", "-c", 'mount --bind "$0.inside" "$0" && exec "$0" "$@"')


def build(case: Case, folder: Path) -> list[str]:
    """Make the program of a case; the command that runs it, with `TRUTH` in it.

    Raises:
        FileNotFoundError: its compiler is not on this machine.
    """
    if shutil.which(case.compiler) is None:
        raise FileNotFoundError(case.compiler)
    folder.mkdir(exist_ok=True)
    program = folder / case.name
    sources = [str(SOURCES / name) for name in case.sources]
    if case.compiler == "go":
        copies = [shutil.copy(source, folder) for source in sources]
        run(["go", "build", "-o", program, *copies], folder, {"GO111MODULE": "off"})
    elif case.compiler == "rustc":
        run(["gcc", "-O2", "-c", SOURCES / "corpus.c", "-o", folder / "corpus.o"], folder)
        link = f"link-arg={folder / 'corpus.o'}"
        run(["rustc", "-O", *sources, "-C", link, "-o", program], folder)
    else:
        tool = "gcc" if case.compiler == "g++" else case.compiler
        shared = folder / "corpus.o"
        run([tool, "-O2", *case.shared, "-c", SOURCES / "corpus.c", "-o", shared], folder)
        flags = ["-O2", "-Wall", "-Wno-infinite-recursion", *case.flags]
        if tool == "musl-gcc":
            flags += ["-static-libgcc", "-Wl,--eh-frame-hdr"]
        run([case.compiler, *flags, *sources, shared, "-o", program], folder)
        if case.name == "replaced":
            new = ["-O2", "-DVARIANT=new", "-DPADDING=5000", *sources, shared]
            run(["gcc", *new, "-o", f"{program}.new"], folder)
    for command in case.after:
        run([word.replace("{}", str(program)) for word in command], folder)
    shutil.copy(program, f"{program}.kept")
    named = [word.replace("{program}", str(program)) for word in case.arguments]
    if case.in_namespace:
        program.rename(f"{program}.inside")
        run(["gcc", *_OTHERS, *case.flags[2:], *sources, shared, "-o", program], folder)
        return [*_IN_NAMESPACE, str(program), *named]
    return [str(program), *named]


def run(command: Sequence[object], folder: Path, environ: dict[str, str] | None = None) -> None:
    """Run a tool; what it says is only of interest when it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{command}: {done.stderr}")


def can_build(case: Case) -> bool:
    """Whether this machine has what the case is made with."""
    if shutil.which(case.compiler) is None or platform.machine() != "x86_64":
        return False
    if case.in_namespace:
        return not subprocess.run(["unshare", "-m", "true"], check=False).returncode
    if "-m32" not in case.flags:
        return True
    command = [
        case.compiler,
        "-m32",
        "-include",
        "stdio.h",
        "-x",
        "c",
        "-c",
        "-o",
        "/dev/null",
        "-",
    ]
    return not subprocess.run(command, input=b"", capture_output=True, check=False).returncode
