"""A stack in lines: what the detail and the screen of a whole stack show. Pure.

Comes in: the detail of a row. Goes out: lines of pieces, at most so wide; plain text for copying.
"""

from __future__ import annotations

from stacks_tui import text
from stacks_tui.live.snapshot import Detail, FrameInfo, Row
from stacks_tui.live.view import View
from stacks_tui.tui import plumbing, words
from stacks_tui.tui.cells import fit, shorten, spark, tail_of
from stacks_tui.tui.widgets.paper import PaperLine

_LONGEST = 4096


def frame_line(frame: FrameInfo, width: int, *, leaf: bool) -> PaperLine:
    """`name   module  file:line`, the name in what the place leaves."""
    place = words.module_name(frame.module)
    if frame.file:
        line = f":{frame.line}" if frame.line else ""
        place = f"{place}  {text.printable(frame.file)}{line}"
    if frame.inlined:
        place = f"inlined  {place}"
    room = max(12, width // 2)
    place = tail_of(place, max(8, width - room - 3))
    name_cells = max(8, width - len(place) - 3)
    name = shorten(text.printable(frame.name[:_LONGEST]), name_cells)
    look = "leaf" if leaf else "kernel" if frame.kernel else ""
    return ((" " + fit(name, name_cells) + " ", look), (place, "place"))


def head(row: Row | None, detail: Detail | None, view: View, unit: str, width: int) -> PaperLine:
    """What the row amounts to, and its past."""
    if row is None:
        return ((fit(" choose a row: its whole stack is shown here", width), "dim"),)
    signed = words.signed(view)
    parts = [f" {words.value(row.own, unit, sign=signed)}", words.share(row.share)]
    if view.compares:
        parts = [
            f" A {words.value(row.own, unit)}",
            f"B {words.value(row.b_own, unit)}",
            f"{words.change(row.change)} points",
        ]
    parts.append(f"{text.count(row.count)} events")
    if detail is not None and detail.stacks > 1:
        parts.append(f"heaviest of {text.count(detail.stacks)} call paths")
    lead = " · ".join(parts)
    pieces: list[tuple[str, str]] = [(lead, "head")]
    if detail is not None and detail.complete is False:
        pieces.append((" · incomplete", "warn"))
    used = sum(len(part) for part, _ in pieces)
    if detail is not None and detail.past:
        cells = min(len(detail.past), max(0, width - used - 18), 60)
        if cells >= 4:
            drawn = spark(tuple(map(float, detail.past)), cells)
            step = f"by {detail.step_s} s" if detail.step_s > 1 else "by second"
            pieces += [(f"  {step} ", "dim"), (drawn, "spark")]
    return tuple(pieces)


def lines(
    row: Row | None, detail: Detail | None, view: View, unit: str, width: int, height: int
) -> tuple[PaperLine, ...]:
    """The detail in at most `height` lines; what has no room is told."""
    found = [head(row, detail, view, unit, width)]
    if row is None:
        return tuple(found)
    if detail is None or detail.key != row.key:
        names = [FrameInfo(name) for name in row.names]
    elif not detail.frames:
        return (*found, ((" no stack was taken for it", "dim"),))
    else:
        names = list(detail.frames)
    room = height - 1
    woken = _woken(detail, width, room) if detail is not None and detail.key == row.key else ()
    room -= len(woken)
    names = plumbing.condensed(names, room)
    shown = names if len(names) <= room else names[: max(0, room - 1)]
    found += [frame_line(frame, width, leaf=at == 0) for at, frame in enumerate(shown)]
    if len(shown) < len(names):
        chain = "".join(f" ← {text.printable(one.name[:200])}" for one in names[len(shown) :])
        found.append(((fit(chain, max(8, width - 13)), "dim"), ("  enter: all", "key")))
    return (*found[: height - len(woken)], *woken)


_WIDE = 120
_FEW_LINES = 10
"""Below that the waker has one line."""


def _woken(detail: Detail, width: int, room: int) -> tuple[PaperLine, ...]:
    """Who woke it: one line, or where there is room some frames."""
    if not detail.waker or room < 3:
        return ()
    how, names = plumbing.waking(detail.waker)
    if room < _FEW_LINES or not names:
        pieces = [(f" woken by {_by(detail)}", "head")]
        if "…" in names and width < _WIDE:  # who it was, rather than by which call
            how, names = "", names[list(names).index("…") + 1 :]
        if how:
            pieces.append((text.printable(how) + (" │ " if names else ""), "kernel"))
        rest = width - sum(len(part) for part, _ in pieces)
        callers = " ← ".join(text.printable(name[:200]) for name in names)
        return ((*pieces, (fit(callers, max(8, rest)), "leaf")),)
    frames = plumbing.condensed(plumbing.marked(detail.waker), 3)[:4]
    lines_of_it = [frame_line(frame, width, leaf=at == 0) for at, frame in enumerate(frames)]
    return (((f" woken by {_by(detail)}".rstrip(), "head"),), *lines_of_it)


def _by(detail: Detail) -> str:
    """The thread that woke it most, and how many others did."""
    if not detail.waker_name:
        return ""
    more = detail.waker_others
    others = f" (and {more} {'others' if more > 1 else 'other'})" if more else ""
    return f"{text.printable(detail.waker_name[:80])}{others} in "


def whole(detail: Detail, width: int) -> tuple[PaperLine, ...]:
    """All frames, numbered by their depth, then the waker's."""
    found: list[PaperLine] = [
        ((f"{at:4d}", "dim"), *frame_line(frame, max(20, width - 5), leaf=at == 0))
        for at, frame in enumerate(detail.frames)
    ]
    if not found:
        found.append(((" no stack was taken for it", "dim"),))
    if detail.complete is False:
        found.append(((" the stack does not reach a start of a thread: it is cut here", "warn"),))
    if detail.waker:
        found += [(), ((f" woken by {_by(detail)}".removesuffix(" in ").rstrip(), "head"),)]
        found += [
            ((f"{at:4d}", "dim"), *frame_line(frame, max(20, width - 5), leaf=at == 0))
            for at, frame in enumerate(detail.waker)
        ]
    return tuple(found)


def plain(detail: Detail) -> str:
    """For the clipboard: a frame a line, leaf first, escaped."""
    return "".join(f"{_plain(frame)}\n" for frame in detail.frames)


def _plain(frame: FrameInfo) -> str:
    place = f" ({frame.file}:{frame.line})" if frame.file else ""
    module = f"  [{words.module_name(frame.module)}]" if frame.module else ""
    return f"{text.printable(frame.name)}{module}{text.printable(place)}"
