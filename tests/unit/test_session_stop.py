"""The first signal asks, a second ^C forces, and what was before comes back."""

from __future__ import annotations

import os
import select
import signal

import pytest

from stacks_tui.session.stop import StopRequest


def test_first_signal_asks_and_second_interrupt_forces() -> None:
    with StopRequest() as stop:
        assert not stop.requested
        assert select.select([stop], [], [], 0)[0] == []
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        assert stop.signal is signal.SIGINT
        assert select.select([stop], [], [], 0)[0] == [stop]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_sigterm_twice_only_asks() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal is signal.SIGTERM


def test_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest() as stop:
        stop.request()
        assert stop.requested
        assert stop.signal is None
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_first_interrupt_after_a_requested_end_does_not_force() -> None:
    with StopRequest() as stop:
        stop.request()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal is signal.SIGINT
