"""Holds rows of spans against what the programs that emitted them say they did."""

from __future__ import annotations

from typing import Any

from recordings import Recorded, Row

SPANS = """
select tgid, span_id, trace_name as name, id, parent_id, count(*) as closes,
       any_value(amount) as amount, any_value(duration) as duration,
       any_value(busy) as busy, any_value(enters) as enters, any_value(open) as open,
       any_value(since_seen) as since_seen
from events where kind = 'trace_close' group by all
"""
EXITS = """
select tgid, span_id, trace_name as name, id, parent_id, count(*) as exits, sum(duration) as busy
from events where kind = 'trace_exit' group by all
"""
WRITTEN = """
select tgid, span_id, trace_name as name, id, parent_id, sum(amount)::bigint as bytes
from events where kind = 'vfs_write' and span_id is not null group by all
"""
OUTSIDE = """
select coalesce(sum(amount), 0)::bigint as bytes
from events
where kind = 'vfs_write' and span_id is null and tgid in (select unnest($tgids::uinteger[]))
"""

Key = tuple[int, int, str | None, int, int]


def shown_name(told: str, most: int = 63) -> str | None:
    """A name as it is stored; `told`: a character a byte; `most`: bytes that are read."""
    raw = told.encode("latin-1", "surrogateescape").split(b"\0")[0][:most]
    if len(raw) >= 63:
        while raw and raw[-1] & 0xC0 == 0x80:  # a character cut at the end
            raw = raw[:-1]
        if raw and raw[-1] & 0xC0 == 0xC0:
            raw = raw[:-1]
    return raw.decode("utf-8", "backslashreplace") or None


def key_of(span: dict[str, Any], *, python: bool, most: int) -> Key:
    """Of a span in a truth."""
    name = span["name"].encode().decode("latin-1") if python else span["name"]
    id_ = span["id"] % 2**64
    return span["tgid"], span["span_id"], shown_name(name, most), id_, span["parent_id"]


def by_key(rows: list[Row]) -> dict[Key, Row]:
    """Rows of one of the queries above."""
    return {
        (row["tgid"], row["span_id"], row["name"], row["id"] or 0, row["parent_id"] or 0): row
        for row in rows
    }


def close_enough(measured: int, told: int, enters: int = 1) -> bool:
    """Within 1 % and 50 µs for each time that it was measured."""
    return abs(measured - told) <= told // 100 + 50_000 * enters


def compare(
    recorded: Recorded, *, python: bool = False, times: bool = True, most: int = 63
) -> dict[Key, Row]:
    """Every span of the truth has its rows, with its numbers, and there are no others."""
    told = {key_of(span, python=python, most=most): span for span in recorded.truth["spans"]}
    spans = by_key(recorded.rows(SPANS))
    exits = by_key(recorded.rows(EXITS))
    written = by_key(recorded.rows(WRITTEN))
    wrong = []
    for key, span in told.items():
        row = spans.get(key)
        if row is None:
            wrong.append(f"no close of {span}")
            continue
        found = {name: row[name] for name in ("closes", "amount", "enters", "open")}
        expected = {
            "closes": 1,
            "amount": span["amount"] % 2**64,
            "enters": span["enters"],
            "open": not span["closed"],
        }
        if found != expected:
            wrong.append(f"{span}: {found}, expected {expected}")
        # the truth itself is written in what is open then
        extra = truth_bytes(recorded) if span["name"] == "inside" else 0
        if written.get(key, {}).get("bytes", 0) != span["written_bytes"] + extra:
            wrong.append(f"{span}: bytes {written.get(key)}")
        if not span["closed"]:
            continue
        if exits.get(key, {}).get("exits") != span["enters"]:
            wrong.append(f"{span}: {exits.get(key)}")
        elif times and not (
            close_enough(row["duration"], span["total_ns"])
            and close_enough(row["busy"], span["busy_ns"], span["enters"])
            and row["busy"] == exits[key]["busy"]
        ):
            wrong.append(f"{span}: {row}, {exits[key]}")
    assert not wrong, "\n".join(wrong)
    others = [key for key in [*spans, *exits, *written] if key not in told]
    assert not others, others
    return spans


def truth_bytes(recorded: Recorded) -> int:
    """What the program wrote to tell its truth."""
    return recorded.directory.with_suffix(".truth.json").stat().st_size


def outside(recorded: Recorded, tgids: list[int] | None = None) -> int:
    """Bytes written in no span, without those of the truth itself."""
    of = tgids or [recorded.truth["tgid"]]
    with recorded.open() as recording:
        (row,) = recording.table(OUTSIDE.replace("$tgids", str(of))).to_pylist()
    return int(row["bytes"])
