"""Received and lost add up to what happened, exactly, where the rings are far too small."""

from __future__ import annotations

from pathlib import Path

import pytest
from recordings import Recorded, puppet, recording, until
from workloads import built

pytestmark = pytest.mark.bpf

CALLS = 300_000
HANDOVERS = 100_000
SMALL = ("--ring-bytes", "64K")
LARGE = ("--ring-bytes", "64M")
"""Room for all the calls, however late the recorder comes to read them."""


def happened(recorded: Recorded, kind: str) -> int:
    """Events of a kind by the manifest, after a look at whether its parts are right."""
    counts = recorded.counts(kind)
    rows = recorded.value("select count(*) from events where kind = $kind", kind=kind)
    assert rows == counts.received
    told = recorded.summary["kinds"][kind]
    assert (told["events"], told["lost"]) == (counts.received, counts.lost)
    return counts.received + counts.lost


@pytest.mark.parametrize("stacks", ["", ":uk"])
@pytest.mark.parametrize("ring", [SMALL, LARGE])
def test_every_call_is_received_or_lost(tmp_path: Path, ring: tuple[str, ...], stacks: str) -> None:
    with (
        puppet(built("puppet")) as one,
        recording(tmp_path / "r", f"vfs{stacks}", "--pid", str(one.pid), *ring) as recorder,
    ):
        one.order(f"write {CALLS}")
        one.order(f"both {CALLS // 10}")
        recorded = recorder.stop()
    # Beside the calls it was told to make: two lines of "done", and the reading of the second
    # order; that of the first began before the recording did.
    assert happened(recorded, "vfs_write") == CALLS + CALLS // 10 + 2
    assert happened(recorded, "vfs_read") == CALLS // 10 + 1
    if ring is SMALL:
        assert recorded.counts("vfs_write").lost > 0
    elif not stacks:
        assert recorded.counts("vfs_write").lost == 0


@pytest.mark.parametrize("stacks", ["", ":uk"])
def test_every_switch_is_received_or_lost(tmp_path: Path, stacks: str) -> None:
    with (
        puppet(built("puppet")) as one,
        recording(tmp_path / "r", f"switch{stacks}", "--pid", str(one.pid), *SMALL) as recorder,
    ):
        before = one.switches()
        one.order(f"switch {HANDOVERS}")
        switched = one.switches() - before
        threads = len(one.threads())
        recorded = recorder.stop()
    assert switched >= 2 * HANDOVERS - 2
    assert happened(recorded, "switch") == switched
    # As many waits have ended, and each thread is in one that has not.
    assert happened(recorded, "wait") == switched + threads
    still = recorded.value("select count(*) from events where kind = 'wait' and open")
    assert still == threads
    assert recorded.counts("switch").lost > 0
    assert recorded.counts("wait").lost > 0


def test_samples_are_not_lost_while_others_are(tmp_path: Path) -> None:
    """A sample that falls into another program is taken all the same."""
    with (
        puppet(built("puppet")) as one,
        recording(
            tmp_path / "r", "vfs:uk,profile:u:999", "--pid", str(one.pid), *SMALL
        ) as recorder,
    ):
        one.order(f"write {CALLS}")
        recorded = recorder.stop()
    assert recorded.manifest.status.totals.skipped_runs == 0
    assert happened(recorded, "vfs_write") == CALLS + 1
    assert recorded.counts("profile").received + recorded.counts("profile").lost > 0


def test_what_is_shorter_than_asked_for_is_counted_apart(tmp_path: Path) -> None:
    with (
        puppet(built("puppet")) as one,
        recording(tmp_path / "r", "switch::5000000", "--pid", str(one.pid)) as recorder,
    ):
        before = one.switches()
        one.order("switch 2000")
        until(lambda: one.states() == {"S"})
        switched = one.switches() - before
        threads = len(one.threads())
        recorded = recorder.stop()
    kept = happened(recorded, "switch") + happened(recorded, "wait")
    below = recorded.manifest.status.totals.below_threshold
    assert kept + below == 2 * switched + threads
    assert below >= 2000
    assert recorded.value("select min(duration) from events where not coalesce(open, false)") > 5e6
