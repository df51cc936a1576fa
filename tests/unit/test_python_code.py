"""Code objects: lines as Python itself counts them; memory that lies."""

from __future__ import annotations

import struct
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui.python.code import TEXT_LIMIT, Code, line_table, read_code
from stacks_tui.python.frames import PythonFrame, PythonFrames
from stacks_tui.python.layout import CODE_LAYOUTS, MINORS
from stacks_tui.records import CodeRecord

TYPE = 0x5555_0000_1000
ADDRESS = 0x7F00_0000_2000
NAME, FILE, TABLE = 0x7F00_0000_3000, 0x7F00_0000_8000, 0x7F00_0001_0000


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from codes(one)


LIBRARY = Path(pytest.__file__).parent.parent / "_pytest"


@pytest.mark.parametrize("path", sorted(LIBRARY.glob("*.py")), ids=lambda path: path.stem)
def test_lines_are_those_that_python_tells(path: Path) -> None:
    for code in codes(compile(path.read_text("utf-8"), str(path), "exec")):
        ours = Code("f", "g", code.co_firstlineno, 0, 192, code.co_linetable)
        for start, end, line in code.co_lines():
            for at in range(start, end, 2):
                assert ours.line(192 + at) == line, (code.co_qualname, at)
        assert ours.line(190) == code.co_firstlineno
        assert ours.line(192 + len(code.co_code)) is None


def test_lines_may_go_far_back_and_forth() -> None:
    text = (
        "def f(x):\n"
        + "\n" * 5000
        + "    if (\n"
        + "\n" * 300
        + "x): return g(\nx)\n    return 1\n"
    )
    (code,) = list(codes(compile(text, "t", "exec")))[1:]
    ours = Code("f", "t", code.co_firstlineno, 0, 0, code.co_linetable)
    for start, _, line in code.co_lines():
        assert ours.line(start) == line


@given(st.binary(max_size=400), st.integers(0, 2**31 - 1))
def test_any_table_ends(table: bytes, first: int) -> None:
    before = 0
    for end, line in line_table(table, first):
        assert end > before and (line is None or 0 <= line < 2**31)
        before = end
    assert before <= 16 * len(table)


def text(minor: int, value: str, shift: int = 2) -> bytes:
    """A str object as CPython 3.`minor` has it."""
    layout = CODE_LAYOUTS[minor]
    widest = max(map(ord, value), default=0)
    kind = 1 if widest < 256 else 2 if widest < 65536 else 4
    state = (kind | 8 | 16 * value.isascii()) << shift
    head = struct.pack("<QQQQI", 1, TYPE + 64, len(value), 0, state)
    codec = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}[kind]
    at = layout.ascii if value.isascii() else layout.wide
    return head.ljust(at, b"\0") + value.encode(codec, "surrogatepass") + b"\0" * kind


def table(content: bytes) -> bytes:
    return struct.pack("<QQQQ", 1, TYPE + 32, len(content), 0) + content


class Fake:
    """Memory with these objects; counts what is asked of it."""

    def __init__(self, parts: dict[int, bytes]) -> None:
        self.parts = parts
        self.closed = 0

    def read(self, address: int, size: int) -> bytes:
        found = self.parts.get(address, b"")
        if not found:
            raise OSError("nothing there")
        return found[:size].ljust(size, b"\0")

    def close(self) -> None:
        self.closed += 1


def record(
    minor: int, name: str = "f", file: str = "/t.py", lines: bytes = b"", shift: int = 2
) -> tuple[CodeRecord, Fake]:
    """A record as the kernel side makes it, and the memory that it was made from."""
    layout = CODE_LAYOUTS[minor]
    raw = bytearray(256)
    struct.pack_into("<QQ", raw, 0, 1, TYPE)
    struct.pack_into("<i", raw, layout.firstlineno, 7)
    struct.pack_into("<Q", raw, layout.filename, FILE)
    struct.pack_into("<Q", raw, layout.qualname, NAME)
    struct.pack_into("<Q", raw, layout.linetable, TABLE)
    parts = {
        ADDRESS: bytes(raw),
        NAME: text(minor, name, shift),
        FILE: text(minor, file, shift),
        TABLE: table(lines),
    }
    made = CodeRecord(
        id=9,
        time=0,
        tgid=1,
        address=ADDRESS,
        type=TYPE,
        minor=minor,
        object=bytes(raw),
        qualname=parts[NAME][:192].ljust(192, b"\0"),
        filename=parts[FILE][:256].ljust(256, b"\0"),
        linetable=parts[TABLE][:4088],
    )
    return made, Fake(parts)


