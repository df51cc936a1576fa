"""Stacks of live, ended, replaced and contained processes, resolved from their real files."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stacks_tui.diskcache import DiskCache
from stacks_tui.elf import ElfImage
from stacks_tui.records import StackFlag, StackRecord, StackStatus
from stacks_tui.spaces import AddressSpace, Mapping, make_space
from stacks_tui.symbols.binaries import open_binary
from stacks_tui.symbols.cache import TableCache
from stacks_tui.symbols.elf_symbols import symbols_of
from stacks_tui.symbols.frames import Frame
from stacks_tui.symbols.kernel import KernelSymbols
from stacks_tui.symbols.resolver import Resolver
from stacks_tui.symbols.signals import named
from stacks_tui.symbols.table import SymbolTable

SOURCE = r"""
#include <stdio.h>
#include <unistd.h>
#include <sys/auxv.h>
__attribute__((noinline)) int LANDMARK(int n) { return n * getpid(); }
int main(void) { printf("%p\n", (void *)LANDMARK); fflush(stdout); for (;;) pause(); }
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="looks into other processes")


def compile_program(path: Path, landmark: str, *flags: str) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    command = ["gcc", "-O1", "-Wl,--build-id", f"-DLANDMARK={landmark}", "-xc", "-", *flags]
    subprocess.run([*command, "-o", str(path)], input=SOURCE, text=True, check=True)
    return path


