"""Gets functions into the kernel: compiled when first needed, several verified at a time.

Comes in: names of functions. Goes out: the maps they share, and descriptors. The verifier takes
longer than all else of a start, and does not hold Python's lock.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from stacks_tui.capture import bpf
from stacks_tui.capture.compile import Compiler, ObjectCode, joined

MOST_THREADS = 4
_PROGRAM_TYPES = {"sample": bpf.PROGRAM_PERF_EVENT, "probe": bpf.PROGRAM_KPROBE}
"""By what a function's name ends with; else it is for a raw tracepoint."""


class Loader:
    """The functions of one text in the kernel; used by one thread."""

    def __init__(
        self, compiler: Compiler, functions: Iterable[str], sizes: Mapping[str, int | None]
    ) -> None:
        """Compile `functions`, make the maps; `sizes`: entries of maps, where not as compiled.

        Raises:
            MachineError, StacksError: the compiler or the kernel refuses.
        """
        self._compiler = compiler
        self._code: ObjectCode = compiler.code(functions)
        self._loading: dict[str, Future[int]] = {}
        self._open = contextlib.ExitStack()
        threads = min(MOST_THREADS, len(os.sched_getaffinity(0)))
        self._pool = ThreadPoolExecutor(threads, "verify")
        self.maps: dict[str, bpf.BpfMap] = {}
        try:
            for shape in self._code.maps:
                self.maps[shape.name] = bpf.BpfMap(shape, sizes.get(shape.name))
                self._open.callback(self.maps[shape.name].close)
        except BaseException:
            self.close()
            raise

    def begin(self, functions: Iterable[str]) -> None:
        """Let them be verified, in this order, while we do other things.

        Raises:
            StacksError: the compiler refuses them.
        """
        wanted = [name for name in dict.fromkeys(functions) if name not in self._loading]
        missing = [name for name in wanted if name not in self._code.programs]
        if missing:
            self._code = joined([self._code, self._compiler.code(missing)])
        for name in wanted:
            self._loading[name] = self._pool.submit(self._verify, name, self._code)

    def load(self, function: str) -> int:
        """The descriptor of a function.

        Raises:
            MachineError, StacksError: the compiler or the kernel refuses.
        """
        self.begin([function])
        try:
            return self._loading[function].result()
        except BaseException:
            del self._loading[function]
            raise

    def descriptors(self) -> dict[str, int]:
        """Those that are loaded, by name."""
        return {
            name: loading.result()
            for name, loading in list(self._loading.items())
            if loading.done() and loading.exception() is None
        }

    def close(self) -> None:
        """Give programs and maps back to the kernel."""
        self._pool.shutdown(cancel_futures=True)
        self._loading = {name: one for name, one in self._loading.items() if not one.cancelled()}
        for descriptor in self.descriptors().values():
            os.close(descriptor)
        self._loading.clear()
        self._open.close()

    def _verify(self, function: str, code: ObjectCode) -> int:
        instructions = code.programs[function].copy()
        for at, index in code.relocations[function].tolist():
            fd = self.maps[code.maps[index].name].fd
            instructions[at] = (int(instructions[at]) & 0xFFFFFFFF) | fd << 32
        kind = _PROGRAM_TYPES.get(function.rpartition("_")[2], bpf.PROGRAM_RAW_TRACEPOINT)
        return bpf.load_program(function, kind, instructions)