NAMES = ["f", "C.f.<locals>.g", "ärger", "名前", "\U0001f40d" * 30, "a\0b\x1b[31m", "\udcff", ""]


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("shift", [2, 8, 16])
@pytest.mark.parametrize("name", NAMES)
def test_names_are_read_in_any_width(minor: int, shift: int, name: str) -> None:
    made, _ = record(minor, name, f"/tmp/{name}.py", b"\xf0\x80" + bytes([0xE8, 3]), shift)
    code = read_code(made, None)
    assert code is not None
    assert (code.name, code.file, code.first_line) == (name, f"/tmp/{name}.py", 7)


def test_what_was_not_copied_is_read_while_the_object_is_there() -> None:
    lines = bytes([0xE8, 2]) * 4000
    made, memory = record(12, "n" * 3000, "/f" * 900, lines)
    code = read_code(made, memory)
    assert code is not None
    assert (code.name, code.file, len(code.table)) == ("n" * 3000, "/f" * 900, 8000)


def test_what_is_another_object_by_now_is_not_read() -> None:
    made, memory = record(12, "n" * 3000, "/t.py", bytes([0xE8, 2]) * 4000)
    other = bytearray(made.object)
    other[95] ^= 1  # co_version
    memory.parts[ADDRESS] = bytes(other)
    code = read_code(made, memory)
    assert code is not None
    assert code.name == "n" * (192 - 40) + "…"
    assert code.table == (bytes([0xE8, 2]) * 4000)[: 4088 - 32]
    gone = read_code(made, None)
    assert gone == code


def test_a_name_without_end_is_cut() -> None:
    made, memory = record(13, "n" * (TEXT_LIMIT + 5))
    code = read_code(made, memory)
    assert code is not None and code.name == "n" * TEXT_LIMIT + "…"


def test_what_is_no_code_is_none() -> None:
    made, memory = record(12)
    for changed in (
        {"type": TYPE + 8},
        {"type": 0, "object": bytes(256)},
        {"minor": 10},
        {"minor": 15},
        {"object": made.object[:200]},
        {"qualname": bytes(192), "filename": bytes(256)},
    ):
        fields = {name: getattr(made, name) for name in CodeRecord.__slots__}
        assert read_code(CodeRecord(**{**fields, **changed}), None) is None, changed
    assert read_code(made, memory) is not None


@given(
    st.sampled_from(MINORS),
    st.binary(min_size=256, max_size=256),
    st.binary(max_size=300),
    st.binary(max_size=300),
    st.binary(max_size=300),
)
def test_any_memory_is_survived(
    minor: int, raw: bytes, name: bytes, file: bytes, lines: bytes
) -> None:
    raw = raw[:8] + struct.pack("<Q", TYPE) + raw[16:]
    made = CodeRecord(1, 0, 1, ADDRESS, TYPE, minor, raw, name, file, lines)
    for memory in (None, Fake({ADDRESS: raw})):
        code = read_code(made, memory)
        if code is not None:
            assert len(code.name) <= TEXT_LIMIT + 1
            code.line(0), code.line(10**6)


def test_frames_are_made_once_and_trampolines_not_at_all() -> None:
    made: list[PythonFrame] = []

    def make(frame: PythonFrame) -> PythonFrame:
        made.append(frame)
        return frame

    memory: list[Fake] = []

    def opened(tgid: int) -> Fake:
        memory.append(record(12, "n" * 3000)[1])
        return memory[-1]

    frames = PythonFrames(make, opened)
    unknown = frames.frame(9, 200)
    assert unknown == PythonFrame("[python+0xc8]", 0, 200, None, None, False)
    assert frames.is_code(9), "nothing is known against it"
    frames.learn(record(12, "n" * 3000)[0])
    assert [one.closed for one in memory] == [1]
    known = frames.frame(9, 192 | 1 << 33)
    assert known is not None and known.name == "n" * 3000 and known.offset == 192
    assert frames.frame(9, 192 | 3 << 33) is known
    shim, _ = record(13, "__init__", "__init__")
    frames.learn(shim)
    count = len(made)
    assert frames.frame(9, 300) is None and len(made) == count
    wrong = CodeRecord(5, 0, 1, ADDRESS, TYPE, 12, bytes(256), b"", b"", b"")
    frames.learn(wrong)
    assert not frames.is_code(5)
