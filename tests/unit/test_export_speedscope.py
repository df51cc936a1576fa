"""speedscope's files: by hand, by its schema, and as its own page shows them."""

from __future__ import annotations

import base64
import html
import io
import itertools
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import show
from export_fixture import HOSTILE, MS, TOTALS, names, samples_of, write_fixture

from stacks_tui import text
from stacks_tui.export.formats.speedscope import write_speedscope
from stacks_tui.export.model import Line, Samples
from stacks_tui.export.task import CancelledError, ExportOptions, Task


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fixture(tmp_path_factory.mktemp("speedscope") / "recording")


@pytest.fixture(scope="module")
def release() -> Path:
    """speedscope's page, from its npm package."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm, so no speedscope")
    done = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=True)
    found = Path(done.stdout.strip()) / "speedscope" / "dist" / "release"
    if not found.is_dir():
        pytest.skip("speedscope is not installed (npm install -g speedscope)")
    return found


def written(samples: Samples, task: Task | None = None) -> dict[str, Any]:
    out = io.BytesIO()
    write_speedscope(samples, out, task or Task())
    made: dict[str, Any] = json.loads(out.getvalue())
    return made


def stacks_of(made: dict[str, Any], profile: dict[str, Any]) -> Counter[tuple[str, ...]]:
    frames = made["shared"]["frames"]
    found: Counter[tuple[str, ...]] = Counter()
    for stack, weight in zip(profile["samples"], profile["weights"], strict=True):
        found[tuple(frames[at]["name"] for at in stack)] += weight
    return found


def test_each_stack_has_its_value(recording: Path) -> None:
    for query in TOTALS:
        samples = samples_of(recording, query)
        made = written(samples)
        assert made["profiles"][made["activeProfileIndex"]]["name"] == samples.types[1].name
        for at, kind in enumerate(samples.types):
            expected: Counter[tuple[str, ...]] = Counter()
            for row in range(len(samples)):
                stack = tuple(text.printable(name) for name in reversed(names(samples, row)))
                expected[stack] += int(samples.values[row, at])
            found: Counter[tuple[str, ...]] = Counter()
            for profile in made["profiles"]:
                if profile["name"].partition(" (")[0] == kind.name:
                    sign = -1 if "given back" in profile["name"] else 1
                    for stack, value in stacks_of(made, profile).items():
                        found[stack] += sign * value
                    assert profile["endValue"] == sum(profile["weights"])
                    assert profile["unit"] == (kind.unit if kind.unit != "count" else "none")
            assert found == {stack: value for stack, value in expected.items() if value}
            assert sum(found.values()) == TOTALS[query][kind.name]


def test_what_was_given_back_is_beside_what_was_gained(recording: Path) -> None:
    task = Task()
    made = written(samples_of(recording, "rss", "cpu"), task)
    assert [one["name"] for one in made["profiles"]] == [
        "rss_count", "rss_growth", "rss_growth (given back)", "cpu_count", "cpu",
    ]  # fmt: skip
    assert [sum(one["weights"]) for one in made["profiles"][1:3]] == [16384, 8192]
    assert made["activeProfileIndex"] == 1 and "given back" in task.notes[0]


def test_labels_that_are_asked_for_are_profiles_of_their_own(recording: Path) -> None:
    options = ExportOptions(labels=("thread",))
    made = written(samples_of(recording, "cpu", options=options), Task(options))
    assert {one["name"]: one["endValue"] for one in made["profiles"]} == {
        "count · thread worker": 5,
        "cpu · thread worker": 50 * MS,
        "count · thread reader": 1,
        "cpu · thread reader": 10 * MS,
    }
    assert len(written(samples_of(recording, "cpu"))["profiles"]) == 2


def test_inlined_frames_stand_below_their_function(recording: Path) -> None:
    samples = samples_of(recording, "cpu")
    locations = tuple(
        replace(one, lines=(Line("tiny", "tiny.h", 7), Line("small", "a.c", 9), *one.lines))
        if one.lines[0].name == "leaf"
        else one
        for one in samples.stacks.locations
    )
    made = written(replace(samples, stacks=replace(samples.stacks, locations=locations)))
    stacks = stacks_of(made, made["profiles"][1])
    assert stacks["main", "rec", "rec", "rec", "leaf", "small", "tiny"] == 30 * MS
    assert {"name": "tiny", "file": "tiny.h", "line": 7} in made["shared"]["frames"]
    assert {"name": "leaf", "file": "/bin/job"} in made["shared"]["frames"]


def test_it_is_as_the_schema_says(recording: Path, release: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((release / "file-format-schema.json").read_text())
    options = ExportOptions(labels=("tid", "command"))
    for samples in (
        samples_of(recording, *TOTALS),
        samples_of(recording, "cpu", options=options),
        samples_of(recording, "cpu", command="nobody"),
    ):
        jsonschema.validate(written(samples, Task(options)), schema)


def test_speedscope_shows_it(recording: Path, release: Path, tmp_path: Path) -> None:
    out = io.BytesIO()
    write_speedscope(samples_of(recording, "cpu", "rss"), out, Task())
    script = tmp_path / "profile.js"
    content = base64.b64encode(out.getvalue()).decode()
    script.write_text(f'speedscope.loadFileFromBase64("profile.json", "{content}")')
    gl = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
    shown = show(release / "index.html", f"localProfilePath={script}&view=sandwich", *gl)
    seen = [html.unescape(one) for one in re.findall(r">([^<>]+)<", shown.dom)]
    for profile, total in (
        ("cpu_count", "6"), ("cpu", "60.00ms"), ("rss_count", "3"), ("rss_growth", "16.00 KB"),
        ("rss_growth (given back)", "8.00 KB"),
    ):  # fmt: skip
        assert (profile, total) in itertools.pairwise(seen)
    # by function, of the main value: total and own
    rows = {seen[at + 2]: (seen[at], seen[at + 1]) for at in range(len(seen) - 2)}
    assert rows["leaf"] == ("30.00ms (50%)", "30.00ms (50%)")
    assert rows["rec"][0] == "30.00ms (50%)"  # recursion counts once
    assert rows["main"][0] == "40.00ms (67%)"
    assert rows["vfs_read"] == ("10.00ms (17%)", "10.00ms (17%)")
    assert rows[text.printable(HOSTILE)][1] == "10.00ms (17%)"


def test_a_cancelled_export_stops(recording: Path) -> None:
    with pytest.raises(CancelledError):
        written(samples_of(recording, "cpu"), Task(cancelled=lambda: True))
