"""Function symbols of real ELF files against what binutils say, and of files made to confuse."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stacks_tui.elf import SHF_COMPRESSED, ElfError, ElfImage, mapping_bias
from stacks_tui.spaces import Mapping
from stacks_tui.symbols.debug_files import open_debug_file
from stacks_tui.symbols.elf_symbols import symbols_of
from stacks_tui.symbols.signals import named, signal_returns
from stacks_tui.symbols.table import SymbolTable

SOURCE = r"""
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>
#include <unistd.h>
namespace shop {
  template <typename T> __attribute__((noinline)) T total(const std::vector<T>& all) {
    T sum{}; for (const auto& one : all) sum += one; return sum;
  }
  struct Till {
    __attribute__((noinline)) int ring(const std::string& s) { return s.size() + getpid(); }
  };
}
extern "C" __attribute__((noinline)) int plain(int n) { return n * 3 + getppid(); }
static __attribute__((noinline, used)) int hidden(int n) { return n ^ 42; }
extern "C" int alias_of_plain(int) __attribute__((alias("plain")));
extern "C" int __plain(int) __attribute__((alias("plain")));
int main(int argc, char** argv) {
  std::vector<double> prices{1.5, 2.5};
  shop::Till till;
  printf("%f %d %d %d\n", shop::total(prices), till.ring(argv[0]), plain(argc), hidden(argc));
  return 0;
}
asm(".text\n.globl bare_label\nbare_label:\n nop\n nop\n ret\n"
    ".globl sized_label\nsized_label:\n nop\n ret\n.size sized_label, .-sized_label\n");
