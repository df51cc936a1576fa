"""Names of code that a process made while it ran: its perf map, its jitdump, or what its JVM tells.

Comes in: addresses of a process outside any file. Goes out: the pieces of code they belong to, and
which runtimes had code that nobody names.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stacks_tui.spaces import AddressSpace, Mapping
from stacks_tui.symbols.jitcells import JitSymbol
from stacks_tui.symbols.jitdump import JitDump, dump_path, is_dump
from stacks_tui.symbols.jvm import JvmMaps
from stacks_tui.symbols.perfmap import PerfMap
from stacks_tui.symbols.runtimes import Runtime, runtime_of

_PROCESSES_LIMIT = 32


@dataclass(slots=True)
class _Sources:
    perf_map: PerfMap
    dump: JitDump | None = None
    keeps_frame_pointers: bool | None = None
    """None: not looked at yet."""
    unnamed: Runtime | None = None
    """The runtime, once some of its code had no name."""

    @property
    def to_advise(self) -> Runtime | None:
        """The runtime if none of its code ever had a name: what tells names may come late."""
        return None if len(self.perf_map) or self.dump is not None else self.unnamed


class JitNames:
    """The names of all processes' own code. For one thread."""

    def __init__(self, proc: Path = Path("/proc"), jvm: JvmMaps | None = None) -> None:
        """`jvm`: JVMs may be asked."""
        self._proc = proc
        self._jvm = jvm
        self._sources: OrderedDict[tuple[int, int], _Sources] = OrderedDict()
        self._held: OrderedDict[tuple[int, str], JitDump] = OrderedDict()
        self._dropped: set[Runtime] = set()

    def find(
        self, addresses: npt.NDArray[np.uint64], tgid: int, space: AddressSpace | None
    ) -> list[JitSymbol | None]:
        """The piece of code that holds each address, None: it can't be told."""
        sources = self._of(tgid, space)
        found = _lookup(sources, addresses)
        if space is None or None not in found:
            return found
        runtime = runtime_of(space)
        if runtime is Runtime.JVM and self._jvm is not None and self._jvm.ask(space):
            found = _lookup(sources, addresses)
        if runtime is not None and any(
            symbol is None and space.find(address) is not None
            for symbol, address in zip(found, addresses.tolist(), strict=True)
        ):
            sources.unnamed = runtime
        return found

    @property
    def unnamed(self) -> set[Runtime]:
        """Runtimes that ran code and told no names at all."""
        told = {sources.to_advise for sources in self._sources.values()}
        return {runtime for runtime in told | self._dropped if runtime is not None}

    def hold(self, mapping: Mapping, tgid: int) -> None:
        """Open the dump that a process just mapped, if it is one. From any thread."""
        if not is_dump(mapping.path):
            return
        dump = JitDump(tgid, mapping.path, self._proc)
        if dump.open():
            self._held[tgid, mapping.path] = dump
        if len(self._held) > _PROCESSES_LIMIT:
            self._held.popitem(last=False)[1].close()

    def may_come(self, tgid: int, space: AddressSpace | None) -> bool:
        """Whether names may come as late as at the process's end: runtimes buffer their dumps."""
        return self._of(tgid, space).dump is not None

    def skips_callers(self, tgid: int, space: AddressSpace | None) -> bool:
        """Whether a walk by frame pointer may leave out callers in this process's own code.

        So it is with a JVM, unless it was told to keep frame pointers.
        """
        if space is None or runtime_of(space) is not Runtime.JVM:
            return False
        sources = self._of(tgid, space)
        if sources.keeps_frame_pointers is None:
            sources.keeps_frame_pointers = _keeps_frame_pointers(self._proc / str(tgid))
        return not sources.keeps_frame_pointers

    def close(self) -> None:
        """Close the files held open."""
        while self._sources:
            self._drop()
        while self._held:
            self._held.popitem()[1].close()

    def _drop(self) -> None:
        _, sources = self._sources.popitem(last=False)
        if sources.to_advise is not None:
            self._dropped.add(sources.to_advise)
        if sources.dump is not None:
            sources.dump.close()

    def _of(self, tgid: int, space: AddressSpace | None) -> _Sources:
        owner = tgid, space.generation if space is not None else 0
        sources = self._sources.get(owner)
        if sources is None:
            sources = self._sources[owner] = _Sources(PerfMap(tgid, self._proc))
            if len(self._sources) > _PROCESSES_LIMIT:
                self._drop()
        self._sources.move_to_end(owner)
        path = dump_path(space) if space is not None and sources.dump is None else None
        if path is not None:
            held = self._held.pop((tgid, path), None)
            sources.dump = held if held is not None else JitDump(tgid, path, self._proc)
        return sources


def _keeps_frame_pointers(process: Path) -> bool:
    for name in ("cmdline", "environ"):
        try:
            words = (process / name).read_bytes().replace(b"\0", b" ").split()
        except OSError:
            continue
        told = [word for word in words if word.endswith(b"PreserveFramePointer")]
        if told:
            return told[-1].endswith(b"+PreserveFramePointer")
    return False


def _lookup(sources: _Sources, addresses: npt.NDArray[np.uint64]) -> list[JitSymbol | None]:
    """A dump says more than a map, so it goes first."""
    sources.perf_map.refresh()
    found = sources.perf_map.find(addresses)
    if sources.dump is not None:
        sources.dump.refresh()
        dumped = sources.dump.find(addresses)
        found = [one or other for one, other in zip(dumped, found, strict=True)]
    return found
