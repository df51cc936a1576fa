"""Names, forks, execs and ends: whose event each is, told by the bytes that it wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from recordings import puppet, record
from workloads import build_id, built

pytestmark = pytest.mark.bpf

ROUNDS = 20

NAMES = {
    # bytes: (command, thread)
    1101: ("life", "life"),
    1102: ("renamed-self", "renamed-self"),
    1103: ("renamed-self", "renamed-self"),  # a new thread inherits
    1104: ("renamed-self", "worker-a"),
    1105: ("renamed-self", "worker-b"),
    1106: ("renamed-self", "renamed-self"),  # a new process does
    1107: ("child-name", "child-name"),
    1108: ("life_next", "life_next"),  # the child, after its exec
    1109: ("life_next", "life_next"),
    1112: ("life_next", "life_next"),  # exec'd from a thread that was not the first
}


def test_names_of_processes_and_threads_are_those_of_the_moment(tmp_path: Path) -> None:
    recorded = record(
        tmp_path / "r", "vfs:u", [built("life"), built("life_next"), "--truth", "TRUTH"]
    )
    assert recorded.counts("vfs_write").lost == 0
    rows = recorded.rows(
        "select amount, command, thread, tgid, pid, buildid, count(*) as calls "
        "from events where kind = 'vfs_write' and amount between 1101 and 1199 group by all"
    )
    truth = recorded.truth
    found = {row["amount"]: row for row in rows if row["amount"] in NAMES}
    assert len([row for row in rows if row["amount"] in NAMES]) == len(NAMES), rows
    old, new = build_id(built("life")), build_id(built("life_next"))
    processes = {1106: "child", 1107: "child", 1108: "child", 1112: "threaded_child"}
    for amount, names in NAMES.items():
        row = found[amount]
        assert (row["command"], row["thread"]) == names, amount
        assert row["calls"] == ROUNDS
        assert row["tgid"] == truth[processes.get(amount, "tgid")]
        if amount in (1103, 1104, 1105):
            assert row["pid"] == truth["worker"]
        else:
            assert row["pid"] == row["tgid"]
        assert row["buildid"] == (new if amount in (1108, 1109, 1112) else old), amount
    # A name that changes all the time.
    flips = {(row["amount"], row["command"]): row["calls"] for row in rows if row["amount"] > 1109}
    del flips[1112, "life_next"]
    assert flips == {(1110, "even-name"): truth["flips"], (1111, "odd-name"): truth["flips"]}


def test_stacks_belong_to_the_program_that_ran(tmp_path: Path) -> None:
    recorded = record(
        tmp_path / "r", "vfs:u", [built("life"), built("life_next"), "--truth", "TRUTH"]
    )
    rows = recorded.rows(
        """
        select amount, list_distinct(list_transform(list_filter(ustack, lambda f: f.name = 'main'),
               lambda f: f.buildid)) as programs, count(*) as calls
        from samples
        where kind = 'vfs_write' and amount in (1101, 1102, 1106, 1107, 1108, 1109, 1112)
        group by all
        """
    )
    old, new = build_id(built("life")), build_id(built("life_next"))
    for row in rows:
        expected = [new if row["amount"] in (1108, 1109, 1112) else old]
        assert row["programs"] == expected, row


def test_each_exec_is_a_row_of_processes(tmp_path: Path) -> None:
    recorded = record(
        tmp_path / "r", "vfs", [built("life"), built("life_next"), "--truth", "TRUTH"]
    )
    truth = recorded.truth
    rows = recorded.rows('select *, "end" as stop from processes order by start nulls first')
    of = {
        who: [row for row in rows if row["tgid"] == truth[who]]
        for who in ("tgid", "child", "threaded_child")
    }
    paths = (str(built("life")), str(built("life_next")))
    for who, several in of.items():
        assert [row["exe"] for row in several[-2:]] == list(paths), who
        first, second = several[-2:]
        assert first["stop"] is not None
        assert first["start"] < first["stop"] <= second["start"] < second["stop"]
        assert [row["buildid"] for row in (first, second)] == [
            build_id(built("life")),
            build_id(built("life_next")),
        ]
        assert second["comm"] == "life_next"
        if second["cmdline"] is not None:  # it had ended before anyone looked
            assert second["cmdline"].startswith(paths[1])
    for who in ("child", "threaded_child"):
        assert {row["parent"] for row in of[who]} == {truth["tgid"]}


def test_two_hundred_short_lives(tmp_path: Path) -> None:
    loop = "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done"
    recorded = record(tmp_path / "r", "vfs:u,switch:u,profile:u:999", ["sh", "-c", loop])
    assert recorded.manifest.status.totals.sideband_lost == 0
    rows = recorded.rows("select * from processes where comm = 'true'")
    assert len(rows) == 200
    assert len({row["tgid"] for row in rows}) == 200
    for row in rows:
        assert row["exe"] in ("/bin/true", "/usr/bin/true")
        assert row["cmdline"] in ("/bin/true", None)  # null: it had ended before anyone looked
        assert row["buildid"] == build_id(Path("/bin/true"))
        assert row["start"] < row["end"]
    # Whoever wrote a row has a name, and frames that say in which file they are.
    assert recorded.value("select count(*) from events where command is null") == 0
    per_process = recorded.value(
        "select count(distinct tgid) from events where kind = 'vfs_read' and command = 'true'"
    )
    assert per_process == 200  # the loader reads libc
    (frames,) = recorded.rows(
        """
        select count(*) as total,
               count(*) filter (f.name not like '[%') as named,
               count(*) filter (f.name like '[0x%') as nowhere
        from (select unnest(ustack) as f from samples where command = 'true' and kind <> 'profile')
        """
    )
    assert frames["total"] > 1000
    assert frames["nowhere"] == 0
    # The loader's own start, the outermost frame of each stack, has no symbol in a stripped ld.so.
    assert frames["named"] >= 0.8 * frames["total"]
    assert (
        recorded.value(
            "select count(*) from events e anti join stacks s on s.id = e.ustack "
            "where e.ustack is not null"
        )
        == 0
    )


def test_an_event_of_every_process_is_within_its_life(tmp_path: Path) -> None:
    loop = "i=0; while [ $i -lt 20 ]; do /bin/true; i=$((i+1)); done"
    recorded = record(tmp_path / "r", "vfs,switch", ["sh", "-c", loop])
    outside = recorded.rows(
        """
        select e.tgid, e.kind, e.timestamp from events e
        anti join processes p on p.tgid = e.tgid
            and e.timestamp >= coalesce(p.start, 0)
            and e.timestamp - 20000000 <= coalesce(p."end", 1 << 63::ubigint)
        where e.command = 'true'
        """
    )
    assert outside == []


def test_kinds_switched_off_and_on_while_it_runs(tmp_path: Path) -> None:
    from stacks_tui.capture.targets import Targets
    from stacks_tui.kinds import parse_programs
    from stacks_tui.session.options import RecordOptions
    from stacks_tui.session.recorder import Session
    from stacks_tui.store.reader import open_recording

    with puppet(built("puppet")) as one:
        vfs, switch = parse_programs("vfs:u,switch")
        options = RecordOptions((vfs, switch), Targets(pids=(one.pid,)), tmp_path / "r")
        session = Session(options, lambda status: None)
        try:
            one.order("both 1000")
            session.detach("vfs")
            one.order("both 100")
            session.attach(vfs)
            one.order("both 10")
            (with_kernel,) = parse_programs("vfs:uk")
            session.attach(with_kernel)
            one.order("both 1")
            outcome = session.finish()
        finally:
            session.close()
    assert outcome.failure is None
    with open_recording(tmp_path / "r") as opened:
        (row,) = opened.table(
            """
            select count(*) filter (amount = 2) as writes,
                   count(*) filter (amount = 2 and kstack is not null) as with_kernel,
                   count(*) filter (amount = 2 and ustack is not null) as with_user
            from events where kind = 'vfs_write'
            """
        ).to_pylist()
        assert row == {"writes": 1011, "with_kernel": 1, "with_user": 1011}
        assert opened.manifest is not None
        counts = opened.manifest.status.kinds["vfs_write"]
        ((begin, end),) = counts.gaps
        assert begin < end < opened.manifest.status.end
        inside = opened.table(
            "select count(*) as n from events where kind = 'vfs_write' "
            "and timestamp > $begin and timestamp < $end",
            begin=begin + 5_000_000,
            end=end - 5_000_000,
        ).to_pylist()
        assert inside == [{"n": 0}]
        assert opened.manifest.status.kinds["switch"].gaps == ()
