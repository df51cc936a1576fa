"""A view as SQL that gives its numbers: to read, to change, to take elsewhere.

Comes in: a view and the window that it came to be. Goes out: one SELECT over the views of a
recording. Text of the filter is written as an SQL literal.
"""

from __future__ import annotations

from stacks_tui.live import filters, measures
from stacks_tui.live.view import Group, Measure, Panel, StackPart, Tab, View
from stacks_tui.python.shown import Shown

_STACK = {
    StackPart.BOTH: "list_concat(coalesce({kernel}, []), coalesce({user}, []))",
    StackPart.USER: "coalesce({user}, [])",
    StackPart.KERNEL: "coalesce({kernel}, [])",
}


def sql_of(view: View, begin: int, end: int) -> str:
    """The query; what it can't say (such as a wait's reason) is said in a comment."""
    if view.panel is Panel.TIMELINE:
        return _timeline(view)
    if view.panel is Panel.PROCESSES:
        return _processes(view, begin, end)
    if view.panel is Panel.LEDGER:
        return _ledger(view, begin, end)
    head = f"-- {view.tab.value} by {view.group.value}, ns since 1970 from {begin} to {end}"
    value = _value(view)
    stack = _STACK[view.stack_part].format(
        kernel=_frames("k", view.shown), user=_frames("u", view.shown)
    )
    key, note = _key(view.group)
    lines = [
        head,
        *note,
        "with e as (",
        f"    select e.*, {value} as value,",
        f"           {stack} as frames",
    ]
    lines += [
        "    from events e",
        "    left join stacks u on u.id = e.ustack",
        "    left join stacks k on k.id = e.kstack",
        *_where(view, begin, end),
        ")",
    ]
    if view.panel is Panel.HISTOGRAM:
        size = "amount" if _sized_by_amount(view) else "duration"
        lines += [
            f"select 1::ubigint << greatest(0, floor(log2(greatest({size}, 1)))::int) as at_least,",
            "       count(*) as events, sum(value) as value",
            "from e group by all order by at_least",
        ]
        return "\n".join(lines)
    order = {"count": "events", "label": "label"}.get(view.sort, "value")
    way = "" if view.reverse ^ (order == "label") else " desc"
    if view.group in (Group.LEAF, Group.MODULE):
        field = "name" if view.group is Group.LEAF else "module"
        lines += [
            "select f as label, sum(value) filter (at_leaf) as value, sum(value) as total,",
            "       count(*) as events",
            "from (",
            f"    select e.value, f, f = e.frames[1].{field} as at_leaf",
            "    from e, unnest(list_distinct(list_transform(",
            f"        e.frames, lambda x: x.{field}",
            "    ))) as t(f)",
            ")",
            f"group by all order by {'total' if view.sort == 'total' else order}{way} nulls last",
            f"limit {view.top}",
        ]
        return "\n".join(lines)
    lines += [
        f"select {key} as label, sum(value) as value, count(*) as events,",
        "       sum(duration) as duration_ns",
        "from e",
        f"group by all order by {order}{way} limit {view.top}",
    ]
    return "\n".join(lines)


def _frames(side: str, shown: Shown) -> str:
    if shown is Shown.MERGED:
        return f"{side}.frames"
    return f"shown_frames({side}.frames, {side}.native, '{shown}')"


def _key(group: Group) -> tuple[str, list[str]]:
    names = "array_to_string(list_transform(frames, lambda x: x.name), ' ← ')"
    match group:
        case Group.PROCESS:
            return "command || ' ' || tgid", []
        case Group.THREAD:
            return "thread || ' ' || pid", []
        case Group.SPAN:
            return "coalesce(trace_name, '[no span]')", []
        case Group.WAKER:
            note = "-- the waker's thread; its stack is in wstack"
            return "waker", [note]
        case Group.CGROUP:
            return "(select any_value(cgroup) from processes p where p.tgid = e.tgid)", []
        case Group.REASON:
            note = "-- reasons are named from the kernel's frames; here: the frames themselves"
            return names, [note]
        case _:
            return names, []


def _value(view: View) -> str:
    if view.measure is Measure.COUNT:
        return "1"
    if view.measure is Measure.DURATION:
        return "e.duration"
    return {
        Tab.BLOCKED: "greatest(e.duration::bigint - e.amount::bigint, 0)",
        Tab.RUNNABLE: "e.amount",
        Tab.RSS: "e.delta",
        Tab.BLOCK: "e.amount",
        Tab.VFS: "e.amount",
        Tab.NET: "e.amount",
    }.get(view.tab, "e.duration")


def _sized_by_amount(view: View) -> bool:
    return (
        view.tab in (Tab.RUNNABLE, Tab.BLOCK, Tab.VFS, Tab.NET)
        and view.measure is not Measure.DURATION
    )


