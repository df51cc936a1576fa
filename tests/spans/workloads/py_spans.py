"""py_spans.py SCENARIO [N] [--loop uvloop] --truth FILE: spans of Python, with their truth.

The truth is that of noted.h: "spans": each with tgid, ids, name, enters, busy_ns and total_ns (of
the monotonic clock), written_bytes (to /dev/null while it was innermost), closed; "outside_bytes";
besides, least_ns: from after a span's first enter to before its last exit. What a scenario adds
stands in its docstring.
"""

import argparse
import asyncio
import contextlib
import functools
import json
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import tracing_stacks
from tracing_stacks import span

NULL = os.open("/dev/null", os.O_WRONLY)
ZEROS = memoryview(bytes(1 << 20))
told = []
more = {"outside_bytes": 0}


class Noted:
    """A span, and what the program knows of it."""

    def __init__(self, name, id=0, amount=0, exit_stack=False, own=None):
        self.span = own or span(name, id, amount, exit_stack)
        self.truth = {
            "tgid": os.getpid(),
            "span_id": self.span.span_id if own is None else own,
            "parent_id": 0 if own else self.span.parent_id,
            "name": name,
            "id": id,
            "amount": amount,
            "enters": 0,
            "busy_ns": 0,
            "total_ns": 0,
            "written_bytes": 0,
            "closed": False,
        }
        told.append(self.truth)

    def __enter__(self):
        self.first = self.since = time.monotonic_ns()
        self.truth["enters"] = 1
        self.span.enter()
        self.inside = time.monotonic_ns()
        return self

    def __exit__(self, *error):
        self.truth["least_ns"] = time.monotonic_ns() - self.inside
        self.span.exit()
        self.truth["busy_ns"] += time.monotonic_ns() - self.since
        self.span.close()
        self.truth["total_ns"] = time.monotonic_ns() - self.first
        self.truth["closed"] = True

    def suspended(self):
        self.truth["busy_ns"] += time.monotonic_ns() - self.since

    def resumed(self):
        self.since = time.monotonic_ns()
        self.truth["enters"] += 1

    def write(self, count):
        os.write(NULL, ZEROS[:count])
        self.truth["written_bytes"] += count


def write_outside(count):
    os.write(NULL, ZEROS[:count])
    more["outside_bytes"] += count


def spin(ms):
    until = time.monotonic_ns() + int(ms * 1e6)
    while time.monotonic_ns() < until:
        pass


async def pause(seconds, *spans):
    """Sleeps, which suspends the task once: the spans are exited, and entered again."""
    for one in spans:
        one.suspended()
    await asyncio.sleep(seconds)
    for one in spans:
        one.resumed()


def within_a_task(name):
    """The task's own span, which is the innermost one when the task begins."""
    return {"tgid": os.getpid(), "span_id": tracing_stacks.current(), "name": name}


# -- scenarios ------------------------------------------------------------------------------------


def nested(levels=3):
    """Spans within spans, on one thread, with bytes before and after the inner ones."""

    def level(n):
        with Noted(f"level {n}", n, 10 * n, exit_stack=bool(n % 2)) as one:
            one.write(100 + n)
            spin(2)
            if n < levels:
                level(n + 1)
            one.write(1)

    for _ in range(2):
        write_outside(7)
        level(1)


async def tasks(count=20):
    """Tasks; "tasks": their own spans of tasks. Each opens two spans, which lie over its sleeps."""
    own = more["tasks"] = []

    async def request(n):
        own.append(within_a_task("tasks.<locals>.request"))
        with Noted("request", n, 1000 * n) as outer:
            outer.write(10 + n)
            spin(1)
            await pause(0.002, outer)
            with Noted("query", n, exit_stack=True) as inner:
                inner.write(1000)
                await pause(0.005, outer, inner)
                spin(0.5)
                inner.write(24)
            outer.write(1)

    async with asyncio.TaskGroup() as group:
        for n in range(count):
            group.create_task(request(n))
    write_main()


def write_main():
    # in the main task's own span
    os.write(NULL, ZEROS[:3])


async def cancelled():
    """One task ends by an exception, one is cancelled, one times out, one is never started."""

    async def fails():
        with Noted("fails", 1) as one:
            await pause(0.002, one)
            raise KeyError("meant")

    async def sleeps():
        with Noted("sleeps", 2) as one:
            try:
                one.suspended()
                await asyncio.sleep(60)
            finally:
                one.resumed()
                one.write(50)

    async def never():
        raise AssertionError

    first = asyncio.create_task(fails())
    second = asyncio.create_task(sleeps())
    asyncio.create_task(never()).cancel()
    await asyncio.sleep(0.005)
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(sleeps(), 0.01)