@contextlib.contextmanager
def running(*command: str | Path) -> Iterator[tuple[int, int]]:
    """The tgid of the running program and the address of its landmark."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            text = process.stdout.readline()
            if not text:
                pytest.skip("can't start it here")
            yield process.pid, int(text, 16)
        finally:
            process.kill()


def space_of(tgid: int, buildids: bool = False) -> AddressSpace:
    """The executable mappings as /proc tells them, with build ids as side-band records have."""
    mappings: list[Mapping] = []
    for line in Path(f"/proc/{tgid}/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if "x" not in fields[1]:
            continue
        start, end = (int(part, 16) for part in fields[0].split("-"))
        major, minor = (int(part, 16) for part in fields[3].split(":"))
        path = fields[5] if len(fields) > 5 else "//anon"
        device, inode = os.makedev(major, minor), int(fields[4])
        mapping = Mapping(start, end, int(fields[2], 16), path, None, device, inode)
        if buildids and inode:
            link = Path(f"/proc/{tgid}/map_files/{start:x}-{end:x}")
            buildid = ElfImage.from_bytes(link.read_bytes()).build_id
            mapping = replace(mapping, buildid=buildid, device=0, inode=0)
        mappings.append(mapping)
    return make_space(tgid, 0, mappings)


def record(
    *user: int,
    kernel: tuple[int, ...] = (),
    tgid: int = 1,
    status: StackStatus = StackStatus.COMPLETE,
    flags: int = 0,
) -> StackRecord:
    return StackRecord(
        7,
        0,
        tgid,
        tgid,
        np.array(kernel, np.uint64),
        np.array(user, np.uint64),
        status,
        StackFlag(flags),
    )


@pytest.fixture
def resolver(tmp_path: Path) -> Iterator[Resolver]:
    kallsyms = tmp_path / "kallsyms"
    kallsyms.write_bytes(b"ffffffff81000000 T one\nffffffff81000100 T two\n")
    made = Resolver(TableCache(), KernelSymbols(kallsyms))
    yield made
    made.close()


def names(resolver: Resolver, space: AddressSpace | None, *user: int, tgid: int = 1) -> list[str]:
    tgid = space.tgid if space is not None else tgid
    return [frame.name for frame in resolver.resolve(record(*user, tgid=tgid), space).frames]


@needs_root
@pytest.mark.parametrize("flags", [("-pie", "-fPIE"), ("-no-pie", "-fno-pie"), ("-static",)])
@pytest.mark.parametrize("buildids", [False, True])
def test_a_live_process(
    tmp_path: Path, resolver: Resolver, flags: tuple[str, ...], buildids: bool
) -> None:
    program = compile_program(tmp_path / "program", "landmark", *flags)
    with running(program) as (tgid, address):
        space = space_of(tgid, buildids)
        stack = resolver.resolve(record(address + 5, address, address + 1, tgid=tgid), space)
    image = ElfImage.from_bytes(program.read_bytes())
    table = symbols_of(image)
    (index,) = named(table, b"landmark")
    start = int(table.starts[index])
    leaf, before, first = stack.frames
    expected = Frame("landmark", start, 5, str(program), image.build_id)
    assert leaf == expected
    assert first == replace(expected, offset=1)
    assert before.name != "landmark", "a return address belongs to the call before it"
    assert before.address + before.offset == start
    assert stack.complete
    assert not stack.truncated


@needs_root
@pytest.mark.parametrize("buildids", [False, True])
def test_a_deleted_file_of_a_live_process(
    tmp_path: Path, resolver: Resolver, buildids: bool
) -> None:
    program = compile_program(tmp_path / "program", "first_version")
    with running(program) as (tgid, address):
        program.unlink()
        compile_program(program, "second_version")
        space = space_of(tgid, buildids)
        mapping = space.find(address)
        assert mapping is not None
        assert mapping.path == f"{program} (deleted)"
        stack = resolver.resolve(record(address, tgid=tgid), space)
    assert stack.frames[0].name == "first_version"
    assert stack.frames[0].module == str(program)


@needs_root
def test_a_process_that_is_gone_is_resolved_by_build_id(tmp_path: Path, resolver: Resolver) -> None:
    program = compile_program(tmp_path / "program", "landmark")
    with running(program) as (tgid, address):
        space = space_of(tgid, buildids=True)
    assert names(resolver, space, address) == ["landmark"]


@needs_root
@pytest.mark.parametrize("buildids", [False, True])
def test_a_replaced_file_of_a_gone_process_is_not_believed(
    tmp_path: Path, resolver: Resolver, buildids: bool
) -> None:
    program = compile_program(tmp_path / "program", "first_version")
    with running(program) as (tgid, address):
        space = space_of(tgid, buildids)
    compile_program(tmp_path / "other", "second_version").rename(program)
    stack = resolver.resolve(record(address, tgid=tgid), space)
    mapping = space.find(address)
    assert mapping is not None
    place = address - mapping.start + mapping.offset
    (frame,) = stack.frames
    assert frame == Frame(
        f"[program+{place:#x}]", place, 0, str(program), mapping.buildid, resolved=False
    )
    assert stack.unresolved == 1


@needs_root
def test_a_prefetched_file_outlives_process_and_path(tmp_path: Path, resolver: Resolver) -> None:
    program = compile_program(tmp_path / "program", "landmark")
    with running(program) as (tgid, address):
        space = space_of(tgid, buildids=True)
        mapping = space.find(address)
        assert mapping is not None
        for _ in range(3):
            resolver.prefetch(mapping, tgid)
    program.unlink()
    assert names(resolver, space, address) == ["landmark"]


@needs_root
def test_prefetching_holds_few_files_and_loses_none(tmp_path: Path, resolver: Resolver) -> None:
    program = compile_program(tmp_path / "program", "landmark", "-static")
    with running(program) as (tgid, address):
        one = space_of(tgid).find(address)
        assert one is not None
        before = len(os.listdir("/proc/self/fd"))
        copies: list[Mapping] = []
        for number in range(100):
            path = shutil.copy(program, f"{tmp_path}/copy{number}")
            status = os.stat(path)
            copies.append(replace(one, path=path, device=status.st_dev, inode=status.st_ino))
            resolver.prefetch(copies[-1], tgid)
        assert len(os.listdir("/proc/self/fd")) - before <= 64
        for copy in copies:
            os.unlink(copy.path)
        for copy in copies:
            assert names(resolver, make_space(tgid, 0, [copy]), address) == ["landmark"]
        assert len(os.listdir("/proc/self/fd")) == before


@needs_root
def test_containers_with_another_file_at_the_same_path(tmp_path: Path, resolver: Resolver) -> None:
    ours = compile_program(tmp_path / "program", "outside_version")
    theirs = compile_program(tmp_path / "theirs", "inside_version")
    script = f"mount --bind {theirs} {ours} && exec {ours}"
    inside = running("unshare", "-m", "sh", "-c", script)
    with running(ours) as (tgid, address), inside as (inner_tgid, inner_address):
        space, inner_space = space_of(tgid, True), space_of(inner_tgid, True)
        mapping, inner = space.find(address), inner_space.find(inner_address)
        assert mapping is not None
        assert inner is not None
        assert mapping.buildid != inner.buildid
        assert names(resolver, inner_space, inner_address) == ["inside_version"]
        assert names(resolver, space, address) == ["outside_version"]


@needs_root
def test_a_build_id_that_lies_in_another_root_does_not_spread(
    tmp_path: Path, resolver: Resolver
) -> None:
    """Two files with one build id and one path, in two roots, keep their own names."""
    same = "-Wl,--build-id=0x0123456789abcdef0123456789abcdef01234567"
    ours = compile_program(tmp_path / "program", "honest", same)
    theirs = compile_program(tmp_path / "theirs", "liar", same)
    root = tmp_path / "root"
    root.mkdir()
    copy = root / ours.relative_to("/")
    copy.parent.mkdir(parents=True)
    shutil.copy(theirs, copy)
    image = ElfImage.from_bytes(ours.read_bytes())
    load = image.loads[0]
    page = load.offset & ~4095
    mapping = Mapping(0x10000000, 0x10000000 + 0x10000, page, str(ours), image.build_id)
    proc = tmp_path / "proc"
    for tgid, base in ((10, Path("/")), (11, root)):
        (proc / str(tgid)).mkdir(parents=True)
        (proc / str(tgid) / "root").symlink_to(base)
    faked = Resolver(TableCache(), resolver._kernel, proc)
    for tgid, name in ((11, b"liar"), (10, b"honest")):
        path = copy if tgid == 11 else ours
        table = symbols_of(ElfImage.from_bytes(path.read_bytes()))
        (index,) = named(table, name)
        pc = int(table.starts[index]) - (load.vaddr - (load.offset - page)) + mapping.start
        space = make_space(tgid, 0, [mapping])
        assert names(faked, space, pc) == [name.decode()]
    faked.close()


@needs_root
def test_a_program_built_anew_without_a_build_id_has_its_new_names(
    tmp_path: Path, resolver: Resolver
) -> None:
    for landmark in ("first_version", "second_version"):
        built = compile_program(tmp_path / landmark, landmark, "-Wl,--build-id=none", "-no-pie")
        program = tmp_path / "program"
        program.touch(0o755)
        program.write_bytes(built.read_bytes())  # the inode stays
        with running(program) as (tgid, address):
            assert names(resolver, space_of(tgid), address) == [landmark]


def test_a_candidate_that_is_no_file_or_another_is_refused(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "5" / "root").mkdir(parents=True)
    target = proc / "5" / "root" / "program"
    path = f"/{tmp_path.name}-nowhere/program"
    (proc / "5" / "root" / f"{tmp_path.name}-nowhere").mkdir()
    target = proc / "5" / "root" / f"{tmp_path.name}-nowhere" / "program"
    mapping = Mapping(4096, 8192, 0, path, b"\x01" * 20)
    os.mkfifo(target)
    assert open_binary(mapping, 5, proc) is None
    target.unlink()
    target.symlink_to("/bin/sh")
    assert open_binary(mapping, 5, proc) is None
    target.unlink()
    shutil.copy("/bin/sh", target)
    assert open_binary(mapping, 5, proc) is None
    status = target.stat()
    known = Mapping(4096, 8192, 0, path, None, status.st_dev, status.st_ino)
    binary = open_binary(known, 5, proc)
    assert binary is not None
    binary.close()
    assert open_binary(replace(known, inode=status.st_ino + 1), 5, proc) is None
    unproven = Mapping(4096, 8192, 0, path)
    assert open_binary(unproven, 5, proc) is None
    for odd in ("", "//anon", "[heap]", "anon_inode:[perf]", "/nul\0/x"):
        assert open_binary(replace(known, path=odd), 5, proc) is None


def test_kernel_frames_and_flags(resolver: Resolver) -> None:
    kernel = (0xFFFFFFFF81000105, 0xFFFFFFFF81000100, 0xFFFFFFFF00000000)
    stack = resolver.resolve(record(kernel=kernel), None)
    assert stack.frames == (
        Frame("two", 0xFFFFFFFF81000100, 5, "[kernel]", None),
        Frame("one", 0xFFFFFFFF81000000, 0x100, "[kernel]", None),
        Frame("[0xffffffff00000000]", 2**64 - 2**32, 0, "[kernel]", None, resolved=False),
    )
    assert (stack.complete, stack.truncated, stack.unresolved) == (True, False, 1)
    cut = resolver.resolve(record(kernel=kernel, flags=StackFlag.KERNEL_CUT), None)
    assert (cut.complete, cut.truncated) == (False, True)
    user_cut = resolver.resolve(record(5, status=StackStatus.CUT), None)
    assert (user_cut.complete, user_cut.truncated) == (False, True)
    assert [frame.name for frame in user_cut.frames] == ["[0x5]"]
    nothing = resolver.resolve(record(status=StackStatus.NO_REGS), None)
    assert (nothing.frames, nothing.complete) == ((), False)


@needs_root
def test_a_wakers_stack_has_the_kernel_first(tmp_path: Path, resolver: Resolver) -> None:
    program = compile_program(tmp_path / "program", "landmark")
    with running(program) as (tgid, address):
        mixed = record(address, kernel=(0xFFFFFFFF81000105,), tgid=tgid)
        stack = resolver.resolve(mixed, space_of(tgid))
    assert [frame.name for frame in stack.frames] == ["two", "landmark"]
    assert stack.complete


@needs_root
def test_frames_are_made_once(tmp_path: Path, resolver: Resolver) -> None:
    program = compile_program(tmp_path / "program", "landmark")
    with running(program) as (tgid, address):
        space = space_of(tgid)
        first = resolver.resolve(record(address, address + 1, tgid=tgid), space)
        again = resolver.resolve(record(address, address + 1, tgid=tgid), space)
    assert first.frames[0] is again.frames[0]
    assert first.frames[1] is again.frames[1]


@needs_root
def test_frames_around_a_signal_are_exact(resolver: Resolver) -> None:
    """What was interrupted at the first byte of a function is that function."""
    import ctypes

    libc = ctypes.CDLL(None)
    read = ctypes.cast(libc.read, ctypes.c_void_p).value
    assert read is not None
    space = space_of(os.getpid())
    mapping = space.find(read)
    assert mapping is not None
    image = ElfImage.from_bytes(Path(mapping.path).read_bytes())
    table = symbols_of(image)
    (at,) = named(table, b"__restore_rt")
    bias = image.bias(mapping)
    assert bias is not None
    trampoline = int(table.starts[at]) + bias
    interrupted = names(resolver, space, read + 3, trampoline, read, read)
    assert interrupted[:3] == ["read", "__restore_rt", "read"]
    assert interrupted[3] != "read"


def test_the_vdso_is_resolved(resolver: Resolver) -> None:
    space = space_of(os.getpid())
    vdso = next((m for m in space.mappings if m.path == "[vdso]"), None)
    if vdso is None:
        pytest.skip("no vDSO")
    with open("/proc/self/mem", "rb") as memory:
        memory.seek(vdso.start)
        image = ElfImage.from_bytes(memory.read(vdso.end - vdso.start))
    table: SymbolTable = symbols_of(image)
    (index,) = named(table, b"clock_gettime")
    start = int(table.starts[index])
    load = image.loads[0]
    pc = vdso.start + start - load.vaddr + load.offset
    # A side-band record gives an offset that means nothing here.
    odd = replace(vdso, offset=0x7FFC00000000)
    for mapping in (vdso, odd):
        stack = resolver.resolve(record(pc + 1), make_space(os.getpid(), 0, [mapping]))
        (frame,) = stack.frames
        assert (frame.name, frame.address, frame.offset) == ("clock_gettime", start, 1)
        assert frame.module == "[vdso]"


def test_jit_code_is_named_by_the_perf_map(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "77" / "root" / "tmp").mkdir(parents=True)
    uid = os.geteuid()
    (proc / "77" / "status").write_text(f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nNSpid:\t77\n")
    perf_map = proc / "77" / "root" / "tmp" / "perf-77.map"
    perf_map.write_bytes(b"50000 100 LazyCompile:~go \x1b]8;;x\x07 /a.js:1\n")
    resolver = Resolver(TableCache(), KernelSymbols(tmp_path / "none"), proc)
    space = make_space(77, 0, [Mapping(0x50000, 0x60000, 0, "//anon")])
    stack = resolver.resolve(record(0x50010, 0x50100, 0x50500, 0x99999, tgid=77), space)
    name = "LazyCompile:~go \x1b]8;;x\x07 /a.js:1"
    assert stack.frames == (
        Frame(name, 0x50000, 0x10, "[jit]", None),
        Frame(name, 0x50000, 0x100, "[jit]", None),
        Frame("[0x50500]", 0x50500, 0, "[anon]", None, resolved=False),
        Frame("[0x99999]", 0x99999, 0, None, None, resolved=False),
    )
    assert stack.unresolved == 2


def test_hostile_paths_give_text_that_can_be_stored(resolver: Resolver) -> None:
    path = "/tmp/a\n\x1b]8;;\udcff/\x1b[31mx\udc80 (deleted)"
    space = make_space(99999999, 0, [Mapping(0x1000, 0x2000, 0x3000, path)])
    (frame,) = resolver.resolve(record(0x1010, tgid=99999999), space).frames
    assert frame.name == "[\x1b[31mx\\x80+0x3010]"
    assert frame.module is not None
    (frame.name + frame.module).encode("utf-8")


def test_odd_addresses_never_raise(resolver: Resolver) -> None:
    space = make_space(os.getpid(), 0, [Mapping(0, 2**64 - 1, 0, "/bin/sh", b"\0" * 20)])
    for odd in (0, 1, 2**63, 2**64 - 1):
        stack = resolver.resolve(record(odd, odd, kernel=(odd, odd)), space)
        assert len(stack.frames) == 4
        resolver.resolve(record(odd, odd), None)


@needs_root
def test_tables_come_from_the_disk_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compile_program(tmp_path / "program", "landmark")
    kernel = KernelSymbols(tmp_path / "none")

    def fresh() -> Resolver:
        return Resolver(TableCache(DiskCache("s", ".s", 1, 1 << 20, tmp_path / "cache")), kernel)

    with running(program) as (tgid, address):
        space = space_of(tgid)
        first = fresh().resolve(record(address, tgid=tgid), space)

        def never(*_: object) -> SymbolTable:
            raise AssertionError("read again")

        monkeypatch.setattr("stacks_tui.symbols.modules.symbols_of", never)
        assert fresh().resolve(record(address, tgid=tgid), space).frames == first.frames
        os.utime(program)
        with pytest.raises(AssertionError, match="read again"):
            fresh().resolve(record(address, tgid=tgid), space)


def test_memory_holds_the_tables_used_last() -> None:
    def table(size: int) -> SymbolTable:
        one = np.zeros(1, np.uint64)
        return SymbolTable(one, one, one, np.zeros(2, np.uint32), np.zeros(size, np.uint8))

    made: list[str] = []

    def make(key: str) -> SymbolTable:
        made.append(key)
        return table(1000)

    cache = TableCache(max_bytes=2500)
    for key in ("a", "b", "a", "c", "a", "b"):
        cache.get(key, lambda key=key: make(key))  # type: ignore[misc]
    assert made == ["a", "b", "c", "b"]
    assert cache.nbytes <= 2500


def test_the_process_may_end_at_any_moment(tmp_path: Path, resolver: Resolver) -> None:
    child = subprocess.Popen(["sleep", "60"])
    space = space_of(child.pid)
    mapping = space.mappings[0]
    child.send_signal(signal.SIGKILL)
    child.wait()
    resolver.prefetch(mapping, child.pid)
    pcs = [mapping.start + 8, mapping.end, 3]
    stack = resolver.resolve(record(*pcs, tgid=child.pid), space)
    assert len(stack.frames) == 3
