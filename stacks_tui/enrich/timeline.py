"""A value per pid over time: names of threads, build ids of processes.

Comes in: changes as they happen. Goes out: for arrays of times and pids the codes of the values
then, by one look-up per event; only pids that changed within those times cost more. Changes are
kept for as long as late events may come, then forgotten.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

PID_LIMIT = 1 << 22
"""PID_MAX_LIMIT of 64-bit kernels: pids are smaller. The arrays cost memory only where touched."""

UNKNOWN = 0
"""Nobody has told yet."""
ABSENT = 1
"""It is known that there is none: null."""
_FIRST = 2

_SMALL = 256
"""Values up to which a batch's dictionary simply has all of them."""
_MOST = 1 << 16
"""Values at which those that no pid has any more are forgotten."""
_SLACK_NS = 100_000_000
"""Changes may be told this late, out of order, and still be found."""

Codes = npt.NDArray[np.int32]
V = TypeVar("V", bound=Hashable)


class Timeline(Generic[V]):
    """Values of one Arrow type by pid and time. A code stands for a value until `forget_before`."""

    def __init__(
        self, arrow_type: pa.DataType, shown: Callable[[V | None], object] | None = None
    ) -> None:
        """`shown` makes of a value what Arrow stores."""
        self._type = arrow_type
        self._shown = shown or (lambda value: value)
        self._now: Codes = np.zeros(PID_LIMIT, np.int32)
        self._flag = np.zeros(PID_LIMIT, np.bool_)
        self._values: list[V | None] = [None] * _FIRST
        self._codes: dict[V, int] = {}
        self._log: dict[int, list[tuple[int, int]]] = {}
        """By pid: (time, code) in order; the first tells what was before, from time 0."""
        self._changes: deque[tuple[int, int]] = deque()
        self._dictionary: pa.Array | None = None
        self._limit = _MOST

    def code(self, value: V | None) -> int:
        """The code that stands for a value."""
        if value is None:
            return ABSENT
        code = self._codes.get(value)
        if code is None:
            code = self._codes[value] = len(self._values)
            self._values.append(value)
            self._dictionary = None
        return code

    def value(self, code: int) -> V | None:
        """The value that a code stands for."""
        return self._values[code]

    def current(self, pid: int) -> int:
        """The newest code of a pid."""
        return int(self._now[pid]) if 0 <= pid < PID_LIMIT else UNKNOWN

    def change(self, pid: int, time: int, code: int) -> None:
        """From `time` on, `pid` has this code. Where nothing was known before, it always had it."""
        if not 0 <= pid < PID_LIMIT:
            return
        old = int(self._now[pid])
        log = self._log.get(pid)
        if log is None:
            if old in (UNKNOWN, code):
                self._now[pid] = code
                return
            log = self._log[pid] = [(0, old)]
        at = bisect.bisect_right(log, (time, 1 << 40))
        log.insert(max(at, 1), (time, code))
        self._now[pid] = log[-1][1]
        self._changes.append((time, pid))

    def learn(self, pid: int, code: int) -> None:
        """What was unknown of a pid is this."""
        if not 0 <= pid < PID_LIMIT:
            return
        if self._now[pid] == UNKNOWN:
            self._now[pid] = code
        log = self._log.get(pid)
        if log:
            log[:] = [(time, code if old == UNKNOWN else old) for time, old in log]

    def forget(self, pid: int) -> None:
        """The pid is nobody's any more."""
        if 0 <= pid < PID_LIMIT:
            self._now[pid] = UNKNOWN
            self._log.pop(pid, None)

    def forget_before(self, time: int) -> None:
        """No event older than `time` will be asked for. May give codes a new meaning."""
        while self._changes and self._changes[0][0] < time:
            _, pid = self._changes.popleft()
            log = self._log.get(pid)
            if log is None:
                continue
            while len(log) > 1 and log[1][0] < time:
                del log[0]
                log[0] = (0, log[0][1])
            if len(log) == 1:
                del self._log[pid]
        if len(self._values) > self._limit:
            self._compact()

    def codes(self, times: npt.NDArray[np.uint64], pids: npt.NDArray[np.uint32]) -> Codes:
        """The code of each pid at each time; int32, the arrays' length."""
        codes: Codes = self._now.take(pids, mode="clip")
        if not self._changes or not len(times):
            return codes
        first = int(times.min())
        if self._changes[-1][0] + _SLACK_NS < first:
            return codes
        changed = self._changed_since(first)
        if changed:
            self._correct(codes, times, pids, changed)
        return codes

    def unknown(self, codes: Codes, pids: npt.NDArray[np.uint32]) -> list[int]:
        """The pids among these of which nobody has told."""
        missing = codes == UNKNOWN
        if not missing.any():
            return []
        found: list[int] = np.unique(pids[missing]).tolist()
        return found

    def array(self, codes: Codes) -> pa.DictionaryArray:
        """An Arrow dictionary array (int32) of these codes' values; unknown and absent: null."""
        indices = codes - np.int32(_FIRST)
        values = len(self._values) - _FIRST
        if values <= _SMALL:
            if self._dictionary is None:
                self._dictionary = pa.array(
                    list(map(self._shown, self._values[_FIRST:])), self._type
                )
            dictionary = self._dictionary
        else:
            used = self._used(codes, values)
            if len(codes) * 4 < values:
                indices = np.searchsorted(used, indices).astype(np.int32)
            else:
                place = np.zeros(values, np.int32)
                place[used] = np.arange(len(used), dtype=np.int32)
                indices = place.take(indices, mode="clip")
            dictionary = pa.array(
                [self._shown(self._values[_FIRST + at]) for at in used.tolist()], self._type
            )
        return dictionary_array(indices, codes >= _FIRST, dictionary)

    def _used(self, codes: Codes, values: int) -> npt.NDArray[np.int64]:
        """Places of the values that occur, ascending."""
        if len(codes) * 4 < values:
            found = np.unique(codes).astype(np.int64)
            return found[found >= _FIRST] - _FIRST
        occurs = np.zeros(values + _FIRST, np.bool_)
        occurs[codes] = True
        return np.flatnonzero(occurs[_FIRST:])

    def _changed_since(self, first: int) -> list[int]:
        """The pids that changed after `first`, ascending."""
        found = set()
        for time, pid in reversed(self._changes):
            if time > first:
                if pid in self._log:
                    found.add(pid)
            elif time + _SLACK_NS < first:
                break
        return sorted(found)

    def _correct(
        self,
        codes: Codes,
        times: npt.NDArray[np.uint64],
        pids: npt.NDArray[np.uint32],
        changed: list[int],
    ) -> None:
        dense = np.array(changed, np.int64)
        self._flag[dense] = True
        events = np.flatnonzero(self._flag.take(pids, mode="clip"))
        self._flag[dense] = False
        if not len(events):
            return
        entries = [(n, *entry) for n, pid in enumerate(changed) for entry in self._log[pid]]
        table = np.array(entries, np.int64)
        # one sorted key: which pid in the high bits, when in the low 40, which hold 18 minutes
        start = int(table[table[:, 1] > 0, 1].min()) - 1
        most = (1 << 40) - 1
        keys = (table[:, 0] << 40) + np.clip(table[:, 1] - start, 0, most)
        which = np.searchsorted(dense, pids[events])
        when = np.clip(times[events].astype(np.int64) - start, 0, most)
        at = np.searchsorted(keys, (which << 40) + when, side="right") - 1
        codes[events] = table[at, 2]

    def _compact(self) -> None:
        occurs = np.zeros(len(self._values), np.bool_)
        occurs[self._now] = True
        used = set(np.flatnonzero(occurs).tolist())
        used.update(code for log in self._log.values() for _, code in log)
        kept = [UNKNOWN, ABSENT, *sorted(used - {UNKNOWN, ABSENT})]
        place = np.zeros(len(self._values), np.int32)
        place[kept] = np.arange(len(kept), dtype=np.int32)
        touched = np.flatnonzero(self._now)
        self._now[touched] = place[self._now[touched]]
        for log in self._log.values():
            log[:] = [(time, int(place[code])) for time, code in log]
        self._values = [self._values[code] for code in kept]
        self._codes = {value: n for n, value in enumerate(self._values) if value is not None}
        self._dictionary = None
        self._limit = max(_MOST, 2 * len(self._values))


def validity(valid: npt.NDArray[np.bool_]) -> pa.Buffer | None:
    """Arrow's bitmap of what is not null; None: nothing is null."""
    if valid.all():
        return None
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def dictionary_array(
    indices: npt.NDArray[np.int32], valid: npt.NDArray[np.bool_] | None, dictionary: pa.Array
) -> pa.DictionaryArray:
    """A dictionary array over these buffers, not copied. `valid`: None where nothing is null."""
    buffers = [None if valid is None else validity(valid), pa.py_buffer(indices)]
    return pa.DictionaryArray.from_arrays(
        pa.Array.from_buffers(pa.int32(), len(indices), buffers), dictionary, safe=False
    )