async def eager():
    """Tasks whose first step runs within their creator's (3.12 and later)."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)

    async def child(n):
        with Noted("eager", n) as one:
            one.write(5)
            await pause(0.002, one)
            one.write(6)

    with Noted("creator") as outer:
        children = [asyncio.create_task(child(n)) for n in range(3)]
        outer.suspended()
        await asyncio.gather(*children)
        outer.resumed()
        outer.write(60)


async def threads(jobs=40):
    """Jobs of thread pools: spans of their own, children of the one that submitted them."""

    def job(n):
        with Noted("in a job", n) as one:
            one.write(100 + n)
            time.sleep(0.001)

    with Noted("submits") as outer, ThreadPoolExecutor(4) as pool:
        waiting = [asyncio.get_running_loop().run_in_executor(pool, job, n) for n in range(jobs)]
        waiting.append(asyncio.to_thread(job, jobs))
        outer.suspended()
        await asyncio.gather(*waiting)
        outer.resumed()
    more["jobs"] = jobs + 1


def plain_threads(count=4):
    """Threads with a span each, that none knows of another."""

    def run(n):
        for _ in range(50):
            with Noted("on a thread", n) as one:
                one.write(10 + n)
                spin(0.1)

    running = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


async def migrate(times=10000):
    """One span that goes from thread to thread of four, each of which writes in it."""
    one = Noted("traveller", 77)
    one.first = time.monotonic_ns()

    def visit():
        one.resumed()
        one.span.enter()
        one.write(3)
        one.span.exit()
        one.suspended()
        write_outside(2)

    pools = [ThreadPoolExecutor(1) for _ in range(4)]
    for n in range(times):
        pools[n % 4].submit(visit).result()
    one.span.close()
    one.truth["total_ns"] = time.monotonic_ns() - one.first
    one.truth["closed"] = True
    for pool in pools:
        pool.shutdown()


def many(count=1_000_000):
    """A lot of spans; "one of many": how many spans of that name."""
    begin = time.monotonic_ns()
    for n in range(count):
        with span("one of many", n, 1):
            pass
    more["elapsed_ns"] = time.monotonic_ns() - begin
    more["one of many"] = count


def out_of_order():
    """Exits in another order than the enters."""
    a, b, c = (Noted(name) for name in "abc")
    for one in (a, b, c):
        one.__enter__()
    a.__exit__()
    c.write(10)
    c.__exit__()
    b.write(20)
    b.__exit__()
    write_outside(30)


def names():
    """Names that nobody would choose, and some that one would."""
    chosen = [
        "",
        "a",
        "fifteen letters",
        "sixteen letters!",
        "x" * 63,
        "x" * 64,
        "x" * 62 + "é",
        "x" * 500,
    ]
    chosen += [
        "[red]x[/red] [/]",
        "\x1b[31mred",
        "tab\tnewline\n",
        "right\u202eto left",
        "中文",
        "nul\0nul",
    ]
    chosen += ["a lone \ud800 surrogate"]
    for n, name in enumerate(chosen):
        with Noted(name, n) as one:
            one.write(200 + n)


async def deadlock(seconds=1.5):
    """Two tasks take two locks in opposite order; two others take turns on a third.

    "cycle": each task's own span, the lock that it holds and the lock that it waits for.
    """
    a, b, c = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
    more["locks"] = {"a": id(a), "b": id(b), "c": id(c)}
    cycle = more["cycle"] = []

    async def first():
        cycle.append(within_a_task("deadlock.<locals>.first") | {"holds": id(a), "waits": id(b)})
        async with a:
            await asyncio.sleep(0.05)
            async with b:
                raise AssertionError

    async def second():
        cycle.append(within_a_task("deadlock.<locals>.second") | {"holds": id(b), "waits": id(a)})
        async with b:
            await asyncio.sleep(0.05)
            async with a:
                raise AssertionError

    async def takes_turns():
        for _ in range(20):
            async with c:
                await asyncio.sleep(0.001)

    stuck = [asyncio.create_task(first()), asyncio.create_task(second())]
    await asyncio.gather(takes_turns(), takes_turns())
    await asyncio.wait(stuck, timeout=seconds)
    finish(0)
    os._exit(0)  # without cancelling them: they stay as they are


async def stuck(seconds=1.0):
    """A task that waits for ever; "awaits": functions and lines from where it stands outwards."""
    lines = more["awaits"] = []

    def here(offset):
        frame = sys._getframe(1)
        lines.append([frame.f_code.co_qualname, frame.f_code.co_filename, frame.f_lineno + offset])

    async def innermost(future):
        here(1)
        await future

    async def inner(future):
        here(1)
        await innermost(future)

    async def generate(future):
        here(1)
        yield await inner(future)

    async def outermost():
        here(1)
        async for _ in generate(asyncio.get_running_loop().create_future()):
            pass

    own = asyncio.create_task(outermost())
    await asyncio.wait([own], timeout=seconds)
    lines.reverse()
    finish(0)
    os._exit(0)


def prefork(children=4):
    """Children forked inside a span, which is the parent's alone; each has one of its own."""
    readers = []
    with Noted("master") as outer:
        for n in range(children):
            reader, writer = os.pipe()
            if os.fork() == 0:
                told.clear()
                write_outside(1000)  # not in the parent's span
                with Noted("worker", n) as one:
                    one.write(400 + n)
                    spin(1)
                os.write(writer, json.dumps([*told, more]).encode())
                os._exit(0)
            os.close(writer)
            readers.append(reader)
        outer.write(1)
        take(readers, children)


