"""pprof: what `go tool pprof`, Speedscope, Perfetto, Pyroscope and Parca read.

Comes in: samples. Goes out: a gzipped profile.proto message, written in pieces: pieces of a message
laid end to end are the message, so memory holds one piece. Equal samples give equal bytes.
"""

from __future__ import annotations

import gzip
import shutil
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from stacks_tui import __version__, text
from stacks_tui.export.model import Label, Line, Location, Samples
from stacks_tui.export.registry import Format
from stacks_tui.export.task import Task

_PIECE = 4_096
"""Samples, or locations, serialised at a time."""
_PAGE = 4_096
_KERNEL_TEXT = 0xFFFFFFFF80000000
_HIGHEST = 2**64 - 1
_KERNEL_NAME = "[kernel.kallsyms]"
"""As perf and pprof call the kernel's own code."""


def write_pprof(samples: Samples, out: BinaryIO, task: Task) -> None:
    """Write the samples as a profile."""
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=out, mtime=0) as file:
        _Writer(samples, file, task).write()


class _Writer:
    def __init__(self, samples: Samples, file: gzip.GzipFile, task: Task) -> None:
        from stacks_tui.export.profile_proto import profile_class

        self._samples = samples
        self._file = file
        self._task = task
        self._class = profile_class()
        self._strings: dict[str, int] = {"": 0}
        self._new = [""]
        self._functions: dict[tuple[Line, int, int], int] = {}

    def write(self) -> None:
        self._write_head()
        mapping_of = self._write_mappings()
        self._write_locations(mapping_of)
        self._write_samples()

    def _string(self, value: str) -> int:
        index = self._strings.get(value)
        if index is None:
            index = self._strings[value] = len(self._strings)
            self._new.append(text.valid(value))
        return index

    def _put(self, piece: Any) -> None:
        """Write a piece, with the strings that it is the first to use."""
        piece.string_table.extend(self._new)
        self._new.clear()
        self._file.write(piece.SerializeToString(deterministic=True))

    def _write_head(self) -> None:
        samples, origin = self._samples, self._samples.origin
        head = self._class()
        for kind in samples.types:
            head.sample_type.add(type=self._string(kind.name), unit=self._string(kind.unit))
        head.default_sample_type = self._string(samples.types[samples.main].name)
        head.time_nanos = origin.window.begin
        head.duration_nanos = origin.window.end - origin.window.begin
        if origin.period_ns:
            head.period_type.type = self._string("cpu")
            head.period_type.unit = self._string("nanoseconds")
            head.period = origin.period_ns
        for line in self._comments():
            head.comment.append(self._string(text.printable(line)))
        self._put(head)

    def _comments(self) -> list[str]:
        origin = self._samples.origin
        asked = zip(origin.queries, origin.questions, strict=True)
        lines = [f"stacks-tui {__version__}: {name}: {question}" for name, question in asked]
        lines += [f"recording: {path}" for path in origin.recordings]
        if origin.selection:
            lines.append(f"only: {origin.selection}")
        return [*lines, *origin.comments, *origin.trust, *self._task.notes]

    def _write_mappings(self) -> list[int]:
        """Write them; returns the mapping's id of each location, 0: none."""
        places: dict[tuple[str, bytes | None], list[Location]] = {}
        main = self._main()
        if main is not None:
            places[main] = []
        for location in self._samples.stacks.locations:
            if location.module is not None:
                places.setdefault((location.module, location.buildid), []).append(location)
            elif location.kernel:
                places.setdefault((_KERNEL_NAME, None), []).append(location)
        # the main binary first, the kernel last
        order = sorted(
            places, key=lambda one: (one != main, bool(places[one]) and places[one][0].kernel)
        )
        piece = self._class()
        for at, key in enumerate(order, 1):
            self._add_mapping(piece, at, key, places[key])
        self._put(piece)
        ids = {key: at for at, key in enumerate(order, 1)}
        return [
            ids[location.module, location.buildid]
            if location.module is not None
            else ids.get((_KERNEL_NAME, None), 0) * location.kernel
            for location in self._samples.stacks.locations
        ]

    def _main(self) -> tuple[str, bytes | None] | None:
        """The main binary, by the path that its frames have."""
        main = self._samples.origin.executable
        if main is None or main[1] is None:
            return main
        for location in self._samples.stacks.locations:
            if location.module is not None and location.buildid == main[1]:
                return location.module, location.buildid
        return main

    def _add_mapping(
        self, piece: Any, at: int, key: tuple[str, bytes | None], inside: list[Location]
    ) -> None:
        """Addresses are those of the file, so it is as if it were mapped at its own addresses."""
        module, buildid = key
        start, limit = 0, _PAGE
        if inside:
            lowest = min(one.address for one in inside)
            limit = min((max(one.address for one in inside) // _PAGE + 1) * _PAGE, _HIGHEST)
            if inside[0].kernel:
                start = lowest // _PAGE * _PAGE
                if module in ("[kernel]", _KERNEL_NAME):
                    start, limit = min(start, _KERNEL_TEXT), _HIGHEST
        lines = [line for one in inside for line in one.lines]
        piece.mapping.add(
            id=at,
            memory_start=start,
            memory_limit=limit,
            filename=self._string(_KERNEL_NAME if module == "[kernel]" else module),
            build_id=self._string(buildid.hex() if buildid else ""),
            has_functions=any(not line.name.startswith("[") for line in lines),
            has_filenames=any(line.file for line in lines),
            has_line_numbers=any(line.line for line in lines),
            has_inline_frames=any(len(one.lines) > 1 for one in inside),
        )

    def _write_locations(self, mapping_of: list[int]) -> None:
        locations = self._samples.stacks.locations
        for first in range(0, len(locations), _PIECE):
            piece = self._class()
            for at in range(first, min(first + _PIECE, len(locations))):
                location = locations[at]
                entry = piece.location.add(
                    id=at + 1, mapping_id=mapping_of[at], address=location.address
                )
                last = len(location.lines) - 1
                for depth, line in enumerate(location.lines):
                    # one function for each symbol, however often its name is there
                    start = location.function_address if depth == last else 0
                    function = self._function(piece, line, mapping_of[at], start)
                    entry.line.add(function_id=function, line=line.line)
            self._put(piece)
            self._task.step("writing locations", first, len(locations))

    def _function(self, piece: Any, line: Line, mapping: int, start: int) -> int:
        bare = Line(line.name, line.file, 0, line.start_line, line.linkage_name)
        key = bare, mapping, start
        index = self._functions.get(key)
        if index is None:
            index = self._functions[key] = len(self._functions) + 1
            piece.function.add(
                id=index,
                name=self._string(line.name),
                system_name=self._string(line.linkage_name or line.name),
                filename=self._string(line.file or ""),
                start_line=line.start_line,
            )
        return index

    def _write_samples(self) -> None:
        samples = self._samples
        columns = [self._encoded(label) for label in samples.labels]
        keys = [self._string(label.name) for label in samples.labels]
        units = [self._string(label.unit) for label in samples.labels]
        offsets = samples.stacks.offsets
        total = len(samples)
        for first in range(0, total, _PIECE):
            last = min(first + _PIECE, total)
            piece = self._class()
            stacks = samples.stack_of[first:last]
            values = samples.values[first:last].tolist()
            labels = [codes[first:last].tolist() for codes, _ in columns]
            for at, (begin, end) in enumerate(
                zip(offsets[stacks].tolist(), offsets[stacks + 1].tolist(), strict=True)
            ):
                sample = piece.sample.add(
                    location_id=(samples.stacks.places[begin:end] + 1).tolist(), value=values[at]
                )
                for key, unit, column, (_, there) in zip(keys, units, labels, columns, strict=True):
                    if there is None:
                        if column[at] is not None:
                            sample.label.add(key=key, num=column[at], num_unit=unit)
                    elif column[at] >= 0:
                        sample.label.add(key=key, str=there[column[at]])
            self._put(piece)
            self._task.step("writing samples", last, total)

    def _encoded(self, label: Label) -> tuple[Any, list[int] | None]:
        """Numbers as they are (object array, None: none); text as codes of strings, -1: none."""
        if label.numeric:
            return np.array(label.values.to_pylist(), object), None
        encoded = label.values.cast(pa.string()).dictionary_encode()
        codes = np.asarray(encoded.indices.fill_null(-1))
        return codes, [self._string(value) for value in encoded.dictionary.to_pylist()]


def _viewer() -> tuple[list[str], str] | None:
    for command in (["go", "tool", "pprof"], ["pprof"], ["google-pprof"]):
        if shutil.which(command[0]) and command[0] != "google-pprof":
            return [*command, "-http=127.0.0.1:0"], "pprof"
    return None


FORMAT = Format(
    name="pprof",
    extension=".pb.gz",
    answers="pprof's profile: top, graph, source, tags, differences; opened by go tool pprof",
    wants=Samples,
    write=write_pprof,
    rank=10,
    viewer=_viewer,
    viewer_hint="no pprof on this machine (it comes with Go); speedscope.app and ui.perfetto.dev "
    "open the file too.",
)
