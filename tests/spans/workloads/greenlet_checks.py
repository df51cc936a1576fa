"""greenlet_checks.py [--listened] FILE: what spans mean in greenlets. See py_checks.py."""

import asyncio
import gc
import importlib.util
import random
import subprocess
import sys
import threading

import py_checks
from py_checks import Skipped, raises

from tracing_stacks import current, span


def greenlets():
    """The package; first imported here, after `init`."""
    if importlib.util.find_spec("greenlet") is None:
        raise Skipped("greenlet is not installed")
    import greenlet

    return greenlet


def gevents():
    if importlib.util.find_spec("gevent") is None:
        raise Skipped("gevent is not installed")
    import gevent

    return gevent


def check_the_package_is_followed_once_it_is_imported():
    assert "greenlet" not in sys.modules
    greenlet = greenlets()
    assert greenlet.gettrace() is None  # nothing is in the way before a span is entered
    with span("x"):
        assert greenlet.gettrace() is not None
    assert sys.modules["greenlet"].__spec__.name == "greenlet"


def check_each_greenlet_has_spans_of_its_own():
    greenlet = greenlets()

    def run():
        for _ in range(3):
            assert current() == 0
            with span("green") as one, span("inner") as two:
                assert (one.parent_id, two.parent_id) == (0, one.span_id)
                main.switch()
                assert current() == two.span_id
                two.exit()
                main.switch()
                assert current() == one.span_id and not two.entered
            main.switch()

    main = greenlet.getcurrent()
    every = [greenlet.greenlet(run) for _ in range(5)]
    with span("main") as own:
        while any(not one.dead for one in every):
            for one in every:
                one.switch()
                assert current() == own.span_id
    assert current() == 0


def check_switches_at_random():
    greenlet = greenlets()
    chance = random.Random(7)
    steps = 0

    def run():
        nonlocal steps
        mine = []

        @span("generated")
        def generate(depth):
            yield from range(chance.randrange(3))
            inside(depth)

        def inside(depth):
            nonlocal steps
            mine.append(current())
            for _ in range(chance.randrange(6)):
                steps += 1
                what = chance.randrange(5)
                if what == 0 and depth < 5:
                    with span("deeper"):
                        inside(depth + 1)
                elif what == 1 and depth < 5:
                    for _ in generate(depth + 1):
                        assert current() == mine[-1]
                        away()
                else:
                    away()
                assert current() == mine[-1]
            mine.pop()

        def away():
            chance.choice([one for one in every if not one.dead] or [main]).switch()

        while steps < 20_000:
            inside(0)
            away()

    main = greenlet.getcurrent()
    every = [greenlet.greenlet(run) for _ in range(8)]
    with span("main") as own:
        while steps < 20_000:
            every[0].switch()
            assert current() == own.span_id
        for one in every:
            while not one.dead:
                one.switch()
                assert current() == own.span_id
    assert current() == 0


def left_open(greenlet):
    """A greenlet suspended in a span that is never left by hand, and that span."""
    one = span("left")

    def run():
        one.enter()
        greenlet.getcurrent().parent.switch()

    green = greenlet.greenlet(run)
    green.switch()
    assert one.entered and current() == 0
    return green, one


def check_a_greenlet_that_ends_leaves_its_spans():
    greenlet = greenlets()
    green, one = left_open(greenlet)
    green.switch()
    assert green.dead and not one.entered and current() == 0
    one.enter()
    assert current() == one.span_id
    one.close()


def check_throw():
    greenlet = greenlets()
    with span("main") as own:
        green, one = left_open_within(greenlet, own)
        with raises(KeyError):
            green.throw(KeyError)
        assert green.dead and not one.entered and current() == own.span_id

        def handles():
            with span("handles") as two:
                with raises(ValueError):
                    own_greenlet.switch()
                assert current() == two.span_id
                own_greenlet.switch()

        own_greenlet = greenlet.getcurrent()
        green = greenlet.greenlet(handles)
        green.switch()
        green.throw(ValueError)
        assert current() == own.span_id
        with raises(KeyError):
            greenlet.greenlet(handles).throw(KeyError)  # it never began
        assert current() == own.span_id


