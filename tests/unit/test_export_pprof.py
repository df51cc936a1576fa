"""pprof files, read back by our own class of the message and by `go tool pprof`."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from export_fixture import (
    BUILDID,
    END,
    HOSTILE,
    KERNEL,
    MS,
    TOTALS,
    names,
    read_profile,
    samples_of,
    totals,
    write_fixture,
)
from google.protobuf import descriptor_pb2, descriptor_pool
from lines_fixture import build, write_worked
from other_tools import addr2line, go_pprof
from store_rows import EPOCH
from synthetic import PERIOD_NS, write_synthetic

from stacks_tui.export.formats.folded import write_folded
from stacks_tui.export.formats.pprof import write_pprof
from stacks_tui.export.lines import with_lines
from stacks_tui.export.model import Samples
from stacks_tui.export.task import CancelledError, ExportOptions, Task


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fixture(tmp_path_factory.mktemp("pprof") / "recording")


def written(samples: Samples, path: Path, task: Task | None = None) -> Path:
    with path.open("wb") as file:
        write_pprof(samples, file, task or Task())
    return path


def test_go_reads_every_value_to_the_unit(recording: Path, tmp_path: Path) -> None:
    for name, expected in TOTALS.items():
        path = written(samples_of(recording, name), tmp_path / f"{name}.pb.gz")
        raw = go_pprof("-raw", path)
        kinds, body = re.search(r"Samples:\n(.*?)\n(.*)Locations\n", raw, re.DOTALL).groups()  # type: ignore[union-attr]
        values = [
            list(map(int, line.partition(":")[0].split()))
            for line in body.splitlines()
            if re.match(r"\s*-?\d[-\d ]*:", line)
        ]
        columns = [kind.partition("/")[0] for kind in kinds.replace("[dflt]", "").split()]
        sums = dict(zip(columns, map(sum, zip(*values, strict=True)), strict=True))
        assert sums == expected, name


def test_what_a_profile_says(recording: Path, tmp_path: Path) -> None:
    path = written(samples_of(recording, "cpu"), tmp_path / "cpu.pb.gz")
    assert path.read_bytes()[4:8] == b"\0" * 4  # no time in the header: reproducible
    profile = read_profile(path)
    message = profile.message
    assert message.string_table[0] == ""
    assert profile.types() == [("count", "count"), ("cpu", "nanoseconds")]
    assert profile.text(message.default_sample_type) == "cpu"
    assert (message.time_nanos, message.duration_nanos) == (EPOCH, END - EPOCH)
    assert message.period == 10 * MS and profile.text(message.period_type.unit) == "nanoseconds"
    main, *others = message.mapping
    assert profile.text(main.filename) == "/bin/job"
    assert profile.text(main.build_id) == BUILDID.hex()
    assert main.has_functions and not main.has_line_numbers and not main.has_inline_frames
    kernel = next(one for one in others if profile.text(one.filename) == "[kernel.kallsyms]")
    assert kernel.memory_start <= KERNEL < kernel.memory_limit
    ranges = {one.id: (one.memory_start, one.memory_limit) for one in message.mapping}
    for location in message.location:
        low, high = ranges.get(location.mapping_id, (0, 1))
        assert low <= location.address < high and location.line
    assert sum(not one.mapping_id for one in message.location) == 1  # "[no stack]"
    assert len({location.id for location in message.location}) == len(message.location)
    shown = " ".join(profile.text(at) for at in message.comment)
    assert "lost while recording: profile 3" in shown and "Where was CPU time spent?" in shown


def test_stacks_are_those_of_the_samples(recording: Path, tmp_path: Path) -> None:
    samples = samples_of(recording, "cpu")
    profile = read_profile(written(samples, tmp_path / "cpu.pb.gz"))
    expected: dict[tuple[str, ...], int] = {}
    for at in range(len(samples)):
        key = tuple(names(samples, at))
        expected[key] = expected.get(key, 0) + int(samples.values[at, 1])
    assert dict(profile.stacks()) == expected
    assert expected["leaf", "rec", "rec", "rec", "main"] == 30 * MS
    assert (HOSTILE, "[job+0x7777]") in expected  # a frame without a symbol is there too


def test_go_shows_labels_and_recursion(recording: Path, tmp_path: Path) -> None:
    options = ExportOptions(labels=("command", "thread", "pid", "cpu", "cgroup"))
    path = written(samples_of(recording, "cpu", options=options), tmp_path / "cpu.pb.gz")
    tags = go_pprof("-tags", path)
    assert re.search(r"thread: Total 60.0ms\n\s+50.0ms \(83.33%\): worker\n\s+10.0ms", tags)
    assert re.search(r"pid: Total 60.0ms\n\s+50.0ms \(83.33%\): 100", tags)
    assert "cgroup: Total" in tags and "cpu: Total 60.0ms" in tags
    traces = go_pprof("-traces", path)
    assert re.search(r"30ms\s+leaf\n\s+rec\n\s+rec\n\s+rec\n\s+main", traces)
    only = go_pprof("-top", "-tagfocus=thread=reader", path)
    assert "Total samples = 60ms" in only and re.search(r"10ms .* vfs_read", only)


def test_several_values_can_be_picked(recording: Path, tmp_path: Path) -> None:
    path = written(samples_of(recording, "cpu", "blocked", "rss"), tmp_path / "all.pb.gz")
    assert "60ms, 100% of 60ms total" in go_pprof("-top", path)
    assert "700ms, 100% of 700ms total" in go_pprof("-top", "-sample_index=blocked", path)
    growth = go_pprof("-top", "-sample_index=rss_growth", path)
    assert re.search(r"16kB .* leaf\n\s+-8kB .* read\n", growth)


def test_nothing_recorded_is_an_empty_profile(recording: Path, tmp_path: Path) -> None:
    path = written(samples_of(recording, "cpu", command="nobody"), tmp_path / "none.pb.gz")
    assert read_profile(path).types() == [("count", "count"), ("cpu", "nanoseconds")]
    assert "0 total" in go_pprof("-top", path)


def test_another_profile_proto_in_the_process_is_no_obstacle(recording: Path) -> None:
    file = descriptor_pb2.FileDescriptorProto(name="profile.proto", package="perftools.profiles")
    file.message_type.add(name="Profile").field.add(name="other", number=1, type=9, label=1)
    descriptor_pool.Default().Add(file)
    out = io.BytesIO()
    write_pprof(samples_of(recording, "cpu"), out, Task())
    assert gzip.decompress(out.getvalue())


def test_a_cancelled_export_stops(recording: Path) -> None:
    samples = samples_of(recording, "cpu")
    with pytest.raises(CancelledError):
        write_pprof(samples, io.BytesIO(), Task(cancelled=lambda: True))


def test_folded_lines(recording: Path) -> None:
    out = io.BytesIO()
    write_folded(samples_of(recording, "cpu"), out, Task())
    lines = out.getvalue().decode().splitlines()
    assert lines == sorted(lines)
    assert f"main;rec;rec;rec;leaf {30 * MS}" in lines
    assert f"main;read;entry_[k];vfs_read_[k] {10 * MS}" in lines
    assert f"[no stack] {10 * MS}" in lines
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == 60 * MS
    (odd,) = (line for line in lines if line.startswith("[job+0x7777];"))
    assert odd.isprintable() and odd.count(";") == 1  # no name ends a frame, or a line


def test_folded_leaves_out_what_shrank_and_says_so(recording: Path) -> None:
    task, out = Task(), io.BytesIO()
    write_folded(samples_of(recording, "rss"), out, task)
    assert out.getvalue() == b"main;rec;rec;rec;leaf 16384\n"
    assert "-8192 bytes" in " ".join(task.notes)


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("binary"))


@pytest.fixture(scope="module")
def worked(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_worked(tmp_path_factory.mktemp("worked") / "recording", binary)


@pytest.mark.parametrize("tool", ["llvm-symbolizer", "addr2line"])
def test_lines_and_inlined_calls_are_those_of_addr2line(
    tool: str, worked: Path, binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool}")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setattr("stacks_tui.export.symbolizers._PATH", str(tmp_path / "bin"))
    task = Task(ExportOptions(lines=True))
    samples = with_lines(samples_of(worked, "cpu"), task)
    profile = read_profile(written(samples, tmp_path / "lines.pb.gz"))
    files = {one.id: profile.text(one.filename) for one in profile.message.function}
    found = {
        location.address: [(files[line.function_id], line.line) for line in location.line]
        for location in profile.message.location
    }
    assert found == addr2line(binary, list(found))
    assert max(map(len, found.values())) == 3  # mix in twice in work
    assert f"source lines by {tool}" in task.notes[0]
    (mapping,) = profile.message.mapping
    assert mapping.has_line_numbers and mapping.has_inline_frames and mapping.has_filenames
    listing = go_pprof("-list=mix|work", tmp_path / "lines.pb.gz")
    assert re.search(r"\d+ns\s+\d+ns\s+4:  x \^= x >> 33", listing)
    assert re.search(r"\d+ns\s+\d+ns\s+11:    s \+= twice\(x\);", listing)
    by_line = {
        (line.line, line.name)
        for one in samples.stacks.locations
        for line in one.lines
        if str(line.file).endswith("work.cpp")
    }
    for line, name in by_line:
        # addr2line does not always know the innermost function
        known = "mix" if line < 7 else "twice" if line == 7 else "work(…)"
        assert name == known or (tool, name) == ("addr2line", "[inlined]")
    assert {(4, "mix"), (7, "twice"), (11, "work(…)")} <= by_line


def test_without_tools_there_are_lines_but_no_inlined_calls(
    worked: Path, binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stacks_tui.export.symbolizers._PATH", str(tmp_path))
    task = Task(ExportOptions(binary=binary))
    samples = with_lines(samples_of(worked, "cpu"), task)
    innermost = addr2line(binary, [one.address for one in samples.stacks.locations])
    for one in samples.stacks.locations:
        (line,) = one.lines
        file, number = innermost[one.address][0]
        assert line.name == "work(…)" and line.line == number
        assert Path(str(line.file)).name == Path(file).name
    assert "pyelftools" in task.notes[0] and "no inlined calls" in task.notes[1]


def test_lines_come_only_from_the_binary_that_was_recorded(
    worked: Path, binary: Path, tmp_path: Path
) -> None:
    samples = samples_of(worked, "cpu")
    changed = tuple(replace(one, buildid=b"\1" * 20) for one in samples.stacks.locations)
    stacks = replace(samples.stacks, locations=changed)
    task = Task(ExportOptions(lines=True))
    assert with_lines(replace(samples, stacks=stacks), task).stacks.locations == changed
    assert f"not on this machine as recorded (build ids): {binary.name}" in " ".join(task.notes)


def test_a_stripped_binary_is_told(worked: Path, binary: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "stripped"
    subprocess.run(["strip", "-o", str(stripped), str(binary)], check=True)
    task = Task(ExportOptions(binary=stripped))
    samples = samples_of(worked, "cpu")
    assert with_lines(samples, task).stacks.locations == samples.stacks.locations
    assert "no debug information for stripped; --debuginfod asks" in " ".join(task.notes)


def test_one_profile_is_the_same_bytes_each_time(recording: Path, tmp_path: Path) -> None:
    large = write_synthetic(tmp_path / "large", 30_000, 5_000)
    for path, queries in ((large, ("cpu",)), (recording, ("cpu", "offcpu", "wakers", "block"))):
        files = {
            written(samples_of(path, *queries), tmp_path / f"{at}.pb.gz").read_bytes()
            for at in range(4)
        }
        assert len(files) == 1
    assert totals(samples_of(large, "cpu")) == {"count": 30_000, "cpu": 30_000 * PERIOD_NS}


def test_like_stacks_are_neighbours(recording: Path) -> None:
    samples = samples_of(recording, "cpu")
    found = [tuple(reversed(names(samples, at))) for at in range(len(samples))]
    order = {one: at for at, one in enumerate(samples.stacks.locations)}
    keys = [
        [order[one] for one in reversed(samples.stacks.stack(int(at)))] for at in samples.stack_of
    ]
    assert keys == sorted(keys) and len(found) == len(set(found))
