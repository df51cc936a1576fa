"""CPython found in processes: this one, made-up ones, and ones that lie."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui.capture import procfs
from stacks_tui.elf import ElfError, ElfImage
from stacks_tui.python.layout import (
    CODE_LAYOUTS,
    DEBUG_OFFSETS_BYTES,
    LayoutError,
    layout_of,
)
from stacks_tui.python.processes import MOST_WRONG, PythonProcesses
from stacks_tui.python.runtime import (
    CODE_TYPE,
    NONE,
    RUNTIME,
    VERSION,
    Found,
    ProcessMemory,
    Runtime,
    check,
    find_symbols,
    read_runtime,
)
from stacks_tui.resources import folder
from stacks_tui.spaces import AddressSpace, Mapping, make_space

STARTS = {13: (19, 28, 34), 14: (22, 31, 39)}


def debug_offsets(minor: int, **changes: int) -> bytes:
    """`_Py_DebugOffsets` as CPython 3.`minor` has it; changes by number of the word: w5=…"""
    words = [0] * 64
    words[0] = int.from_bytes(b"xdebugpy", "little")
    words[1] = 3 << 24 | minor << 16
    words[5], words[8], words[9] = 632, 7264, 7344
    thread, frame, code = STARTS[minor]
    words[thread + 2 : thread + 6] = [8, 16, 72, 152]
    words[frame + 1 : frame + 4] = [8, 0, 56]
    words[frame + 5] = 70 if minor == 13 else 74
    known = CODE_LAYOUTS[minor]
    words[code + 1] = known.filename
    words[code + 3 : code + 6] = [known.qualname, known.linetable, known.firstlineno]
    words[code + 9] = known.instructions
    for name, value in changes.items():
        words[int(name[1:])] = value
    return struct.pack("<64Q", *words)


class Fake:
    """Memory of words that were set; all else can't be read."""

    def __init__(self) -> None:
        self.bytes: dict[int, int] = {}

    def put(self, address: int, data: bytes) -> None:
        self.bytes.update({address + at: byte for at, byte in enumerate(data)})

    def word(self, address: int, value: int) -> None:
        self.put(address, struct.pack("<Q", value))

    def read(self, address: int, size: int) -> bytes:
        try:
            return bytes(self.bytes[at] for at in range(address, address + size))
        except KeyError:
            raise OSError("nothing there") from None

    def close(self) -> None:
        pass


RUNTIME_AT, INTERPRETER, THREAD, PTHREAD, FRAME, CODE = (0x10000 * n for n in range(1, 7))
TYPE_AT, NONE_AT, VERSION_AT, CFRAME = (0x10000 * n for n in range(7, 11))
SYMBOLS = {RUNTIME: RUNTIME_AT, CODE_TYPE: TYPE_AT, NONE: NONE_AT, VERSION: VERSION_AT}


def process(minor: int) -> Fake:
    """A process in which one thread runs one frame."""
    memory = Fake()
    memory.put(VERSION_AT, struct.pack("<I", 3 << 24 | minor << 16 | 0xF0))
    memory.put(RUNTIME_AT, debug_offsets(minor) if minor > 12 else bytes(DEBUG_OFFSETS_BYTES))
    layout = layout_of(minor, memory.read(RUNTIME_AT, DEBUG_OFFSETS_BYTES))
    memory.word(RUNTIME_AT + layout.interpreters, INTERPRETER)
    memory.word(INTERPRETER + layout.interpreter_next, 0)
    memory.word(INTERPRETER + layout.interpreter_threads, THREAD)
    memory.word(THREAD + layout.thread_next, 0)
    memory.word(THREAD + layout.thread_interpreter, INTERPRETER)
    memory.word(THREAD + layout.thread_id, PTHREAD)
    memory.word(PTHREAD, PTHREAD)
    memory.word(THREAD + layout.thread_frame, FRAME if minor > 12 else CFRAME)
    memory.word(CFRAME + layout.cframe, FRAME)
    memory.word(FRAME + layout.code, CODE | (minor == 14))
    memory.word(CODE + 8, TYPE_AT)
    memory.word(NONE_AT + 8, TYPE_AT + 8)
    return memory


