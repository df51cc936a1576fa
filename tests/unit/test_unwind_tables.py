"""Rows and mappings in the kernel's arrays: right, shared, freed in time, bounded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from unwind_kernel import ABSENT, HOPELESS, PLAIN, Entry, Kernel, Module, Rule, World, make_module

from stacks_tui.spaces import AddressSpace, Mapping
from stacks_tui.unwind.catalog import ROOM_RETRY_NS
from stacks_tui.unwind.describe import describe
from stacks_tui.unwind.modules import State
from stacks_tui.unwind.rows import MAPPINGS_PER_CHUNK
from stacks_tui.unwind.tables import GRACE_NS

SMALL = make_module(1, 100)
NAMELESS = make_module(2, 3000, has_build_id=False)
MIDDLE = make_module(3, 6000)
OTHER = make_module(4, 5000)
LARGE = make_module(5, 20000)
HUGE = make_module(6, 40000)

BASE = 0x7F0000000000
STEP = 0x10000000


def place(number: int) -> int:
    return BASE + number * STEP


@pytest.fixture
def world() -> World:
    return World([SMALL, NAMELESS, MIDDLE, OTHER, LARGE])


def test_rows_are_published_when_they_are_loaded_and_stop_walks_before(world: World) -> None:
    space = world.space(7, world.mapping(0, place(0)), world.mapping(2, place(1)))
    world.update(space)
    assert world.rule(7, place(0) + 40) == ABSENT
    assert world.rule(7, place(2)) is None
    assert world.tables.statistics().pending == 2
    world.settle()
    assert world.all_right(space)
    assert world.rule(7, place(0) - 1) is None
    assert world.rule(7, place(0) + SMALL.size) is None


def test_a_module_across_chunks_is_right_on_both_sides(world: World) -> None:
    space = world.space(7, world.mapping(4, place(0)), world.mapping(2, place(1)))
    world.update(space)
    world.settle()
    assert world.all_right(space)
    for n in range(0, 20000, 37):
        pc = place(0) + 16 * n + 5
        assert world.rule(7, pc) == world.truth(space.mappings[0], pc)
    assert world.kernel.entries[7][2] == 3, "two pieces and another"


def test_a_known_module_costs_one_publication_and_no_reading(world: World) -> None:
    world.update(world.space(7, world.mapping(0, place(0)), world.mapping(1, place(1))))
    world.settle()
    opened, updates = len(world.opened), world.kernel.updates
    space = world.space(8, world.mapping(0, place(3)), world.mapping(1, place(4)))
    world.update(space)
    assert world.kernel.updates == updates + 1
    assert world.all_right(space)
    world.update(space)
    assert (len(world.opened), world.kernel.updates) == (opened, updates + 1)
    assert world.tables.statistics().modules == 2


def test_one_file_by_build_id_and_by_inode_is_one_module(world: World) -> None:
    one = world.space(7, world.mapping(2, place(0)))
    other = world.space(8, world.mapping(2, place(0), by_inode=True))
    world.update(one)
    world.update(other)
    world.settle()
    assert world.tables.statistics().modules == 1
    assert world.all_right(one)
    assert world.all_right(other)
    world.tables.exit(8)
    world.tables.exit(7)
    world.settle()
    world.update(other)
    world.settle()
    assert world.all_right(other)


def test_an_inode_that_is_no_longer_mapped_may_be_another_file(world: World) -> None:
    empty = world.tables.statistics().rows_used
    first = world.space(7, world.mapping(1, place(0)))
    world.update(first)
    world.settle()
    world.tables.exit(7)
    world.settle()
    assert world.tables.statistics().rows_used == empty
    world.files[NAMELESS.path] = MIDDLE
    world.update(first)
    world.settle()
    assert world.all_right(first)


def test_code_of_no_file_is_left_to_frame_pointers(world: World) -> None:
    names = ("//anon", "[heap]", "/memfd:jit (deleted)", "/dev/zero (deleted)", "[uprobes]")
    mappings = [Mapping(place(n), place(n) + 4096, 0, name) for n, name in enumerate(names)]
    world.update(world.space(7, *mappings))
    world.settle()
    assert [world.rule(7, mapping.start) for mapping in mappings] == [PLAIN] * 5
    assert world.rule(7, place(5)) is None
    assert not world.opened


def test_files_that_cannot_be_had_stop_walks_and_are_tried_again(world: World) -> None:
    gone = world.files.pop(SMALL.path)
    mapping = world.mapping(0, place(0))
    world.update(world.space(7, mapping))
    world.settle()
    assert world.rule(7, place(0)) == HOPELESS
    world.files[SMALL.path] = gone
    world.update(world.space(8, mapping))
    world.settle()
    assert world.rule(8, place(0)) == world.rule(7, place(0)) == world.truth(mapping, place(0))


def test_the_vdso_has_rules(world: World) -> None:
    space = world.space(7, Mapping(place(0), place(0) + 8192, 0, "[vdso]"))
    world.update(space)
    world.settle()
    assert world.rule(7, place(0) + 100) not in (None, ABSENT)
    low = Mapping(0xF7000000, 0xF7002000, 0, "[vdso]")
    world.update(world.space(8, low))
    world.settle()
    assert world.rule(8, low.start + 100) == PLAIN, "not the rules of the 64-bit one"


def test_replaced_ranges_stay_for_the_grace_period(world: World) -> None:
    first = world.space(7, world.mapping(0, place(0)))
    world.update(first)
    world.settle()
    old = world.kernel.entries[7]
    right = world.rule(7, place(0) + 16)
    world.update(first.with_mapping(world.mapping(0, place(1))))
    assert world.kernel.entries[7][:3] != old[:3]
    for number in range(50):
        world.update(world.space(100 + number, world.mapping(0, place(2 + number))))
        assert world.kernel.rule(old, place(0) + 16) == right
    used = world.tables.statistics().mappings_used
    world.now_ns += GRACE_NS
    world.tables.work()
    assert world.tables.statistics().mappings_used < used


def test_forks_share_a_range_until_the_last_is_gone(world: World) -> None:
    space = world.space(7, world.mapping(0, place(0)))
    world.update(space)
    world.settle()
    used = world.tables.statistics().mappings_used
    for child in range(20, 40):
        world.kernel.entries[child] = world.kernel.entries[7]
        world.tables.fork(7, child)
    assert world.tables.statistics().mappings_used == used
    world.tables.exit(7)
    world.settle()
    assert all(world.all_right(replace(space, tgid=child)) for child in range(20, 40))
    for child in range(20, 40):
        world.tables.exit(child)
    world.settle()
    assert world.tables.statistics().mappings_used == 0
    assert world.tables.statistics().processes == 0


def test_a_child_keeps_what_the_kernel_copied_before_the_parent_changed(world: World) -> None:
    space = world.space(7, world.mapping(0, place(0)), world.mapping(2, place(1)))
    world.update(space)
    copied = world.kernel.entries[8] = world.kernel.entries[7]
    while world.tables.work():  # the parent's range is another one now
        pass
    assert world.kernel.entries[7] != copied
    world.tables.fork(7, 8)
    world.now_ns += GRACE_NS - 1
    world.tables.work()
    assert world.kernel.rule(world.kernel.entries[8], place(0)) is not None
    world.settle()
    assert world.kernel.entries[8] == world.kernel.entries[7]
    assert world.all_right(replace(space, tgid=8))


def test_a_child_of_a_parent_that_is_not_yet_published_anew_gets_the_rows_too(world: World) -> None:
    space = world.space(7, world.mapping(0, place(0)))
    world.update(space)
    world.tables._catalog.load_next()  # loaded, not yet published
    world.kernel.entries[8] = world.kernel.entries[7]
    world.tables.fork(7, 8)
    world.settle()
    assert world.all_right(replace(space, tgid=8))


def test_what_no_record_caused_does_not_bring_back_an_entry(world: World) -> None:
    world.update(world.space(7, world.mapping(0, place(0))))
    del world.kernel.entries[7]  # the kernel's exec handler; its record is on its way
    world.settle()
    assert 7 not in world.kernel.entries
    world.tables.exec(7)
    space = world.space(7, world.mapping(2, place(0)), generation=1)
    world.update(space)
    world.settle()
    assert world.all_right(space)


def test_epoch_rises_when_addresses_change_their_meaning(world: World) -> None:
    def epoch() -> int:
        return world.kernel.entries[7][3]

    space = world.space(7, world.mapping(0, place(0)))
    world.update(space)
    assert epoch() == 0
    space = space.with_mapping(world.mapping(2, place(1)))
    world.update(space)
    assert epoch() == 0, "a new one beside it"
    space = space.with_mapping(Mapping(place(2), place(2) + 4096, 0, "//anon"))
    world.update(space)
    assert epoch() == 0
    space = space.with_mapping(Mapping(place(2), place(2) + 8192, 0, "//anon"))
    world.update(space)
    assert epoch() == 0, "a JIT grows"
    space = space.with_mapping(world.mapping(3, place(1)))
    world.update(space)
    assert epoch() == 1, "another file at the same addresses"
    moved = replace(world.mapping(0, place(0)), start=place(0) + 4096)
    world.update(space.with_mapping(moved))
    assert epoch() == 2, "the same file, moved"
    world.kernel.entries[8] = world.kernel.entries[7]
    world.tables.fork(7, 8)
    world.update(replace(space, tgid=8).with_mapping(world.mapping(2, place(5))))
    assert world.kernel.entries[8][3] >= 2
    world.update(replace(space, generation=1))
    assert epoch() == 0, "exec"


def test_too_many_mappings_are_cut_and_counted(world: World) -> None:
    small = [
        Mapping(place(n), place(n) + 4096, 0x2000, SMALL.path, SMALL.build_id) for n in range(1030)
    ]
    world.update(world.space(7, *small))
    world.settle()
    assert world.kernel.entries[7][2] == MAPPINGS_PER_CHUNK
    assert world.tables.statistics().overflowed == 6
    assert world.rule(7, place(1023)) == world.truth(small[1023], place(1023))
    assert world.rule(7, place(1024)) is None


def test_mappings_without_room_leave_no_entry_and_come_when_there_is_room() -> None:
    world = World([SMALL, MIDDLE], mapping_chunks=1)

    def many(tgid: int, shift: int) -> AddressSpace:
        mappings = [
            Mapping(at, at + 4096, 0x2000, SMALL.path, SMALL.build_id)
            for at in (place(n) + 4096 * shift for n in range(600))
        ]
        return world.space(tgid, *mappings)

    world.update(many(7, 0))
    world.settle()
    world.update(many(8, 1))
    assert 8 not in world.kernel.entries
    assert world.tables.statistics().unpublished >= 1
    world.tables.exit(7)
    world.settle()
    assert world.all_right(many(8, 1))


def test_least_recently_used_modules_give_way() -> None:
    world = World([SMALL, NAMELESS, MIDDLE, OTHER, LARGE], row_chunks=1)
    old = world.space(7, world.mapping(2, place(0)))
    world.update(old)
    world.settle()
    used = world.space(8, world.mapping(3, place(0)))
    world.update(used)
    world.settle()
    world.tables.exit(7)
    world.settle()
    assert world.tables.statistics().modules == 2, "what nobody maps stays while there is room"
    third = make_module(9, 7000)
    world.modules.append(third)
    world.files[third.path] = third
    new = world.space(9, world.mapping(5, place(0)))
    world.update(new)
    world.settle()
    assert world.all_right(new)
    assert world.all_right(used)
    figures = world.tables.statistics()
    assert (figures.evicted, figures.rejected, figures.modules) == (1, 0, 2)
    assert figures.rows_used <= figures.rows_total


def test_a_module_in_use_gives_way_only_after_a_while_and_only_after_the_grace() -> None:
    world = World([MIDDLE, OTHER, make_module(9, 9000)], row_chunks=1)
    old = world.space(7, world.mapping(0, place(0)), world.mapping(1, place(1)))
    world.update(old)
    world.settle()
    new = world.space(8, world.mapping(2, place(0)))
    world.update(new)
    world.settle()
    assert world.rule(8, place(0)) == ABSENT
    assert world.tables.statistics().rejected == 1
    assert world.all_right(old)
    world.now_ns += ROOM_RETRY_NS + 1
    again = world.space(9, world.mapping(2, place(0)))
    world.update(again)
    entry = world.kernel.entries[7]
    assert world.tables.work()
    assert world.kernel.rule(entry, place(0) + 32) == world.truth(old.mappings[0], place(0) + 32)
    world.settle()
    assert world.all_right(again)
    assert world.all_right(new)
    gone = [world.rule(7, mapping.start + 32) == ABSENT for mapping in old.mappings]
    assert any(gone), "the process goes on with what is left"
    assert world.tables.statistics().evicted >= 1


def test_a_rejected_module_gets_its_rows_once_others_are_not_used_any_more() -> None:
    world = World([MIDDLE, OTHER, make_module(9, 9000)], row_chunks=1)
    world.update(world.space(7, world.mapping(0, place(0)), world.mapping(1, place(1))))
    world.settle()
    new = world.space(8, world.mapping(2, place(0)))
    world.update(new)
    world.settle()
    assert world.rule(8, place(0)) == ABSENT
    world.tables.exit(7)
    world.now_ns += 2 * ROOM_RETRY_NS
    world.settle()
    assert world.all_right(new)


def test_a_module_larger_than_the_array_is_rejected_and_others_stay() -> None:
    world = World([SMALL, HUGE], row_chunks=1)
    space = world.space(7, world.mapping(0, place(0)))
    world.update(space)
    world.settle()
    world.now_ns += 10 * ROOM_RETRY_NS
    world.update(world.space(8, world.mapping(1, place(0))))
    world.settle()
    assert world.rule(8, place(0)) == ABSENT
    assert world.all_right(space)
    assert world.tables.statistics().rejected == 1


def test_the_thread_loads_and_publishes() -> None:
    import time

    world = World([SMALL, LARGE])
    world.ticks = time.monotonic_ns
    space = world.space(7, world.mapping(0, place(0)), world.mapping(1, place(1)))
    world.tables.start()
    try:
        world.tables.update(space, time.monotonic_ns())
        deadline = time.monotonic() + 20
        while not world.all_right(space) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert world.all_right(space)
    finally:
        world.tables.close()


def test_describe(world: World) -> None:
    space = world.space(
        7,
        world.mapping(0, place(0)),
        Mapping(place(1), place(1) + 4096, 0, "//anon"),
        Mapping(place(2), place(2) + 4096, 0, "/gone", None, 8, 9),
        Mapping(place(3), place(3) + 8192, 0, "[vdso]"),
    )
    reports = describe(space, world.open)
    assert [report.state for report in reports] == [
        State.ROWS,
        State.FRAME_POINTERS,
        State.UNREADABLE,
        State.ROWS,
    ]
    first = reports[0]
    assert (first.source, first.rows, first.code_bytes) == (".eh_frame", 101, SMALL.size)
    assert first.ruled_bytes == 1600
    assert "can't be had" in reports[2].source


class Machine(RuleBasedStateMachine):
    """Processes come, map, fork, exec and go, with records late and loading at any moment.

    At every moment every lookup gives the right rule, or ends the walk, or finds no mapping; and
    an entry that a program read less than the grace period ago gives what it gave.
    """

    row_chunks = 1
    mapping_chunks = 1
    modules: tuple[Module, ...] = (SMALL, NAMELESS, MIDDLE, OTHER, LARGE)

    def __init__(self) -> None:
        super().__init__()
        self.world = World(list(self.modules), self.row_chunks, self.mapping_chunks)
        self.spaces: dict[int, AddressSpace] = {}
        self.late: list[tuple[int, int, int]] = []
        self.read: list[tuple[int, Entry, dict[int, Rule | None]]] = []
        self.next = 10

    def deliver(self) -> None:
        for _, parent, child in self.late:
            self.world.tables.fork(parent, child)
        self.late.clear()

    def some(self, number: int) -> int:
        return sorted(self.spaces)[number % len(self.spaces)]

    @rule(choice=st.lists(st.integers(0, 4), min_size=1, max_size=4), shift=st.integers(0, 3))
    def begin(self, choice: list[int], shift: int) -> None:
        self.deliver()
        self.next += 1
        mappings = [
            self.world.mapping(number, place(shift + n), by_inode=shift == 1)
            for n, number in enumerate(choice)
        ]
        self.spaces[self.next] = self.world.space(self.next, *mappings)
        self.world.update(self.spaces[self.next])

    @precondition(lambda self: self.spaces)
    @rule(which=st.integers(0, 99), module=st.integers(0, 4), at=st.integers(0, 5))
    def load_library(self, which: int, module: int, at: int) -> None:
        self.deliver()
        tgid = self.some(which)
        self.spaces[tgid] = self.spaces[tgid].with_mapping(self.world.mapping(module, place(at)))
        self.world.update(self.spaces[tgid])

    @precondition(lambda self: self.spaces)
    @rule(which=st.integers(0, 99), is_late=st.booleans())
    def fork(self, which: int, is_late: bool) -> None:
        parent = self.some(which)
        self.next += 1
        self.spaces[self.next] = replace(self.spaces[parent], tgid=self.next)
        if parent in self.world.kernel.entries:
            self.world.kernel.entries[self.next] = self.world.kernel.entries[parent]
        self.late.append((self.world.now_ns, parent, self.next))
        if not is_late:
            self.deliver()

    @precondition(lambda self: self.spaces)
    @rule(which=st.integers(0, 99), module=st.integers(0, 4), is_seen=st.booleans())
    def exec(self, which: int, module: int, is_seen: bool) -> None:
        self.deliver()
        tgid = self.some(which)
        self.world.kernel.entries.pop(tgid, None)
        if is_seen:
            self.world.tables.exec(tgid)
        mapping = self.world.mapping(module, place(0))
        generation = self.spaces[tgid].generation + 1
        self.spaces[tgid] = self.world.space(tgid, mapping, generation=generation)
        self.world.update(self.spaces[tgid])

    @precondition(lambda self: self.spaces)
    @rule(which=st.integers(0, 99))
    def exit(self, which: int) -> None:
        self.deliver()
        tgid = self.some(which)
        del self.spaces[tgid]
        self.world.kernel.entries.pop(tgid, None)
        self.world.tables.exit(tgid)

    @rule()
    def work(self) -> None:
        self.world.tables.work()

    @rule(passed_ms=st.sampled_from([1, 100, 600, 1100, 11_000]))
    def wait(self, passed_ms: int) -> None:
        if passed_ms > 100:
            self.deliver()
        self.world.now_ns += passed_ms * 1_000_000
        self.read = [r for r in self.read if r[0] + GRACE_NS > self.world.now_ns]

    @invariant()
    def lookups_are_never_wrong(self) -> None:
        kernel: Kernel = self.world.kernel
        for tgid, entry in kernel.entries.items():
            answers: dict[int, Rule | None] = {}
            for mapping in self.spaces[tgid].mappings:
                for pc in self.world.samples(mapping):
                    found = answers[pc] = kernel.rule(entry, pc)
                    assert found in (None, ABSENT, HOPELESS, self.world.truth(mapping, pc))
            assert kernel.rule(entry, place(50)) is None
            if all(known[1] != entry for known in self.read[-12:]):
                self.read = [*self.read[-11:], (self.world.now_ns, entry, answers)]
        for _, entry, answers in self.read:
            for pc, answer in answers.items():
                assert kernel.rule(entry, pc) == answer

    def teardown(self) -> None:
        self.deliver()
        for tgid in list(self.spaces):
            self.world.tables.exit(tgid)
        self.world.settle()
        figures = self.world.tables.statistics()
        assert figures.mappings_used == 0
        assert figures.processes == figures.pending == 0


class Roomy(Machine):
    """With room for all, everything is right in the end."""

    row_chunks = 6
    mapping_chunks = 3

    @rule()
    def rest(self) -> None:
        self.deliver()
        self.world.settle()
        self.read.clear()
        assert all(self.world.all_right(space) for space in self.spaces.values())


Machine.TestCase.settings = Roomy.TestCase.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None
)
TestTight = Machine.TestCase
TestRoomy = Roomy.TestCase
