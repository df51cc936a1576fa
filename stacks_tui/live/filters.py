"""The filter of a view: terms over frames, modules, processes, threads, spans, reasons, cgroups.

Comes in: text such as `futex !process:"web server" frame:/^js::/`. Goes out: which cells pass.
Regular expressions are RE2's, through Arrow: no pattern takes exponential time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stacks_tui.errors import UsageError
from stacks_tui.live.cells import Cells
from stacks_tui.live.groups import NO_SPAN, cgroup_of, reasons_of_cells
from stacks_tui.live.names import Names
from stacks_tui.live.stacks import StackTable
from stacks_tui.python.shown import Shown
from stacks_tui.text import valid

Mask = npt.NDArray[np.bool_]

FIELDS = ("frame", "module", "process", "thread", "span")
"""Where a term looks that names no field."""
NAMED_FIELDS = (*FIELDS, "reason", "cgroup")
LONGEST = 1000
"""Characters of a filter."""

_TERM = re.compile(
    rf"""\s*(?P<no>!)?(?:(?P<field>{"|".join(NAMED_FIELDS)})(?P<whole>[:=]))?
    (?:/(?P<regex>(?:\\.|[^/\\])*)/(?=\s|$)|"(?P<quoted>[^"]*)"|(?P<plain>\S+))""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Term:
    """One condition."""

    text: str
    regex: bool = False
    exclude: bool = False
    field: str = ""
    """One of `NAMED_FIELDS`; empty: any of `FIELDS`."""
    whole: bool = False
    """The text is all of it (`span=`), not a part."""

    def __str__(self) -> str:
        """As one types it, but for quotes."""
        where = f"{self.field}{'=' if self.whole else ':'}" if self.field else ""
        text = f"/{self.text}/" if self.regex else self.text
        return f"{'!' * self.exclude}{where}{text}"


def parse(text: str) -> tuple[Term, ...]:
    """The terms of a filter; plain text matches anywhere and whatever the case, `field=text` only
    all of it.

    Raises:
        UsageError: a regular expression that RE2 can't read, or too long a text.
    """
    if len(text) > LONGEST:
        raise UsageError(f"the filter is longer than {LONGEST} characters; shorten it.")
    terms = []
    for found in _TERM.finditer(text):
        regex = found["regex"]
        wanted = next(part for part in (regex, found["quoted"], found["plain"]) if part is not None)
        if not wanted:
            continue
        term = Term(
            valid(wanted),
            regex is not None,
            found["no"] is not None,
            found["field"] or "",
            found["whole"] == "=",
        )
        _matches(term, [""])  # a wrong one is told now
        terms.append(term)
    return tuple(terms)


def passing(
    cells: Cells,
    terms: Sequence[Term],
    stacks: StackTable,
    names: Names,
    shown: Shown = Shown.MERGED,
) -> Mask:
    """The cells for which every term holds. Where only Python's frames are shown, terms still look
    at all frames: so one finds the Python code that waits in `futex`."""
    shown = Shown.MERGED if shown is Shown.PYTHON else shown
    mask = np.ones(len(cells), np.bool_)
    for term in terms:
        found = np.zeros(len(cells), np.bool_)
        for field in [term.field] if term.field else FIELDS:
            found |= _holds(cells, term, field, stacks, names, shown)
        mask &= found ^ term.exclude
    return mask


def passing_spans(
    tgids: npt.NDArray[np.integer],
    spans: npt.NDArray[np.integer],
    terms: Sequence[Term],
    names: Names,
) -> Mask:
    """The spans, by process and number of the name, for which every term holds.

    Raises:
        UsageError: a term looks where a span has nothing.
    """
    mask = np.ones(len(tgids), np.bool_)
    for term in terms:
        if term.field not in ("", "span", "process"):
            raise UsageError(
                f"spans are filtered by span: and process:, not by {term.field}:; esc drops it."
            )
        found = np.zeros(len(tgids), np.bool_)
        if term.field != "process":
            found |= np.append(_matches(term, names.spans), False)[spans] & (spans >= 0)
        if term.field != "span":
            numbers, back = np.unique(tgids, return_inverse=True)
            texts = [names.commands.get(number, "") for number in numbers.tolist()]
            same = np.array([term.text == str(number) for number in numbers.tolist()], np.bool_)
            found |= (_matches(term, texts) | (same & (not term.regex)))[back]
        mask &= found ^ term.exclude
    return mask


def _holds(
    cells: Cells, term: Term, field: str, stacks: StackTable, names: Names, shown: Shown
) -> Mask:
    if field in ("frame", "module"):
        texts = stacks.names if field == "frame" else stacks.modules
        frames = _matches(term, texts[: len(stacks.modules)])
        user, kernel = stacks.paths(cells.ustack, shown), stacks.paths(cells.kstack)
        return _in_stack(user, frames, stacks) | _in_stack(kernel, frames, stacks)
    if field == "span":
        none = bool(term.field) and bool(_matches(term, [NO_SPAN])[0])
        spans = np.append(_matches(term, names.spans), none)
        return spans[np.maximum(cells.span, -1)]
    if field == "reason":
        reasons, back = reasons_of_cells(cells, stacks)
        return _matches(term, reasons)[back]
    if field == "cgroup":
        numbers, back = np.unique(cells.tgid, return_inverse=True)
        return _matches(term, [cgroup_of(number, names) for number in numbers.tolist()])[back]
    numbers, back = np.unique(cells.tgid if field == "process" else cells.pid, return_inverse=True)
    told = names.commands if field == "process" else names.threads
    texts = [told.get(number, "") for number in numbers.tolist()]
    same = np.array([term.text == str(number) for number in numbers.tolist()], np.bool_)
    return (_matches(term, texts) | (same & (not term.regex)))[back]


def _in_stack(of_cells: npt.NDArray[np.int32], frames: Mask, stacks: StackTable) -> Mask:
    paths, back = np.unique(of_cells, return_inverse=True)
    flat, ends = stacks.flat(paths)
    hits = np.concatenate([[0], np.cumsum(frames[flat])])
    return (hits[ends[1:]] > hits[ends[:-1]])[back]


def _matches(term: Term, texts: Sequence[str]) -> Mask:
    array = pa.array([valid(text) for text in texts], pa.string())
    try:
        if term.whole and not term.regex:
            found = pc.equal(array, term.text)
        elif term.regex:
            found = pc.match_substring_regex(array, term.text)
        else:
            found = pc.match_substring(array, term.text, ignore_case=True)
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0].partition(": ")[2]
        raise UsageError(f"/{term.text}/ is no regular expression: {reason}.") from error
    mask: Mask = np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)
    return mask
