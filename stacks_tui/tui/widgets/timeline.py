"""Strips by time, one per kind, on which a span is brushed by keys or mouse.

Comes in: a `Timeline`. Goes out: `TimelineStrip.Brushed` with a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip as RenderedStrip

from stacks_tui import text
from stacks_tui.live.snapshot import Timeline
from stacks_tui.live.view import Window
from stacks_tui.tui import words
from stacks_tui.tui.cells import fit
from stacks_tui.tui.widgets.looks import Look, Looks

_NAME = 11
_PEAK = 11
_SECOND = 1_000_000_000
_LEVELS = " ▁▂▃▄▅▆▇█"
_TOP = 2


class TimelineStrip(ScrollView, can_focus=True):
    """See the module."""

    DEFAULT_CSS = """
    TimelineStrip {
        height: 1fr; background: $background; overflow-x: hidden; scrollbar-size-vertical: 1;
    }
    """
    LOOKS: ClassVar[dict[str, Look]] = {
        "head": Look("text-muted", on="surface"),
        "name": Look("foreground"),
        "dim": Look("text-muted"),
        "bar": Look("primary"),
        "gap": Look("warning"),
        "brush": Look("accent", on="panel"),
        "cursor": Look("background", on="foreground"),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "earlier", show=False, id="timeline.left"),
        Binding("right", "move(1)", "later", show=False, id="timeline.right"),
        Binding("shift+left", "move(-10)", "much earlier", show=False, id="timeline.back"),
        Binding("shift+right", "move(10)", "much later", show=False, id="timeline.forth"),
        Binding("home", "move(-1000000)", "to the begin", show=False, id="timeline.home"),
        Binding("end", "move(1000000)", "to the end", show=False, id="timeline.end"),
        Binding("enter", "mark", "begin or end the span", show=False, id="timeline.mark"),
    ]

    @dataclass
    class Brushed(Message):
        """This span is wanted as the window."""

        window: Window

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # as every widget has it
        super().__init__(id=id)
        self._timeline: Timeline | None = None
        self._empty = ""
        """What is said where there is none."""
        self._until = ""
        """Up to when it goes, where that is not now."""
        self._at = -1
        """Column of the cursor; -1: the last."""
        self._from: int | None = None
        self._look = Looks(self, self.LOOKS)

    def show(self, timeline: Timeline | None, empty: str = "", until: str = "") -> None:
        """Show these strips; `empty`: what is said where there are none; `until`: up to when they
        go, where that is not now."""
        if (timeline, empty, until) != (self._timeline, self._empty, self._until):
            self._timeline, self._empty, self._until = timeline, empty, until
            strips = len(timeline.strips) if timeline is not None else 0
            self.virtual_size = Size(0, _TOP + strips * self._rows())
            self.refresh()

    @property
    def brushing(self) -> bool:
        """The begin of a span is set."""
        return self._from is not None

    def drop(self) -> None:
        """Forget a span that was begun."""
        self._from = None
        self.refresh()

    def _rows(self) -> int:
        """Lines of a strip: as many as there is room for, up to 3."""
        strips = max(1, len(self._timeline.strips)) if self._timeline else 1
        return max(1, min(3, (self.size.height - _TOP) // strips))

    def _columns(self) -> int:
        return max(1, self.size.width - _NAME - _PEAK)

    def _steps(self) -> tuple[int, int]:
        """(steps of the timeline, steps in a column)."""
        if self._timeline is None or not self._timeline.strips:
            return 1, 1
        steps = max(1, max(len(strip.values) for strip in self._timeline.strips))
        return steps, -(-steps // self._columns())

    def _used(self) -> int:
        steps, each = self._steps()
        return -(-steps // each)

    def _cursor(self) -> int:
        last = self._used() - 1
        return last if self._at < 0 else min(self._at, last)

    def span(self, first: int, last: int) -> Window:
        """The window of these columns, both included."""
        assert self._timeline is not None
        _, each = self._steps()
        step = self._timeline.step_s * _SECOND * each
        first, last = min(first, last), max(first, last)
        begin = self._timeline.begin + first * step
        return Window(0, begin, begin + (last - first + 1) * step)

    def notify_style_update(self) -> None:
        """The theme changed."""
        super().notify_style_update()
        self._look.forget()

    def render_line(self, y: int) -> RenderedStrip:
        """The head, or a line of a strip."""
        width = self.size.width
        base = self.rich_style
        if y == 0:
            shown = fit(self._head(), width)
            return RenderedStrip([Segment(shown, base + self._look("head"))], width)
        if y == 1:
            return self._axis(width)
        rows = self._rows()
        at, row = divmod(int(self.scroll_offset.y) + y - _TOP, rows)
        if self._timeline is None or at >= len(self._timeline.strips):
            return RenderedStrip.blank(width, base)
        return self._line(at, rows - 1 - row, rows, width)

    def _head(self) -> str:
        until = f"{self._until} · " if self._until else ""
        if self._timeline is None or not self._timeline.strips:
            return f" {until}{self._empty}"
        cursor = self._cursor()
        here = self.span(cursor if self._from is None else self._from, cursor)
        origin = self._timeline.begin
        where = words.window_name(here, 0, origin)
        if self._from is None:
            return f" {until}at {where} · arrows move · enter begins a span · drag brushes one"
        return f" {where} · enter makes it the window of every view · esc drops it"

    def _axis(self, width: int) -> RenderedStrip:
        base = self.rich_style
        marks = [" "] * self._columns()
        if self._timeline is not None:
            _, each = self._steps()
            step_s = self._timeline.step_s * each
            for at in range(0, self._columns() - 8, 16):
                for place, char in enumerate(words.clock(at * step_s * _SECOND)):
                    marks[at + place] = char
        shown = " " * _NAME + "".join(marks)
        return RenderedStrip([Segment(fit(shown, width), base + self._look("dim"))], width)

    def _line(self, at: int, row: int, rows: int, width: int) -> RenderedStrip:
        assert self._timeline is not None
        strip = self._timeline.strips[at]
        base = self.rich_style
        _, each = self._steps()
        values = [sum(strip.values[one : one + each]) for one in range(0, len(strip.values), each)]
        counts = [sum(strip.counts[one : one + each]) for one in range(0, len(strip.counts), each)]
        drawn = values if any(values) else counts
        top = max(map(abs, drawn), default=0)
        first = row == rows - 1
        name = fit(f" {text.printable(strip.kind)}", _NAME) if first else " " * _NAME
        segments = [Segment(name, base + self._look("name"))]
        cursor = self._cursor()
        low, high = sorted((cursor if self._from is None else self._from, cursor))
        gaps = [
            (gap.begin, gap.end or 1 << 63) for gap in self._timeline.gaps if gap.kind == strip.kind
        ]
        step_ns = self._timeline.step_s * each * _SECOND
        run, before = "", ""
        for column in range(self._columns()):
            value = abs(drawn[column]) if column < len(drawn) else 0
            level = value / top * 8 * rows - 8 * row if top else 0
            char = _LEVELS[max(0, min(8, round(level)))]
            if value and not row and char == " ":
                char = _LEVELS[1]
            begin = self._timeline.begin + column * step_ns
            look = "bar"
            if not value and any(start < begin + step_ns and begin < end for start, end in gaps):
                char, look = "╌", "gap"
            if column < self._used():
                if column == cursor:
                    look = "cursor"
                elif self._from is not None and low <= column <= high:
                    look = "brush"
            if look != before and run:
                segments.append(Segment(run, base + self._look(before)))
                run = ""
            run, before = run + char, look
        segments.append(Segment(run, base + self._look(before or "bar")))
        peak = f"{words.value(top, strip.unit if any(values) else 'events')}" if first else ""
        segments.append(Segment(fit(peak, _PEAK - 1, right=True) + " ", base + self._look("dim")))
        return RenderedStrip(segments).adjust_cell_length(width, base)

    def action_move(self, columns: int) -> None:
        """Move the cursor."""
        last = self._used() - 1
        at = max(0, min(last, self._cursor() + columns))
        self._at = -1 if at == last and self._from is None else at
        self.refresh()

    def action_mark(self) -> None:
        """The begin of a span, then its end."""
        if self._timeline is None or not self._timeline.strips:
            return
        if self._from is None:
            self._from = self._at = self._cursor()
        else:
            window = self.span(self._from, self._cursor())
            self._from, self._at = None, -1
            self.post_message(self.Brushed(window))
        self.refresh()

    def _column_at(self, x: int) -> int:
        return max(0, min(self._used() - 1, x - _NAME))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Begin to brush."""
        if self._timeline is not None and self._timeline.strips and event.y >= _TOP:
            self._from = self._at = self._column_at(event.x)
            self.capture_mouse()
            self.refresh()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Brush on."""
        if self._from is not None and event.button:
            self._at = self._column_at(event.x)
            self.refresh()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """A span that was dragged is wanted; a click only moves the cursor."""
        self.release_mouse()
        if self._from is None or self._timeline is None:
            return
        if self._from == self._at:
            self._from = None
            self.refresh()
        else:
            self.action_mark()
