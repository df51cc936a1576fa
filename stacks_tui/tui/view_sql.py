"""A view as SQL that gives its numbers: to read, to change, to take elsewhere.

Comes in: a view and the window that it came to be. Goes out: one SELECT over the views of a
recording.
"""

from __future__ import annotations

from stacks_tui.live import filter_sql, filters
from stacks_tui.live.view import Group, Measure, Panel, Side, StackPart, Tab, View, Window
from stacks_tui.python.shown import NO_PYTHON, Shown
from stacks_tui.text import sql_literal

_NO_STACK = "[{'name': '[no stack]', 'module': ''}]"
_NO_PYTHON = f"[{{'name': '{NO_PYTHON}', 'module': ''}}]"


def sql_of(view: View, begin: int, end: int) -> str:
    """The query; what it can't say is said in a comment."""
    if view.panel is Panel.TIMELINE:
        return _timeline(view)
    if view.panel is Panel.PROCESSES:
        return _processes(view, begin, end)
    if view.panel is Panel.LEDGER:
        return _ledger(view, begin, end)
    lines = [f"-- {view.tab.value} by {view.group.value}, ns since 1970 from {begin} to {end}"]
    if view.a is not None and view.b is not None:
        lines += ["-- A is what was before; b_value, b_total, b_events are of B"]
        lines += ["with e as ("]
        for name, side in (("A", view.a), ("B", view.b)):
            if side.recording:
                lines += [f"    -- {name} lies in {side.recording!r}: here it is this recording's"]
            lines += _events(filter_sql.of_side(view, side), *_window(side, begin, end), name)
            lines += ["    union all"] if name == "A" else [")"]
    else:
        lines += ["with e as (", *_events(view, begin, end, "A"), ")"]
    if view.panel is Panel.HISTOGRAM:
        return "\n".join(lines + _histogram(view))
    if view.panel in (Panel.TREE, Panel.FLAME):
        return "\n".join(lines + _nodes(view))
    if view.group in (Group.LEAF, Group.MODULE):
        return "\n".join(lines + _functions(view))
    return "\n".join(lines + _rows(view))


def _window(side: Side, begin: int, end: int) -> tuple[int, int]:
    window: Window = side.window
    if window.end:
        return window.begin // 10**9 * 10**9, -(-window.end // 10**9) * 10**9
    return (end - window.last_s * 10**9 if window.last_s else 0), end


def _when(view: View, begin: int, end: int) -> list[str]:
    one = view.instance
    if one is None:
        return [f"e.timestamp >= {begin} and e.timestamp < {end}"]
    moment = "e.timestamp - if(starts_with(e.kind, 'blk_'), e.duration, 0)"
    until = f" and {moment} <= {one.until}" if one.until else ""
    return [
        f"e.tgid = {one.tgid} and e.span_id = {one.span_id}",
        f"{moment} >= {one.begin}{until}",
    ]


def _events(view: View, begin: int, end: int, side: str) -> list[str]:
    """The events that the view counts, each with its value and frames (name and module)."""
    wanted = [
        *filter_sql.kind_conditions(view),
        *_when(view, begin, end),
        *filter_sql.filter_conditions(view),
    ]
    return [
        f"    select e.*, {filter_sql.value(view)} as value, '{side}' as side,",
        f"           {_frames(view)} as path",
        "    from events e",
        "    left join stacks u on u.id = e.ustack",
        "    left join stacks k on k.id = e.kstack",
        "    where " + "\n      and ".join(wanted),
    ]


def _frames(view: View) -> str:
    user, kernel = "[]", "[]"
    if view.stack_part is not StackPart.KERNEL:
        user = "u.frames"
        if view.shown is not Shown.MERGED:
            user = f"shown_frames(u.frames, u.native, '{view.shown}')"
    if view.stack_part is not StackPart.USER:
        kernel = "k.frames"
    if view.shown is Shown.PYTHON:
        said = f"case when u.id is null and k.id is null then {_NO_STACK} else {_NO_PYTHON} end"
        if view.stack_part is StackPart.KERNEL:
            said = f"case when k.id is null then {_NO_STACK} else {_NO_PYTHON} end"
        elif view.stack_part is StackPart.USER:
            said = f"case when u.id is null then {_NO_STACK} else {_NO_PYTHON} end"
        found = f"coalesce({user}, [])"
    else:
        said = _NO_STACK
        found = f"list_concat(coalesce({kernel}, []), coalesce({user}, []))"
    plain = (
        f"list_transform({found}, lambda f: {{'name': f.name, 'module': coalesce(f.module, '')}})"
    )
    return f"coalesce(nullif({plain}, []), {said})"


