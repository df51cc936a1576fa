"""The flame graph's page, as its data say and as Chromium draws it: totals equal the queries'."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import show
from export_fixture import HOSTILE, MS, TOTALS, names, samples_of, write_fixture
from hypothesis import given
from hypothesis import strategies as st
from store_rows import me

from stacks_tui import text
from stacks_tui.export import page as page_module
from stacks_tui.export.calltree import CUT, Paths, grow, pruned
from stacks_tui.export.formats.flamegraph import FORMAT, write_flamegraph
from stacks_tui.export.job import Baseline, Job, Moment, export
from stacks_tui.export.model import Samples
from stacks_tui.export.selection import Selection
from stacks_tui.export.task import CancelledError, ExportOptions, Task


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fixture(tmp_path_factory.mktemp("flames") / "recording")


def written(samples: Samples, path: Path, task: Task | None = None) -> Path:
    with path.open("wb") as file:
        write_flamegraph(samples, file, task or Task())
    return path


def data_of(page: Path) -> dict[str, Any]:
    """What the page's script reads."""
    (found,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL
    )
    read: dict[str, Any] = json.loads(found)
    return read


def own_of(data: dict[str, Any], tree: str, column: int = -1) -> Counter[tuple[str, ...]]:
    """By path from the top: the value of the node itself."""
    found: Counter[tuple[str, ...]] = Counter()
    path: list[str] = []
    drawn = data["trees"][tree]
    for frame, depth, own in zip(drawn["frame"], drawn["depth"], drawn["own"][column], strict=True):
        name = ["all", "…"][frame] if frame < 2 else data["frames"]["name"][frame - 2]
        path[depth:] = [name]
        if own:
            found[tuple(path[1:])] += own
    return found


def expected_of(samples: Samples) -> Counter[tuple[str, ...]]:
    """By stack from the outermost frame on: the last value, as the query says."""
    found: Counter[tuple[str, ...]] = Counter()
    for at in range(len(samples)):
        stack = tuple(text.printable(name) for name in reversed(names(samples, at)))
        found[stack] += int(samples.values[at, -1])
    return Counter({stack: value for stack, value in found.items() if value})


def test_each_stack_has_its_value_in_both_directions(recording: Path, tmp_path: Path) -> None:
    for query in TOTALS:
        samples = samples_of(recording, query)
        data = data_of(written(samples, tmp_path / "page.html"))
        expected = expected_of(samples)
        assert own_of(data, "down") == expected
        assert own_of(data, "up") == {path[::-1]: value for path, value in expected.items()}
        totals = {one["name"]: int(one["total"]) for one in data["types"]}
        assert totals == TOTALS[query]


def test_what_chromium_adds_up_is_what_the_queries_say(recording: Path, tmp_path: Path) -> None:
    page = written(samples_of(recording, *TOTALS), tmp_path / "page.html")
    shown = show(page)
    found = shown.data()
    expected = [value for query in TOTALS for value in TOTALS[query].values()]
    assert found["ready"] == 1 and not [one for one in shown.console if "Uncaught" in one]
    assert dict(zip(found["types"], found["down"], strict=True)) == dict(
        zip(found["types"], expected, strict=True)
    )
    assert found["up"] == found["down"] == expected


def test_search_zoom_and_type_by_the_address(recording: Path, tmp_path: Path) -> None:
    page = written(samples_of(recording, "cpu"), tmp_path / "page.html")
    shown = show(page, "search=^rec$")
    assert shown.data()["found"] == {"now": 30 * MS, "was": 0, "count": 1, "share": 0.5}
    assert "50.0 %" in shown.text("found") and "30,000,000 ns" in shown.text("found")
    data = data_of(page)
    main = data["frames"]["name"].index("main") + 2
    shown = show(page, f"search=read&zoom={main}&type=count&from=root")
    assert shown.data()["zoomed"] == {"name": "main", "now": 4, "was": None}
    assert shown.data()["found"]["now"] == 1  # vfs_read, below read, counts once
    assert "25.0 %" in shown.text("found")
    shown = show(page, "search=module:kernel&from=leaf")
    assert shown.data()["found"]["now"] == 10 * MS
    assert show(page, "search=(").text("found") == "no valid regex"


