"""Source lines and inlined calls for the locations of samples or of a trace.

Comes in: these, and which binaries are wanted. Goes out: the same with lines. A file
counts only when its build id is that of the recording; each address is looked up once.
"""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from stacks_tui.elf import ElfError, ElfImage
from stacks_tui.errors import UsageError
from stacks_tui.export.model import Location, Samples, Trace
from stacks_tui.export.symbolizers import Lines, Symbolizer, find_symbolizer
from stacks_tui.export.task import Task
from stacks_tui.owner import User, invoking_user
from stacks_tui.symbols.debug_files import open_debug_file
from stacks_tui.symbols.demangle import demangle
from stacks_tui.symbols.elf_symbols import symbols_of
from stacks_tui.symbols.files import open_regular

_LINE_SECTIONS = (".debug_line", ".zdebug_line")
_Module = tuple[str | None, bytes | None]
_MOST_NAMED = 3
Stacked = TypeVar("Stacked", Samples, Trace)


def read_buildid(path: Path) -> bytes:
    """The build id of a binary.

    Raises:
        UsageError: it can't be read, is no ELF file, or has none.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UsageError(f"can't read the binary {str(path)!r}: {reason}.") from error
    try:
        buildid = ElfImage.from_fd(fd).build_id
    except ElfError as error:
        raise UsageError(f"{str(path)!r} is no ELF binary; give the executable.") from error
    finally:
        os.close(fd)
    if buildid is None:
        raise UsageError(
            f"{str(path)!r} has no build id, so it can't be told whether it was recorded; "
            "link it with -Wl,--build-id."
        )
    return buildid


def with_lines(source: Stacked, task: Task, user: User | None = None) -> Stacked:
    """The same with what the binaries' debug information says of their locations.

    Raises:
        UsageError: the binary can't be read, or has no build id.
    """
    options = task.options
    if not (options.lines or options.binary):
        return source
    finder = _Finder(task, invoking_user() if user is None else user)
    wanted = _by_module(source.stacks.locations)
    given = read_buildid(options.binary) if options.binary is not None else None
    found: dict[int, Location] = {}
    for module, places in wanted.items():
        path, buildid = module
        if options.binary is not None and (buildid == given or path is None):
            found |= finder.look_up(options.binary, path, given, places)
        elif options.lines and path is not None:
            found |= finder.look_up(Path(path), path, buildid, places)
    finder.tell(len(found), sum(map(len, wanted.values())))
    if not found:
        return source
    locations = tuple(
        found.get(at, location) for at, location in enumerate(source.stacks.locations)
    )
    return replace(source, stacks=replace(source.stacks, locations=locations))


def _by_module(locations: tuple[Location, ...]) -> dict[_Module, dict[int, Location]]:
    """Locations in files, by module; those whose module is not known together."""
    wanted: dict[_Module, dict[int, Location]] = defaultdict(dict)
    for at, location in enumerate(locations):
        if location.kernel or (location.module is not None and location.module[:1] != "/"):
            continue
        if location.module is None and location.lines[-1].name.startswith("["):
            continue
        wanted[location.module, location.buildid][at] = location
    return wanted


class _Finder:
    def __init__(self, task: Task, user: User) -> None:
        self._task = task
        self._user = user
        self._symbolizer: Symbolizer = find_symbolizer()
        self._without: list[str] = []
        self._other: list[str] = []

    def tell(self, found: int, total: int) -> None:
        """Note which tool was used, and what had no lines."""
        task, tool = self._task, self._symbolizer
        task.note(f"source lines by {tool.name}: {found} of {total} addresses in files.")
        if not tool.inlined and task.options.inlined:
            task.note("no inlined calls: install llvm or binutils for them.")
        if self._without:
            hint = "" if task.options.debuginfod else "; --debuginfod asks the servers"
            task.note(f"no debug information for {_named(self._without)}{hint}.")
        if self._other:
            task.note(f"not on this machine as recorded (build ids): {_named(self._other)}.")

    def look_up(
        self, file: Path, path: str | None, buildid: bytes | None, places: dict[int, Location]
    ) -> dict[int, Location]:
        """The locations with their lines, by index; those that have none are left out."""
        self._task.step(f"source lines of {file.name}")
        fd = open_regular(os.fsencode(file), follow=True)
        try:
            image = ElfImage.from_fd(fd) if fd is not None else None
        except ElfError:
            image = None
        try:
            if fd is None or image is None or buildid is None or image.build_id != buildid:
                self._other.append(str(file))
                return {}
            if path is None:  # the module was not recorded: take what is surely of this file
                places = _proven(image, places)
            for debug in self._debug_files(fd, image, str(file), buildid):
                return self._ask(debug, places)
            self._without.append(str(file))
            return {}
        finally:
            if fd is not None:
                os.close(fd)

    def _debug_files(self, fd: int, image: ElfImage, path: str, buildid: bytes) -> Iterator[int]:
        """The descriptor of the file that has the lines, if there is one."""
        if _has_lines(image):
            yield fd
            return
        debug = open_debug_file(image, path)
        if debug is None and self._task.options.debuginfod:
            debug = self._downloaded(buildid)
        if debug is None:
            return
        try:
            if _has_lines(ElfImage.from_fd(debug)):
                yield debug
        except ElfError:
            return
        finally:
            os.close(debug)

    def _downloaded(self, buildid: bytes) -> int | None:
        """The debug file from the servers in DEBUGINFOD_URLS, by their own client."""
        command = ["debuginfod-find", "debuginfo", buildid.hex()]
        mine = os.geteuid() == self._user.uid
        identity = {} if mine else {"user": self._user.uid, "group": self._user.gid}
        environ = {**os.environ, "HOME": str(self._user.home)}
        self._task.step("asking debuginfod servers")
        try:
            done = subprocess.run(  # type: ignore[call-overload]
                command,
                check=False,
                capture_output=True,
                env=environ,
                **identity,
            )
        except OSError:
            self._task.note("debuginfod-find is not installed (package debuginfod); none asked.")
            return None
        if done.returncode != 0:
            return None
        fd = open_regular(done.stdout.rstrip(b"\n"), follow=False)
        try:
            if fd is not None and ElfImage.from_fd(fd).build_id == buildid:
                return fd
        except ElfError:
            pass
        if fd is not None:
            os.close(fd)
        return None

    def _ask(self, fd: int, places: dict[int, Location]) -> dict[int, Location]:
        addresses = sorted({location.address for location in places.values()})
        answers = self._symbolizer.look_up(fd, addresses, self._user, self._step)
        lines = dict(zip(addresses, answers, strict=False))
        inlined = self._task.options.inlined
        return {
            at: _located(location, chain, inlined)
            for at, location in places.items()
            if (chain := lines.get(location.address, ()))
        }

    def _step(self) -> None:
        self._task.step("looking up source lines")


def _located(location: Location, chain: Lines, inlined: bool) -> Location:
    """The location with these lines. The physical function keeps the symbol's name."""
    *inner, outer = chain
    recorded = location.lines[-1]
    known = not recorded.name.startswith("[") or not outer.name
    named = replace(outer, name=recorded.name) if known else outer
    kept = [replace(line, name=line.name or "[inlined]") for line in inner] if inlined else []
    return replace(location, lines=(*kept, named))