@pytest.mark.parametrize("minor", CODE_LAYOUTS)
def test_a_process_is_checked(minor: int) -> None:
    memory = process(minor)
    runtime = read_runtime(SYMBOLS, 0, memory)
    assert check(runtime, memory) is Found.GOOD
    layout = runtime.layout
    for address, value, found in (
        (CODE + 8, TYPE_AT + 16, Found.WRONG),
        (PTHREAD, PTHREAD + 8, Found.WRONG),
        (THREAD + layout.thread_interpreter, INTERPRETER + 8, Found.WRONG),
        (THREAD + layout.thread_id, 0, Found.NOT_YET),
        (THREAD + layout.thread_frame, 0, Found.NOT_YET),
        (INTERPRETER + layout.interpreter_threads, 0, Found.NOT_YET),
        (INTERPRETER + layout.interpreter_threads, 4096, Found.WRONG),
        (RUNTIME_AT + layout.interpreters, 0, Found.NOT_YET),
        (THREAD + layout.thread_next, THREAD, Found.GOOD),  # a ring, walked for a while
    ):
        changed = process(minor)
        changed.word(address, value)
        assert check(runtime, changed) is found, (hex(address), value)


@pytest.mark.parametrize(
    ("minor", "raw", "why"),
    [
        (10, b"", "version 3.10 is not known"),
        (15, debug_offsets(14), "version 3.15 is not known"),
        (13, bytes(DEBUG_OFFSETS_BYTES), "does not tell its offsets"),
        (13, debug_offsets(13)[:100], "does not tell its offsets"),
        (13, debug_offsets(14), "another version"),
        (13, debug_offsets(13, w2=1), "free-threaded"),
        (14, debug_offsets(14, w40=8), "code objects"),
        (14, debug_offsets(14, w33=80), "frames"),
        (13, debug_offsets(13, w31=3), "frames"),
        (13, debug_offsets(13, w5=1 << 40), "threads"),
    ],
)
def test_what_is_not_known_is_not_believed(minor: int, raw: bytes, why: str) -> None:
    with pytest.raises(LayoutError, match=why):
        layout_of(minor, raw)


@given(st.sampled_from([13, 14]), st.integers(3, 63), st.integers(0, 2**64 - 1))
def test_no_told_offset_reaches_beyond_what_is_read(minor: int, word: int, value: int) -> None:
    with contextlib.suppress(LayoutError):
        layout = layout_of(minor, debug_offsets(minor, **{f"w{word}": value}))
        assert max(layout.code, layout.previous, layout.instruction) <= 72
        assert layout.owner < 80


@given(st.dictionaries(st.sampled_from([40, 16, 72, 152, 136, 56, 8, 0]), st.integers(0, 2**64)))
def test_any_memory_is_survived(words: dict[int, int]) -> None:
    class Lying(Fake):
        def read(self, address: int, size: int) -> bytes:
            value = words.get(address & 255, address + 8) & (2**64 - 1)
            return struct.pack("<Q", value)[:size].ljust(size, b"\1")

    for minor in (11, 12):
        layout = layout_of(minor, b"")
        check(Runtime(layout, 0x1000, 0x2000, 0x3000), Lying())


def test_the_kernel_side_has_the_same_struct() -> None:
    text = (folder("bpf") / "python.h").read_text("utf-8")
    body = text.split("struct python {")[1].split("};")[0]
    members: list[str] = []
    for line in body.splitlines():
        kind, _, names = line.split("//")[0].strip().rstrip(";").partition(" ")
        members += [{"u64": "Q", "u32": "I"}[kind]] * (names.count(",") + 1) if kind else []
    layout = layout_of(12, b"")
    packed = layout.pack(1 << 40, 2 << 40, 3 << 40)
    words = struct.unpack("@" + "".join(members), packed)  # as C aligns them
    assert len(packed) == struct.calcsize("@" + "".join(members))
    assert (words[0], words[1], words[-2], words[-1]) == (1 << 40, 2 << 40, 12, 3 << 40)
    order = ["interpreters", "interpreter_next", "interpreter_threads", "thread_next"]
    assert words[2:6] == tuple(getattr(layout, name) for name in order)


def own_python() -> tuple[ElfImage, Mapping]:
    """The file of this process that has CPython in it."""
    for mapping in procfs.mappings(os.getpid()) or ():
        if not mapping.path.startswith("/"):
            continue
        with contextlib.suppress(ElfError, OSError):
            image = ElfImage.from_bytes(Path(mapping.path).read_bytes())
            if find_symbols(image) is not None:
                return image, mapping
    raise AssertionError("no CPython here")


