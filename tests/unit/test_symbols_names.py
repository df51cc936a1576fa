"""Demangling, kernel symbols and perf maps: right names, and none of it upset by hostile input."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stacks_tui.symbols import demangle as demangling
from stacks_tui.symbols.demangle import demangle
from stacks_tui.symbols.kernel import KernelSymbols
from stacks_tui.symbols.perfmap import PerfMap


@pytest.mark.parametrize(
    ("mangled", "shown"),
    [
        (b"main", "main"),
        (b"_Z3fooi", "foo(int)"),
        (b"_Z3fooi@plt", "foo(int)@plt"),
        (b"_ZN3foo3barEv.cold", "foo::bar() (.cold)"),
        (b"_ZNSt6vectorIiSaIiEE9push_backERKi", None),
        (b"_RNvC6_123foo3bar", "123foo::bar"),
        (b"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"),
        (b"_RINvNtC3std3mem8align_ofjE", "std::mem::align_of::<usize>"),
        (
            b"_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$"
            b"3bar17h930b740aa94f1d3aE",
            "<Test + 'static as foo::Bar<Test>>::bar",
        ),
        (b"_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"),
        (b"_ZN4core3fmt5write17h0123456789abcdefE.llvm.1234ABCD", "core::fmt::write"),
        (b"_ZN1a1b17h0123456789abcdefEv", "a::b::h0123456789abcdef()"),
        (b"_Znot mangled", "_Znot mangled"),
        (b"_R", "_R"),
        (b"_Z", "_Z"),
        (b"caf\xc3\xa9\xff", "café\\xff"),
        (b"", ""),
        (b"nul\0inside", "nul\0inside"),
        (b"_Z3foo\0i", "_Z3foo\0i"),
    ],
)
def test_names_are_shown_as_written(mangled: bytes, shown: str | None) -> None:
    if shown is None:
        assert demangle(mangled).startswith("std::vector<int, std::allocator<int>>::push_back(")
    else:
        assert demangle(mangled) == shown


def substitutions(levels: int) -> bytes:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    name = "_Z1f1aIiiE"
    for level in range(levels):
        number = 2 * level
        text = digits[number] if number < 36 else digits[number // 36] + digits[number % 36]
        name += f"1bIS{text}_S{text}_E"
    return name.encode()


def backreferences(levels: int) -> bytes:
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    body, last = "INvC1a1bThhE", len("INvC1a1b")
    for _ in range(levels):
        number, text = last - 1, ""
        while number or not text:
            number, text = number // 62, digits[number % 62] + text
        last = len(body)
        body += f"TB{text}_B{text}_E"
    return f"_R{body}E".encode()


@pytest.mark.parametrize(
    "bomb",
    [
        substitutions(300),
        b"_Z1fIJ" + b"i" * 60 + b"EEv" + b"Dp1aIT_" * 9 + b"E" * 9,
        b"_Z1fIJ" + b"i" * 1500 + b"EEv" + b"Dp1aIT_" * 4 + b"E" * 4,
        b"_Z1fI1aE" + b"1bIT_T_T_E" * 80,
        backreferences(200),
    ],
)
def test_names_that_would_expand_without_end_stay_mangled(bomb: bytes) -> None:
    assert len(bomb) <= demangling.MANGLED_LIMIT
    assert demangle(bomb) == bomb.decode()


def test_a_modest_expansion_is_within_its_bound() -> None:
    for levels in range(1, 9):
        name = substitutions(levels).decode()
        shown = demangling._demangled(name)
        assert shown is not None
        assert len(shown) <= 4 * demangling._itanium_bound(name)
        assert len(shown) > 2**levels
        rust = backreferences(levels)
        assert demangle(rust).count("u8") > 2**levels
        assert len(demangle(rust)) <= 4 * demangling._rust_bound(rust.decode())


@pytest.mark.parametrize(
    "nested",
    [
        b"_Z1f" + b"P" * 4090 + b"i",
        b"_Z" + b"N" * 4090,
        b"_Z1fI" + b"J" * 4090,
        b"_Z1f" + b"F" * 4000,
        b"_Z1fIX" + b"nt" * 2040 + b"Li1E",
        b"_Z1f" + b"A_" * 2040 + b"i",
        b"_R" + b"Nv" * 2040 + b"C1a1b",
        b"_RINvC1a1b" + b"R" * 4000 + b"hE",
        b"_RINvC1a1b" + b"T" * 4000,
        b"_Z" + b"Z" * 4090,
        b"_ZTV" + b"St" * 2040,
    ],
)
def test_the_deepest_nesting_is_survived_in_a_thread(nested: bytes) -> None:
    import threading

    shown: list[str] = []
    thread = threading.Thread(target=lambda: shown.append(demangle(nested)))
    thread.start()
    thread.join()
    assert len(shown) == 1
    assert len(shown[0]) <= demangling.SHOWN_LIMIT


def test_long_names_are_cut_and_not_demangled() -> None:
    assert demangle(b"x" * 5000) == "x" * 4095 + "…"
    long = b"_Z3foo" + b"i" * 5000
    assert demangle(long).startswith("_Z3fooiii")


MANGLING = st.text("_ZRNSTIJEDpKPFCvijt0123456789ab_$.@", max_size=300)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["_Z", "_R", "_ZN", "_RNv", "__Z", ""]), MANGLING, st.binary(max_size=20))
def test_any_bytes_give_text(head: str, middle: str, tail: bytes) -> None:
    shown = demangle(head.encode() + middle.encode() + tail)
    shown.encode("utf-8")
    assert len(shown) <= demangling.SHOWN_LIMIT


KALLSYMS = b"""ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000100 t do_work.isra.0
ffffffff81000200 T __x64_sys_read
ffffffff81000280 D some_data
ffffffff81000300 W weak_one
garbage
zzzzzzzz81000000 T bad_digits
ffffffffc0201000 t helper\t[nf_tables]
ffffffffc0202000 t bpf_prog_6deef7357e7b4530_sd\t[bpf]
ffffffffffffff00 t last
"""


def kernel(tmp_path: Path, text: bytes) -> KernelSymbols:
    path = tmp_path / "kallsyms"
    path.write_bytes(text)
    return KernelSymbols(path)


def test_kernel_functions_and_their_modules(tmp_path: Path) -> None:
    symbols = kernel(tmp_path, KALLSYMS)
    asked = {
        0xFFFFFFFF80FFFFFF: None,
        0xFFFFFFFF81000000: ("_text", "[kernel]"),
        0xFFFFFFFF810001FF: ("do_work.isra.0", "[kernel]"),
        0xFFFFFFFF81000200: ("__x64_sys_read", "[kernel]"),
        0xFFFFFFFF81000280: None,
        0xFFFFFFFF81000301: ("weak_one", "[kernel]"),
        0xFFFFFFFFC0201005: ("helper", "[nf_tables]"),
        0xFFFFFFFFC0202005: ("bpf_prog_6deef7357e7b4530_sd", "[bpf]"),
        0xFFFFFFFFC0400000: None,
        0xFFFFFFFFFFFFFFFE: ("last", "[kernel]"),
    }
    found = symbols.find(np.array(list(asked), np.uint64)).tolist()
    for index, expected in zip(found, asked.values(), strict=True):
        if expected is None:
            assert index == -1
        else:
            assert (symbols.table.name(index).decode(), symbols.module(index)) == expected


@pytest.mark.parametrize("text", [b"", b"\n\n", b"0000000000000000 T _text\n" * 5, b"\xff" * 300])
def test_hidden_kernel_symbols_are_none(tmp_path: Path, text: bytes) -> None:
    symbols = kernel(tmp_path, text)
    assert symbols.find(np.array([0, 1, 2**64 - 1], np.uint64)).tolist() == [-1, -1, -1]
    assert KernelSymbols(tmp_path / "none").find(np.array([5], np.uint64)).tolist() == [-1]


def test_kernel_symbols_are_read_again_for_new_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = kernel(tmp_path, KALLSYMS)
    address = np.array([0xFFFFFFFFC0300010], np.uint64)
    assert symbols.find(address).tolist() == [-1]
    (tmp_path / "kallsyms").write_bytes(KALLSYMS + b"ffffffffc0300000 t fresh\t[new]\n")
    assert symbols.find(address).tolist() == [-1], "not at once"
    later = time.monotonic() + 60
    monkeypatch.setattr("stacks_tui.symbols.kernel.time.monotonic", lambda: later)
    (index,) = symbols.find(address).tolist()
    assert (symbols.table.name(index), symbols.module(index)) == (b"fresh", "[new]")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees kernel addresses")
def test_the_running_kernel_agrees_with_kallsyms() -> None:
    symbols = KernelSymbols()
    starts: dict[int, set[bytes]] = {}
    for line in Path("/proc/kallsyms").read_bytes().splitlines():
        address, kind, name = line.split(b"\t")[0].split(b" ", 2)
        if kind in b"tTwW":
            starts.setdefault(int(address, 16), set()).add(name)
    if set(starts) == {0}:
        pytest.skip("addresses are hidden")
    asked = list(starts)[:: max(1, len(starts) // 2000)]
    for start, index in zip(asked, symbols.find(np.array(asked, np.uint64)).tolist(), strict=True):
        assert symbols.table.name(index) in starts[start]


class Jit:
    """A process as /proc would show it, with a perf map of its own."""

    def __init__(self, tmp_path: Path, tgid: int = 4321, nspid: str = "4321\t7") -> None:
        self.proc = tmp_path / "proc"
        self.tgid = tgid
        folder = self.proc / str(tgid)
        (folder / "root" / "tmp").mkdir(parents=True)
        uid = os.geteuid()
        (folder / "status").write_text(
            f"Name:\tnode\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nNSpid:\t{nspid}\n"
        )
        self.path = folder / "root" / "tmp" / f"perf-{nspid.split()[-1]}.map"

    def map(self) -> PerfMap:
        return PerfMap(self.tgid, self.proc, patience=0)


def lookup(perf_map: PerfMap, *addresses: int) -> list[bytes | None]:
    found = perf_map.find(np.array(addresses, np.uint64))
    return [symbol.name if symbol else None for symbol in found]


def test_a_perf_map_is_read_by_the_pid_inside_the_container(tmp_path: Path) -> None:
    jit = Jit(tmp_path)
    jit.path.write_bytes(b"1000 10 first one\n0x2000 0x20 second\xff\x1b]8;;\n")
    perf_map = jit.map()
    assert perf_map.refresh()
    assert lookup(perf_map, 0xFFF, 0x1000, 0x100F, 0x1010, 0x201F, 0x2020) == [
        None,
        b"first one",
        b"first one",
        None,
        b"second\xff\x1b]8;;",
        None,
    ]


def test_the_outer_pid_is_tried_too(tmp_path: Path) -> None:
    jit = Jit(tmp_path)
    jit.path.with_name("perf-4321.map").write_bytes(b"1000 10 outer\n")
    perf_map = jit.map()
    assert perf_map.refresh()
    assert lookup(perf_map, 0x1000) == [b"outer"]


def test_what_was_added_is_read_on_and_wins(tmp_path: Path) -> None:
    jit = Jit(tmp_path)
    jit.path.write_bytes(b"1000 100 old\n2000 10 half")
    perf_map = jit.map()
    assert perf_map.refresh()
    assert lookup(perf_map, 0x1080, 0x2000) == [b"old", None]
    assert not perf_map.refresh()
    with jit.path.open("ab") as file:
        file.write(b" written\n1040 20 new\n")
    assert perf_map.refresh()
    assert lookup(perf_map, 0x103F, 0x1040, 0x105F, 0x1060, 0x2000) == [
        b"old",
        b"new",
        b"new",
        b"old",
        b"half written",
    ]
    jit.path.write_bytes(b"1000 8 begun anew\n")
    assert perf_map.refresh()
    assert lookup(perf_map, 0x1000, 0x1040) == [b"begun anew", None]


def test_a_map_outlives_its_process(tmp_path: Path) -> None:
    jit = Jit(tmp_path)
    jit.path.write_bytes(b"1000 10 kept\n")
    perf_map = jit.map()
    perf_map.refresh()
    jit.path.unlink()
    (jit.proc / "4321" / "status").unlink()
    assert not perf_map.refresh()
    assert lookup(perf_map, 0x1000) == [b"kept"]


def test_hostile_lines_are_skipped(tmp_path: Path) -> None:
    jit = Jit(tmp_path)
    jit.path.write_bytes(
        b"\nnonsense\n1000\n1000 10\n1000 10 \nzz 10 a\n-5 10 b\n1000 0 empty\n"
        b"ffffffffffffffff ff wraps\n11111111111111111 10 too long\n"
        b"3000 10 " + b"n" * 9000 + b"\n\0\0\0\n4000 10 good\n" + b"5000 10 " + b"x" * 100
    )
    perf_map = jit.map()
    assert perf_map.refresh()
    assert lookup(perf_map, 0x1000, 0x4000, 0x5000) == [None, b"good", None]
    assert lookup(perf_map, 0x3000) == [b"n" * 4096]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which only root can")
def test_maps_of_strangers_are_not_trusted(tmp_path: Path) -> None:
    jit = Jit(tmp_path)
    status = jit.proc / "4321" / "status"
    status.write_text("Uid:\t1000\t1001\t1000\t1000\nNSpid:\t4321\t7\n")
    jit.path.write_bytes(b"1000 10 name\n")
    for owner, trusted in ((0, True), (1000, True), (1001, True), (1002, False)):
        os.chown(jit.path, owner, -1)
        assert jit.map().refresh() is trusted, owner
    os.chown(jit.path, 1000, -1)
    jit.path.chmod(0o666)
    assert not jit.map().refresh()


def test_links_pipes_and_folders_are_not_read(tmp_path: Path) -> None:
    jit = Jit(tmp_path)
    (tmp_path / "real").write_bytes(b"1000 10 name\n")
    jit.path.symlink_to(tmp_path / "real")
    assert not jit.map().refresh()
    jit.path.unlink()
    os.mkfifo(jit.path)
    assert not jit.map().refresh()
    jit.path.unlink()
    jit.path.mkdir()
    assert not jit.map().refresh()
    assert not PerfMap(99, tmp_path / "proc").refresh()


def test_reading_on_waits_in_proportion(tmp_path: Path) -> None:
    jit = Jit(tmp_path)
    jit.path.write_bytes(b"1000 10 a\n")
    perf_map = PerfMap(jit.tgid, jit.proc, patience=1e9)
    assert perf_map.refresh()
    jit.path.write_bytes(b"1000 10 a\n2000 10 b\n")
    assert not perf_map.refresh()


ENTRY = st.tuples(st.integers(0, 200), st.integers(1, 60))


@settings(max_examples=150, deadline=None)
@given(st.lists(ENTRY, max_size=40), st.integers(0, 40))
def test_the_last_entry_over_an_address_wins(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[int, int]], first: int
) -> None:
    jit = Jit(tmp_path_factory.mktemp("jit"))
    lines = [b"%x %x n%d\n" % (at, size, n) for n, (at, size) in enumerate(entries)]
    perf_map = jit.map()
    jit.path.write_bytes(b"".join(lines[:first]))
    perf_map.refresh()
    jit.path.write_bytes(b"".join(lines))
    perf_map.refresh()
    expected: list[bytes | None] = []
    for address in range(270):
        over = [n for n, (at, size) in enumerate(entries) if at <= address < at + size]
        expected.append(b"n%d" % over[-1] if over else None)
    assert lookup(perf_map, *range(270)) == expected


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=500))
def test_random_maps_never_raise(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    jit = Jit(tmp_path_factory.mktemp("jit"))
    jit.path.write_bytes(junk)
    perf_map = jit.map()
    perf_map.refresh()
    lookup(perf_map, 0, 1, 2**64 - 1)
