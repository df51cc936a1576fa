"""Stacks against a second opinion: what each program of the corpus takes of itself, same points.

Once as walked by the kernel's side, once as walked later from copies, with no table in the kernel.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from corpus_cases import CASES, TRUTH, Case, Verdict, build, can_build
from elftools.elf.elffile import ELFFile

from stacks_tui.capture.targets import Targets
from stacks_tui.kinds import parse_programs
from stacks_tui.session import recorder
from stacks_tui.session.options import RecordOptions
from stacks_tui.session.recorder import Session
from stacks_tui.store.reader import open_recording

pytestmark = pytest.mark.bpf

FIRST_POINT = 7_000_000
Place = tuple[str, int]
"""An instruction: a module and the address in its file; of no file: "" and the address itself."""


@dataclass(frozen=True)
class Seen:
    """A stack as recorded."""

    places: tuple[Place, ...]
    names: tuple[str, ...]
    complete: bool
    status: str


@dataclass
class Stacks:
    """Of one case, by point: the program's own and the recorder's."""

    own: dict[tuple[int, int], tuple[Place, ...]] = field(default_factory=dict)
    seen: dict[tuple[int, int], Seen] = field(default_factory=dict)


@dataclass(frozen=True)
class _Map:
    start: int
    end: int
    offset: int
    path: str


def _maps(lines: list[str]) -> list[_Map]:
    found = []
    for line in lines:
        words = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in words[0].split("-"))
        path = words[5] if len(words) > 5 else ""
        found.append(_Map(start, end, int(words[2], 16), path.removesuffix(" (deleted)")))
    return found


class _Files:
    """Addresses in files, by the program headers as pyelftools reads them."""

    def __init__(self) -> None:
        self._loads: dict[str, list[tuple[int, int, int]]] = {}

    def place(self, maps: list[_Map], address: int) -> Place:
        for each in maps:
            if each.start <= address < each.end:
                if each.path == "[vdso]":
                    return each.path, address - each.start
                if not each.path.startswith("/"):
                    break
                at = address - each.start + each.offset
                for offset, size, vaddr in self._of(each.path):
                    if offset <= at < offset + size:
                        return each.path, at - offset + vaddr
        return "", address

    def _of(self, path: str) -> list[tuple[int, int, int]]:
        if path not in self._loads:
            kept = Path(f"{path}.kept")
            with (kept if kept.exists() else Path(path)).open("rb") as file:
                self._loads[path] = [
                    (part["p_offset"], part["p_filesz"], part["p_vaddr"])
                    for part in ELFFile(file).iter_segments("PT_LOAD")
                ]
        return self._loads[path]


def _own_stacks(file: Path) -> dict[tuple[int, int], tuple[Place, ...]]:
    lines = file.read_text().splitlines()
    maps = _maps([line[4:] for line in lines if line.startswith("map ")])
    files = _Files()
    found = {}
    for line in lines:
        if line.startswith("point "):
            _, pid, number, *words = line.split()
            addresses = [int(word, 16) for word in words]
            found[int(pid), int(number)] = tuple(files.place(maps, one) for one in addresses)
    return found


def _record(directory: Path, command: list[str]) -> dict[tuple[int, int], Seen]:
    """Run it under a recorder in this process; the stacks of all points, by tgid and number."""
    options = RecordOptions(
        programs=parse_programs("vfs:u"),
        targets=Targets(argv=tuple(command)),
        directory=directory,
        ring_bytes=64 << 20,
    )
    outcome = recorder.record(options, lambda status: None)
    assert outcome.failure is None
    assert outcome.exit_status == 0
    with open_recording(outcome.directory) as recording:
        rows = recording.table(
            "SELECT tgid, amount, frames, complete, status FROM events JOIN stacks"
            " ON ustack = stacks.id WHERE kind = 'vfs_write' AND amount >= $first",
            first=FIRST_POINT,
        ).to_pylist()
    seen = {}
    for row in rows:
        places = tuple(
            (
                frame["module"] if (frame["module"] or "").startswith(("/", "[vdso")) else "",
                frame["address"] + frame["offset"],
            )
            for frame in row["frames"]
        )
        names = tuple(frame["name"] for frame in row["frames"])
        key = row["tgid"], row["amount"] - FIRST_POINT
        assert key not in seen
        seen[key] = Seen(places, names, row["complete"], row["status"])
    return seen


Corpus = Callable[[Case, bool], Stacks]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """How each program is run."""
    folder = tmp_path_factory.mktemp("corpus")
    return {case.name: build(case, folder / case.name) for case in CASES if can_build(case)}


@pytest.fixture(scope="module")
def corpus(
    commands: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Corpus]:
    """The stacks of a case; all are recorded together, the first time that one is asked for."""
    folder = tmp_path_factory.mktemp("recorded")
    made: dict[bool, dict[str, Stacks]] = {}

    def record_all(late: bool) -> dict[str, Stacks]:
        cases = [case for case in CASES if case.name in commands and (case.late or not late)]
        found = {case.name: Stacks() for case in cases}
        truths = {case.name: folder / f"{case.name}-{late}.truth" for case in cases}
        script = []
        for case in cases:
            words = [word.replace(TRUTH, str(truths[case.name])) for word in commands[case.name]]
            script.append(f"cp --remove-destination {words[0]}.kept {words[0]}")
            script.append(shlex.join(words))
        with pytest.MonkeyPatch.context() as patch:
            if late:
                patch.setattr(Session, "_make_tables", lambda session, *given: None)
            seen = _record(folder / f"late-{late}", ["sh", "-c", "\n".join([*script, "true"])])
        for name, truth in truths.items():
            own = _own_stacks(truth) if truth.exists() else {}
            found[name] = Stacks(own, {key: seen[key] for key in own if key in seen})
        return found

    def get(case: Case, late: bool) -> Stacks:
        if case.name not in commands:
            pytest.skip(f"it can't be built here with {shlex.join([case.compiler, *case.flags])}")
        if late not in made:
            made[late] = record_all(late)
        return made[late][case.name]

    yield get


def difference(own: tuple[Place, ...], seen: Seen, verdict: Verdict) -> str:
    """What is wrong with a complete stack; empty: nothing."""
    if verdict is Verdict.NONE:
        return "it can't be complete"
    if verdict is Verdict.AMONG:
        rest = iter(seen.places)
        if missing := [place for place in own[1:] if place not in rest]:
            return f"{missing[0]} is not there"
        last = seen.names[-1].partition("+")[0]
        return "" if last in _STARTS else f"it ends in {last}"
    # The leaf is mark() in both, at another instruction; Go's write has frames of its own.
    after = seen.places.index(own[1]) if own[1] in seen.places else 1
    theirs = seen.places[after:]
    mine = own[1:]
    for at, (one, other) in enumerate(zip(mine, theirs, strict=False)):
        if one != other:
            return f"frame {at + 1}: {one} is {other}, {seen.names[at + after]}"
    if verdict is Verdict.OPEN:
        if len(theirs) < len(mine):
            return f"{len(mine) - len(theirs)} frames are missing"
        last = seen.names[-1].partition("+")[0]
        return "" if last in _STARTS else f"it ends in {last}"
    return "" if len(mine) == len(theirs) else f"{len(mine)} frames are {len(theirs)}"


_STARTS = {
    "_start",
    "__clone3",
    "clone3",
    "__clone",
    "clone",
    "runtime.goexit.abi0",
    "runtime.goexit",
}


@pytest.mark.parametrize("late", [False, True], ids=["tables", "copies"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_complete_stack_is_the_programs_own(case: Case, late: bool, corpus: Corpus) -> None:
    if late and not case.late:
        pytest.skip("its stacks are too large, or too many at once, for copies")
    stacks = corpus(case, late)
    verdict = (late and case.late_verdict) or case.verdict
    assert len(stacks.own) >= case.least
    assert stacks.seen.keys() == stacks.own.keys()
    wrong = {
        key: found
        for key, seen in stacks.seen.items()
        if seen.complete and (found := difference(stacks.own[key], seen, verdict))
    }
    assert not wrong
    complete = sum(seen.complete for seen in stacks.seen.values())
    if verdict is Verdict.WHOLE:
        ends = {key: seen.status for key, seen in stacks.seen.items() if not seen.complete}
        assert not ends
    else:
        assert complete >= case.least_complete * len(stacks.seen)