def test_the_header_tells_where_it_comes_from(recording: Path, tmp_path: Path) -> None:
    task = Task(ExportOptions(title="<b>mine</b>"))
    page = written(samples_of(recording, "cpu", command="job"), tmp_path / "page.html", task)
    shown = show(page)
    assert shown.text("title") == "<b>mine</b>" and "<b>mine" not in page.read_text()
    assert "command job" in shown.text("window") and "2023-11-14 22:13:20" in shown.text("window")
    assert shown.text("trust") == "lost while recording: profile 3"
    assert "50,000,000 ns" in shown.text("totals")
    assert str(recording) in shown.text("facts")


def test_hostile_names_are_text(recording: Path, tmp_path: Path) -> None:
    samples = samples_of(recording, "cpu", "span_time")
    odd = [
        HOSTILE,
        "\u2028</SCRIPT ><!--<script>",
        "\udcff\udcfe",
        "]]>&lt;${x}`\\u003c/",
        "\U0010ffff",
    ]
    stacks = samples.stacks
    locations = tuple(
        replace(
            one,
            lines=(replace(one.lines[0], name=odd[at % len(odd)], file=odd[(at + 1) % len(odd)]),),
            module=odd[(at + 2) % len(odd)],
        )
        for at, one in enumerate(stacks.locations)
    )
    origin = replace(samples.origin, recordings=(HOSTILE,), comments=(odd[1],), filters=HOSTILE)
    changed = replace(samples, stacks=replace(stacks, locations=locations), origin=origin)
    page = written(changed, tmp_path / "odd.html", Task(ExportOptions(title=HOSTILE)))
    raw = page.read_text("utf-8")
    assert raw.lower().count("</script") == 2 and raw.lower().count("<script") == 2
    assert "\x1b" not in raw and "\0" not in raw and "\u202e" not in raw and "\u2028" not in raw
    shown = show(page, "search=script")
    assert shown.data()["down"][1] == 60 * MS and shown.data()["found"]["count"] > 0
    assert not [one for one in shown.console if "Uncaught" in one]
    assert shown.text("title") == text.printable(HOSTILE)
    assert shown.dom.count("<script") == 2


class _Asked(http.server.BaseHTTPRequestHandler):
    paths: list[str] = []  # noqa: RUF012 - of this process

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not on stderr."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Asked) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_the_page_may_not_use_the_network_or_other_scripts(
    recording: Path, tmp_path: Path, server: str
) -> None:
    evil = (
        f'<img src="{server}/policy"><link rel="stylesheet" href="{server}/policy">'
        f'<script>document.documentElement.dataset.evil = 1; fetch("{server}/policy")</script>'
        f'<script src="{server}/policy"></script><iframe src="{server}/policy"></iframe></body>'
    )
    page = written(samples_of(recording, "cpu"), tmp_path / "page.html")
    page.write_text(page.read_text().replace("</body>", evil))
    open_page = tmp_path / "open.html"
    open_page.write_text(f'<!doctype html><html><img src="{server}/open"></html>')
    show(open_page)
    assert "/open" in _Asked.paths  # the server is heard where there is no policy
    shown = show(page)
    assert shown.data()["ready"] == 1 and "evil" not in shown.data()
    assert "/policy" not in _Asked.paths


def test_what_is_pruned_is_told_and_totals_stay(recording: Path, tmp_path: Path) -> None:
    task = Task(ExportOptions(minimum_share=0.3))
    samples = samples_of(recording, "cpu")
    page = written(samples, tmp_path / "page.html", task)
    data = data_of(page)
    own = own_of(data, "down")
    # of main's four samples, read's one is below: so are the odd stack and the one that is none
    assert own == {
        ("main", "rec", "rec", "rec", "leaf"): 30 * MS,
        ("main", "…"): 10 * MS,
        ("…",): 20 * MS,
    }
    assert sorted(data["trees"]["down"]["inside"]) == [1, 2]
    assert "3 of 4 distinct stacks" in task.notes[0] and "30 %" in task.notes[0]
    shown = show(page)
    assert shown.data()["down"] == shown.data()["up"] == [6, 60 * MS]
    assert "3 of 4 distinct" in shown.text("trust") and "3 stacks below 30 %" in shown.text(
        "legend"
    )


