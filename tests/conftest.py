"""What all tests share: steady property tests, and real-kernel tests only where one can be used."""

from __future__ import annotations

import functools

import pytest
from hypothesis import settings

from stacks_tui.doctor import checks

settings.register_profile("steady", deadline=None, print_blob=True)
settings.load_profile("steady")


@functools.cache
def _why_not() -> str | None:
    """Why programs can't be loaded here: the doctor's own words, or None."""
    failed = [check for check in checks.to_record() if check.needed and not check.ok]
    return f"{failed[0].detail}; {failed[0].fix}" if failed else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs the kernel where it can't be had; a failure there is never skipped."""
    if item.get_closest_marker("bpf") and (reason := _why_not()):
        pytest.skip(reason)
