"""The address spaces of one process over time: what was mapped where, at any moment of late.

Comes in: fork, exec and mappings as they happen; /proc for what was there before. Goes out: an
`AddressSpace` for a time. An exec begins an epoch; within one, mappings are a log over a base, and
spaces are made only when asked for. Old entries are folded into the base.
"""

from __future__ import annotations

import bisect
import itertools
import time as clock
from dataclasses import dataclass, field

from stacks_tui.capture import procfs
from stacks_tui.spaces import AddressSpace, Mapping, make_space

_FOLD = 64
"""Log entries past the horizon that are folded at once."""
_MOST = 8192
"""Mappings at which the kernel is asked what is still there: nothing tells of munmap."""

_generations = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Forked:
    """A new process, with its parent's address space."""

    time: int
    parent: int
    child: int


@dataclass(frozen=True, slots=True)
class Execed:
    """What a process had mapped is gone."""

    time: int
    tgid: int


@dataclass(frozen=True, slots=True)
class SpaceMade:
    """A process's address space as it is from `time` on."""

    time: int
    tgid: int
    space: AddressSpace


@dataclass(frozen=True, slots=True)
class Exited:
    """A process has ended."""

    time: int
    tgid: int


SpaceChange = Forked | Execed | SpaceMade | Exited


@dataclass(slots=True)
class _Epoch:
    since: int
    generation: int
    base: AddressSpace | None
    """None: not known yet; from `heir_of`, else from /proc."""
    heir_of: tuple[SpaceHistory, int] | None = None
    """The parent, and when."""
    times: list[int] = field(default_factory=list)
    log: list[Mapping] = field(default_factory=list)
    made: tuple[int, AddressSpace] | None = None
    """The last space made, and of how many log entries."""


class SpaceHistory:
    """One process's address spaces. Generations are unique among all processes of a session."""

    def __init__(
        self, tgid: int, since: int = 0, parent: SpaceHistory | None = None, alive: bool = True
    ) -> None:
        self._tgid = tgid
        self.alive = alive
        """/proc may be asked about it."""
        self._read_at = 0
        heir_of = None if parent is None else parent._legacy(since)
        self._epochs = [_Epoch(since, next(_generations), None, heir_of)]

    def exec(self, time: int) -> None:
        """From `time` on, nothing is mapped but what follows."""
        epoch = _Epoch(time, next(_generations), None)
        if time <= self._read_at and (old := self._epochs[-1].base) is not None:
            # /proc was read after this exec: it told of the new space
            epoch.base = AddressSpace(self._tgid, epoch.generation, old.mappings, old.starts)
        else:
            epoch.base = AddressSpace(self._tgid, epoch.generation)
        self._epochs.append(epoch)

    def map(self, time: int, mapping: Mapping) -> None:
        """From `time` on, this is mapped, over what was there."""
        if time <= self._read_at:
            return
        epoch = self._epochs[-1]
        if epoch.base is None and epoch.heir_of is None and self.alive:
            return  # /proc will tell of it
        at = bisect.bisect_right(epoch.times, time)
        epoch.times.insert(at, time)
        epoch.log.insert(at, mapping)
        if epoch.made is not None and epoch.made[0] > at:
            epoch.made = None

    def at(self, time: int) -> AddressSpace | None:
        """The space at `time`; None if it can't be known any more."""
        place = bisect.bisect_right(self._epochs, time, key=lambda epoch: epoch.since) - 1
        epoch = self._epochs[max(place, 0)]
        if epoch.base is None:
            self._find_base(epoch)
        if epoch.base is None and not epoch.log:
            return None
        return self._make(epoch, bisect.bisect_right(epoch.times, time))

    def forget_before(self, time: int) -> None:
        """No moment before `time` will be asked for."""
        while len(self._epochs) > 1 and self._epochs[1].since < time:
            del self._epochs[0]
        epoch = self._epochs[0]
        if len(epoch.times) > _FOLD and epoch.times[_FOLD] < time:
            if epoch.base is None:
                self._find_base(epoch)
            count = bisect.bisect_left(epoch.times, time)
            epoch.base = self._make(epoch, count)
            del epoch.times[:count], epoch.log[:count]
            epoch.made = None
            if len(epoch.base.mappings) > _MOST and self.alive and len(self._epochs) == 1:
                epoch.base = None

    def _legacy(self, time: int) -> tuple[SpaceHistory, int]:
        """Whom a child forked at `time` asks: the parent, or whom an unchanged parent would ask."""
        last = self._epochs[-1]
        return last.heir_of if last.heir_of is not None and not last.log else (self, time)

    def _find_base(self, epoch: _Epoch) -> None:
        if epoch.heir_of is not None:
            parent, when = epoch.heir_of
            space = parent.at(when)
            if space is not None:
                epoch.base = AddressSpace(
                    self._tgid, epoch.generation, space.mappings, space.starts
                )
                epoch.heir_of = None
                return
        if epoch is self._epochs[-1] and self.alive:
            now = clock.monotonic_ns()
            mappings = procfs.mappings(self._tgid)
            if mappings:
                epoch.base = make_space(self._tgid, epoch.generation, list(mappings))
                self._read_at = now
                count = bisect.bisect_right(epoch.times, now)
                del epoch.times[:count], epoch.log[:count]
        epoch.heir_of = None
        epoch.made = None

    def _make(self, epoch: _Epoch, count: int) -> AddressSpace:
        done, space = 0, epoch.base or AddressSpace(self._tgid, epoch.generation)
        if epoch.made is not None and epoch.made[0] <= count:
            done, space = epoch.made
        for mapping in epoch.log[done:count]:
            space = _with(space, mapping)
        epoch.made = (count, space)
        return space


def _with(space: AddressSpace, new: Mapping) -> AddressSpace:
    """As `AddressSpace.with_mapping`, fast where nothing gives way."""
    at = bisect.bisect_left(space.starts, new.start)
    clear_before = at == 0 or space.mappings[at - 1].end <= new.start
    clear_after = at == len(space.starts) or space.starts[at] >= new.end
    if not (clear_before and clear_after):
        return space.with_mapping(new)
    return AddressSpace(
        space.tgid,
        space.generation,
        (*space.mappings[:at], new, *space.mappings[at:]),
        (*space.starts[:at], new.start, *space.starts[at:]),
    )