def take(readers, children):
    for reader in readers:
        with os.fdopen(reader) as file:
            *spans, theirs = json.load(file)
        told.extend(spans)
        more["outside_bytes"] += theirs["outside_bytes"]
    for _ in range(children):
        _, status = os.wait()
        if status:
            raise SystemExit(f"a child ended with {status}")


def _in_a_process(n):
    told.clear()
    with Noted("in a process", n) as one:
        one.write(300 + n)
        spin(1)
    return list(told)


def processes(jobs=8):
    """multiprocessing's pools, forked and spawned."""
    with Noted("pools") as outer:
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                for spans in pool.map(_in_a_process, range(jobs), chunksize=1):
                    told.extend(spans)
        outer.write(2)


async def decorated(count=5):
    """Decorated functions of all sorts; what a generator's consumer writes is not in its span.

    "decorated": the number of spans of each name; "decorated_bytes": what was written in them.
    """
    counts = more["decorated"] = {}
    written = more["decorated_bytes"] = {}

    def put(name, size):
        os.write(NULL, ZEROS[:size])
        written[name] = written.get(name, 0) + size

    @span("function")
    def function():
        put("function", 11)

    @span("coroutine")
    async def coroutine():
        put("coroutine", 12)
        await pause(0.001, outer)
        put("coroutine", 13)

    @span("generator")
    def generator():
        put("generator", 14)
        yield 1
        put("generator", 15)

    @span("async generator")
    async def async_generator():
        put("async generator", 16)
        yield 1
        await pause(0.001, outer)
        put("async generator", 17)

    with Noted("consumer") as outer:
        for _ in range(count):
            function()
            await coroutine()
            for _ in generator():
                outer.write(100)
            async for _ in async_generator():
                outer.write(100)
            for name in ("function", "coroutine", "generator", "async generator"):
                counts[name] = counts.get(name, 0) + 1


def late():
    """Open from before somebody comes to listen: one stays on its thread, one is entered anew."""
    stays, returns = Noted("stays"), Noted("returns")
    stays.__enter__()
    returns.__enter__()
    returns.span.exit()
    until = time.monotonic() + 20
    while not tracing_stacks.listening():
        if time.monotonic() > until:
            raise SystemExit("nobody listens")
        time.sleep(0.001)
    time.sleep(0.3)  # all probes are attached by now
    returns.span.enter()
    returns.truth["enters"] += 1
    returns.write(800)
    returns.__exit__()
    stays.__exit__()
    write_outside(900)


SCENARIOS = {
    one.__name__: one
    for one in (
        *(nested, tasks, cancelled, eager, threads, plain_threads, migrate, many, out_of_order),
        *(names, deadlock, stuck, prefork, processes, decorated, late),
    )
}
arguments = argparse.Namespace()


def finish(code):
    partial = arguments.truth + ".partial"
    with open(partial, "w") as file:
        json.dump({"tgid": os.getpid(), "spans": told, **more}, file)
    os.rename(partial, arguments.truth)
    return code


def main(scenarios):
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=scenarios)
    parser.add_argument("number", nargs="?", type=float)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--truth", required=True)
    parser.parse_args(namespace=arguments)
    tracing_stacks.init(locks=arguments.scenario == "deadlock")
    run = scenarios[arguments.scenario]
    if arguments.number is not None:
        number = arguments.number
        run = functools.partial(run, int(number) if number.is_integer() else number)
    if not asyncio.iscoroutinefunction(scenarios[arguments.scenario]):
        run()
    elif arguments.loop == "uvloop":
        import uvloop

        uvloop.run(run())
    else:
        asyncio.run(run())
    finish(0)


if __name__ == "__main__":
    main(SCENARIOS)
