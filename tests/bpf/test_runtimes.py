"""Real node, Java and Go: functions of theirs stand in one stack with the native frames around."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from recordings import Recorded, Row, record

pytestmark = pytest.mark.bpf

SCRIPT = """
const fs = require('fs'), out = fs.openSync('/dev/zero', 'w');
function inner_js(n) { let s = 0; for (let i = 0; i < 3000; i++) s += i % n; fs.writeSync(out, 'x'); return s; }
function middle_js(n) { return inner_js(n) + 1; }
function outer_js(n) { return middle_js(n) + 1; }
const end = Date.now() + 3000;
let sum = 0;
while (Date.now() < end) sum += outer_js(7);
if (sum < 0) console.log(sum);
"""  # noqa: E501
CLASS = """
import java.io.FileOutputStream;
public class Work {
  static FileOutputStream out;
  static int sum = 0;
  static int innerJava(int n) throws Exception {
    for (int i = 0; i < 3000; i++) sum += i % n;
    out.write(1);
    return sum;
  }
  static int middleJava(int n) throws Exception { return innerJava(n) + 1; }
  static int outerJava(int n) throws Exception { return middleJava(n) + 1; }
  public static void main(String[] given) throws Exception {
    out = new FileOutputStream("/dev/zero");
    long end = System.currentTimeMillis() + 4000;
    while (System.currentTimeMillis() < end) outerJava(7);
  }
}
"""
STARTS = ("_start", "__clone3", "clone3", "__clone", "clone", "__GI___clone")


def stacks_with(recorded: Recorded, name: str, kind: str) -> list[Row]:
    """The stacks of a kind that have a frame of a function, with how many events each."""
    return recorded.rows(
        "select frames, complete, status, count(*) as events from events join stacks"
        " on ustack = stacks.id where kind = $kind"
        " and len(list_filter(frames, lambda f: contains(f.name, $name))) > 0 group by all",
        kind=kind,
        name=name,
    )


def callers(stack: Row, *functions: str) -> list[str]:
    """The names of a stack that have one of these in them, leaf first, repeated ones once."""
    names = [frame["name"] for frame in stack["frames"]]
    found = [next((f for f in functions if f in name), "") for name in names]
    return [name for name, _ in itertools.groupby(filter(None, found))]


def assert_one_stack(recorded: Recorded, functions: tuple[str, str, str]) -> None:
    """Writes: libc's write, then the runtime's own, the three functions, and the start."""
    found = stacks_with(recorded, functions[0], "vfs_write")
    events = sum(stack["events"] for stack in found)
    assert events > 1000
    right = 0
    for stack in found:
        names = [frame["name"].partition("+")[0] for frame in stack["frames"]]
        if not stack["complete"]:
            continue
        assert names[-1] in STARTS
        at = min(place for place, name in enumerate(names) if functions[0] in name)
        assert "write" in names[0] and at > 0
        in_order = callers(stack, *functions)
        assert in_order == [one for one in functions if one in in_order], "nothing is turned round"
        right += stack["events"] * (in_order == list(functions))
    # What is inlined has no frame of its own: then names of callees are not there, callers' are.
    assert right > 0
    whole = sum(stack["events"] for stack in found if stack["complete"])
    assert whole >= 0.99 * events


def recorded_run(tmp_path: Path, command: list[str], *options: str) -> Recorded:
    """A recording of the command, whose perf map is removed."""
    recorded = record(tmp_path / "r", "vfs:u,profile:u:199", command, *options)
    for row in recorded.rows("select distinct tgid from processes"):
        Path(f"/tmp/perf-{row['tgid']}.map").unlink(missing_ok=True)
    return recorded


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the script with flags to come in between."""
    if shutil.which("node") is None:
        pytest.skip("there is no node")
    path = tmp_path_factory.mktemp("node") / "work.js"
    path.write_text(SCRIPT)
    return ["node", str(path)]


JS = ("inner_js", "middle_js", "outer_js")


@pytest.mark.parametrize("flag", ["--perf-basic-prof", "--perf-prof"], ids=["map", "jitdump"])
def test_functions_of_node_have_names(tmp_path: Path, script: list[str], flag: str) -> None:
    node, path = script
    flags = [flag, "--interpreted-frames-native-stack", "--no-turbo-inlining"]
    here = ["sh", "-c", 'cd "$0" && exec "$@"', str(tmp_path)]  # where it writes its dump
    recorded = recorded_run(tmp_path, [*here, node, *flags, path])
    assert_one_stack(recorded, JS)
    assert not [note for note in recorded.notes if "--perf-basic-prof" in note]


def test_a_node_without_flags_is_told_which_would_name_its_functions(
    tmp_path: Path, script: list[str]
) -> None:
    recorded = record(tmp_path / "r", "profile:u:199", script)
    assert not stacks_with(recorded, "inner_js", "profile")
    notes = [note for note in recorded.notes if "--perf-basic-prof" in note]
    assert len(notes) == 1
    assert "\n" not in notes[0]


def test_functions_of_java_have_names(tmp_path: Path) -> None:
    if shutil.which("java") is None or shutil.which("javac") is None:
        pytest.skip("there is no Java")
    (tmp_path / "Work.java").write_text(CLASS)
    subprocess.run(["javac", "-d", tmp_path, tmp_path / "Work.java"], check=True)
    flags = ["-XX:+PreserveFramePointer", "-XX:-Inline", "-XX:TieredStopAtLevel=1"]
    java = ["java", *flags, "-cp", str(tmp_path), "Work"]
    recorded = recorded_run(tmp_path, java, "--jvm")
    assert_one_stack(recorded, ("innerJava", "middleJava", "outerJava"))


GO = """package main

import (
	"os"
	"runtime"
)

var keep [][]byte

//go:noinline
func inner(out *os.File) {
	keep = append(keep[:len(keep)%64], make([]byte, 1<<16))
	out.Write([]byte("x"))
}

func main() {
	out, _ := os.OpenFile("/dev/zero", os.O_WRONLY, 0)
	for n := 0; n < 3000; n++ {
		inner(out)
		if n%20 == 0 {
			runtime.GC()
		}
	}
}
"""
GO_STARTS = {"runtime.goexit.abi0", "runtime.mcall", "runtime.rt0_go.abi0", "runtime.clone.abi0"}


@pytest.mark.skipif(shutil.which("go") is None, reason="needs go")
def test_a_stack_of_gos_runtime_is_complete_only_where_it_began(tmp_path: Path) -> None:
    source, program = tmp_path / "work.go", tmp_path / "work"
    source.write_text(GO)
    environ = {**os.environ, "GO111MODULE": "off"}
    subprocess.run(["go", "build", "-o", program, source], check=True, env=environ)
    recorded = record(tmp_path / "r", "profile:u:997,switch:u,vfs:u", [program])
    rows = recorded.rows(
        "select kind, frames, complete, count(*) as events from events join stacks"
        " on ustack = stacks.id where command = 'work' group by all"
    )
    ours = [row for row in rows if row["frames"][0]["module"] == str(program)]
    ends = {row["frames"][-1]["name"] for row in ours if row["complete"]}
    assert "runtime.goexit.abi0" in ends
    assert ends <= GO_STARTS
    switched = [
        row
        for row in ours
        if "runtime.systemstack.abi0" in callers(row, "runtime.systemstack.abi0")
    ]
    assert switched
    assert not any(row["complete"] for row in switched)
    writes = [row for row in ours if row["kind"] == "vfs_write"]
    whole = sum(row["events"] for row in writes if row["complete"])
    assert whole >= 0.95 * sum(row["events"] for row in writes)
