"""Folded stacks: a line each, for grep, flamegraph.pl, inferno, speedscope and tools that compare.

Comes in: samples. Goes out: `root;…;leaf VALUE` lines, sorted; kernel frames end with `_[k]`,
inlined ones with `_[i]`. One value: the main one.
"""

from __future__ import annotations

from typing import BinaryIO

from stacks_tui import text
from stacks_tui.export.model import Location, Samples
from stacks_tui.export.registry import Format
from stacks_tui.export.task import Task

_LINES = 8_192


def write_folded(samples: Samples, out: BinaryIO, task: Task) -> None:
    """Write the main value of the samples, summed over labels."""
    kind = samples.types[samples.main]
    if len(samples.types) > 2:
        left = ", ".join(one.name for at, one in enumerate(samples.types) if at != samples.main)
        task.note(f"folded stacks hold one value, {kind.name} ({kind.unit}); left out: {left}.")
    sums = samples.by_stack().tolist()
    shown = [_shown(location) for location in samples.stacks.locations]
    total: dict[str, int] = {}
    for at, places in enumerate(samples.stacks.slices()):
        if sums[at]:
            name = ";".join([shown[place] for place in reversed(places)])
            total[name] = total.get(name, 0) + sums[at]
        if at % _LINES == 0:
            task.step("folding", at, len(sums))
    below = sum(value for value in total.values() if value < 0)
    if below:
        task.note(f"folded stacks hold no negative values; left out: {below} {kind.unit}.")
    lines = [f"{name} {total[name]}\n" for name in sorted(total) if total[name] > 0]
    for first in range(0, len(lines), _LINES):
        out.write("".join(lines[first : first + _LINES]).encode())
        task.step("writing", first, len(lines))


def _shown(location: Location) -> str:
    """The frames of a location, outermost first."""
    names = [_plain(line.name) for line in reversed(location.lines)]
    if location.kernel:
        names = [f"{name}_[k]" for name in names]
    return ";".join([names[0], *(f"{name}_[i]" for name in names[1:])])


def _plain(name: str) -> str:
    """A name without what separates frames and lines."""
    return text.printable(text.valid(name)).replace(";", ":")


FORMAT = Format(
    name="folded",
    extension=".folded",
    answers="a line of text for each stack; for grep, flamegraph.pl, inferno, speedscope",
    wants=Samples,
    write=write_folded,
    rank=50,
)
