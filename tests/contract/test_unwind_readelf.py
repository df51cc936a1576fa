"""Rows of ordinary programs and libraries equal what readelf makes of the same bytes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from readelf_rows import Comparison, compare

from stacks_tui.elf import ElfImage
from stacks_tui.unwind.ehframe import parse
from stacks_tui.unwind.rows import Kind
from stacks_tui.unwind.vdso import read_vdso

LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
SAMPLE = [
    *(f"/usr/bin/{name}" for name in ("gzip", "perl", "python3", "bash", "openssl", "git", "ls")),
    *(f"/usr/bin/{name}" for name in ("sqlite3", "sed", "find", "tar", "make", "ssh", "dd")),
    *(
        str(LIBRARIES / name)
        for name in (
            "libc.so.6",
            "libm.so.6",
            "ld-linux-x86-64.so.2",
            "libstdc++.so.6",
            "libgcc_s.so.1",
            "libcrypto.so.3",
            "libssl.so.3",
            "libsqlite3.so.0",
            "libz.so.1",
            "libzstd.so.1",
            "liblzma.so.5",
            "libgmp.so.10",
            "libgnutls.so.30",
            "libgcrypt.so.20",
            "libglib-2.0.so.0",
            "libcurl.so.4",
            "libexpat.so.1",
            "libncursesw.so.6",
            "libsystemd.so.0",
            "libpcre2-8.so.0",
            "libffi.so.8",
            "libelf.so.1",
            "libdw.so.1",
            "libbcc.so.0",
            "libnss_files.so.2",
            "libpthread.so.0",
        )
    ),
    "/lib/ld-musl-x86_64.so.1",
]

pytestmark = pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")


def _check(result: Comparison | None) -> Comparison:
    assert result is not None
    assert not result.differences, result.differences[:5]
    return result


@pytest.mark.parametrize("path", SAMPLE)
def test_rows_equal_readelf(path: str) -> None:
    if not Path(path).exists():
        pytest.skip("not installed")
    result = _check(compare(path))
    assert result.lines >= result.functions


SOURCE = """
#include <alloca.h>
#include <string.h>
int other(char *);
__attribute__((noinline)) int spread(int n) {
  char *at = alloca(n); memset(at, n, n); return other(at); }
__attribute__((noinline)) int aligned(int n) {
  _Alignas(64) char at[256]; memset(at, n, 256); return other(at) + other(alloca(n)); }
int other(char *at) { return at[0]; }
int main(int count, char **words) { return spread(count + 64) + aligned(count); }
"""
FLAGS = {
    "plain": ["-O2"],
    "kept frame pointer": ["-O1", "-fno-omit-frame-pointer"],
    "debug_frame only": ["-O2", "-g", "-fno-asynchronous-unwind-tables", "-fno-exceptions"],
    "debug_frame compressed": ["-O2", "-g", "-fno-asynchronous-unwind-tables", "-gz=zlib"],
    "debug_frame of 64-bit DWARF": [
        "-O2",
        "-gdwarf64",
        "-gdwarf-5",
        "-fno-asynchronous-unwind-tables",
    ],
    "static": ["-O2", "-static"],
    "no search table": ["-O2", "-Wl,--no-eh-frame-hdr"],
    "far away": ["-O2", "-shared", "-fPIC", "-Wl,-Ttext-segment=0x7f0000000000"],
    "large model": ["-O2", "-mcmodel=large", "-fno-pie", "-no-pie"],
}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_rows_of_compiled_programs_equal_readelf(flags: list[str], tmp_path: Path) -> None:
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(SOURCE)
    subprocess.run(["gcc", *flags, "-o", program, source], check=True, capture_output=True)
    result = _check(compare(str(program)))
    assert result.functions >= 4, "main, spread, aligned and other"


def test_rows_of_the_vdso_equal_readelf(tmp_path: Path) -> None:
    image = read_vdso()
    copy = tmp_path / "vdso"
    copy.write_bytes(image.read(0, image.size))
    assert _check(compare(str(copy))).functions > 3


@pytest.mark.skipif(shutil.which("musl-gcc") is None, reason="needs musl-gcc")
def test_signal_return_of_musl_is_found(tmp_path: Path) -> None:
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(
        "#include <signal.h>\nint main(void) { return signal(10, SIG_IGN) == SIG_ERR; }"
    )
    command = ["musl-gcc", "-static", "-o", str(program), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    table = parse(ElfImage.from_bytes(program.read_bytes()))
    first, second = table.rows[table.rows["kind"] == Kind.SIGNAL]
    assert second["pc"] == first["pc"] + 1  # a return address is looked up a byte before


def test_sections_stripped_off_change_nothing(tmp_path: Path) -> None:
    data = bytearray(Path("/usr/bin/gzip").read_bytes())
    whole = parse(ElfImage.from_bytes(bytes(data)))
    data[40:48] = bytes(8)  # e_shoff: no section headers
    data[60:64] = bytes(4)
    bare = parse(ElfImage.from_bytes(bytes(data)))
    assert whole.rows.tobytes() == bare.rows.tobytes()
    assert bare.source == ".eh_frame"
