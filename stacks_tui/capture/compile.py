"""Compiles the BPF programs with BCC, in a process of its own, and keeps the bytecode.

Comes in: the spliced C text and its defines. Goes out: an `ObjectCode`: the maps' shapes and each
program's instructions, with the places where a map's descriptor goes. clang takes a second and
100 MB; the child takes both with it when it ends, and the next start reads the bytecode from the
cache. (BCC may also end its process on an error of LLVM's; here that is only a failed compilation.)
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stacks_tui.capture.bcc_import import find_bcc, import_bcc
from stacks_tui.diskcache import DiskCache
from stacks_tui.errors import MachineError, StacksError

Instructions = npt.NDArray[np.uint64]

CACHE_FORMAT = 1
_LOAD_MAP = 0x18  # BPF_LD | BPF_DW | BPF_IMM
_PSEUDO_MAP_FD = 1
_RUNNING_MAP = 0x7FFFFFF0
"""Stands for the descriptor of the map `running` where a program wants the map (bpf/cpu.bpf.c)."""


@dataclass(frozen=True, slots=True)
class MapShape:
    """What the kernel needs to make a map."""

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class ObjectCode:
    """Compiled programs and the maps that they use."""

    maps: tuple[MapShape, ...]
    programs: Mapping[str, Instructions]
    """By function name: u64 instructions, as the kernel reads them."""
    relocations: Mapping[str, npt.NDArray[np.int64]]
    """By function name: (n, 2), rows of (instruction, index into `maps`)."""


def compile_programs(
    source: str, defines: Mapping[str, int], stubs: Path, cache: DiskCache | None
) -> ObjectCode:
    """Compile, or take from the cache what was compiled from the same text before.

    Raises:
        MachineError: BCC is missing.
        StacksError: the compiler refused the programs; the message ends with its own.
    """
    key = _cache_key(source, defines, stubs)
    if cache is not None:
        stored = cache.get(key)
        if stored is not None:
            found = _unpack(stored)
            if found is not None:
                return found
    code = _compile_in_child(source, defines, stubs)
    if cache is not None:
        cache.put(key, _pack(code))
    return code


def _cache_key(source: str, defines: Mapping[str, int], stubs: Path) -> str:
    digest = hashlib.sha256()
    digest.update(f"{CACHE_FORMAT} {os.uname().machine} {_bcc_version()}\n".encode())
    digest.update(json.dumps(sorted(defines.items())).encode())
    for path in sorted(stubs.rglob("*.h")):
        digest.update(path.read_bytes())
    digest.update(source.encode())
    return digest.hexdigest()[:40]


def _bcc_version() -> str:
    folder = find_bcc()
    if folder is None:
        raise MachineError(
            "BCC's Python package is not installed. Install it: apt-get install python3-bpfcc"
        )
    version = Path(folder, "version.py")
    return version.read_text(encoding="utf-8") if version.is_file() else folder


def _compile_in_child(source: str, defines: Mapping[str, int], stubs: Path) -> ObjectCode:
    environment = {**os.environ, "BCC_KERNEL_SOURCE": str(stubs)}
    child = subprocess.run(
        [sys.executable, "-I", "-c", "from stacks_tui.capture.compile import child; child()"],
        input=json.dumps({"source": source, "defines": dict(defines)}),
        capture_output=True,
        text=True,
        errors="backslashreplace",
        env=environment,
        check=False,
    )
    try:
        if child.returncode == 0:
            return _from_json(child.stdout)
    except (ValueError, KeyError, IndexError) as error:
        raise StacksError(f"BCC's compiled programs can't be read ({error}).") from error
    lines = [line for line in child.stderr.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower()] or lines[-1:]
    raise StacksError(
        f"BCC could not compile the BPF programs: {' '.join(telling[:3]) or 'no message'}"
    )


def child() -> None:
    """Read `{source, defines}` on standard input, compile, write the object code as JSON."""
    wanted = json.load(sys.stdin)
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what clang and libbcc print is no part of the answer
    bcc = import_bcc()
    from bcc.libbcc import lib

    flags = [f"-D{name}={value}" for name, value in wanted["defines"].items()]
    module = bcc.BPF(text=wanted["source"], cflags=[*flags, "-Wno-everything"]).module
    maps = []
    descriptors = {}
    for index in range(lib.bpf_num_tables(module)):
        lib.bpf_table_name.restype = ctypes.c_char_p
        name = lib.bpf_table_name(ctypes.c_void_p(module), ctypes.c_ulonglong(index))
        sizes = [
            int(
                getattr(lib, f"bpf_table_{what}_id")(
                    ctypes.c_void_p(module), ctypes.c_ulonglong(index)
                )
            )
            for what in ("type", "key_size", "leaf_size", "max_entries", "flags")
        ]
        descriptors[lib.bpf_table_fd(module, name)] = index
        maps.append([name.decode(), *sizes])
    programs = {}
    for index in range(lib.bpf_num_functions(module)):
        name = lib.bpf_function_name(module, index)
        size = lib.bpf_function_size(module, name)
        raw = ctypes.string_at(lib.bpf_function_start(module, name), size)
        programs[name.decode()] = base64.b64encode(raw).decode()
    json.dump({"maps": maps, "descriptors": descriptors, "programs": programs}, output)
    output.close()


def _from_json(text: str) -> ObjectCode:
    answer = json.loads(text)
    maps = tuple(MapShape(*row) for row in answer["maps"])
    descriptors = {int(fd): index for fd, index in answer["descriptors"].items()}
    descriptors[_RUNNING_MAP] = [shape.name for shape in maps].index("running")
    programs: dict[str, Instructions] = {}
    relocations: dict[str, npt.NDArray[np.int64]] = {}
    for name, encoded in answer["programs"].items():
        code = np.frombuffer(base64.b64decode(encoded), "<u8").copy()
        places = []
        skip = False
        for at, word in enumerate(code.tolist()):
            if skip:
                skip = False
            elif word & 0xFF == _LOAD_MAP:
                skip = True  # the second half of a 64-bit load
                if word >> 12 & 0xF == _PSEUDO_MAP_FD:
                    places.append((at, descriptors[word >> 32]))
        programs[name] = code
        relocations[name] = np.array(places, np.int64).reshape(-1, 2)
    return ObjectCode(maps, programs, relocations)


def _pack(code: ObjectCode) -> dict[str, npt.NDArray[np.generic]]:
    shapes = json.dumps(
        [[m.name, m.type, m.key_size, m.value_size, m.max_entries, m.flags] for m in code.maps]
    )
    arrays: dict[str, npt.NDArray[np.generic]] = {"maps": np.frombuffer(shapes.encode(), np.uint8)}
    for name, instructions in code.programs.items():
        arrays[f"code.{name}"] = instructions
        arrays[f"maps.{name}"] = code.relocations[name].reshape(-1)
    return arrays


def _unpack(arrays: Mapping[str, npt.NDArray[np.generic]]) -> ObjectCode | None:
    try:
        maps = tuple(MapShape(*row) for row in json.loads(arrays["maps"].tobytes()))
        names = [name[5:] for name in arrays if name.startswith("code.")]
        programs = {name: arrays[f"code.{name}"].view("<u8") for name in names}
        places = {name: arrays[f"maps.{name}"].view("<i8").reshape(-1, 2) for name in names}
    except (ValueError, KeyError, TypeError):
        return None
    return ObjectCode(maps, programs, places)