def _sums(view: View) -> list[str]:
    if not view.compares:
        return ["sum(value) as value, count(*) as events, sum(duration) as duration_ns"]
    return [
        "coalesce(sum(value) filter (side = 'A'), 0) as value,",
        "       coalesce(sum(value) filter (side = 'B'), 0) as b_value,",
        "       count(*) filter (side = 'A') as events, count(*) filter (side = 'B') as b_events",
    ]


def _order(view: View, *, functions: bool = False) -> str:
    order = {"count": "events", "label": "label"}.get(view.sort, "value")
    if view.sort == "total" and functions:
        order = "total"
    if view.sort == "duration_ns" and not (functions or view.compares):
        order = "duration_ns"
    way = "" if view.reverse ^ (order == "label") else " desc"
    return f"order by {order}{way} nulls last, label limit {view.top}"


def _rows(view: View) -> list[str]:
    names = "array_to_string(list_transform(path, lambda f: f.name), ' ← ')"
    key, label = {
        Group.PROCESS: ("tgid", "process_of(tgid)"),
        Group.THREAD: ("tgid, pid", "thread_of(pid)"),
        Group.SPAN: ("coalesce(trace_name, '[no span]')", ""),
        Group.CGROUP: ("cgroup_of(tgid)", ""),
        Group.REASON: (
            "case when kind in ('wait', 'switch') then reason_of(kstack, state)"
            " else '[not a wait]' end",
            "",
        ),
        Group.WAKER: (
            "waker, wstack",
            "case when coalesce(waker, 0) = 0 then '[interrupt or timer]'"
            " else thread_of(waker) end",
        ),
    }.get(view.group, ("path", names))
    if not label:
        chosen, by = f"{key} as label", "label"
    else:
        chosen, by = f"{label} as label, {key}", f"label, {key}"
    if view.group is Group.STACK:
        chosen, by = f"{names} as label, path", "path"
    if view.group is Group.WAKER:
        # threads that were woken from the same place are one row, whatever the addresses were
        frames = "w.frames"
        if view.shown is not Shown.MERGED:
            frames = f"shown_frames(w.frames, w.native, '{view.shown}')"
        return [
            "select " + "\n".join(_sums(view)) + ",",
            f"       {label} as label, coalesce(waker, 0) as waker,",
            f"       plain_frames({frames}) as wakers_stack",
            "from e left join stacks w on w.id = e.wstack",
            f"group by all {_order(view)}",
        ]
    return [
        "select " + "\n".join(_sums(view)) + ",",
        f"       {chosen}",
        "from e",
        f"group by {by} {_order(view)}",
    ]


def _functions(view: View) -> list[str]:
    field = "f" if view.group is Group.LEAF else "f.module"
    label = "f.name" if view.group is Group.LEAF else "coalesce(nullif(f, ''), '[no module]')"
    sides = [("", "A"), ("b_", "B")] if view.compares else [("", "A")]
    sums = []
    for prefix, side in sides:
        only = f" filter (side = '{side}')"
        leaf = f" filter (at_leaf and side = '{side}')"
        sums.append(f"coalesce(sum(value){leaf}, 0) as {prefix}value")
        sums.append(f"coalesce(sum(value){only}, 0) as {prefix}total")
        sums.append(f"count(*){leaf} as {prefix}events")
    return [
        "select " + ",\n       ".join([*sums, f"{label} as label, f"]),
        "from (",
        f"    select value, side, f, f = {field.replace('f', 'e.path[1]', 1)} as at_leaf",
        f"    from e, unnest(list_distinct(list_transform(e.path, lambda f: {field}))) as t(f)",
        ")",
        f"group by all {_order(view, functions=True)}",
    ]


def _nodes(view: View) -> list[str]:
    """Nodes by the frames that lead to them."""
    path = "e.path" if view.inverted else "list_reverse(e.path)"
    what = "from the leaf" if view.inverted else "from the outermost frame"
    zoom = ["-- the zoom is not in it"] if view.zoom else []
    return [
        f"-- nodes by the frames that lead to them, {what}: total, and value where they end",
        *zoom,
        "select len(way) as depth,",
        "       coalesce(sum(value) filter (ends and side = 'A'), 0) as value,",
        "       coalesce(sum(value) filter (side = 'A'), 0) as total,",
        *(
            [
                "       coalesce(sum(value) filter (ends and side = 'B'), 0) as b_value,",
                "       coalesce(sum(value) filter (side = 'B'), 0) as b_total,",
            ]
            if view.compares
            else []
        ),
        "       count(*) filter (side = 'A') as events, way[-1].name as label, way",
        "from (",
        f"    select value, side, list_slice({path}, 1, depth) as way, depth = len(e.path) as ends",
        "    from e, unnest(range(1, len(e.path) + 1)) as t(depth)",
        ")",
        f"group by way order by depth, total desc, label limit {view.top * 20}",
    ]


