"""The flame graph: a line for each depth, the outermost frame on top.

Comes in: a `Graph`. Goes out: `FlameGraph.Zoomed` with keys from the root on. Moves by keys and
mouse; a search marks what matches and says its share.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from stacks_tui import text
from stacks_tui.live.snapshot import Graph, Node
from stacks_tui.tui import layout, words
from stacks_tui.tui.cells import fit
from stacks_tui.tui.widgets.looks import Look, Looks

_TOP = 2
"""Lines above the graph: what is chosen, and the way to the zoomed frame."""
_EMPTY = Graph("ns", (), False)
_LONGEST = 512


class FlameGraph(ScrollView, can_focus=True):
    """See the module."""

    DEFAULT_CSS = """
    FlameGraph {
        height: 1fr; background: $background; overflow-x: hidden; scrollbar-size-vertical: 1;
    }
    """
    LOOKS: ClassVar[dict[str, Look]] = {
        "info": Look("foreground", on="panel", bold=True),
        "way": Look("text-muted", on="surface"),
        "a": Look("frame-ink", on="frame-a"),
        "b": Look("frame-ink", on="frame-b"),
        "c": Look("frame-ink", on="frame-c"),
        "kernel": Look("frame-ink", on="frame-kernel"),
        "unknown": Look("frame-ink", on="frame-unknown"),
        "root": Look("foreground", on="panel"),
        "rise": Look("frame-ink", on="rise"),
        "fall": Look("frame-ink", on="fall"),
        "same": Look("foreground", on="panel"),
        "cursor": Look("background", on="foreground", bold=True),
        "match": Look("background", on="accent", bold=True),
        "dim": Look("text-muted"),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,j", "side(-1)", "frame to the left", show=False, id="flame.left"),
        Binding("right,k", "side(1)", "frame to the right", show=False, id="flame.right"),
        Binding("up", "caller", "one frame up", show=False, id="flame.up"),
        Binding("down", "callee", "heaviest frame below", show=False, id="flame.down"),
        Binding("enter", "zoom", "zoom in", show=False, id="flame.zoom"),
        Binding("home", "root", "to the top", show=False, id="flame.root"),
        Binding("n", "match(1)", "next match", show=False, id="flame.next"),
        Binding("N", "match(-1)", "previous match", show=False, id="flame.previous"),
        Binding("pageup", "scroll(-1)", "page up", show=False, id="flame.pageup"),
        Binding("pagedown", "scroll(1)", "page down", show=False, id="flame.pagedown"),
    ]

    @dataclass
    class Zoomed(Message):
        """Show only what is below this frame: keys from below the root on."""

        keys: tuple[str, ...]

    @dataclass
    class Picked(Message):
        """The cursor is on this frame."""

        node: Node

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # as every widget has it
        super().__init__(id=id)
        self._graph = _EMPTY
        self._compares = False
        self._zoom: tuple[str, ...] = ()
        self._layout = layout.lay_out(_EMPTY, 1)
        self._cursor: tuple[str, ...] = ()
        self._at = 0
        self._sought = ""
        self._hits: frozenset[int] = frozenset()
        self._hit_total = 0
        self._strips: dict[int, Strip] = {}
        self._look = Looks(self, self.LOOKS)

    @property
    def graph(self) -> Graph:
        """What is shown."""
        return self._graph

    @property
    def chosen(self) -> Node | None:
        """The frame that the cursor is on."""
        return self._graph.nodes[self._at] if self._graph.nodes else None

    @property
    def chosen_keys(self) -> tuple[str, ...]:
        """The keys of the frames from below the root down to the chosen one."""
        return layout.path(self._graph, self._at)

    def show(self, graph: Graph, *, compares: bool = False, zoom: tuple[str, ...] = ()) -> None:
        """Show this graph; `zoom`: keys of the frames down to the one that takes all the width."""
        if (graph, compares, zoom) == (self._graph, self._compares, self._zoom):
            return
        if zoom != self._zoom and self._cursor[: len(zoom)] != zoom:
            self._cursor = zoom
        self._graph, self._compares, self._zoom = graph, compares, zoom
        self._at = layout.find(graph, self._cursor)
        self._hits, self._hit_total = layout.matched(graph, self._sought)
        self._lay_out()

    def search(self, sought: str) -> None:
        """Mark the frames whose name holds this; empty: none."""
        self._sought = sought
        self._hits, self._hit_total = layout.matched(self._graph, sought)
        self._redraw()

    def _lay_out(self) -> None:
        self._layout = layout.lay_out(
            self._graph, self.size.width, compares=self._compares, zoom=self._zoom
        )
        self.virtual_size = Size(0, len(self._layout.levels) + _TOP)
        self._redraw()

    def _redraw(self) -> None:
        self._strips.clear()
        self.refresh()

    def notify_style_update(self) -> None:
        """Draw all anew: the theme changed."""
        super().notify_style_update()
        self._strips.clear()
        self._look.forget()

    def on_resize(self) -> None:
        """Lay out for the new width."""
        self._lay_out()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """The head stays where it is."""
        super().watch_scroll_y(old_value, new_value)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The head, or the frames of a depth."""
        width = self.size.width
        if y == 0:
            return self._text(self._info(), "info", width)
        if y == 1:
            return self._text(self._way_text(width), "way", width)
        depth = int(self.scroll_offset.y) + y - _TOP
        if not self._graph.nodes:
            shown = "  nothing in this window" if y == 3 else ""
            return self._text(shown, "dim", width)
        if depth >= len(self._layout.levels):
            return Strip.blank(width, self.rich_style)
        strip = self._strips.get(depth)
        if strip is None:
            strip = self._strips[depth] = self._level(depth, width)
        return strip

    def _text(self, shown: str, look: str, width: int) -> Strip:
        style = self.rich_style + self._look(look)
        return Strip([Segment(fit(shown, width), style)], width)

    def _info(self) -> str:
        node = self.chosen
        if node is None:
            return ""
        unit = self._graph.unit
        name = "all" if self._at == 0 else _name(node)
        root = self._graph.nodes[0]
        parts = [f" {name}"]
        if node.module:
            parts.append(words.module_name(node.module))
        if self._compares:
            parts += [
                f"A {words.value(node.total, unit)}",
                f"B {words.value(node.b_total, unit)}",
                f"{words.change(self._change(node))} points",
            ]
        else:
            part = node.total / root.total if root.total else 0.0
            parts += [f"{words.value(node.total, unit)} {words.share(part)}"]
            if node.own:
                parts.append(f"self {words.value(node.own, unit)}")
        return "  ".join(parts)

    def _way_text(self, width: int) -> str:
        pieces = []
        if self._sought:
            root = self._graph.nodes[0].total if self._graph.nodes else 0
            part = self._hit_total / root if root else 0.0
            found = f"{len(self._hits)} frames, {words.share(part)}"
            pieces.append(f" found {text.printable(self._sought)!r}: {found} (n next)")
        if self._zoom:
            pieces.append(f" zoomed by {len(self._zoom)} frames: esc goes back")
        if self._graph.cut:
            pieces.append(f" {text.count(self._graph.cut)} small frames left out")
        if not pieces:
            top = "callers below" if self._graph.inverted else "callees below"
            pieces.append(
                f" {top} · arrows move · enter zooms, esc back · i inverts · ctrl+f finds"
            )
        return " · ".join(pieces)

    def _change(self, node: Node) -> float:
        root = self._graph.nodes[0]
        return node.b_total / max(1, root.b_total) - node.total / max(1, root.total)

    def _level(self, depth: int, width: int) -> Strip:
        base = self.rich_style
        segments: list[Segment] = []
        at = 0
        before = ""
        for box in self._layout.levels[depth]:
            if box.begin > at:
                segments.append(Segment(" " * (box.begin - at), base))
                before = ""
            look = self._look_of(box.node, before)
            before = look
            node = self._graph.nodes[box.node]
            shown = _name(node) if box.node else "all"
            if self._compares and box.node:
                change = self._change(node)
                sign = "+" if change > 0.0005 else "-" if change < -0.0005 else "="
                shown = f"{sign}{shown}"
            cells = box.end - box.begin
            segments.append(Segment("▏" + fit(shown, cells - 1), base + self._look(look)))
            at = box.end
        return Strip(segments).adjust_cell_length(width, base)

    def _look_of(self, at: int, before: str) -> str:
        node = self._graph.nodes[at]
        if at == self._at:
            return "cursor"
        if at in self._hits:
            return "match"
        if at == 0:
            return "root"
        if self._compares:
            change = self._change(node)
            return "rise" if change > 0.005 else "fall" if change < -0.005 else "same"
        if node.name.startswith("["):
            return "unknown"
        if node.module.startswith("[kernel"):
            return "kernel"
        place = zlib.crc32(node.name.encode("utf-8", "replace")) % 3
        look = "abc"[place]
        return "abc"[(place + 1) % 3] if look == before else look

    def _go(self, at: int) -> None:
        if not 0 <= at < len(self._graph.nodes):
            return
        self._at = at
        self._cursor = layout.path(self._graph, at)
        depth = self._layout.depth[at]
        page = max(1, self.size.height - _TOP)
        top = int(self.scroll_offset.y)
        if depth < top:
            self.scroll_to(y=depth, animate=False, immediate=True)
        elif depth >= top + page:
            self.scroll_to(y=depth - page + 1, animate=False, immediate=True)
        self._redraw()
        self.post_message(self.Picked(self._graph.nodes[at]))

    def action_side(self, step: int) -> None:
        """To the neighbour at this depth."""
        if not self._graph.nodes:
            return
        level = self._layout.levels[min(self._layout.depth[self._at], len(self._layout.levels) - 1)]
        places = [box.node for box in level]
        here = places.index(self._at) if self._at in places else 0
        self._go(places[max(0, min(len(places) - 1, here + step))])

    def action_caller(self) -> None:
        """One frame up."""
        if self._graph.nodes and self._at:
            self._go(self._graph.nodes[self._at].parent)

    def action_callee(self) -> None:
        """To the widest frame below."""
        if not self._graph.nodes:
            return
        below = [box for one in self._layout.children[self._at] if (box := self._layout.box(one))]
        if below:
            self._go(max(below, key=lambda box: box.end - box.begin).node)

    def action_root(self) -> None:
        """To the top."""
        self._go(0)

    def action_zoom(self) -> None:
        """Show only what is below the chosen frame."""
        keys = self.chosen_keys
        if keys:
            self.post_message(self.Zoomed(keys))

    def action_match(self, step: int) -> None:
        """To the next frame that the search found."""
        places = sorted(self._hits)
        if not places:
            return
        later = [at for at in places if (at - self._at) * step > 0]
        self._go((later[0] if step > 0 else later[-1]) if later else places[0 if step > 0 else -1])

    def action_scroll(self, pages: int) -> None:
        """By what is in sight."""
        page = max(1, self.size.height - _TOP - 1)
        self.scroll_to(y=self.scroll_offset.y + pages * page, animate=False, immediate=True)

    def on_click(self, event: events.Click) -> None:
        """Choose the frame; a second click zooms."""
        self.focus()
        depth = int(self.scroll_offset.y) + event.y - _TOP
        if event.y < _TOP or depth >= len(self._layout.levels):
            return
        for box in self._layout.levels[depth]:
            if box.begin <= event.x < box.end:
                self._go(box.node)
                if event.chain > 1:
                    self.action_zoom()
                return


def _name(node: Node) -> str:
    return text.printable(node.name[:_LONGEST])