def test_a_flood_of_stacks_is_pruned_by_itself(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stacks_tui.export.formats.flamegraph._MOST_NODES", 4)
    task = Task()
    data = data_of(written(samples_of(recording, "cpu"), tmp_path / "page.html", task))
    assert sum(frame > 1 for frame in data["trees"]["down"]["frame"]) <= 4
    assert sum(own_of(data, "down").values()) == sum(own_of(data, "up").values()) == 60 * MS
    assert "--minimum 0 draws all" in task.notes[0]
    task = Task(ExportOptions(minimum_share=0.0))
    data = data_of(written(samples_of(recording, "cpu"), tmp_path / "page.html", task))
    assert own_of(data, "down") == expected_of(samples_of(recording, "cpu")) and not task.notes


def test_two_windows_are_compared(recording: Path, tmp_path: Path) -> None:
    window = [Moment(at * MS, relative=True) for at in (0, 350, 700)]
    job = Job(
        (recording,), FORMAT, ("cpu",), begin=window[1], end=window[2],
        before=Baseline((recording,), begin=window[0], end=window[1]), path=tmp_path / "diff.html",
    )  # fmt: skip
    result = export(job, user=me())
    assert [total for _, total in result.totals] == [3, 30 * MS]
    assert [total for _, total in result.totals_before] == [3, 30 * MS]
    shown = show(tmp_path / "diff.html", "search=rec")
    found = shown.data()
    assert (found["down"], found["down-before"]) == ([3, 30 * MS], [3, 30 * MS])
    assert (found["up"], found["up-before"]) == ([3, 30 * MS], [3, 30 * MS])
    # what is gone is drawn too: half of what is there on either side
    assert found["found"] == {"now": 0, "was": 30 * MS, "count": 1, "share": 0.5}
    assert "-30,000,000 ns" in shown.text("found") and "-100.0 %" in shown.text("found")
    assert "before 2023-11-14" in shown.text("window") and "less than before" in shown.text(
        "legend"
    )
    assert "30,000,000 ns (30.0 ms) → 30,000,000 ns" in shown.text("totals")


def test_two_recordings_and_selections_are_compared(
    recording: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = write_fixture(tmp_path_factory.mktemp("other") / "other")
    before = Baseline((other,), Selection(command="other"))
    job = Job((recording,), FORMAT, ("cpu",), before=before, path=tmp_path / "diff.html")
    result = export(job, user=me())
    assert [total for _, total in result.totals_before] == [1, 10 * MS]
    data = data_of(tmp_path / "diff.html")
    assert data["title"] == "cpu · other → recording"
    assert show(tmp_path / "diff.html").text("trust") == (
        "before: lost while recording: profile 3 · after: lost while recording: profile 3"
    )
    assert data["compared"]["filters"] == "command other" and data["about"]["filters"] == ""
    assert [(one["total"], one["before"]) for one in data["types"]] == [
        ("6", "1"), (str(60 * MS), str(10 * MS)),
    ]  # fmt: skip


def test_memory_that_was_given_back_is_drawn(recording: Path, tmp_path: Path) -> None:
    page = written(samples_of(recording, "rss"), tmp_path / "page.html")
    shown = show(page, "search=^read$")
    assert shown.data()["found"] == {"now": -8192, "was": 0, "count": 1, "share": 1 / 3}
    assert "8,192 bytes" in shown.text("totals") and "given back" in shown.text("legend")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 500])
def test_it_is_drawn_wide_and_narrow_light_and_dark(
    recording: Path, tmp_path: Path, scheme: str, width: int
) -> None:
    page = written(samples_of(recording, "cpu"), tmp_path / "page.html")
    setting = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    found = show(page, "", f"--window-size={width},700", setting).data()["drawn"]
    assert found["bars"] == len(data_of(page)["trees"]["down"]["frame"])
    assert width - 60 < found["width"] < width and found["overflows"] is False
    assert int(found["back"][1:3], 16) < 64 if scheme == "dark" else found["back"] == "#fbfbf9"


DRIVER = """
const key = (name) => document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
const seen = [];
const look = (what) => seen.push([what, document.getElementById("info").textContent.split("  |")[0],
  JSON.parse(document.documentElement.dataset.zoomed).name, location.hash]);
const box = document.getElementById("canvas").getBoundingClientRect();
const click = (x, row) => document.getElementById("canvas").dispatchEvent(
  new PointerEvent("click", { clientX: box.left + x * box.width, clientY: box.top + row * 18 + 9,
    bubbles: true, pointerType: "mouse" }));
document.getElementById("view").focus();
for (const name of ["ArrowDown", "ArrowDown", "ArrowRight", "Enter", "Escape", "ArrowUp", "i", "v",
  "o", "c", "i"]) { key(name); look(name); }
click(0.5, 1); look("click main");
click(0.9, 2); look("click rec");
key("Backspace"); look("back");
key("0"); look("all");
key("/"); look(document.activeElement.id);
document.getElementById("search").value = "rec";
document.getElementById("search").dispatchEvent(new Event("input"));
setTimeout(() => {
  look("typed"); key("Enter"); look("match"); key("/"); key("Escape"); look("cleared");
  document.documentElement.dataset.seen = JSON.stringify(seen);
}, 500);
"""