def _histogram(view: View) -> list[str]:
    """By powers of two; a wait's time blocked, or in the run queue."""
    sizes = (Tab.BLOCK, Tab.VFS, Tab.NET)
    if view.tab is Tab.BLOCKED:
        size = "duration - least(amount, duration)"
    elif view.tab is Tab.RUNNABLE or (view.tab in sizes and view.measure is not Measure.DURATION):
        size = "amount"
    else:
        size = "duration"
    return [
        f"select 1::ubigint << floor(log2(greatest({size}, 1)))::int as at_least,",
        "       count(*) as events, sum(value) as value",
        "from e group by all order by at_least",
    ]


def _timeline(view: View) -> str:
    wanted = filter_sql.filter_conditions(view)
    return "\n".join(
        [
            "-- sums by second and kind",
            "select e.timestamp // 1000000000 as second, e.kind, count(*) as events,",
            "       sum(e.duration) as duration_ns, sum(e.amount) as amount, sum(e.delta) as delta",
            "from events e",
            *(["where " + "\n  and ".join(wanted)] if wanted else []),
            "group by all order by second, kind",
        ]
    )


def _processes(view: View, begin: int, end: int) -> str:
    key, name = ("tgid, pid", "thread_of(pid)") if view.by_thread else ("tgid", "process_of(tgid)")
    wanted = [
        f"e.timestamp >= {begin} and e.timestamp < {end}",
        *filter_sql.filter_conditions(view),
    ]
    order = "name" if view.sort in ("name", "label") else view.sort
    order = order if order in ("name", *_PROCESS_SUMS) else "cpu_ns"
    way = " desc" if view.reverse == (order == "name") else ""
    sums = ",\n".join(
        f"       coalesce(sum({what}) filter ({which}), 0)::bigint as {column}"
        for column, (what, which) in _PROCESS_SUMS.items()
    )
    return "\n".join(
        [
            f"-- {'threads' if view.by_thread else 'processes'}, all kinds beside one another",
            "with e as (",
            "    select e.* from events e",
            "    where " + "\n      and ".join(wanted),
            "),",
            "cpu as (  -- slices, where they were recorded, else samples",
            "    select case when bool_or(kind = 'switch') then 'switch' else 'profile' end",
            "        as kind",
            "    from e",
            ")",
            f"select {key}, {name} as name,",
            sums + ",",
            "       count(*) as events",
            f"from e group by {key} order by {order}{way}, {key} limit {view.top}",
        ]
    )


_PROCESS_SUMS = {
    "cpu_ns": ("duration", "kind = (select cpu.kind from cpu)"),
    "blocked_ns": ("greatest(duration::bigint - amount::bigint, 0)", "kind = 'wait'"),
    "runnable_ns": ("amount", "kind = 'wait'"),
    "growth": ("delta", "kind = 'rss'"),
    "read": ("amount", "kind = 'vfs_read'"),
    "write": ("amount", "kind = 'vfs_write'"),
    "block_read": ("amount", "kind = 'blk_read'"),
    "block_write": ("amount", "kind = 'blk_write'"),
    "received": ("amount", "kind in ('tcp_recv', 'udp_recv')"),
    "sent": ("amount", "kind in ('tcp_send', 'udp_send')"),
}
"""By column: what is added up, of which events."""


def _ledger(view: View, begin: int, end: int) -> str:
    terms = filters.parse(view.filter)
    names = [term.text for term in terms if term.field == "span" and term.whole]
    where = [
        f'where (open or "end" between {begin} and {end - 1})',
        *(f"  and name = {sql_literal(name)}" for name in names),
        *([f"  and s.tgid = {view.tgid}"] if view.tgid else []),
    ]
    if view.instances:
        return "\n".join(
            [
                "-- spans one by one: the open ones, and those that were closed in the window",
                "select * from spans s join span_costs using (tgid, span_id, use)",
                *where,
                f"order by duration desc limit {view.top}",
            ]
        )
    if view.children:
        return "\n".join(
            [
                "-- what lies in the spans of a name, each once; costs are of whole spans",
                "select p.name, sum(c.cpu_ns) as cpu_ns, sum(c.blocked_ns) as blocked_ns,",
                "       sum(c.runnable_ns) as runnable_ns, sum(c.growth_bytes) as growth_bytes",
                "from (",
                "    select distinct a.tgid, a.span_id, a.use, s.name",
                "    from span_ancestors a join spans s",
                "      on s.tgid = a.tgid and s.span_id = a.above_id and s.use = a.above_use",
                *(f"    {line}" for line in where),
                ") p left join span_costs c using (tgid, span_id, use)",
                "group by p.name order by cpu_ns desc",
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
            "from spans s join span_costs using (tgid, span_id, use)",
            *where,
            "group by name order by busy_ns desc",
        ]
    )
