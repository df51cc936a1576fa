"""Resolves stacks: each address of a stack becomes a frame, whatever it can be told by.

Comes in: a `StackRecord` and the `AddressSpace` of its process at that time. Goes out: a
`ResolvedStack`. Nothing is dropped and nothing raises: what has no symbol says where it lies.
"""

from __future__ import annotations

import bisect
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stacks_tui.kinds import Kind
from stacks_tui.records import StackFlag, StackRecord, StackStatus
from stacks_tui.spaces import AddressSpace, Mapping
from stacks_tui.symbols.binaries import DELETED, file_path
from stacks_tui.symbols.cache import TableCache, open_disk_cache
from stacks_tui.symbols.debug_files import DEBUG_ROOT
from stacks_tui.symbols.demangle import demangle
from stacks_tui.symbols.frames import Frame, ResolvedStack
from stacks_tui.symbols.jit import JitNames
from stacks_tui.symbols.jitcells import JitSymbol
from stacks_tui.symbols.jvm import JvmMaps
from stacks_tui.symbols.kernel import CORE, KernelSymbols
from stacks_tui.symbols.modules import Module, Modules
from stacks_tui.symbols.signals import exact_lookups

OWN = "_finish_raw"
"""The BPF program that takes kernel stacks at tracepoints: `bpf_prog_<tag>_<name>` in kallsyms."""
_WAY_TO_PROGRAM = ("bpf_trace_run", "__bpf_trace_", "__traceiter_", "__do_trace_", "bpf_prog_")

FRAMES_LIMIT = 200_000
"""Frames kept for reuse, about 40 MB; beyond, all are made anew."""
_MASK = (1 << 64) - 1
_NO_RETURNS: frozenset[int] = frozenset()
_UNBACKED = ("/memfd:", "/dev/zero", "/SYSV", "/dev/shm/")  # noqa: S108
"""Files that a JIT maps for its code."""


class Resolver:
    """Names for the addresses of all processes and the kernel. For one thread."""

    def __init__(
        self,
        tables: TableCache | None = None,
        kernel: KernelSymbols | None = None,
        proc: Path = Path("/proc"),
        own_root: Path = Path("/"),
        debug_root: Path = DEBUG_ROOT,
        ask_jvms: bool = False,
    ) -> None:
        """Without `tables`, those of this user on disk are used.

        `ask_jvms`: have JVMs write the names of their code, where a stack needs them.
        """
        self._kernel = kernel if kernel is not None else KernelSymbols()
        self._kernel_frames: dict[tuple[int, bool], Frame] = {}
        self._own_disk = open_disk_cache() if tables is None else None
        kept = tables if tables is not None else TableCache(self._own_disk)
        self._modules = Modules(kept, proc, own_root, debug_root)
        self._jit = JitNames(proc, JvmMaps(proc) if ask_jvms else None)
        self._skips_callers = False
        self.names_may_come = False
        """Whether the stack resolved last has code whose name may be told later."""
        self._made = 0

    @property
    def advice(self) -> tuple[str, ...]:
        """How code could be named that had no name, a line for each runtime."""
        return tuple(sorted(runtime.value for runtime in self._jit.unnamed))

    def close(self) -> None:
        """Close the files held for later."""
        self._modules.close()
        self._jit.close()
        if self._own_disk is not None:
            self._own_disk.close()

    def prefetch(self, mapping: Mapping, tgid: int) -> None:
        """Open the file of a mapping that process `tgid` just made, before the process is gone.

        Costs a dictionary look-up when the file is known already.
        """
        self._modules.prefetch(mapping, tgid)

    def hold(self, mapping: Mapping, tgid: int) -> None:
        """Open what only the process itself keeps in its place. From any thread, and at once."""
        self._jit.hold(mapping, tgid)

    def resolve(self, record: StackRecord, space: AddressSpace | None) -> ResolvedStack:
        """The frames of a stack; `space` None: the process's mappings are unknown."""
        if self._made > FRAMES_LIMIT:
            self._modules.forget_frames()
            self._kernel_frames.clear()
            self._made = 0
        self._skips_callers = self.names_may_come = False
        frames = self._kernel_part(record.kernel)
        if record.kind != Kind.PROFILE:  # a sample may hit any program: then it is what ran
            frames = frames[_own_frames(frames) :]
        frames += self._user_part(record.user.tolist(), record.tgid, space)
        status = record.status
        kernel_cut = bool(record.flags & StackFlag.KERNEL_CUT)
        if len(record.kernel) and not len(record.user):
            complete = not kernel_cut
        else:
            if self._skips_callers and status is StackStatus.COMPLETE:
                status = StackStatus.FP_END
            complete = len(record.user) > 0 and status is StackStatus.COMPLETE
        return ResolvedStack(
            record.id,
            tuple(frames),
            complete,
            kernel_cut or status is StackStatus.CUT,
            status,
            sum(not frame.resolved for frame in frames),
        )

    def _kernel_part(self, pcs: npt.NDArray[np.uint64]) -> list[Frame]:
        keys = [(pc, at == 0) for at, pc in enumerate(pcs.tolist())]
        new = [key for key in dict.fromkeys(keys) if key not in self._kernel_frames]
        if new:
            found = self._kernel.find(_lookups(new))
            for (pc, exact), index in zip(new, found.tolist(), strict=True):
                self._kernel_frames[pc, exact] = self._kernel_frame(pc, index)
            self._made += len(new)
        return [self._kernel_frames[key] for key in keys]

    def _kernel_frame(self, pc: int, index: int) -> Frame:
        if index < 0:
            return Frame(f"[{pc:#x}]", pc, 0, CORE, None, resolved=False)
        start = int(self._kernel.table.starts[index])
        name = demangle(self._kernel.table.name(index))
        return Frame(name, start, pc - start, self._kernel.module(index), None)

    def _user_part(self, pcs: list[int], tgid: int, space: AddressSpace | None) -> list[Frame]:
        mappings: list[Mapping | None] = [None] * len(pcs)
        if space is not None:
            # A call may be the last instruction of a mapping, so callers count one byte before.
            mappings = [space.find(pc - (at > 0)) for at, pc in enumerate(pcs)]
        modules: list[Module | None] = []
        biases: list[int] = []
        placed: dict[int, tuple[Module | None, int]] = {-1: (None, 0)}
        for mapping in mappings:
            start = mapping.start if mapping is not None else -1
            if mapping is not None and start not in placed:
                placed[start] = self._place(mapping, tgid)
            modules.append(placed[start][0])
            biases.append(placed[start][1])
        vaddrs = [(pc - bias) & _MASK for pc, bias in zip(pcs, biases, strict=True)]
        returns = [m.signal_returns if m is not None else _NO_RETURNS for m in modules]
        exact = exact_lookups(vaddrs, returns)

        missing: dict[int, tuple[Module, Mapping, list[tuple[int, bool]]]] = {}
        for module, mapping, key in zip(
            modules, mappings, zip(vaddrs, exact, strict=True), strict=True
        ):
            if module is not None and mapping is not None and key not in module.frames:
                missing.setdefault(id(module), (module, mapping, []))[2].append(key)
        for module, mapping, keys in missing.values():
            self._make_frames(module, _label(mapping), list(dict.fromkeys(keys)))

        frames: list[Frame] = []
        jit: list[int] = []
        for at, (pc, module, mapping) in enumerate(zip(pcs, modules, mappings, strict=True)):
            if module is not None:
                frames.append(module.frames[vaddrs[at], exact[at]])
                continue
            frames.append(_unresolved(pc, mapping))
            if _may_be_jit(mapping):
                jit.append(at)
        if jit:
            self._jit_part(frames, jit, [(pcs[at], exact[at]) for at in jit], tgid, space)
        return frames

    def _place(self, mapping: Mapping, tgid: int) -> tuple[Module | None, int]:
        """The module of a mapping and its bias; None and 0: there is none that fits."""
        module = self._modules.module(mapping, tgid)
        bias = module.bias(mapping) if module is not None else None
        return (None, 0) if bias is None else (module, bias)

    def _make_frames(self, module: Module, label: str, keys: list[tuple[int, bool]]) -> None:
        table = module.table
        for (vaddr, exact), index in zip(keys, table.find(_lookups(keys)).tolist(), strict=True):
            if index < 0:
                name = f"[{label.rpartition('/')[2]}+{vaddr:#x}]"
                frame = Frame(name, vaddr, 0, label, module.buildid, resolved=False)
            else:
                start = int(table.starts[index])
                name = demangle(table.name(index))
                frame = Frame(name, start, vaddr - start, label, module.buildid)
            module.frames[vaddr, exact] = frame
        self._made += len(keys)

    def _jit_part(
        self,
        frames: list[Frame],
        places: list[int],
        keys: list[tuple[int, bool]],
        tgid: int,
        space: AddressSpace | None,
    ) -> None:
        """Replace the frames at `places` that the process's own maps name."""
        found = self._jit.find(_lookups(keys), tgid, space)
        self._skips_callers = self._jit.skips_callers(tgid, space)
        self.names_may_come = None in found and self._jit.may_come(tgid, space)
        for at, (pc, exact), symbol in zip(places, keys, found, strict=True):
            if symbol is not None:
                frames[at] = _jit_frame(symbol, pc, exact)


