"""Compiles the BPF programs with BCC, in processes of their own, and keeps the bytecode.

Comes in: the spliced C text, its defines, and which of its functions are needed. Goes out: an
`ObjectCode`: the maps' shapes and each program's instructions, with the places where a map's
descriptor goes. A function is compiled when it is first needed, several at a time on as many CPUs;
the next start reads it from the cache. (BCC may also end its process on an error of LLVM's; here
that is only a failed compilation.)
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stacks_tui.capture.bcc_import import find_bcc
from stacks_tui.capture.source import only
from stacks_tui.diskcache import DiskCache
from stacks_tui.errors import MachineError, StacksError

Instructions = npt.NDArray[np.uint64]

CACHE_FORMAT = 2
MOST_CHILDREN = 4
"""Processes that compile at a time: each begins with half a second for what all have in common."""
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

    maps: tuple[MapShape, ...] = ()
    programs: Mapping[str, Instructions] = field(default_factory=dict)
    """By function name: u64 instructions, as the kernel reads them."""
    relocations: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    """By function name: (n, 2), rows of (instruction, index into `maps`)."""


class Compiler:
    """Gives the code of functions of one text."""

    def __init__(
        self, text: str, defines: Mapping[str, int], stubs: Path, cache: DiskCache | None
    ) -> None:
        """Raises MachineError where BCC is missing."""
        self._text = text
        self._defines = dict(defines)
        self._stubs = stubs
        self._cache = cache
        self._key = _cache_key(text, defines, stubs)

    def code(self, functions: Iterable[str]) -> ObjectCode:
        """Compile these, or take from the cache what was compiled from the same text before.

        Raises:
            StacksError: the compiler refused them; the message ends with its own.
        """
        wanted = sorted(set(functions))
        parts = {name: self._stored(name) for name in wanted}
        # Dealt out by name, for those whose names are next to each other take as long.
        missing = [name for name in wanted if parts[name] is None]
        number = min(len(missing), MOST_CHILDREN, len(os.sched_getaffinity(0)))
        if missing:
            with ThreadPoolExecutor(number) as pool:
                shares = [missing[at::number] for at in range(number)]
                for code in pool.map(self._compile, shares):
                    for name in code.programs:
                        parts[name] = self._keep(name, code)
        return joined([part for part in parts.values() if part is not None])

    def _stored(self, function: str) -> ObjectCode | None:
        found = None if self._cache is None else self._cache.get(f"{self._key}.{function}")
        return None if found is None else _unpack(function, found)

    def _keep(self, function: str, code: ObjectCode) -> ObjectCode:
        part = ObjectCode(
            code.maps,
            {function: code.programs[function]},
            {function: code.relocations[function]},
        )
        if self._cache is not None:
            self._cache.put(f"{self._key}.{function}", _pack(function, part))
        return part

    def _compile(self, functions: Sequence[str]) -> ObjectCode:
        child = subprocess.run(
            [sys.executable, "-I", "-c", "from stacks_tui.capture.bcc_child import child; child()"],
            input=json.dumps({"source": only(self._text, functions), "defines": self._defines}),
            capture_output=True,
            text=True,
            errors="backslashreplace",
            env={**os.environ, "BCC_KERNEL_SOURCE": str(self._stubs)},
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


def joined(parts: Sequence[ObjectCode]) -> ObjectCode:
    """The functions of all; they are of one text, hence of the same maps."""
    parts = [part for part in parts if part.maps]
    if not parts:
        return ObjectCode()
    assert all(part.maps == parts[0].maps for part in parts)
    programs = {name: code for part in parts for name, code in part.programs.items()}
    places = {name: found for part in parts for name, found in part.relocations.items()}
    return ObjectCode(parts[0].maps, programs, places)


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


def _pack(function: str, code: ObjectCode) -> dict[str, npt.NDArray[np.generic]]:
    shapes = json.dumps(
        [[m.name, m.type, m.key_size, m.value_size, m.max_entries, m.flags] for m in code.maps]
    )
    return {
        "maps": np.frombuffer(shapes.encode(), np.uint8),
        "code": code.programs[function],
        "places": code.relocations[function].reshape(-1),
    }


def _unpack(function: str, arrays: Mapping[str, npt.NDArray[np.generic]]) -> ObjectCode | None:
    try:
        maps = tuple(MapShape(*row) for row in json.loads(arrays["maps"].tobytes()))
        program = arrays["code"].view("<u8")
        places = arrays["places"].view("<i8").reshape(-1, 2)
    except (ValueError, KeyError, TypeError):
        return None
    return ObjectCode(maps, {function: program}, {function: places})
