"""Source lines and inlined calls of a program that was recorded, as Go's pprof lists them."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from other_tools import addr2line, go_pprof
from recordings import record
from workloads import SOURCES

from stacks_tui.export.job import Job, export
from stacks_tui.export.profile_proto import profile_class
from stacks_tui.export.registry import find_format
from stacks_tui.export.task import ExportOptions

pytestmark = pytest.mark.bpf

SOURCE = SOURCES / "inlined.cpp"
LISTED = re.compile(r"^\s*(\.|\d+ns)\s+(\.|\d+ns)\s+(\d+):", re.MULTILINE)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The program, and the profile of a run of it."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ on this machine")
    folder = tmp_path_factory.mktemp("lines")
    program = folder / "inlined"
    flags = ["-O2", "-g", "-Wl,--build-id"]
    subprocess.run([compiler, *flags, "-o", str(program), str(SOURCE)], check=True)
    recorded = record(folder / "r", "profile:u:999", [program, "2"])
    path = folder / "cpu.pb.gz"
    options = ExportOptions(binary=program, lines=True)
    job = Job((recorded.directory,), find_format("pprof"), ("cpu",), options=options, path=path)
    assert "source lines by" in " ".join(export(job).notes)
    return program, path


def read(path: Path) -> Any:
    return profile_class().FromString(gzip.decompress(path.read_bytes()))


def test_the_chains_are_those_of_addr2line(profile: tuple[Path, Path]) -> None:
    program, path = profile
    message = read(path)
    text = message.string_table
    files = {one.id: text[one.filename] for one in message.function}
    (mapping,) = (one.id for one in message.mapping if text[one.filename] == str(program))
    chains = {
        one.address: [(files[line.function_id], line.line) for line in one.line]
        for one in message.location
        if one.mapping_id == mapping and any(line.line for line in one.line)
    }
    ours = {at: chain for at, chain in chains.items() if chain[-1][0] == str(SOURCE)}
    assert len(ours) > 3 and max(map(len, ours.values())) >= 3  # mix in twice in work
    said = addr2line(program, list(ours))
    assert {at: [line for _, line in chain] for at, chain in ours.items()} == {
        at: [line for _, line in chain] for at, chain in said.items()
    }
    for at, chain in ours.items():
        for (file, _), (other, _) in zip(chain, said[at], strict=True):
            assert Path(file).name == Path(other).name


def test_pprof_lists_what_addr2line_says(profile: tuple[Path, Path]) -> None:
    program, path = profile
    message = read(path)
    address = {one.id: one.address for one in message.location}
    leaves: Counter[int] = Counter()
    for sample in message.sample:
        leaves[address[sample.location_id[0]]] += sample.value[1]
    expected: Counter[int] = Counter()
    for at, chain in addr2line(program, list(leaves)).items():
        if chain and Path(chain[0][0]).name == SOURCE.name:
            expected[chain[0][1]] += leaves[at]
    found: Counter[int] = Counter()
    listing = go_pprof("-unit=ns", "-list=mix|twice|work|main", path)
    assert f" in {SOURCE}" in listing
    for flat, _, line in LISTED.findall(listing):
        if flat != ".":
            found[int(line)] += int(flat.removesuffix("ns"))
    assert found == expected and sum(found.values()) > 1e9
    assert {8, 9, 10} & set(found)  # what is inlined two deep