def test_this_process_is_found_and_right() -> None:
    image, mapping = own_python()
    symbols = find_symbols(image)
    bias = image.bias(mapping)
    assert symbols is not None and bias is not None
    memory = ProcessMemory(os.getpid())
    try:
        runtime = read_runtime(symbols, bias, memory)
        assert runtime.layout.minor == sys.version_info.minor
        assert runtime.none == id(None)
        assert runtime.code_type == id(type(own_python.__code__))
        assert check(runtime, memory) is Found.GOOD
        shifted = replace(runtime.layout, thread_id=runtime.layout.thread_id + 8)
        assert check(replace(runtime, layout=shifted), memory) is not Found.GOOD
        with pytest.raises(OSError, match="no address"):
            memory.read(1 << 63, 8)
        with pytest.raises(OSError):
            memory.read(8, 8)
    finally:
        memory.close()


def test_files_without_python_have_none() -> None:
    for path in ("/bin/true", "/bin/sh"):
        assert find_symbols(ElfImage.from_bytes(Path(path).read_bytes())) is None


class Kernel:
    """The kernel's hash, and a wait for what is to be in it."""

    def __init__(self) -> None:
        self.entries: dict[int, bytes] = {}
        self._change = threading.Condition()

    def publish_python(self, tgid: int, layout: bytes) -> None:
        with self._change:
            self.entries[tgid] = layout
            self._change.notify_all()

    def remove_python(self, tgid: int) -> None:
        with self._change:
            self.entries.pop(tgid, None)
            self._change.notify_all()

    def has(self, tgid: int) -> bool:
        with self._change:
            return self._change.wait_for(lambda: tgid in self.entries, 20)


@contextlib.contextmanager
def opened(mapping: Mapping, tgid: int) -> Iterator[ElfImage | None]:
    yield ElfImage.from_bytes(Path(mapping.path).read_bytes())


def space_of(tgid: int) -> AddressSpace:
    return make_space(tgid, 1, list(procfs.mappings(tgid) or ()))


@contextlib.contextmanager
def running(kernel: Kernel, notes: list[str]) -> Iterator[PythonProcesses]:
    processes = PythonProcesses(kernel, opened, notes.append)
    processes.start()
    try:
        yield processes
    finally:
        processes.close()


def test_processes_are_published_through_their_lives() -> None:
    kernel, notes = Kernel(), list[str]()
    with running(kernel, notes) as processes:
        processes.mapped(space_of(os.getpid()), 1000)
        assert kernel.has(os.getpid())
        assert processes.is_python(os.getpid(), 1000)
        assert not processes.is_python(os.getpid(), 999)
        processes.fork(os.getpid(), 2**22 + 1, 2000)
        assert kernel.entries[2**22 + 1] == kernel.entries[os.getpid()]
        processes.exec(2**22 + 1)
        assert 2**22 + 1 not in kernel.entries
        assert not processes.is_python(2**22 + 1, 3000)
        processes.exit(os.getpid())
        assert os.getpid() not in kernel.entries
        assert processes.is_python(os.getpid(), 4000), "its last stacks may still come"
    assert not notes


def test_a_process_is_asked_until_its_interpreter_runs() -> None:
    """Stopped at its first instruction, then let go."""
    script = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as child:
        try:
            kernel, notes = Kernel(), list[str]()
            with running(kernel, notes) as processes:
                while not any("python" in m.path for m in space_of(child.pid).mappings):
                    pass
                processes.mapped(space_of(child.pid), 0)
                assert kernel.has(child.pid)
            assert not notes
        finally:
            child.kill()
            child.communicate()


def test_what_stays_wrong_is_told_once_and_left_alone() -> None:
    kernel, notes = Kernel(), list[str]()
    asked = threading.Semaphore(0)

    class Wrong(Fake):
        def read(self, address: int, size: int) -> bytes:
            asked.release()
            return struct.pack("<I", 3 << 24 | 77 << 16).ljust(size, b"\0")[:size]

    processes = PythonProcesses(kernel, opened, notes.append, lambda tgid: Wrong())
    processes.start()
    try:
        processes.mapped(space_of(os.getpid()), 0)
        for _ in range(2 * MOST_WRONG):  # two reads each time
            assert asked.acquire(timeout=20)
    finally:
        processes.close()
    image, mapping = own_python()
    assert image is not None
    version = "version 3.77 is not known"
    assert notes == [f"Python frames of {mapping.path} are not recorded: {version}."]
    assert not kernel.entries
