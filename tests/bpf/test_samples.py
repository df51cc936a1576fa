"""Samples of the CPU's clock: how many there are, and that each has the stack it should have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from recordings import Recorded, names, record
from workloads import built

pytestmark = pytest.mark.bpf

DOWN = ("down_plain", "down_wide", "down_dynamic")
DEPTHS = (5, 50, 300, 700)
CAP = 512
SETTLED_MS = "1500"
"""Milliseconds after which the recorder surely knows a new process's code."""


@pytest.mark.parametrize("company", ["alone", "flooded"])
@pytest.mark.parametrize("hertz", [99, 999])
def test_as_many_samples_as_there_was_time(tmp_path: Path, hertz: int, company: str) -> None:
    programs = f"profile:u:{hertz}"
    if company == "flooded":
        programs += ",vfs:uk,switch:uk"
    cpu = max(os.sched_getaffinity(0))
    recorded = record(
        tmp_path / "r",
        programs,
        [built("busy"), str(cpu), "5", company, "--truth", "TRUTH"],
        *(
            "--ring-bytes",
            "64M",
        ),  # room for the whole flood, should others keep the recorder waiting
    )
    recorded.assert_nothing_lost()
    truth = recorded.truth
    (row,) = recorded.rows(
        """
        select count(*) as samples, count(distinct cpu) as cpus, any_value(cpu) as cpu,
               min(duration) as shortest, max(duration) as longest,
               count(*) filter (ustack is null) as bare,
               count(*) filter (pid = $tid) as own,
        from events
        where kind = 'profile' and tgid = $tgid and timestamp between $begin and $end
        """,
        tid=truth["tid"],
        tgid=truth["tgid"],
        begin=recorded.epoch_ns(truth["begin_ns"]),
        end=recorded.epoch_ns(truth["end_ns"]),
    )
    expected = truth["process_cpu_ns"] * hertz / 1e9
    assert abs(row["samples"] - expected) <= 0.03 * expected + 1
    if company == "alone":
        assert row["own"] == row["samples"]
    else:
        assert recorded.counts("vfs_write").received > 50_000  # the flood was one
        assert recorded.counts("switch").received > 5_000
    assert (row["cpus"], row["cpu"]) == (1, cpu)
    period = 1e9 / hertz
    assert abs(row["shortest"] - period) <= 1
    assert abs(row["longest"] - period) <= 1
    assert row["bare"] == 0


def expected_names(depth: int) -> list[str]:
    """The functions of `recurse` at this depth, leaf first, to the program's main."""
    return ["leaf", *(DOWN[left % 3] for left in range(1, depth + 1)), "main"]


def depth_stacks(recorded: Recorded) -> dict[int, dict[str, object]]:
    """By depth (the bytes that the leaf wrote): the stack."""
    rows = recorded.rows(
        """
        select e.amount, list_transform(s.frames, lambda f: f.name) as names,
               s.complete, s.truncated, s.status
        from events e join stacks s on s.id = e.ustack
        where e.kind = 'vfs_write' and e.amount in (5, 50, 300, 700) and e.command like 'recurse%'
        """
    )
    return {row["amount"]: row for row in rows}


@pytest.mark.parametrize("way", ["recurse_fp", "recurse_table"])
def test_stacks_are_exact_to_the_frame(tmp_path: Path, way: str) -> None:
    recorded = record(
        tmp_path / "r",
        "vfs:u,profile:u:999",
        [built(way), SETTLED_MS, *map(str, DEPTHS), "--truth", "TRUTH"],
    )
    recorded.assert_nothing_lost()
    stacks = depth_stacks(recorded)
    assert set(stacks) == set(DEPTHS)
    for depth, stack in stacks.items():
        found = stack["names"]
        assert isinstance(found, list)
        expected = expected_names(depth)
        if depth < CAP:
            assert found[: len(expected)] == expected
            assert found[-1] == "_start"
            assert len(found) <= len(expected) + 3  # what libc has before main
            assert (stack["complete"], stack["truncated"]) == (True, False)
            assert stack["status"] == "complete"
        else:
            assert found == expected[:CAP]
            assert (stack["complete"], stack["truncated"]) == (False, True)
            assert stack["status"] == "cut"
    assert recorded.counts("vfs_write").truncated == 1
    # The samples of the same leaf: as exact.
    sampled = recorded.rows(
        "select ustack, count(*) as samples from samples "
        "where kind = 'profile' and command like 'recurse%' group by all"
    )
    wanted = [expected_names(depth)[:CAP] for depth in DEPTHS]
    seen = dict.fromkeys(DEPTHS, 0)
    for row in sampled:
        found = names(row["ustack"])
        if found[:1] != ["leaf"]:
            continue
        depth = next(
            depth for depth, want in zip(DEPTHS, wanted, strict=True) if found[: len(want)] == want
        )
        seen[depth] += row["samples"]
    assert min(seen.values()) >= 10