def test_keys_and_clicks(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assets = tmp_path / "assets"
    shutil.copytree(page_module._ASSETS, assets)
    with (assets / "flamegraph.js").open("a") as script:
        script.write(DRIVER)
    monkeypatch.setattr(page_module, "_ASSETS", assets)
    page = written(samples_of(recording, "cpu"), tmp_path / "page.html")
    data = data_of(page)
    main, read, rec = (data["frames"]["name"].index(name) + 2 for name in ("main", "read", "rec"))
    shown = show(page, "", "--window-size=1200,700")
    assert not [one for one in shown.console if "Uncaught" in one]
    assert shown.data()["seen"] == [
        ["ArrowDown", "main", "all", ""],
        ["ArrowDown", "rec", "all", ""],
        ["ArrowRight", "read", "all", ""],
        ["Enter", "read", "read", f"#zoom={main}.{read}"],
        ["Escape", "main", "main", f"#zoom={main}"],
        ["ArrowUp", "all", "main", f"#zoom={main}"],
        ["i", "all", "all", "#from=leaf"],
        ["v", "all", "all", "#type=count&from=leaf"],
        ["o", "all", "all", "#type=count&from=leaf&order=name"],
        ["c", "all", "all", "#type=count&from=leaf&colour=kind&order=name"],
        ["i", "all", "all", "#type=count&colour=kind&order=name"],
        ["click main", "main", "main", f"#type=count&colour=kind&order=name&zoom={main}"],
        ["click rec", "rec", "rec", f"#type=count&colour=kind&order=name&zoom={main}.{rec}"],
        ["back", "main", "main", f"#type=count&colour=kind&order=name&zoom={main}"],
        ["all", "all", "all", "#type=count&colour=kind&order=name"],
        ["search", "all", "all", "#type=count&colour=kind&order=name"],
        ["typed", "all", "all", "#type=count&colour=kind&order=name&search=rec"],
        ["match", "rec", "all", "#type=count&colour=kind&order=name&search=rec"],
        ["cleared", "rec", "all", "#type=count&colour=kind&order=name"],
    ]


@given(st.lists(st.lists(st.integers(0, 3), max_size=6), max_size=40), st.booleans())
def test_a_tree_has_each_path_once(stacks: list[list[int]], from_leaf: bool) -> None:
    offsets = np.cumsum([0, *map(len, stacks)])
    keys = np.array([key for stack in stacks for key in stack], np.int32)
    tree = grow(Paths(keys, offsets), from_leaf=from_leaf)
    values = np.arange(1, len(stacks) + 1).reshape(-1, 1)
    expected: Counter[tuple[int, ...]] = Counter()
    for value, stack in zip(values[:, 0].tolist(), stacks, strict=True):
        path = tuple(stack if from_leaf else stack[::-1])
        for depth in range(1, len(path) + 1):
            expected[path[:depth]] += value
    paths: list[tuple[int, ...]] = []
    for parent, key in zip(tree.parent.tolist(), tree.key.tolist(), strict=True):
        paths.append((*(paths[parent] if parent >= 0 else ()), key))
    sums = tree.sums(tree.own(values))[:, 0].tolist()
    assert dict(zip(paths, sums, strict=True)) == expected
    order = np.argsort(tree.preorder()).tolist()
    assert [paths[at] for at in order] == sorted(paths)
    # without what is small, what is left has the same sums, and so has the whole
    kept = np.array(sums, np.int64) >= 30
    left, own = pruned(tree, tree.own(values), kept)
    again = left.sums(own)[:, 0]
    assert again[left.parent < 0].sum() == sum(
        total for total, path in zip(sums, paths, strict=True) if len(path) == 1
    )
    assert sorted(again[left.key != CUT].tolist()) == sorted(total for total in sums if total >= 30)


def test_a_cancelled_export_stops(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(CancelledError):
        written(samples_of(recording, "cpu"), tmp_path / "x", Task(cancelled=lambda: True))


def test_nothing_recorded_is_an_empty_page(recording: Path, tmp_path: Path) -> None:
    page = written(samples_of(recording, "cpu", command="nobody"), tmp_path / "page.html")
    shown = show(page)
    assert shown.data()["ready"] == 1 and shown.data()["down"] == [0, 0]
    assert "nothing recorded answers cpu for command nobody." in shown.text("trust")
