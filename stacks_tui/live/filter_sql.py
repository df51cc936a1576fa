"""A view's filter as SQL: the same events that `live.filters` lets pass, of any recording.

Comes in: a view. Goes out: conditions over `events e`, and whole statements that stand for a
recording's views `events` and `stacks`, so that what asks those sees no more than the view shows.
All text of a person is written as an SQL literal, and sought by regular expression.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stacks_tui.live import filters, measures, terms
from stacks_tui.live.groups import NO_SPAN, NO_WAIT
from stacks_tui.live.view import Measure, Side, StackPart, Tab, View
from stacks_tui.python.shown import Shown
from stacks_tui.store.reader import Narrowing
from stacks_tui.text import sql_literal


def filter_conditions(view: View) -> list[str]:
    """What the view's filter, process and thread ask of an event."""
    # where only Python's frames are shown, the filter looks at all of them
    shown = Shown.NATIVE if view.shown is Shown.NATIVE else Shown.MERGED
    found = [_term(term, shown) for term in filters.parse(view.filter)]
    if view.tgid:
        found.append(f"e.tgid = {view.tgid}")
    if view.pid:
        found.append(f"e.pid = {view.pid}")
    return found


def kind_conditions(view: View) -> list[str]:
    """Of which kinds events are that the view counts, and that there is something to count."""
    kinds = ", ".join(sql_literal(kind.label) for kind in measures.kinds_of(view))
    found = [f"e.kind in ({kinds})"]
    if measures.leaves_out_nothings(view):
        found.append(f"{value(view)} > 0")
    return found


def value(view: View) -> str:
    """What the view adds up, of one event."""
    if view.measure is Measure.COUNT:
        return "1"
    if view.measure is Measure.DURATION:
        return "e.duration"
    return {
        Tab.BLOCKED: "greatest(e.duration::bigint - e.amount::bigint, 0)",
        Tab.RUNNABLE: "e.amount",
        Tab.RSS: "coalesce(e.delta, 0)",
        Tab.BLOCK: "e.amount",
        Tab.VFS: "e.amount",
        Tab.NET: "e.amount",
    }.get(view.tab, "e.duration")


def of_side(view: View, side: Side) -> View:
    """The view of one side of a comparison."""
    found = replace(view, tgid=side.tgid or view.tgid, pid=side.pid or view.pid, a=None, b=None)
    if side.span is not None:
        found = replace(found, filter=terms.also(view.filter, "span", side.span))
    return found


def narrowing(view: View, *, kinds: bool) -> Narrowing | None:
    """The view's filter for all that asks a recording; None: it lets all pass. `kinds`: only what
    the view counts is asked for, too."""
    events = _select(filter_conditions(view) + (kind_conditions(view) if kinds else []))
    stacks = {
        StackPart.BOTH: "",
        StackPart.USER: "select * from user_stacks",
        StackPart.KERNEL: "select * from kernel_stacks",
    }[view.stack_part]
    return Narrowing(events, stacks) if events or stacks else None


def passing_events(view: View) -> str:
    """The events, of all kinds, that the view's filter, process and thread let pass; empty: all."""
    return _select(filter_conditions(view))


def _select(conditions: list[str]) -> str:
    given = " and ".join(conditions)
    return f"select * from all_events e where {given}" if given else ""  # noqa: S608  # literals


@dataclass(frozen=True, slots=True)
class _Sought:
    """A term as a regular expression."""

    regex: str
    number: str
    """What a number must be to be meant; empty: none is."""


def _sought(term: filters.Term) -> _Sought:
    if term.regex:
        return _Sought(sql_literal(term.text), "")
    plain = "".join(terms.escaped(char) for char in term.text)
    regex = f"^{plain}$" if term.whole else f"(?i){plain}"
    return _Sought(sql_literal(regex), sql_literal(term.text))


def _term(term: filters.Term, shown: Shown) -> str:
    sought = _sought(term)
    fields = [term.field] if term.field else list(filters.FIELDS)
    found = " or ".join(_holds(field, sought, shown, bool(term.field)) for field in fields)
    return f"not ({found})" if term.exclude else f"({found})"


def _holds(field: str, sought: _Sought, shown: Shown, named: bool) -> str:
    regex = sought.regex
    if field in ("frame", "module"):
        return f"in_stacks('{field}', e.ustack, e.kstack, {regex}, '{shown}')"
    if field == "span":
        name = f"coalesce(e.trace_name, {sql_literal(NO_SPAN)})" if named else "e.trace_name"
        return f"coalesce(regexp_matches({name}, {regex}), false)"
    if field == "reason":
        name = (
            "case when e.kind in ('wait', 'switch') then reason_of(e.kstack, e.state)"
            f" else {sql_literal(NO_WAIT)} end"
        )
        return f"regexp_matches({name}, {regex})"
    if field == "cgroup":
        return f"regexp_matches(cgroup_of(e.tgid), {regex})"
    number = {"process": "tgid", "thread": "pid"}[field]
    found = f"in_{field}(e.{number}, {regex})"
    if sought.number:
        found += f" or coalesce(e.{number}::varchar = {sought.number}, false)"
    return f"({found})"
