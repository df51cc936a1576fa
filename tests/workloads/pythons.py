"""pythons.py NAME TRUTH: runs code with a known call chain, and notes the chain at each write.

Each note is taken in the line that then writes N bytes to /dev/null, N counting the notes, so a
recorded write tells which note is its own. The truth: {tgid: {N: [[name, file, line], …]}}.
"""

import asyncio
import functools
import itertools
import json
import os
import sys
import threading
import time

NULL = os.open("/dev/null", os.O_WRONLY)
BYTES = memoryview(bytes(1 << 20))
numbers = itertools.count(1)
noted = {}


def chain():
    frame, found = sys._getframe(1), []
    while frame:
        found.append((frame.f_code.co_qualname, frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    number = next(numbers)
    noted[number] = found
    return number


def leaf(*ignored):
    os.write(NULL, BYTES[: chain()])
    return 0


def recurse(depth):
    if depth == 0:
        return leaf()

    return recurse(depth - 1) + 1


def recursion():
    for depth in range(0, 400, 7):
        recurse(depth)


def threads():
    def work(depth):
        for _ in range(30):
            recurse(depth)
            time.sleep(0.001)

    running = [threading.Thread(target=work, args=(3 + i,)) for i in range(6)]
    for one in running:
        one.start()
    for one in running:
        one.join()


def short_threads():
    for _ in range(150):
        one = threading.Thread(target=recurse, args=(5,))
        one.start()
        one.join()


def asyncs():
    async def inner(depth):
        if depth:
            await inner(depth - 1)
            return
        leaf()
        await asyncio.sleep(0)
        leaf()

    async def task():
        for _ in range(20):
            await inner(4)

    async def main():
        await asyncio.gather(task(), task())

    asyncio.run(main())


def generators():
    def generate(depth):
        if depth:
            for value in generate(depth - 1):  # noqa: UP028
                yield value
        else:
            for i in range(3):
                leaf()
                yield i

    def delegate(depth):
        yield from generate(depth)

    for _ in range(10):
        sum(delegate(4))
        for _ in delegate(4):
            leaf()


class Ordered:
    def __init__(self, value):
        self.value = value
        leaf()

    def __lt__(self, other):
        leaf()
        return self.value < other.value

    @property
    def known(self):
        return leaf()

    def __getattr__(self, name):
        return leaf()


def callbacks():
    def nest(depth):
        if depth == 0:
            return leaf()
        return sorted([3, 1, 2], key=lambda value: nest(depth - 1) + value)[0]

    for _ in range(10):
        sorted(range(3), key=functools.partial(leaf, 1))
        list(map(lambda value: leaf(), range(3)))  # noqa: C417
        max([Ordered(i) for i in range(4)]).known  # noqa: B018
        min(range(3), key=leaf)
        Ordered(1).missing  # noqa: B018
        functools.reduce(lambda one, other: leaf(), range(4))
        [leaf() for _ in range(2)]
        nest(3)


def fleeting():
    """Code that is gone as soon as it has run."""
    for i in range(300):
        exec("\n" * i + f"def f{i}():\n" + "\n" * (i % 7) + f"    leaf()\n\nf{i}()")
        eval(f"leaf({i})")


def odd_names():
    def long_one():
        leaf()

    long_one.__code__ = long_one.__code__.replace(co_qualname="x" * 1000, co_filename="/f" * 500)
    long_one()
    for name in ("ärger", "名前", "\U0001f40d" * 70, "a" * 130, "a" * 160):
        long_one.__code__ = long_one.__code__.replace(co_qualname=name, co_filename=f"/tmp/{name}")
        for _ in range(3):
            long_one()
    lines = "\n".join(f"    if n == {n}: leaf(); other = {n}" for n in range(300))
    scope = {"leaf": leaf}
    exec(f"def many(n):\n{lines}", scope)
    for n in range(0, 300, 10):
        scope["many"](n)
    time.sleep(0.3)  # its table is too long to be copied at once


def forks():
    """Both sides go on; the child leaves its own truth."""
    recurse(2)
    child = os.fork()
    if child == 0:
        noted.clear()
        for _ in range(20):
            recurse(9)
        threads()
        tell(sys.argv[2] + ".child")
        os._exit(0)
    for _ in range(20):
        recurse(7)
    os.waitpid(child, 0)


def tell(path):
    with open(path, "w") as file:
        json.dump({str(os.getpid()): noted}, file)


if __name__ == "__main__":
    time.sleep(0.7)  # until all is known of this process
    globals()[sys.argv[1]]()
    tell(sys.argv[2])