def _jit_frame(symbol: JitSymbol, pc: int, exact: bool) -> Frame:
    name = demangle(symbol.name)
    frame = Frame(name, symbol.start, pc - symbol.start, "[jit]", None)
    at = bisect.bisect_right(symbol.lines, pc - (not exact), key=lambda line: line[0]) - 1
    if at < 0:
        return frame
    _, file, line = symbol.lines[at]
    return replace(frame, file=file.decode("utf-8", "backslashreplace"), line=line)


def _lookups(keys: list[tuple[int, bool]]) -> npt.NDArray[np.uint64]:
    """What is looked up for each (address, exact): a return address is one past its call."""
    return np.array([pc if exact or not pc else pc - 1 for pc, exact in keys], np.uint64)


def _may_be_jit(mapping: Mapping | None) -> bool:
    if mapping is None or file_path(mapping) is None:
        return mapping is None or mapping.path != "[vdso]"
    return mapping.path.startswith(_UNBACKED)


def _label(mapping: Mapping) -> str:
    """How a mapping is called in `module`: text that any encoding can take."""
    path = mapping.path.removesuffix(DELETED)
    if not path or path.startswith("//"):
        return "[anon]"
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _own_frames(frames: list[Frame]) -> int:
    """How many of the first frames are the program that took the stack, and its way there."""
    if not (frames and frames[0].name.startswith("bpf_prog_") and frames[0].name.endswith(OWN)):
        return 0
    count = 1
    while count < len(frames) and frames[count].name.startswith(_WAY_TO_PROGRAM):
        count += 1
    return count


def _unresolved(pc: int, mapping: Mapping | None) -> Frame:
    """The frame of an address in no known file; a file that isn't available counts by offset."""
    if mapping is None:
        return Frame(f"[{pc:#x}]", pc, 0, None, None, resolved=False)
    label = _label(mapping)
    if file_path(mapping) is None:
        return Frame(f"[{pc:#x}]", pc, 0, label, None, resolved=False)
    place = pc - mapping.start + mapping.offset
    name = f"[{label.rpartition('/')[2]}+{place:#x}]"
    return Frame(name, place, 0, label, mapping.buildid, resolved=False)
