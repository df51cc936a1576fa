"""py_odd.py SCENARIO [N] --truth FILE: what programs do to spans that nobody planned for.

The truth is that of py_spans.py.
"""

import asyncio
import gc
import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time
import zlib

from py_spans import NULL, ZEROS, Noted, finish, main, more, pause, spin, take, told, write_outside


def exec_inside(times=3):
    """The program becomes another one inside spans, from another thread; that one has its own."""
    left = int(os.environ.pop("LEFT", times))
    told.extend(json.loads(os.environ.pop("TOLD", "[]")))
    more["outside_bytes"] += int(os.environ.pop("OUTSIDE", 0))
    write_outside(500)
    if not left:
        with Noted("after") as one:
            one.write(40)
        return

    def away():
        with Noted("thread", left) as inner:
            inner.write(20)
            os.environ["TOLD"] = json.dumps(told)
            os.environ["OUTSIDE"] = str(more["outside_bytes"])
            os.environ["LEFT"] = str(left - 1)
            os.execv(sys.executable, [sys.executable, *sys.argv])

    with Noted("main", left) as outer:
        outer.write(10)
        thread = threading.Thread(target=away)
        thread.start()
        thread.join()


def threads_end_with_the_process(count=8):
    """Threads whose spans are open when the process ends under them."""
    ready = threading.Barrier(count + 1)

    def run(n):
        with Noted("outer", n), Noted("inner", n) as one:
            one.write(30 + n)
            ready.wait()
            time.sleep(60)

    for n in range(count):
        threading.Thread(target=run, args=(n,), daemon=True).start()
    ready.wait()
    time.sleep(0.01)
    write_outside(7)
    finish(0)
    os._exit(0)


def signals(count=200):
    """Handlers that open spans wherever the program is, in others too."""
    numbers = iter(range(10**9))

    def handle(signum, frame):
        with Noted("handler", next(numbers)) as one:
            one.write(3)

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    for n in range(count):
        with Noted("work", n) as outer:
            spin(0.5)
            outer.write(100 + n)
            with Noted("step", n) as inner:
                inner.write(7)
                spin(0.2)
    signal.setitimer(signal.ITIMER_REAL, 0)


def abandoned(count=50):
    """Generators with open spans that are dropped, in one place or by the collector of cycles."""

    def generate(n):
        with Noted("abandoned", n) as one:
            one.write(5)
            yield
            raise AssertionError

    class Cycle:
        pass

    with Noted("consumer") as outer:
        for n in range(count):
            generator = generate(n)
            next(generator)
            if n % 2:
                cycle = Cycle()
                cycle.generator, cycle.self = generator, cycle
                del generator, cycle
                gc.collect()
            else:
                del generator
            outer.write(11)
        kept = generate(count)
        next(kept)
    more["kept"] = kept
    del more["kept"]
    kept.close()
    write_outside(9)


async def held_by_tasks(count=5000):
    """Tasks that all hold spans open while they wait for one another."""
    started, go = asyncio.Event(), asyncio.Event()
    running = 0

    async def request(n):
        nonlocal running
        with Noted("held", n) as one:
            one.write(1 + n % 50)
            running += 1
            if running == count:
                started.set()
            one.suspended()
            await go.wait()
            one.resumed()
            one.write(2)

    waiting = [asyncio.create_task(request(n)) for n in range(count)]
    await started.wait()
    with Noted("meanwhile") as one:
        spin(300)
        one.write(77)
    go.set()
    await asyncio.gather(*waiting)


async def fork_in_a_task(children=3):
    """Children forked inside a task's spans."""
    readers = []
    with Noted("parent") as outer:
        for n in range(children):
            # sockets, which are sent to and not written
            reader, writer = socket.socketpair()
            if os.fork() == 0:
                told.clear()
                more["outside_bytes"] = 0
                write_outside(1000)
                with Noted("child", n) as one:
                    one.write(20 + n)
                writer.sendall(json.dumps([*told, more]).encode())
                os._exit(0)
            writer.close()
            readers.append(reader.detach())
        await pause(0.01, outer)
        outer.write(4)
        take(readers, children)


async def deep_awaits(levels=100):
    """A task that waits behind more awaits than are told, time and again."""

    async def down(n):
        if n:
            await down(n - 1)
        else:
            for _ in range(50):
                await asyncio.sleep(0.002)

    own = asyncio.create_task(down(levels))
    await own


def another_interpreter(times=20):
    """A second interpreter of the process, which imports the package and marks spans, or can't."""
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "import tracing_stacks\n"
        "with tracing_stacks.span('theirs', 5): pass\n"
    )
    for n in range(times):
        with Noted("ours", n) as one:
            interpreter = interpreters.create()
            interpreters.run_string(interpreter, code)
            interpreters.destroy(interpreter)
            one.write(60 + n)


def greenlets(rounds=20):
    """Greenlets that switch inside spans of their own."""
    import greenlet

    def run(n):
        for _ in range(rounds):
            with Noted("green", n) as one:
                one.write(10 + n)
                one.suspended()
                greenlet.getcurrent().parent.switch()
                one.resumed()
                one.write(1)

    all_of_them = [greenlet.greenlet(run) for _ in range(4)]
    while any(not one.dead for one in all_of_them):
        for n, one in enumerate(all_of_them):
            if not one.dead:
                one.switch(n)
            os.write(NULL, ZEROS[:100])
            more["outside_bytes"] += 100


def gevents(rounds=15):
    """Two greenlets of gevent in each of three threads: one computes by zlib, one by hashlib."""
    import gevent

    work = (zlib.crc32, hashlib.sha256)

    def burn(number, ms=5):
        until = time.monotonic() + ms / 1000
        while time.monotonic() < until:
            work[number](ZEROS[: 1 << 16])

    def run(number):
        for n in range(rounds):
            with Noted(f"green {number}", n) as outer:
                outer.write(1000 * 10**number)
                burn(number)
                switch(outer)
                with Noted(f"inner {number}", n, exit_stack=True) as inner:
                    inner.write(n)
                    burn(number)
                    switch(outer, inner)
                    inner.write(100 * 10**number)
                outer.write(1)
            write_outside(3)

    def switch(*spans):
        for one in spans:
            one.suspended()
        gevent.sleep(0.0001)
        for one in spans:
            one.resumed()

    def wait():
        with Noted("waits") as one:
            one.write(50)
            for green in [gevent.spawn(run, n) for n in range(2)]:
                if not green.ready():
                    one.suspended()
                    green.join()
                    one.resumed()
                green.get()
            one.write(5)

    others = [threading.Thread(target=wait) for _ in range(2)]
    for one in others:
        one.start()
    wait()
    for one in others:
        one.join()


SCENARIOS = {
    function.__name__: function
    for function in (
        *(exec_inside, threads_end_with_the_process, signals, abandoned, held_by_tasks),
        *(fork_in_a_task, deep_awaits, another_interpreter, greenlets, gevents),
    )
}

if __name__ == "__main__":
    main(SCENARIOS)