def left_open_within(greenlet, own):
    own.exit()
    made = left_open(greenlet)
    own.enter()
    return made


def check_a_greenlet_that_nobody_has_any_more():
    greenlet = greenlets()
    for _ in range(100):
        green, one = left_open(greenlet)
        del green
        gc.collect()
        assert not one.entered and current() == 0


def check_a_span_exited_by_another_greenlet():
    greenlet = greenlets()
    green, one = left_open(greenlet)
    with span("main") as own:
        one.close()
        assert current() == own.span_id
        green.switch()
        assert green.dead and current() == own.span_id


def check_a_tracer_that_was_there_stays():
    greenlet = greenlets()
    seen = []

    def in_a_thread():
        greenlet.settrace(lambda event, args: seen.append((event, *args)))
        main = greenlet.getcurrent()
        green, _ = left_open(greenlet)
        green.switch()
        assert seen == [
            *(("switch", main, green), ("switch", green, main)),
            *(("switch", main, green), ("switch", green, main)),
        ]
        seen.append(None)

    in_threads(in_a_thread)
    assert seen[-1] is None


def check_a_tracer_that_fails():
    greenlet = greenlets()
    fine = []

    def in_a_thread():
        def fails(event, args):
            raise KeyError

        greenlet.settrace(fails)
        with span("followed from here on"):
            pass
        for _ in range(2):
            green, one = left_open(greenlet)
            green.switch()
            assert not one.entered
        fine.append(current())

    told = []
    hook, sys.unraisablehook = sys.unraisablehook, told.append
    in_threads(in_a_thread)
    sys.unraisablehook = hook
    assert [one.exc_type for one in told] == [KeyError] and fine == [0]