"""

THIRTY_TWO_BITS = ("/lib32/libstdc++.so.6", "/lib32/libc.so.6", "/lib/i386-linux-gnu/libc.so.6")


def image_of(path: Path) -> ElfImage:
    return ElfImage.from_bytes(path.read_bytes())


def names_of(table: SymbolTable) -> dict[bytes, tuple[int, int]]:
    return {
        table.name(at): (int(table.starts[at]), int(table.ends[at])) for at in range(len(table))
    }


def run(*arguments: str | Path) -> str:
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("g++"):
        pytest.skip("no g++")
    folder = tmp_path_factory.mktemp("build")
    (folder / "a.cpp").write_text(SOURCE)
    common = ["g++", "-O1", "-g", "-Wl,--build-id", str(folder / "a.cpp")]
    for name, flags in {
        "pie": ["-pie", "-fPIE"],
        "nopie": ["-no-pie", "-fno-pie"],
        "ibt": ["-pie", "-fPIE", "-fcf-protection=full", "-Wl,-z,ibtplt", "-Wl,-z,lazy"],
        "now": ["-pie", "-fPIE", "-Wl,-z,now"],
    }.items():
        run(*common, *flags, "-o", folder / name)
        shutil.copy(folder / name, folder / f"{name}.stripped")
        run("strip", folder / f"{name}.stripped")
    return folder


def test_the_vdso_is_read_from_memory() -> None:
    from stacks_tui.symbols import vdso

    mapping = Mapping(1 << 40, (1 << 40) + 4096, 0, "[vdso]")
    data = vdso.read_vdso(mapping, os.getpid())
    assert data is not None
    assert b"clock_gettime" in b" ".join(names_of(symbols_of(ElfImage.from_bytes(data))))


@pytest.mark.parametrize("variant", ["pie", "nopie", "ibt", "now"])
def test_every_function_that_nm_lists_is_found_at_each_of_its_bytes(
    build: Path, variant: str
) -> None:
    table = symbols_of(image_of(build / variant))
    checked = 0
    for line in run("nm", "-S", "--defined-only", build / variant).splitlines():
        fields = line.split()
        if len(fields) != 4 or fields[2] not in "tTwW":
            continue
        start, size = int(fields[0], 16), int(fields[1], 16)
        inside = np.array([start, start + size - 1], np.uint64)
        first, last = table.find(inside).tolist()
        assert first == last >= 0
        assert int(table.starts[first]) == start
        same_start = [
            other.split()[-1]
            for other in run("nm", "--defined-only", build / variant).splitlines()
            if int(other.split()[0], 16) == start
        ]
        assert table.name(first).decode() in same_start
        checked += 1
    assert checked >= 8


@pytest.mark.parametrize("path", ["/bin/bash", "/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/perl"])
def test_stripped_system_files_agree_with_nm(path: str) -> None:
    real = Path(path)
    if not real.exists():
        pytest.skip(f"no {path}")
    table = symbols_of(image_of(real))
    starts: dict[int, set[str]] = {}
    ends: dict[int, int] = {}
    for line in run("nm", "-D", "-S", "--defined-only", real).splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[2] in "TtWwi":
            start = int(fields[0], 16)
            starts.setdefault(start, set()).add(fields[3].partition("@")[0])
            ends[start] = max(ends.get(start, 0), start + int(fields[1], 16))
    assert len(starts) > 100
    where = table.find(np.array(list(starts), np.uint64))
    for start, index in zip(starts, where.tolist(), strict=True):
        assert table.name(index).decode() in starts[start]


def test_between_symbols_nothing_is_found(build: Path) -> None:
    table = symbols_of(image_of(build / "pie"))
    gaps = [
        int(end)
        for end, start in zip(table.ends[:-1], table.starts[1:], strict=True)
        if end < start
    ]
    assert gaps
    assert table.find(np.array(gaps, np.uint64)).tolist() == [-1] * len(gaps)
    outside = np.array([0, int(table.starts[0]) - 1, int(table.ends[-1]), 2**64 - 1], np.uint64)
    assert table.find(outside).tolist() == [-1] * 4


def test_aliases_get_the_plainest_name(build: Path) -> None:
    names = names_of(symbols_of(image_of(build / "pie")))
    assert b"plain" in names
    assert b"__plain" not in names
    assert b"alias_of_plain" not in names
    libc = Path("/lib/x86_64-linux-gnu/libc.so.6")
    if libc.exists():
        assert b"read" in names_of(symbols_of(image_of(libc)))


def test_labels_of_assemblers_are_functions(build: Path) -> None:
    names = names_of(symbols_of(image_of(build / "nopie")))
    start, end = names[b"bare_label"]
    assert names[b"sized_label"] == (start + 3, start + 5)
    assert end == start + 3


@pytest.mark.parametrize("variant", ["pie", "nopie", "ibt", "now"])
@pytest.mark.parametrize("stripped", ["", ".stripped"])
def test_plt_stubs_are_named_as_objdump_does(build: Path, variant: str, stripped: str) -> None:
    path = build / f"{variant}{stripped}"
    names = names_of(symbols_of(image_of(path)))
    text = run("objdump", "-d", "-j.plt", "-j.plt.sec", "-j.plt.got", path)
    listed = re.findall(r"^([0-9a-f]+) <([^*>]+?)(?:@[A-Z][^@>]*)?@plt>:", text, re.MULTILINE)
    assert "getpid" in {name for _, name in listed}
    assert b"getpid@plt" in names
    for address, name in listed:
        if name != "PLT0":
            assert names[f"{name}@plt".encode()][0] == int(address, 16)


def test_mini_debug_info_is_read(build: Path, tmp_path: Path) -> None:
    bare = build / "pie.stripped"
    assert b"plain" not in names_of(symbols_of(image_of(bare)))
    mini = tmp_path / "mini"
    run("objcopy", "--only-keep-debug", build / "pie", mini)
    (tmp_path / "mini.xz").write_bytes(lzma.compress(mini.read_bytes()))
    whole = tmp_path / "whole"
    run("objcopy", "--add-section", f".gnu_debugdata={tmp_path / 'mini.xz'}", bare, whole)
    with_mini = names_of(symbols_of(image_of(whole)))
    full = names_of(symbols_of(image_of(build / "pie")))
    assert with_mini == full
    assert b"_ZL6hiddeni" in with_mini


def test_broken_or_huge_mini_debug_info_is_ignored(build: Path, tmp_path: Path) -> None:
    plain = names_of(symbols_of(image_of(build / "pie.stripped")))
    bomb = lzma.compress(bytes(80 << 20))
    for number, junk in enumerate((b"", b"junk", lzma.compress(b"no elf"), bomb)):
        (tmp_path / "junk").write_bytes(junk or b"\0")
        out = tmp_path / f"out{number}"
        section = f".gnu_debugdata={tmp_path / 'junk'}"
        run("objcopy", "--add-section", section, build / "pie.stripped", out)
        assert names_of(symbols_of(image_of(out))) == plain


def test_a_debug_file_is_found_by_build_id_and_verified(build: Path, tmp_path: Path) -> None:
    image = image_of(build / "pie.stripped")
    assert image.build_id is not None
    text = image.build_id.hex()
    assert text in run("readelf", "-n", build / "pie.stripped")
    root = tmp_path / "debug"
    place = root / ".build-id" / text[:2] / f"{text[2:]}.debug"
    place.parent.mkdir(parents=True)
    assert open_debug_file(image, "/nowhere/pie", root) is None
    run("objcopy", "--only-keep-debug", build / "nopie", place)
    assert open_debug_file(image, "/nowhere/pie", root) is None, "another file's"
    run("objcopy", "--only-keep-debug", build / "pie", place)
    fd = open_debug_file(image, "/nowhere/pie", root)
    assert fd is not None
    found = names_of(symbols_of(image, ElfImage.from_fd(fd)))
    os.close(fd)
    assert found == names_of(symbols_of(image_of(build / "pie")))


def test_a_debug_file_is_found_by_link_and_checksum(build: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    program, debug = tmp_path / "program", tmp_path / "program.debug"
    run("objcopy", "--remove-section=.note.gnu.build-id", build / "pie", tmp_path / "full")
    run("objcopy", "--only-keep-debug", tmp_path / "full", debug)
    run("strip", "-o", program, tmp_path / "full")
    run("objcopy", f"--add-gnu-debuglink={debug}", program)
    image = image_of(program)
    assert image.build_id is None
    fd = open_debug_file(image, str(program), tmp_path / "none")
    assert fd is not None
    os.close(fd)
    content = bytearray(debug.read_bytes())
    content[-1] ^= 1
    debug.write_bytes(content)
    assert open_debug_file(image, str(program), tmp_path / "none") is None


def test_a_signal_trampoline_is_found_in_a_stripped_libc() -> None:
    libc = Path("/lib/x86_64-linux-gnu/libc.so.6")
    if not libc.exists():
        pytest.skip("no libc there")
    table = symbols_of(image_of(libc))
    (start,) = signal_returns(table)
    (index,) = named(table, b"__restore_rt")
    assert int(table.starts[index]) == start
    image = image_of(libc)
    load = next(s for s in image.loads if s.vaddr <= start < s.vaddr + s.filesz)
    code = image.read(start - load.vaddr + load.offset, 9)
    assert code == b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05"


def test_the_bias_of_live_mappings_leads_to_the_right_symbols() -> None:
    """The address of libc's `read` in this process, as ctypes knows it, resolves to `read`."""
    import ctypes

    address = ctypes.cast(ctypes.CDLL(None).read, ctypes.c_void_p).value
    assert address is not None
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split()
        low, high = (int(part, 16) for part in fields[0].split("-"))
        if low <= address < high:
            mapping = Mapping(low, high, int(fields[2], 16), fields[5])
            image = image_of(Path(mapping.path))
            bias = image.bias(mapping)
            assert bias is not None
            table = symbols_of(image)
            index = int(table.find(np.array([address - bias], np.uint64))[0])
            assert table.name(index) == b"read"
            assert int(table.starts[index]) == address - bias
            return
    pytest.fail("libc is not mapped")


