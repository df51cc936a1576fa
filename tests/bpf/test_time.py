"""Slices, waits and their wakers, against the clocks of the threads themselves."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from recordings import DEADLINE_S, Recorded, Recorder, Row, names, record, statuses, until
from workloads import built

pytestmark = pytest.mark.bpf

MS = 1_000_000


def near(measured_ns: int, share: float = 0.01) -> int:
    """How far from what was measured a time may be: 1 ms and a share of it."""
    return MS + round(measured_ns * share)


def waits_between(recorded: Recorded, tid: int, begin_ns: int, end_ns: int) -> list[Row]:
    """The waits of a thread that ended between two moments of CLOCK_MONOTONIC."""
    return recorded.rows(
        "select * from samples where kind = 'wait' and pid = $tid and not open "
        "and timestamp between $begin and $end order by timestamp",
        tid=tid,
        begin=recorded.epoch_ns(begin_ns),
        end=recorded.epoch_ns(end_ns),
    )


def test_naps_are_waits_as_long_as_they_were(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r", "switch:uk", [built("waits"), "sleep", "--truth", "TRUTH"])
    recorded.assert_nothing_lost()
    tid = recorded.truth["tid"]
    assert len(recorded.truth["naps"]) == 8
    for nap in recorded.truth["naps"]:
        measured = nap["end_ns"] - nap["begin_ns"]
        waits = waits_between(recorded, tid, nap["begin_ns"], nap["end_ns"])
        # Off the CPU more than once only where others took the CPU before or after the nap.
        longest = max(waits, key=lambda wait: int(wait["duration"]))
        blocked = sum(wait["duration"] - wait["amount"] for wait in waits)
        runnable = sum(wait["amount"] for wait in waits)
        assert abs(blocked - (measured - runnable)) <= near(measured)
        assert nap["asked_ns"] <= blocked <= nap["asked_ns"] + near(measured) + MS
        assert longest["waker"] in (None, 0)  # a timer's interrupt
        assert "nap" in names(longest["ustack"])


def test_a_mutex_is_handed_over_by_its_owner(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r", "switch:uk", [built("waits"), "mutex", "--truth", "TRUTH"])
    recorded.assert_nothing_lost()
    truth = recorded.truth
    assert len(truth["handovers"]) == 8
    for handover in truth["handovers"]:
        measured = handover["end_ns"] - handover["begin_ns"]
        waits = waits_between(recorded, truth["waiter"], handover["begin_ns"], handover["end_ns"])
        wait = max(waits, key=lambda wait: int(wait["duration"] - wait["amount"]))
        blocked = sum(one["duration"] - one["amount"] for one in waits)
        runnable = sum(one["amount"] for one in waits)
        assert abs(blocked - (measured - runnable)) <= near(measured)
        assert wait["waker"] == truth["owner"]
        assert {"open_gate", "own"} <= set(names(wait["wstack"]))
        assert {"wait_at_gate", "want"} <= set(names(wait["ustack"]))
        # One stack: the waker's kernel frames, then its user frames.
        frames = names(wait["wstack"])
        assert any("futex" in name for name in frames[: frames.index("open_gate")])
        assert any("futex" in name for name in names(wait["kstack"]))


def test_two_threads_share_a_cpu(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r", "switch:u", [built("waits"), "share", "--truth", "TRUTH"])
    recorded.assert_nothing_lost()
    for thread in recorded.truth["threads"]:
        (row,) = recorded.rows(
            """
            select sum(duration) filter (kind = 'switch')::bigint as ran,
                   sum(duration) filter (kind = 'wait')::bigint as off,
                   sum(amount) filter (kind = 'wait')::bigint as runnable
            from events where pid = $tid
            """,
            tid=thread["tid"],
        )
        life = thread["end_ns"] - thread["begin_ns"]
        assert 0.4 <= row["runnable"] / life <= 0.6
        assert abs(row["runnable"] - thread["runnable_ns"]) <= near(life)
        assert abs(row["ran"] - thread["cpu_ns"]) <= near(life)
        assert abs(row["ran"] + row["off"] - life) <= near(life)


def test_slices_and_waits_follow_each_other_without_a_gap(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r", "switch", [built("waits"), "mutex", "--truth", "TRUTH"])
    recorded.assert_nothing_lost()
    gaps = recorded.rows(
        """
        select pid, kind, timestamp - duration as begin,
               lag(timestamp) over (partition by pid order by timestamp) as before,
               lag(kind) over (partition by pid order by timestamp) as kind_before
        from events where kind in ('switch', 'wait') and not coalesce(open, false)
        qualify before is not null and (begin <> before or kind = kind_before)
        """
    )
    assert gaps == []


def test_a_deadlock_is_open_at_the_end_with_its_stacks(tmp_path: Path) -> None:
    truth_file = tmp_path / "truth.json"
    recorder = Recorder(
        tmp_path / "r",
        "switch:uk",
        *("--", str(built("waits")), "deadlock", "--truth", str(truth_file)),
    )
    until(truth_file.exists)
    recorder.until_recording()
    told = len(statuses(recorder.stderr))
    until(lambda: len(statuses(recorder.stderr)) >= told + 2)  # two seconds of it
    # Not ^C, which would go to the launched program as well.
    recorder.process.send_signal(signal.SIGTERM)
    recorder.process.wait(DEADLINE_S)
    truth = json.loads(truth_file.read_text())
    assert Path(f"/proc/{truth['tgid']}").exists()  # left alone
    os.kill(truth["tgid"], signal.SIGKILL)
    recorded = recorder.finish()
    expected = {
        truth["left_first"]: ("left_first", "take_right_after_left"),
        truth["right_first"]: ("right_first", "take_left_after_right"),
        truth["tgid"]: ("main",),
    }
    rows = recorded.rows("select * from samples where kind = 'wait' and open")
    assert {row["pid"] for row in rows} == set(expected)
    assert len(rows) == len(expected)
    end = recorded.manifest.status.end
    for row in rows:
        assert set(expected[row["pid"]]) <= set(names(row["ustack"]))
        assert any("futex" in name for name in names(row["kstack"]))
        assert row["waker"] in (None, 0)
        assert row["amount"] == 0
        assert abs(row["timestamp"] - end) <= 10 * MS
        began = row["timestamp"] - row["duration"]
        assert abs(began - recorded.epoch_ns(truth["locked_ns"])) <= 100 * MS