@pytest.mark.parametrize("way", ["recurse_fp", "recurse_table"])
def test_stacks_of_a_new_process_are_exact_as_far_as_they_claim(tmp_path: Path, way: str) -> None:
    recorded = record(
        tmp_path / "r", "vfs:u", [built(way), "0", *map(str, DEPTHS), "--truth", "TRUTH"]
    )
    recorded.assert_nothing_lost()
    stacks = depth_stacks(recorded)
    assert set(stacks) == set(DEPTHS)
    for depth, stack in stacks.items():
        found = stack["names"]
        assert isinstance(found, list)
        expected = expected_names(depth)
        if stack["complete"]:
            assert found[: len(expected)] == expected
        else:
            assert depth >= 50
            assert found == expected[: len(found)]
            assert len(found) >= 20


def test_frame_pointers_alone_do_for_code_that_keeps_them(tmp_path: Path) -> None:
    recorded = record(
        tmp_path / "r",
        "vfs:u",
        [built("recurse_fp"), SETTLED_MS, *map(str, DEPTHS), "--truth", "TRUTH"],
        "--no-unwind",
    )
    for depth, stack in depth_stacks(recorded).items():
        found = stack["names"]
        assert isinstance(found, list)
        expected = expected_names(depth)
        # The kernel itself walks these, and has a cap of its own (kernel.perf_event_max_stack).
        assert len(found) >= min(depth, 127)
        assert found[: len(expected)] == expected[: len(found)]
        assert stack["truncated"] == (len(found) < len(expected)), depth


def test_a_lower_cap_cuts_and_says_so(tmp_path: Path) -> None:
    recorded = record(
        tmp_path / "r",
        "vfs:u",
        [built("recurse_table"), SETTLED_MS, *map(str, DEPTHS), "--truth", "TRUTH"],
        *("--max-frames", "40"),
    )
    for depth, stack in depth_stacks(recorded).items():
        found = stack["names"]
        assert isinstance(found, list)
        expected = expected_names(depth)[:40]
        assert found[: len(expected)] == expected
        assert stack["truncated"] == (depth > 40)
        assert (len(found) == 40) == (depth > 40)
    assert recorded.counts("vfs_write").truncated == 3


def test_two_hundred_thousand_stacks_each_with_its_own_events(tmp_path: Path) -> None:
    levels, stacks, rate = 18, 200_000, 20_000
    recorded = record(
        tmp_path / "r",
        "vfs:u",
        [built("tree"), str(levels), str(stacks), str(rate), "--truth", "TRUTH"],
    )
    recorded.assert_nothing_lost()
    with recorded.open() as opened:
        table = opened.table(
            """
            select e.amount, e.ustack, s.complete,
                   array_to_string(list_transform(list_filter(s.frames,
                       lambda f: f.name in ('f0', 'f1')), lambda f: f.name[2]), '') as path
            from events e left join stacks s on s.id = e.ustack
            where e.kind = 'vfs_write' and e.tgid = $tgid order by e.timestamp
            """,
            tgid=recorded.truth["tgid"],
        )
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    assert columns["amount"][:stacks] == list(range(1, stacks + 1))
    # Stack i has, leaf first, the bits of i.
    expected = [format(i, f"0{levels}b")[::-1] for i in range(stacks)]
    assert columns["path"][:stacks] == expected
    assert all(columns["complete"][:stacks])
    assert len(set(columns["ustack"][:stacks])) == stacks
