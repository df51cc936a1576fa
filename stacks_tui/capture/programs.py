"""The loaded BPF programs: made once, then kinds are attached, changed and detached while they run.

Comes in: sizes and `ProgramSpec`s. Goes out: the two rings, the counters, and the maps through
which the target filter and the unwinder's tables reach the kernel. The only door to the kernel
side.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stacks_tui.capture import bpf
from stacks_tui.capture.btf import KernelTypes
from stacks_tui.capture.compile import Compiler
from stacks_tui.capture.counters import KindCounts, read_counters, read_given_up
from stacks_tui.capture.layout import TASK_TRACEPOINTS, TRACEPOINTS, KernelLayout, read_layout
from stacks_tui.capture.loading import Loader
from stacks_tui.capture.ringbuf import EventRing, StackRing
from stacks_tui.capture.source import splice
from stacks_tui.capture.spans import SpanMaps
from stacks_tui.capture.syscalls import families
from stacks_tui.capture.usdt import PROBES
from stacks_tui.diskcache import DiskCache
from stacks_tui.errors import MachineError
from stacks_tui.kinds import Kind, ProgramSpec
from stacks_tui.records import EVENT, EventFlag

PROGRAM_INDEX = {"profile": 0, "switch": 1, "rss": 2, "block": 3, "vfs": 4, "net": 5, "usdt": 6}
"""`enum program` of bpf/maps.h."""

COPY_SLOTS = 8
"""Rooms of 41 KB for copies of stacks, on each CPU: `SLOT_COUNT` in bpf/maps.h."""
LEAST_STACK_RING_BYTES = 1 << 16
_TAILS = ("unwind", "finish", "python", "python_frames", "python_codes")
"""`enum tail` of bpf/maps.h; which ends the names of its functions."""
_ENDINGS = {"profile": "sample", "usdt": "probe"}
"""By program of `-p`, what the names of its steps end with; else `raw`."""
_WANT_USER, _WANT_KERNEL, _WANT_ACTIVE, _WANT_SPANS = 1, 2, 4, 8
_TARGET_ALL, _TARGET_FOLLOW, _TARGET_COMMS, _TARGET_CGROUP = 1, 2, 4, 8
_CONFIG = struct.Struct("<IIQIIQIIQ8Q8Q8Q")
_THREAD = np.dtype(
    [
        ("off", "<u8"),
        ("ustack", "<u8"),
        ("kstack", "<u8"),
        ("woken", "<u8"),
        ("wstack", "<u8"),
        ("span_id", "<u8"),
        ("waker_span", "<u8"),
        ("tgid", "<u4"),
        ("state", "<u4"),
        ("waker", "<u4"),
        ("flags", "<u4"),
        ("span_born", "<u4"),
        ("reserved", "<u4"),
    ]
)
"""`struct thread` of bpf/kinds/switch.bpf.c."""


class Programs:
    """The kernel side of one recording."""

    def __init__(
        self,
        bpf_folder: Path,
        cache: DiskCache | None,
        *,
        ring_bytes: int,
        max_frames: int = 512,
        unwind: bool = True,
        row_chunks: int | None = None,
        expected: Iterable[str] = (),
        report: Callable[[str], None] = lambda phase: None,
    ) -> None:
        """Compile (or take from the cache), make the maps, load what every recording needs.

        `row_chunks`: of unwind rows; None: as many as bpf/maps.h says. `expected`: programs of `-p`
        that will be attached at once, so that they are compiled and verified together.

        Raises:
            MachineError: the kernel, the user or a missing BCC does not allow it.
        """
        report("reading the kernel's types")
        self._layout: KernelLayout = read_layout(KernelTypes())
        report("compiling")
        stubs = bpf_folder / "stubs"
        compiler = Compiler(splice(bpf_folder), self._layout.defines, stubs, cache)
        base = ["on_cpu_facts", *(function for _, function in TASK_TRACEPOINTS)]
        first = base + [
            function
            for program in expected
            if program not in self.unavailable
            for function in self._functions(program)
        ]
        sizes = {
            "events": ring_bytes,
            "stacks": max(ring_bytes, LEAST_STACK_RING_BYTES),
            "rows": row_chunks,
            "copy_rooms": bpf.possible_cpus() * COPY_SLOTS,
        }
        self._loader = Loader(compiler, first, sizes)
        report("loading")
        self._open = contextlib.ExitStack()
        self._open.callback(self._loader.close)
        self._loader.begin(first)
        self._maps = self._loader.maps
        self._tails: set[str] = set()
        self._attached: dict[str, contextlib.ExitStack] = {}
        self._specs: dict[str, ProgramSpec] = {}
        self._want = [0] * 8
        self._number = [0] * 8
        self._since = [0] * 8
        self._flags = 0
        self._cgroup = (0, 0)
        self._max_frames = max_frames
        self._unwind = unwind
        self._copy_bytes = self._maps["stacks"].max_entries // 2
        self._preempt_count = 0
        self._survey_cpus()
        self._configure()
        for number, family in families():
            self._maps["families"].put(struct.pack("<I", number), struct.pack("<I", family))
        for tracepoint, function in TASK_TRACEPOINTS:
            link = bpf.attach_raw_tracepoint(self._loader.load(function), tracepoint)
            self._open.callback(os.close, link)
        self.spans = SpanMaps(self._maps)
        self.events = EventRing(self._maps["events"])
        self.stacks = StackRing(self._maps["stacks"], self._maps["copies"])
        self.wakeup_fd = self._maps["stacks"].fd
        """Readable when stacks came that should not wait."""

    @property
    def unavailable(self) -> dict[str, str]:
        """By program of `-p`: why this kernel can't give it."""
        return self._layout.unavailable

    @property
    def attached(self) -> dict[str, ProgramSpec]:
        """What collects now."""
        return dict(self._specs)

    def attach(self, spec: ProgramSpec) -> None:
        """Start a program, or change its letters and number if it runs.

        Raises:
            MachineError: this kernel has not the tracepoints.
        """
        reason = self.unavailable.get(spec.program)
        if reason:
            raise MachineError(f"can't record {spec.program}: {reason}.")
        running = self._specs.get(spec.program)
        if running is not None and (spec.program != "profile" or running.number == spec.number):
            self._set_program(spec, time.monotonic_ns())
            self._specs[spec.program] = spec
            return
        self.detach(spec.program)
        links = contextlib.ExitStack()
        try:
            self._loader.begin(self._functions(spec.program))
            self._load_tails(_ENDINGS.get(spec.program, "raw"))
            loaded = [
                (name, self._loader.load(function))
                for name, function in TRACEPOINTS[spec.program]
                if name not in self._layout.absent
            ]
            sampler = self._loader.load("on_sample") if spec.program == "profile" else None
            if spec.program == "switch":
                self._forget_switches()
            if spec.program == "usdt":
                for probe in PROBES:  # at once: verifying takes longer than attaching
                    self.probe_program(probe)
                self.spans.forget()
            self._set_program(spec, time.monotonic_ns())
            for tracepoint, program in loaded:
                links.callback(os.close, bpf.attach_raw_tracepoint(program, tracepoint))
            if sampler is not None:
                for cpu in bpf.online_cpus():
                    fd = bpf.attach_cpu_clock(sampler, cpu, self._number[0])
                    links.callback(os.close, fd)
        except BaseException:
            links.close()
            raise
        self._attached[spec.program] = links
        self._specs[spec.program] = spec

    def detach(self, program: str) -> None:
        """Stop a program; what it has emitted stays in the ring."""
        links = self._attached.pop(program, None)
        if links is None:
            return
        links.close()
        del self._specs[program]
        self._want[PROGRAM_INDEX[program]] = 0
        self._configure()

    def detach_all(self) -> None:
        """Stop every program."""
        for program in list(self._attached):
            self.detach(program)

    def counters(self) -> dict[Kind, KindCounts]:
        """What was counted so far, per kind."""
        return read_counters(self._maps["counters"])

    def skipped_runs(self) -> dict[str, int]:
        """Runs that the kernel skipped, a program being interrupted by itself; by function.

        `taken over`: runs that gave up half-way, their scratch memory being another task's by then.
        """
        counts = {name: bpf.program_statistics(fd) for name, fd in self.descriptors().items()}
        found = {name: c.get("recursion_misses", 0) for name, c in counts.items()}
        found["taken over"] = read_given_up(self._maps["counters"])
        return {name: number for name, number in found.items() if number}

    def descriptors(self) -> dict[str, int]:
        """The loaded programs, by function."""
        return self._loader.descriptors()

    def verified_instructions(self) -> dict[str, int]:
        """Instructions that the verifier worked through, by function (kernels from 6.1 on)."""
        counts = {name: bpf.program_statistics(fd) for name, fd in self.descriptors().items()}
        return {name: c["verified_insns"] for name, c in counts.items() if "verified_insns" in c}

    def open_waits(self, now: int, *, labelled: bool = False) -> npt.NDArray[np.void]:
        """The waits that have not ended, as events (dtype `EVENT`) up to `now`.

        `labelled`: only those that began in a span.
        """
        keys, values = self._maps["threads"].at_once()
        pids, threads = np.frombuffer(keys, "<u4"), np.frombuffer(values, _THREAD)
        chosen = (threads["off"] > 0) & (threads["off"] <= now)
        if labelled:
            chosen &= threads["span_id"] > 0
        threads, pids = threads[chosen], pids[chosen]
        there = np.array([Path(f"/proc/{pid}").exists() for pid in pids.tolist()], bool)
        threads, pids = threads[there], pids[there]
        events = np.zeros(len(threads), EVENT)
        events["time"] = now
        events["duration"] = now - threads["off"]
        preempted = threads["flags"] & EventFlag.PREEMPTED != 0
        since = np.where(preempted, threads["off"], threads["woken"])
        events["amount"] = np.where((since >= threads["off"]) & (since <= now), now - since, 0)
        for name in ("ustack", "kstack", "span_id", "span_born", "tgid", "state"):
            events[name] = threads[name]
        events["word0"] = np.where(preempted, 0, threads["wstack"])
        events["word1"] = np.where(preempted, 0, threads["waker_span"])
        events["waker"] = np.where(preempted, 0, threads["waker"])
        events["pid"] = pids
        events["kind"] = Kind.WAIT
        events["flags"] = threads["flags"].astype(np.uint8) | np.uint8(EventFlag.OPEN)
        shortest = self._number[PROGRAM_INDEX["switch"]]
        return events[events["duration"] >= shortest]

    def open_spans(self, now: int) -> npt.NDArray[np.void]:
        """The spans that are open and the waits in them, as events up to `now`, while all goes on.

        Nothing where nobody listens to spans.
        """
        if "usdt" not in self.attached:
            return np.zeros(0, EVENT)
        waits = self.open_waits(now, labelled=True)
        if "switch" not in self.attached:
            waits = waits[:0]
        return np.concatenate([waits, self.spans.still_open(now)])

    def add_blocked_threads(self, threads: Iterable[tuple[int, int, int]]) -> None:
        """Waits that began before `switch` was attached: (tgid, pid, state) of blocked threads.

        Their waits count from the attachment, without stacks. A thread that has switched since is
        known better already.
        """
        since = self._since[PROGRAM_INDEX["switch"]]
        for tgid, pid, state in threads:
            value = np.zeros(1, _THREAD)
            value["off"], value["tgid"], value["state"] = since, tgid, state
            value["flags"] = EventFlag.BEGAN_BEFORE
            with contextlib.suppress(OSError):  # known already, or the map is full
                self._maps["threads"].put(struct.pack("<I", pid), value.tobytes(), bpf.NEW)

    # What attaches to the probes of programs (Host of capture.probes).

    @property
    def sites(self) -> int:
        """Attach cookies are below this."""
        return self._maps["sites"].max_entries

    def probe_program(self, probe: str) -> int:
        """The program of a probe, such as `enter`."""
        return self._loader.load(f"span_{probe}_probe")

    def put_site(self, index: int, value: bytes) -> None:
        """Where the probe of an attach cookie has its arguments."""
        self._maps["sites"].put(struct.pack("<I", index), value)

    def mark_spans(self, on: bool) -> None:
        """Whether events look for the span in which they happen: it costs each some 60 ns."""
        index = PROGRAM_INDEX["usdt"]
        self._want[index] = self._want[index] & ~_WANT_SPANS | _WANT_SPANS * on
        self._configure()

    # What decides who is traced (TargetMaps of capture.targets).

    def add_tgid(self, tgid: int) -> None:
        """Trace a process."""
        self._maps["targets"].put(struct.pack("<I", tgid), b"\1")

    def remove_tgid(self, tgid: int) -> None:
        """Trace it no longer."""
        self._maps["targets"].drop(struct.pack("<I", tgid))

    def add_comm(self, key: bytes) -> None:
        """Trace processes and threads of this name (16 bytes, NUL padded)."""
        self._maps["comms"].put(key, b"\1")
        self._flags |= _TARGET_COMMS
        self._configure()

    def set_cgroup(self, cgroup_id: int, level: int) -> None:
        """Trace a cgroup (version 2) and those below it."""
        self._cgroup = (cgroup_id, level)
        self._flags |= _TARGET_CGROUP
        self._configure()

    def set_modes(self, *, everything: bool, follow: bool) -> None:
        """Trace everything but the recorder; trace children of what is traced."""
        self._flags &= ~(_TARGET_ALL | _TARGET_FOLLOW)
        self._flags |= _TARGET_ALL * everything | _TARGET_FOLLOW * follow
        self._configure()

    # What the unwinder's tables need (SpaceMap of unwind.tables).

    def table_memory(self, name: str, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
        """The whole of a mappable map (`rows`, `mappings`) as one array that the kernel reads."""
        table = self._maps[name]
        size = table.shape.value_size * table.max_entries
        return np.frombuffer(table.map_memory(size), dtype, size // dtype.itemsize)

    def publish(self, tgid: int, chunk: int, first: int, count: int, epoch: int) -> None:
        """Where a process's mappings lie from now on."""
        self._put_space(tgid, struct.pack("<IHHII", chunk, first, count, epoch, 0), bpf.ANY)

    def replace(self, tgid: int, chunk: int, first: int, count: int, epoch: int) -> None:
        """As `publish`, but only where there is an entry."""
        self._put_space(tgid, struct.pack("<IHHII", chunk, first, count, epoch, 0), bpf.EXISTING)

    def remove(self, tgid: int) -> None:
        """Its mappings are known no longer."""
        self._maps["spaces"].drop(struct.pack("<I", tgid))

    # Where the Python frames of a process are (PythonMap of stacks_tui.python.runtime).

    def publish_python(self, tgid: int, layout: bytes) -> None:
        """The `struct python` of a process: its stacks have its Python frames from now on."""
        with contextlib.suppress(OSError):  # full: its stacks are native
            self._maps["pythons"].put(struct.pack("<I", tgid), layout)

    def remove_python(self, tgid: int) -> None:
        """It has none any more."""
        self._maps["pythons"].drop(struct.pack("<I", tgid))

    def close(self) -> None:
        """Detach and give everything back to the kernel."""
        self.detach_all()
        self._open.close()

    def _put_space(self, tgid: int, value: bytes, when: int) -> None:
        with contextlib.suppress(OSError):  # full: its stacks say that its mappings are not known
            self._maps["spaces"].put(struct.pack("<I", tgid), value, when)

    def _functions(self, program: str) -> list[str]:
        """What a program of `-p` runs; what takes longest to verify first."""
        ending = _ENDINGS.get(program, "raw")
        found = [f"{step}_{ending}" for step in _TAILS]
        found += [
            function
            for tracepoint, function in TRACEPOINTS[program]
            if tracepoint not in self._layout.absent
        ]
        if program == "profile":
            found.append("on_sample")
        if program == "usdt":
            found += [f"span_{probe}_probe" for probe in PROBES]
        return found

    def _load_tails(self, ending: str) -> None:
        if ending in self._tails:
            return
        table = self._maps[f"{ending}_programs"]
        for index, step in enumerate(_TAILS):
            program = self._loader.load(f"{step}_{ending}")
            table.put(struct.pack("<I", index), struct.pack("<I", program))
        self._tails.add(ending)

    def _survey_cpus(self) -> None:
        program = self._loader.load("on_cpu_facts")
        for cpu in bpf.online_cpus():
            with contextlib.suppress(OSError):  # the CPU went away
                bpf.run_on_cpu(program, cpu)
        if self._layout.preempt_count is None or self._layout.run_queues is None:
            return
        for cpu in bpf.online_cpus():
            facts = self._maps["cpus"].get(struct.pack("<I", cpu)) or b""
            offset, queue = struct.unpack("<QQ", facts)
            if offset and queue:
                section = queue - offset - self._layout.run_queues
                self._preempt_count = (section + self._layout.preempt_count) % 2**64
                return

    def _set_program(self, spec: ProgramSpec, now: int) -> None:
        index = PROGRAM_INDEX[spec.program]
        marks = self._want[index] & _WANT_SPANS
        self._want[index] = (
            _WANT_ACTIVE | _WANT_USER * spec.user | _WANT_KERNEL * spec.kernel | marks
        )
        self._number[index] = round(1e9 / spec.number) if spec.program == "profile" else spec.number
        self._since[index] = now
        self._configure()

    def _forget_switches(self) -> None:
        for key in [key for key, _ in self._maps["threads"].items()]:
            self._maps["threads"].drop(key)
        zeros = bytes(8 * bpf.possible_cpus())
        self._maps["last_switch"].put(bytes(4), zeros)

    def _configure(self) -> None:
        value = _CONFIG.pack(
            self._flags,
            os.getpid(),
            self._cgroup[0],
            self._cgroup[1],
            self._max_frames,
            self._preempt_count,
            bpf.possible_cpus(),
            int(self._unwind),
            self._copy_bytes,
            *self._want,
            *self._number,
            *self._since,
        )
        self._maps["config"].put(bytes(4), value)
