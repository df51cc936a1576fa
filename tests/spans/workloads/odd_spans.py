"""odd_spans.py --truth FILE: spans of every odd sort, with what each wrote to /dev/null.

The truth, by name: "written", of its own, and "with_children"; "count": closed; "open": never
closed; "names": the odd ones, as much of them as is kept.
"""

import json
import os
import sys
import time

from tracing_stacks._core import foreign, listening

from tracing_stacks import span

NULL = os.open("/dev/null", os.O_WRONLY)
ODD = (
    'it\'s "quoted"; drop view spans; --',
    "line\nbreak\ttab",
    "[red]markup[/red]",
    "\u202eright to left \u05d0\u05d1",
    "%s $name {x} \\",
    "n" * 4096,
    "\u00e9" * 40,
)


def write(count):
    os.write(NULL, bytes(count))


def odd_names():
    for at, name in enumerate(ODD, 1):
        with span(name, at, at):
            write(100 * at)


def walk(depth):
    """Spans of one name in each other."""
    with span("walk"):
        write(10)
        if depth:
            walk(depth - 1)


def entered_often():
    often = span("often")
    for _ in range(1000):
        often.enter()
        write(1)
        often.exit()
    often.close()


def nothing_in_them():
    for _ in range(50):
        with span("nothing"):
            pass


def one_id_again():
    for name, count in (("first use", 70), ("second use", 700), ("first use", 7000)):
        one = foreign(name, 5, 77, 0)
        one.enter()
        write(count)
        with span("inside a use"):
            write(1)
        one.exit()
        one.close()


def over_a_fork():
    with span("around"):
        write(20)
        child = os.fork()
        if not child:
            write(2)  # the child is in no span
            with span("of the child"):
                write(200)
                never = span("child's open")
                never.enter()
                write(2000)
                os._exit(0)
        os.waitpid(child, 0)
        write(20)


def left_open():
    left = span("left open")
    left.enter()
    write(3)
    left.exit()
    inside = span("still inside")
    inside.enter()
    write(30)
    with span("within it"):
        write(300)
    return left, inside


def main():
    while not listening():
        time.sleep(0.01)
    write(5)
    odd_names()
    walk(3)
    entered_often()
    nothing_in_them()
    one_id_again()
    over_a_fork()
    seen = {name: name.encode()[:63].decode(errors="ignore") for name in ODD}
    own = {seen[name]: 100 * at for at, name in enumerate(ODD, 1)}
    count = dict.fromkeys(own, 1)
    own |= {
        "walk": 40, "often": 1000, "nothing": 0, "first use": 7070, "second use": 700,
        "inside a use": 3, "around": 40, "of the child": 200, "child's open": 2000,
        "left open": 3, "still inside": 35, "within it": 300,
    }  # fmt: skip
    count |= {
        "walk": 4, "often": 1, "nothing": 50, "first use": 2, "second use": 1, "inside a use": 3,
        "around": 1, "within it": 1,
    }  # fmt: skip
    whole = own | {"first use": 7072, "second use": 701, "still inside": 335}
    truth = {
        "written": own,
        "with_children": whole,
        "count": count,
        "open": ["of the child", "child's open", "left open", "still inside"],
        "names": list(seen.values()),
        "tgid": os.getpid(),
    }
    with open(sys.argv[sys.argv.index("--truth") + 1], "w") as file:
        json.dump(truth, file)
    kept = left_open()
    time.sleep(1.1)
    write(5)  # still in `still inside`
    os._exit(bool(kept) - 1)  # nobody closes what is open


main()