def test_a_mapping_of_nothing_has_no_bias(build: Path) -> None:
    image = image_of(build / "pie")
    beyond = Mapping(0x7F0000000000, 0x7F0000001000, 1 << 30, "/x")
    assert image.bias(beyond) is None
    assert mapping_bias((), beyond) is None
    load = image.loads[0]
    page = load.offset & ~4095
    start = 0x555555554000 + page
    assert image.bias(Mapping(start, start + 4096, page, "/x")) == start - (
        load.vaddr - (load.offset - page)
    )


def test_compressed_sections_are_read_whole(build: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    run("objcopy", "--compress-debug-sections=zlib", build / "pie", packed)
    plain, image = image_of(build / "pie"), image_of(packed)
    one, other = plain.section(".debug_info"), image.section(".debug_info")
    assert one is not None
    assert other is not None
    assert other.flags & SHF_COMPRESSED
    assert image.content(other) == plain.content(one)
    with pytest.raises(ElfError, match="larger"):
        image.content(other, one.size - 1)
    damaged = bytearray(packed.read_bytes())
    damaged[other.offset + 40 : other.offset + 60] = bytes(20)
    with pytest.raises(ElfError):
        ElfImage.from_bytes(bytes(damaged)).content(other)


def test_files_of_32_bits_are_read() -> None:
    path = next((p for p in map(Path, THIRTY_TWO_BITS) if p.exists()), None)
    if path is None:
        pytest.skip("no library of 32 bits here")
    image = image_of(path)
    assert image.elfclass == 32
    table = symbols_of(image)
    listed = 0
    for line in run("nm", "-D", "-S", "--defined-only", path).splitlines()[:3000]:
        fields = line.split()
        if len(fields) == 4 and fields[2] == "T":
            (index,) = table.find(np.array([int(fields[0], 16)], np.uint64)).tolist()
            assert int(table.starts[index]) == int(fields[0], 16)
            listed += 1
    assert listed > 100


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(ElfError):
        ElfImage.from_fd(fd)
    os.close(fd)
    with pytest.raises(ElfError):
        ElfImage.from_fd(fd)


def test_a_file_cut_short_while_in_use_is_an_error_and_not_a_signal(
    build: Path, tmp_path: Path
) -> None:
    path = tmp_path / "copy"
    shutil.copy(build / "pie", path)
    fd = os.open(path, os.O_RDONLY)
    image = ElfImage.from_fd(fd)
    os.truncate(path, 100)
    assert len(symbols_of(image)) == 0
    os.close(fd)


def test_a_sparse_giant_is_refused_before_it_is_read(build: Path, tmp_path: Path) -> None:
    data = bytearray((build / "pie").read_bytes())
    image = ElfImage.from_bytes(bytes(data))
    header = struct.unpack_from("<Q", data, 40)[0]
    for section in image.sections:
        if section.name in (".symtab", ".strtab", ".dynsym", ".gnu_debugdata"):
            struct.pack_into("<QQ", data, header + 64 * section.index + 24, 0, 1 << 40)
    path = tmp_path / "giant"
    path.write_bytes(data)
    os.truncate(path, 1 << 41)
    fd = os.open(path, os.O_RDONLY)
    table = symbols_of(ElfImage.from_fd(fd))
    os.close(fd)
    assert all(table.name(at).endswith(b"@plt") for at in range(len(table)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_file_never_crashes(build: Path, data: st.DataObject) -> None:
    whole = bytearray((build / "pie").read_bytes())
    image = ElfImage.from_bytes(bytes(whole))
    headers = struct.unpack_from("<Q", whole, 40)[0]
    for _ in range(data.draw(st.integers(1, 6))):
        zone = data.draw(st.sampled_from(["header", "program", "section", "symbols", "any"]))
        if zone == "header":
            at = data.draw(st.integers(4, 60))
        elif zone == "program":
            at = 64 + data.draw(st.integers(0, 56 * len(image.segments)))
        elif zone == "section":
            at = headers + data.draw(st.integers(0, 64 * len(image.sections) - 8))
        elif zone == "symbols":
            symtab = image.section(".symtab")
            assert symtab is not None
            at = symtab.offset + data.draw(st.integers(0, symtab.size - 8))
        else:
            at = data.draw(st.integers(0, len(whole) - 8))
        value = data.draw(st.sampled_from([0, 1, 0xFFFF, 2**31, 2**32 - 1, 2**63, 2**64 - 1, 4096]))
        width = data.draw(st.sampled_from([1, 2, 4, 8]))
        whole[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
    end = data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))
    try:
        damaged = ElfImage.from_bytes(bytes(whole[:end]))
    except ElfError:
        return
    table = symbols_of(damaged)
    assert (table.starts[1:] > table.starts[:-1]).all()
    assert (table.ends >= table.starts).all()
    found = table.find(np.array([0, 4096, 2**63, 2**64 - 1], np.uint64)).tolist()
    assert all(-1 <= index < len(table) for index in found)
    assert damaged.build_id is None or len(damaged.build_id) <= 64
    damaged.bias(Mapping(4096, 8192, data.draw(st.integers(0, 2**64 - 1)), "/x"))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_never_crash(junk: bytes) -> None:
    for head in (b"", b"\x7fELF\x02\x01\x01", b"\x7fELF\x01\x01\x01"):
        try:
            image = ElfImage.from_bytes(head + junk)
        except ElfError:
            continue
        symbols_of(image)
        assert image.build_id is None or image.build_id


def test_every_file_of_the_system_agrees_on_its_build_id() -> None:
    checked = 0
    for path in sorted(Path("/usr/lib/x86_64-linux-gnu").glob("lib[a-d]*.so.*"))[:20]:
        if path.is_symlink():
            continue
        found = image_of(path).build_id
        text = re.search(r"Build ID: ([0-9a-f]+)", run("readelf", "-n", path))
        assert (found.hex() if found else None) == (text[1] if text else None)
        checked += 1
    assert checked