def _has_lines(image: ElfImage) -> bool:
    sections = [image.section(name) for name in _LINE_SECTIONS]
    return any(section is not None and section.size > 0 for section in sections)


def _proven(image: ElfImage, places: dict[int, Location]) -> dict[int, Location]:
    """Locations whose symbol is in this file, of this name and at this address."""
    table = symbols_of(image)
    order = list(places)
    addresses = np.array([places[at].address for at in order], np.uint64)
    proven = {}
    for at, index in zip(order, table.find(addresses).tolist(), strict=True):
        location = places[at]
        if index < 0 or int(table.starts[index]) != location.function_address:
            continue
        raw = table.name(index)
        names = {_bare(demangle(raw)), _bare(raw.decode("utf-8", "backslashreplace"))}
        if _bare(location.lines[-1].name) in names:
            proven[at] = location
    return proven


def _bare(name: str) -> str:
    """A name without its parameters and a Rust hash, which demanglers show differently."""
    head, mark, tail = name.rpartition("::h")
    if mark and len(tail) == 16:
        name = head
    return name.partition("(")[0].strip() or name


def _named(paths: list[str]) -> str:
    names = ", ".join(Path(path).name for path in paths[:_MOST_NAMED])
    more = len(paths) - _MOST_NAMED
    return f"{names} and {more} more" if more > 0 else names
