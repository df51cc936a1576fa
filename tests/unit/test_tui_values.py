"""What turns snapshots into lines: cells, bars, boxes, ways back. No Textual app runs here."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from stacks_tui.live.snapshot import FrameInfo, Graph, Node
from stacks_tui.live.view import Group, Panel, Side, Tab, View, Window
from stacks_tui.text import printable
from stacks_tui.tui import cells, layout, plumbing
from stacks_tui.tui.desk import Desk
from stacks_tui.tui.screens.dialogs import Option, narrowed, pointed_at
from stacks_tui.tui.widgets.bar import Spot, arrange


@given(st.text(max_size=60), st.integers(0, 30), st.booleans())
def test_what_is_fitted_takes_exactly_its_cells(text: str, width: int, right: bool) -> None:
    assert cell_len(cells.fit(printable(text), width, right=right)) == width


@given(st.text(max_size=60), st.integers(1, 30))
def test_what_is_shortened_fits(text: str, width: int) -> None:
    assert cell_len(cells.shorten(printable(text), width)) <= width


@given(st.floats(0, 1), st.integers(1, 40))
def test_a_share_above_nothing_shows(share: float, width: int) -> None:
    drawn = cells.bar(share, width)
    assert len(drawn) == width
    assert (drawn.strip() == "") == (share == 0)


def test_bars_and_columns() -> None:
    assert cells.bar(0.5, 4) == "██  "
    assert cells.bar(1.0, 4) == "████"
    assert cells.spark((0.0, 1.0, 2.0), 5) == " ▄█  "
    assert cells.pool((1.0, 9.0, 2.0, 3.0), 2) == (9.0, 3.0)


@given(
    st.integers(1, 200), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 100)), max_size=40)
)
def test_boxes_never_overlap_and_lie_below_their_callers(
    width: int, drawn: list[tuple[int, int]]
) -> None:
    nodes = [Node(-1, "", "", "", 0, sum(value for _, value in drawn))]
    for at, (back, value) in enumerate(drawn, 1):
        nodes.append(Node(max(0, at - 1 - back), f"k{at}", f"n{at}", "", 0, value))
    placed = layout.lay_out(Graph("ns", tuple(nodes), False), width)
    for depth, level in enumerate(placed.levels):
        for one, other in itertools.pairwise(level):
            assert one.end <= other.begin
        for box in level:
            assert 0 <= box.begin < box.end <= width
            if depth:
                caller = placed.box(nodes[box.node].parent)
                assert caller is not None
                assert caller.begin <= box.begin
                assert box.end <= caller.end


def test_a_line_leaves_out_what_matters_least_and_never_a_key_alone() -> None:
    left = [
        Spot("head"),
        Spot("k", rank=1),
        Spot(" word", rank=1),
        Spot("k", rank=2),
        Spot(" more", rank=2),
    ]
    shown, _ = arrange(left, (), 12)
    assert "".join(spot.text for spot in shown) == "headk word"
    shown, _ = arrange(left, (), 8)
    assert "".join(spot.text for spot in shown) == "head"


def test_the_way_back_and_what_escape_drops() -> None:
    desk = Desk(View())
    assert desk.go(filter="x")
    assert desk.go(tgid=5)
    assert desk.go(zoom=("a",), panel=Panel.FLAME)
    assert desk.clear()
    assert desk.view.zoom == ()
    assert desk.clear()
    assert desk.view.filter == ""
    assert desk.clear()
    assert desk.view.tgid == 0
    assert not desk.clear()
    while desk.go_back():
        pass
    assert desk.view == View()


def test_groups_of_waits_end_with_them() -> None:
    desk = Desk(View(tab=Tab.BLOCKED, group=Group.REASON))
    seen = []
    for tab in (Tab.RUNNABLE, Tab.CPU):
        desk.go(tab=tab)
        seen.append(desk.view.group)
    assert seen == [Group.REASON, Group.STACK]


def test_marks_lead_to_a_comparison_and_out_of_it() -> None:
    desk = Desk(View())
    desk.set_mark(Side(Window(0, 1, 2)), "one")
    assert desk.mark is not None
    desk.set_mark(Side(Window(0, 3, 4)), "two")
    assert desk.view.compares
    assert desk.view.sort == "change"
    desk.set_mark(Side(), "any")
    assert not desk.view.compares
    assert desk.view.sort == "own"


def test_the_kernels_part_is_one_telling_frame_where_room_lacks() -> None:
    kernel = [
        "__schedule",
        "schedule",
        "futex_do_wait",
        "futex_wait",
        "entry_SYSCALL_64_after_hwframe",
    ]
    frames = [FrameInfo(name, kernel=True) for name in kernel] + [
        FrameInfo("lock"),
        FrameInfo("main"),
    ]
    assert plumbing.boundary(kernel) == 5
    assert plumbing.telling(kernel) == "futex_do_wait"
    short = plumbing.condensed(frames, 4)
    assert [frame.name.partition(" ")[0] for frame in short] == ["futex_do_wait", "lock", "main"]
    assert plumbing.condensed(frames, 7) == frames


def test_a_stack_begins_with_the_call_that_the_program_made() -> None:
    user = ["__lll_lock_wait", "pthread_mutex_lock@@GLIBC_2.2.5", "post", "main"]
    assert list(plumbing.speaking(user)) == user[1:]
    assert list(plumbing.speaking(user[:1])) == user[:1]
    kernel = [FrameInfo("do_futex", kernel=True)] * 3
    shown = plumbing.condensed([*kernel, *map(FrameInfo, user)], 4)
    assert [frame.name.partition(" ")[0] for frame in shown[1:]] == user[1:]


def test_a_waker_is_told_by_what_it_did() -> None:
    names = ["bpf_prog_1_on_waking", "try_to_wake_up", "futex_wake", "entry_SYSCALL_64"]
    stack = [FrameInfo(name) for name in [*names, "__lll_lock_wake", "unlock", "post"]]
    assert plumbing.waking(stack) == ("futex_wake", ["unlock", "post"])
    callers = ["futex_wake", "os::unpark()", "ObjectMonitor::exit()", "Interpreter", "Shop.pay"]
    assert plumbing.telling_callers(callers) == ["futex_wake", "…", "Shop.pay"]
    assert plumbing.telling_callers(callers[:4]) == callers[:4]
    assert plumbing.telling_callers(["read", "main"]) == ["read", "main"]
    marked = plumbing.marked(stack)  # from the call that woke on: what comes before is the probe
    assert [frame.name for frame in marked] == [frame.name for frame in stack[2:]]
    assert [frame.kernel for frame in marked] == [True] * 2 + [False] * 3
    timer = [FrameInfo(name) for name in ("hrtimer_wakeup", "asm_sysvec_apic_timer", "innocent")]
    assert plumbing.waking(timer) == ("an interrupt, hrtimer_wakeup", ())


def test_a_digit_or_a_first_letter_points_at_an_option() -> None:
    options = [Option(1, "stack"), Option(2, "span"), Option(3, "reason")]
    assert [one.key for one in pointed_at(options, "2")] == [2]
    assert [one.key for one in pointed_at(options, "R")] == [3]
    assert [one.key for one in pointed_at(options, "s")] == [1, 2]
    assert not pointed_at(options, "9") and not pointed_at(options, "0")
    assert not pointed_at(options, "")


def test_narrowing_finds_words_then_letters() -> None:
    options = [Option(1, "postgres"), Option(2, "pstree"), Option(3, "nginx")]
    assert [one.key for one in narrowed(options, "pst")] == [2, 1]
    assert narrowed(options, "zz") == []
