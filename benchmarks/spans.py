"""What a span costs the program that has it while nobody listens, by language; a Markdown table.

    .venv/bin/python benchmarks/spans.py

Best of several runs, while nobody listens.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "spans"))

from span_programs import INCLUDE, environ, folder, no_rust, pythons, rust_spans  # noqa: E402

PYTHON = r"""
import asyncio, json, sys, time, timeit
import tracing_stacks
from tracing_stacks import span
from tracing_stacks._core import steps

def best(statement, setup="pass", number=1_000):
    space = {"span": span}
    # short runs: some of them no other program interrupts
    runs = timeit.repeat(statement, setup, globals=space, number=number, repeat=1_000)
    return min(runs) / number * 1e9

class Many:
    def __await__(self):
        for _ in range(2_000):
            yield
async def long():
    await Many()
def drive(coroutine):
    send, begin = coroutine.send, time.perf_counter()
    try:
        while True:
            send(None)
    except StopIteration:
        return (time.perf_counter() - begin) / 2_000 * 1e9

async def sleeps():
    begin = time.perf_counter()
    for _ in range(50_000):
        await asyncio.sleep(0)
    return (time.perf_counter() - begin) / 50_000 * 1e9

def switches(*names):
    # there and back, with a span of each name open on both sides
    def run():
        opened = [span(name).enter() for name in names]
        while True:
            main.switch()
    main = greenlet.getcurrent()
    other = greenlet.greenlet(run)
    other.switch()
    opened = [span(name).enter() for name in names]
    switch, begin = other.switch, time.perf_counter()
    for _ in range(20_000):
        switch()
    took = time.perf_counter() - begin
    for one in opened:
        one.close()
    return took / 40_000 * 1e9

def least(*names):
    return min(switches(*names) for _ in range(15))

try:
    import greenlet
except ImportError:
    greenlet = None
alone = greenlet and least()
# by turns, and shortly: see above
runs = [(drive(long()), drive(steps(long(), "x"))) for _ in range(2_000)]
bare, wrapped = (min(one) for one in zip(*runs))
plain = min(asyncio.run(sleeps()) for _ in range(5))
tracing_stacks.init()
carried = min(asyncio.run(sleeps()) for _ in range(5))
with span("from here on greenlets are followed"):
    pass
green = {
    "a switch of greenlets, without `init()`": alone,
    "the same with it, no span open": least(),
    "the same with it, a span open in both": least("x"),
} if greenlet else {}
print(json.dumps({
    "`with span(\"x\")`: enter, exit, close": best("with span('x'): pass"),
    "the same with id and amount": best("with span('x', id=7, amount=4096): pass"),
    "enter and exit again": best("one.enter(); one.exit()", "one = span('x')"),
    "a coroutine's step: what the wrapper adds": wrapped - bare,
    "a whole step of asyncio, `sleep(0)`": carried,
    "the same without `init()`": plain,
    **green,
}))
"""

C = r"""
#include "tracing_stacks.h"
#include <stdio.h>
static double best_ns(int again) {
  double best = 1e9;
  tracing_stacks_span kept = tracing_stacks_open("kept", 0, 0);
  for (int run = 0; run < 9; run++) {
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < 5000000; i++) {
      if (again) {
        tracing_stacks_enter(&kept);
        __asm__ volatile("" ::: "memory");
        tracing_stacks_exit(&kept);
      } else {
        TRACING_STACKS_SPAN("x", 7, 4096);
        __asm__ volatile("" ::: "memory");
      }
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double took = ((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) / 5e6;
    if (took < best) best = took;
  }
  return best;
}
int main(void) {
  printf("{\"a whole span\": %.2f, \"enter and exit again\": %.2f}", best_ns(0), best_ns(1));
}
"""


def of_python(python: Path) -> dict[str, float]:
    """Nanoseconds by what is done."""
    told = subprocess.run(
        [python, "-c", PYTHON], env=environ(), check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(told.stdout)
    return found


def of_c(compiler: str) -> dict[str, float]:
    """The same for C, and for C++, whose class is inlined too."""
    suffix = {"gcc": "c", "g++": "cc"}[compiler]
    source, program = folder() / f"cost.{suffix}", folder() / f"cost-{suffix}"
    source.write_text(C)
    subprocess.run([compiler, "-O2", f"-I{INCLUDE}", source, "-o", program], check=True)
    told = subprocess.run([program], check=True, capture_output=True)
    found: dict[str, float] = json.loads(told.stdout)
    return found


def of_rust() -> dict[str, float]:
    """The same for Rust's `tracing` with the layer over a registry, and for the registry alone."""
    found = {}
    for scenario, what in (("cost", ""), ("registry", " of the registry alone")):
        with tempfile.TemporaryDirectory() as into:
            truth = Path(into) / "truth"
            subprocess.run([rust_spans(), scenario, "--truth", truth], check=True)
            told = json.loads(truth.read_text())
        found[f"a whole span{what}"] = told["span_ns"]
        found[f"enter and exit again{what}"] = told["again_ns"]
    return found


def unheard() -> list[tuple[str, str, float]]:
    """Language, what is done, nanoseconds, while nobody listens."""
    rows = []
    for python in pythons():
        rows += [(python.resolve().name, what, ns) for what, ns in of_python(python).items()]
    for name, compiler in (("C", "gcc"), ("C++", "g++")):
        rows += [(name, what, ns) for what, ns in of_c(compiler).items()]
    why = no_rust()
    if why is None:
        rows += [("Rust", what, ns) for what, ns in of_rust().items()]
    else:
        print(f"no Rust: {why}", file=sys.stderr)
    return rows


def main() -> None:
    """Print the table."""
    print("| language | nobody listens | ns |\n|---|---|---|")
    for language, what, ns in unheard():
        print(f"| {language} | {what} | {ns:,.1f} |")


if __name__ == "__main__":
    main()
