"""Record on other kernels and with other versions of BCC.

Comes in: names of cases (default: all of `CASES`). Goes out: a verdict and a log for each, files in
the folder given by --out, and exit status 1 when one failed. `prepare` makes what is missing first.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import machine
import prepare


@dataclass(frozen=True, slots=True)
class Case:
    """A kernel and a distribution to record with."""

    kernel: str | None
    """Of `prepare.KERNELS`; None: the running one, with a chroot."""
    suite: str
    always: bool = True
    """False: only when named, or with --all."""

    @property
    def name(self) -> str:
        """As the command line and the result folder have it."""
        return f"{self.kernel or 'running'}-{self.suite}"


CASES = (
    Case(None, "bookworm"),
    Case(None, "trixie"),
    Case(None, "sid"),
    Case("6.1", "bookworm"),
    Case("6.12", "trixie"),
    Case("newest", "sid"),
    Case("newest", "bookworm", always=False),
    Case("6.12", "bookworm", always=False),
    Case("6.1", "sid", always=False),
)
"""Every kernel and every BCC once; the crossed ones with --all."""


def collect_code(folder: Path) -> None:
    """Fill a code folder: the project as its wheel installs it, the suite, the workload, run.sh."""
    with tempfile.TemporaryDirectory() as work:
        prepare.run(
            sys.executable,
            *("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", work),
            str(prepare.REPOSITORY),
        )
        (wheel,) = Path(work).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "site")
    source = prepare.HERE / "workload.c"
    prepare.run("gcc", "-O2", "-static", "-o", str(folder / "workload"), str(source))
    shutil.copy(prepare.HERE / "guest_suite.py", folder)
    (folder / "run.sh").write_text("exec /usr/bin/python3 guest_suite.py\n")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(c.name for c in CASES))
    parser.add_argument("--all", action="store_true", help="the crossed cases too")
    parser.add_argument("--out", type=Path, default=prepare.CACHE / "results")
    parser.add_argument("--jobs", type=int, default=1, help="cases at once (default 1)")
    parser.add_argument("--cpus", type=int, default=2, help="CPUs of a guest (default 2)")
    parser.add_argument("--limit", type=float, default=900, help="seconds for one case")
    options = parser.parse_args()
    by_name = {case.name: case for case in CASES}
    if unknown := [name for name in options.cases if name not in by_name]:
        parser.error(f"no case {unknown[0]!r}; cases are: {', '.join(by_name)}")
    cases = [by_name[name] for name in options.cases] or [
        case for case in CASES if case.always or options.all
    ]
    prepare.prepare(
        tuple(sorted({case.kernel for case in cases if case.kernel})),
        tuple(sorted({case.suite for case in cases})),
    )
    with tempfile.TemporaryDirectory() as work:
        code = Path(work)
        collect_code(code)

        def one(case: Case) -> bool:
            out = options.out / case.name
            shutil.rmtree(out, ignore_errors=True)
            if case.kernel:
                result = machine.boot(
                    case.kernel, case.suite, code, out, options.cpus, options.limit
                )
            else:
                result = machine.enter(case.suite, code, out, options.limit)
            verdict = "passed" if result.status == 0 else f"FAILED ({result.status})"
            print(f"== {case.name}: {verdict}, {result.seconds:.0f} s, {out}")
            print("\n".join(result.log.splitlines()[-100:]), flush=True)
            return result.status == 0

        with ThreadPoolExecutor(options.jobs) as pool:
            passed = list(pool.map(one, cases))
    print(f"{sum(passed)} passed, {len(passed) - sum(passed)} failed")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} failed with status {error.returncode}.")
