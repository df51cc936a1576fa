"""A source that answers views from a few hand-written stacks, for screens that no recording shows:
hostile names, losses, dead collectors. It keeps what it was sent."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from stacks_tui.capture.targets import Targets
from stacks_tui.config import Config
from stacks_tui.kinds import PROGRAMS, parse_programs
from stacks_tui.live.snapshot import (
    Collecting,
    Detail,
    FrameInfo,
    Gauge,
    Graph,
    Histogram,
    Node,
    Panels,
    Processes,
    ProcessRow,
    ProgramState,
    Row,
    Snapshot,
    Strip,
    Table,
    Timeline,
    Trust,
)
from stacks_tui.live.view import Panel, View
from stacks_tui.session.options import RecordOptions
from stacks_tui.session.protocol import Command, Ended, Frame, Opened, SetView, Start, Stop
from stacks_tui.tui.app import StacksApp
from stacks_tui.tui.wanted import Wanted

SECOND = 1_000_000_000
BEGAN = 1_700_000_000 * SECOND

Stack = tuple[tuple[str, ...], int]

STACKS: tuple[Stack, ...] = (
    (("multiply", "solve", "main", "_start"), 3 * SECOND),
    (("read", "load", "main", "_start"), 2 * SECOND),
    (("[vdso+0x7b2]", "now", "main", "_start"), SECOND),
)


@dataclass
class Scene:
    """A `Source`."""

    stacks: tuple[Stack, ...] = STACKS
    trust: Trust = field(
        default_factory=lambda: Trust(
            truncated=0.001, unresolved=0.012, complete=0.993, ring=0.02, cpu=0.014,
            memory=180 << 20,
        )
    )  # fmt: skip
    live: bool = True
    seconds: int = 83
    received: int = 123_456
    programs: tuple[ProgramState, ...] = tuple(
        ProgramState(
            one.name,
            Collecting.ON if one.name in ("profile", "switch", "rss") else Collecting.OFF,
            one.name,
            received=1000,
        )
        for one in PROGRAMS
    )
    sent: list[Command] = field(default_factory=list)
    name: str = "worker"
    closed: bool = False

    def __post_init__(self) -> None:
        self._frames: queue.Queue[Frame] = queue.Queue()
        self._number = 0
        self._view = View()
        self.push(Opened("/data/20231114-worker", self.live))

    def push(self, frame: Frame) -> None:
        self._frames.put(frame)

    def post(self, command: Command) -> None:
        self.sent.append(command)
        if isinstance(command, SetView):
            self._view = command.view
            self.push(self.snapshot(command.view))
        elif isinstance(command, Stop):
            self.push(Ended("/data/20231114-worker"))

    def answering(self, view: View) -> Scene:
        """This scene, with its first snapshot on the way."""
        self._view = view
        self.tick()
        return self

    def tick(self) -> None:
        """One snapshot more of what was asked last."""
        self.push(self.snapshot(self._view))

    def poll(self, timeout_s: float | None = None) -> Frame | None:
        try:
            return self._frames.get(timeout=min(timeout_s or 0.05, 0.05))
        except queue.Empty:
            return None

    def frames(self) -> Iterator[Frame]:
        while (frame := self.poll()) is not None:
            yield frame

    def close(self) -> None:
        self.closed = True

    def snapshot(self, view: View) -> Snapshot:
        self._number += 1
        end = BEGAN + self.seconds * SECOND
        length = view.window.last_s * SECOND or self.seconds * SECOND
        begin = view.window.begin or max(BEGAN, end - length)
        return Snapshot(
            number=self._number,
            view=view,
            time=end,
            began=BEGAN,
            begin=begin,
            end=view.window.end or end,
            live=self.live,
            rate=98_400.0,
            received=self.received,
            processes=4 * bool(self.received),
            threads=61 * bool(self.received),
            programs=self.programs,
            gauges=(
                Gauge("cpu", 1.43, (0.5, 0.9, 1.2, 1.4, 1.1, 1.43)),
                Gauge("blocked", 38.2, (37.0, 38.0, 38.2)),
                Gauge("runnable", 0.4, (0.1, 0.2, 0.4)),
                Gauge("rss", 512 << 20, (4.0, 5.0, 5.0)),
                Gauge("received", 3.1e6, (1.0, 2.0, 3.0)),
            ),
            trust=self.trust,
            rows=self._rows(view),
            detail=self._detail(view),
            bytes_on_disk=4 << 20,
        )

    def _detail(self, view: View) -> Detail | None:
        for at, (frames, _) in enumerate(self.stacks):
            if f"r{at}" == view.selected:
                infos = tuple(
                    FrameInfo(name, "/usr/bin/worker", "src/worker.c", 10 * n + 7)
                    for n, name in enumerate(frames)
                )
                return Detail(view.selected, infos, 2, True, (1, 3, 2, 5, 4))
        return None

    def _rows(self, view: View) -> Panels | None:
        total = sum(value for _, value in self.stacks)
        match view.panel:
            case Panel.TABLE:
                rows = [
                    Row(
                        f"r{at}", frames[0], frames[: view.names], "/usr/bin/worker", value, value,
                        value // 10_101_010, value, 0, value / total, b_own=value // 2,
                        b_total=value // 2, change=(-1) ** at * 0.03 * (at + 1), tgid=100, pid=101,
                    )
                    for at, (frames, value) in enumerate(self.stacks)
                ]  # fmt: skip
                if view.reverse:
                    rows.reverse()
                return Table(
                    "ns", tuple(rows[: view.top]), total, rest_rows=max(0, len(rows) - view.top)
                )
            case Panel.TREE | Panel.FLAME:
                return graph(self.stacks, inverted=view.inverted)
            case Panel.PROCESSES:
                found = ProcessRow(
                    100, 101 if view.by_thread else 0, self.name, f"{self.name} --jobs 4",
                    cpu_ns=14 * SECOND, blocked_ns=38 * SECOND, runnable_ns=SECOND, rss=512 << 20,
                    growth=3 << 20, read=1 << 20, events=1000,
                )  # fmt: skip
                return Processes((found,), 10.0)
            case Panel.HISTOGRAM:
                return Histogram("ns", (0,) * 10 + (5, 80, 200, 10, 0, 1), by="blocked time")
            case Panel.TIMELINE:
                values = tuple(at % 7 * 1000 for at in range(self.seconds))
                until = BEGAN + (self.seconds - 4) * SECOND if view.narrows and self.live else 0
                return Timeline(BEGAN, 1, (Strip("profile", "ns", values, values),
                                           Strip("wait", "ns", values[::-1], values)),
                                until=until)  # fmt: skip
            case _:
                return None


def graph(stacks: tuple[Stack, ...], *, inverted: bool = False) -> Graph:
    """The stacks merged, as a screen is given them."""
    total = sum(value for _, value in stacks)
    nodes = [Node(-1, "", "", "", 0, total)]
    places: dict[tuple[int, str], int] = {}
    for frames, value in stacks:
        at = 0
        for name in frames if inverted else reversed(frames):
            place = places.get((at, name))
            if place is None:
                place = places[at, name] = len(nodes)
                nodes.append(Node(at, f"k{name}", name, "/usr/bin/worker", 0, 0))
            nodes[place] = replace(
                nodes[place],
                total=nodes[place].total + value,
                b_total=nodes[place].b_total + value // 2,
            )
            at = place
        nodes[at] = replace(nodes[at], own=nodes[at].own + value)
    return Graph("ns", tuple(nodes), inverted)


def options(*names: str) -> RecordOptions:
    return RecordOptions(parse_programs("profile:u:99,rss,switch:uk"), Targets(comms=names))


def live_app(scene: Scene | None = None, config: Config | None = None) -> StacksApp:
    scene = scene or Scene()
    return StacksApp(
        Wanted(Start(options("worker"))),
        config or Config(),
        lambda start: scene.answering(start.view),
        _no_recording,
    )


def recording_app(scene: Scene, config: Config | None = None) -> StacksApp:
    scene.live = False
    return StacksApp(
        Wanted(path=Path("/data/20231114-worker")),
        config or Config(),
        lambda start: scene,
        lambda path, view: scene.answering(view),
    )


def _no_recording(path: Path, view: View) -> Scene:
    return Scene(live=False)