def in_threads(function, count=1):
    threads = [threading.Thread(target=function) for _ in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def check_threads_with_greenlets():
    greenlet = greenlets()
    fine = []

    def in_a_thread():
        for _ in range(20):
            with span("thread") as own:
                own.exit()
                green, one = left_open(greenlet)
                own.enter()
                assert current() == own.span_id
                green.switch()
                assert not one.entered
        kept.append(left_open(greenlet))
        fine.append(current())

    kept = []
    in_threads(in_a_thread, 8)
    assert fine == [0] * 8
    for _, one in kept:
        one.close()  # the greenlet can't run any more: its thread has ended
    kept.clear()
    gc.collect()
    assert current() == 0


def check_a_greenlet_that_a_task_calls_is_a_part_of_its_step():
    greenlet = greenlets()

    def work(parent):
        assert current() == parent
        with span("inside") as one:
            assert one.parent_id == parent
            for _ in range(3):
                greenlet.getcurrent().parent.switch("wait")
                assert current() == one.span_id
        assert current() == parent

    async def request():
        with span("request") as one:
            green = greenlet.greenlet(work)
            answer = green.switch(one.span_id)
            while not green.dead:
                assert answer == "wait" and current() == one.span_id
                await asyncio.sleep(0)
                answer = green.switch()
            assert current() == one.span_id

    async def main():
        await asyncio.gather(*(request() for _ in range(20)))

    asyncio.run(main())
    assert current() == 0


def check_a_called_greenlet_that_goes_elsewhere():
    greenlet = greenlets()

    def work():
        main.switch("away")
        with span("alone") as one:
            assert current() == one.span_id
        return "done"

    async def request(calls):
        with span("request") as one:
            assert calls.switch() == "done"
            assert current() == one.span_id
            await asyncio.sleep(0)
            return one.span_id

    def loop():
        async def alone():
            calls.parent = greenlet.getcurrent()
            return await request(calls)

        return asyncio.run(alone())

    main = greenlet.getcurrent()
    calls, loops = greenlet.greenlet(work), greenlet.greenlet(loop)
    with span("main") as own:
        assert loops.switch() == "away"
        assert current() == own.span_id
        calls.switch()  # and back to the loop, and when that has ended to here
        assert loops.dead and calls.dead and current() == own.span_id
    assert current() == 0


def check_a_generator_that_is_asked_while_another_greenlet_is_in_it():
    greenlet = greenlets()

    @span("generated")
    def generate():
        main.switch()
        yield current()

    main = greenlet.getcurrent()
    made = generate()
    inner = greenlet.greenlet(lambda: next(made))
    with span("main") as own:
        inner.switch()
        with raises(ValueError, "already executing"):
            next(made)
        assert current() == own.span_id
        assert inner.switch() not in (0, own.span_id)
        assert current() == own.span_id
    assert current() == 0


def check_gevent():
    gevent = gevents()
    from gevent.threadpool import ThreadPool

    def run(number):
        for _ in range(10):
            with span("green", number) as one:
                assert one.parent_id == 0
                gevent.sleep(0)
                with span("inner") as two:
                    gevent.sleep(0.0001 * (number % 3))
                    assert current() == two.span_id and two.parent_id == one.span_id
                assert current() == one.span_id

    def run_many(count):
        with span("waits") as own:
            gevent.joinall([gevent.spawn(run, n) for n in range(count)], raise_error=True)
            assert current() == own.span_id
            stuck = gevent.spawn(run, 1)
            gevent.sleep(0)
            stuck.kill()
            with gevent.Timeout(0.001, False), span("cut") as one:
                gevent.sleep(10)
            assert not one.entered and current() == own.span_id
        return count

    assert run_many(20) == 20
    pool = ThreadPool(2)  # of threads, each with a hub of its own
    assert [*pool.map(run_many, range(4))] == [0, 1, 2, 3]
    pool.kill()


MONKEY = """
import gevent.monkey
gevent.monkey.patch_all()
import asyncio, threading, time
from concurrent.futures import ThreadPoolExecutor
import tracing_stacks
from tracing_stacks import current, span
tracing_stacks.init()
fine = []
def run(number):
    for _ in range(10):
        with span("green", number) as one:
            time.sleep(0.0001 * (number % 3))
            assert current() == one.span_id and one.parent_id == 0
    fine.append(number)
def job():
    own = current()
    time.sleep(0.001)
    return own and own == current()
with span("main") as main:
    threads = [threading.Thread(target=run, args=(n,)) for n in range(10)]
    for one in threads: one.start()
    for one in threads: one.join()
    assert sorted(fine) == [*range(10)] and current() == main.span_id
    with ThreadPoolExecutor(3) as pool:
        assert all([one.result() for one in [pool.submit(job) for _ in range(9)]])
    assert current() == main.span_id
assert current() == 0
"""


def check_gevent_in_place_of_threads():
    gevents()
    subprocess.run([sys.executable, "-c", MONKEY], check=True)


NOT_FOLLOWED = """
import random
import greenlet, tracing_stacks
from tracing_stacks import span
tracing_stacks.init(greenlets=False)
chance = random.Random(3)
@span("generated")
def generate():
    for n in range(3):
        away()
        yield n
def away():
    chance.choice([one for one in every if not one.dead] or [main]).switch()
def run():
    for _ in range(200):
        for n in generate():
            with span("x"): away()
main = greenlet.getcurrent()
every = [greenlet.greenlet(run) for _ in range(8)]
while any(not one.dead for one in every):
    for one in every:
        if not one.dead: one.switch()
assert greenlet.gettrace() is None
"""


def check_not_followed():
    greenlets()
    subprocess.run([sys.executable, "-c", NOT_FOLLOWED], check=True)


if __name__ == "__main__":
    py_checks.main(globals())