def _where(view: View, begin: int, end: int) -> list[str]:
    kinds = ", ".join(f"'{kind.label}'" for kind in measures.kinds_of(view))
    found = [f"    where e.kind in ({kinds})"]
    found.append(f"      and e.timestamp >= {begin} and e.timestamp < {end}")
    if measures.leaves_out_nothings(view):
        found.append(f"      and {_value(view)} > 0")
    if view.tgid:
        found.append(f"      and e.tgid = {view.tgid}")
    if view.pid:
        found.append(f"      and e.pid = {view.pid}")
    # where only Python's frames are shown, the filter looks at all of them
    shown = Shown.NATIVE if view.shown is Shown.NATIVE else Shown.MERGED
    return found + [f"      and {_term(term, shown)}" for term in filters.parse(view.filter)]


def _term(term: filters.Term, shown: Shown) -> str:
    wanted = _literal(term.text)

    def holds(value: str) -> str:
        if term.whole and not term.regex:
            return f"coalesce({value} = {wanted}, false)"
        if term.regex:
            return f"coalesce(regexp_matches({value}, {wanted}), false)"
        return f"coalesce(contains(lower({value}), lower({wanted})), false)"

    def in_frames(field: str) -> str:
        return " or ".join(
            f"len(list_filter({_frames(side, shown)}, lambda x: {holds(f'x.{field}')})) > 0"
            for side in ("u", "k")
        )

    if term.field == "reason":
        return "true  -- reasons of waits are named by the screen alone"
    if term.field == "cgroup":
        of = "select any_value(cgroup) from processes p where p.tgid = e.tgid"
        return f"not {holds(f'({of})')}" if term.exclude else holds(f"({of})")
    parts = {
        "frame": f"coalesce({in_frames('name')}, false)",
        "module": f"coalesce({in_frames('module')}, false)",
        "process": f"({holds('e.command')} or e.tgid::varchar = {wanted})",
        "thread": f"({holds('e.thread')} or e.pid::varchar = {wanted})",
        "span": holds("e.trace_name"),
    }
    found = parts[term.field] if term.field else "(" + " or ".join(parts.values()) + ")"
    return f"not {found}" if term.exclude else found


def _literal(what: str) -> str:
    return "'" + what.replace("'", "''") + "'"


def _timeline(view: View) -> str:
    return (
        "-- sums by second and kind\n"
        "select timestamp // 1000000000 as second, kind, count(*) as events,\n"
        "       sum(duration) as duration_ns, sum(amount) as amount, sum(delta) as delta\n"
        "from events group by all order by second, kind"
    )


def _processes(view: View, begin: int, end: int) -> str:
    key = "tgid, pid, thread" if view.by_thread else "tgid, command"
    return (
        f"-- {'threads' if view.by_thread else 'processes'}, all kinds beside one another\n"
        f"select {key},\n"
        "       sum(duration) filter (kind = 'profile') as cpu_ns,\n"
        "       sum(duration - amount) filter (kind = 'wait') as blocked_ns,\n"
        "       sum(amount) filter (kind = 'wait') as runnable_ns,\n"
        "       sum(delta) filter (kind = 'rss') as growth,\n"
        "       sum(amount) filter (kind = 'vfs_read') as read,\n"
        "       sum(amount) filter (kind = 'vfs_write') as write,\n"
        "       sum(amount) filter (kind in ('tcp_recv', 'udp_recv')) as received,\n"
        "       sum(amount) filter (kind in ('tcp_send', 'udp_send')) as sent,\n"
        "       count(*) as events\n"
        f"from events where timestamp >= {begin} and timestamp < {end}\n"
        "group by all order by cpu_ns desc nulls last, blocked_ns desc nulls last"
    )


def _ledger(view: View, begin: int, end: int) -> str:
    terms = filters.parse(view.filter)
    names = [term.text for term in terms if term.field == "span" and term.whole]
    where = [
        f'where (open or "end" between {begin} and {end - 1})',
        *(f"  and name = {_literal(name)}" for name in names),
        *([f"  and tgid = {view.tgid}"] if view.tgid else []),
    ]
    if view.instances:
        return "\n".join(
            [
                "-- spans one by one: the open ones, and those that were closed in the window",
                "select * from spans join span_costs using (tgid, span_id, use)",
                *where,
                f"order by duration desc limit {view.top}",
            ]
        )
    return "\n".join(
        [
            "-- spans by name; costs are of whole spans, on the screen of the window",
            "select name, count(*) filter (not open) as closed, count(*) filter (open) as open,",
            "       sum(busy) as busy_ns, sum(cpu_ns) as cpu_ns, sum(blocked_ns) as blocked_ns,",
            "       sum(runnable_ns) as runnable_ns, sum(growth_bytes) as growth_bytes,",
            "       quantile_disc(duration, [0.5, 0.9, 0.99]) filter (not open) as quantiles_ns,",
            "       max(duration) filter (not open) as max_ns",
            "from spans join span_costs using (tgid, span_id, use)",
            *where,
            "group by name order by busy_ns desc",
        ]
    )
