"""py_checks.py [--listened] FILE: checks of what spans mean to the program itself.

Each function `check_…` is one; FILE gets {name: "ok", "skipped: why", or a traceback}. With
--listened the semaphores are set from inside, so that all probes are passed, though nobody is
attached to them.
"""

import asyncio
import contextlib
import ctypes
import functools
import gc
import inspect
import json
import os
import random
import re
import resource
import subprocess
import sys
import threading
import time
import traceback
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import tracing_stacks
from tracing_stacks import _core, current, span


class Skipped(Exception):
    """Why a check does not apply to this interpreter."""


@contextlib.contextmanager
def raises(kind, match=""):
    try:
        yield
    except kind as error:
        assert re.search(match, str(error)), error
    else:
        raise AssertionError(f"{kind.__name__} was not raised")


def set_semaphores(value):
    from tracing_stacks import _spans

    told = subprocess.run(["readelf", "-nW", _spans.__file__], capture_output=True, text=True)
    with open("/proc/self/maps") as maps:
        first = next(line for line in maps if line.rstrip().endswith(_spans.__file__))
    base = int(first.split("-")[0], 16)
    for address in re.findall(r"Semaphore: (\w+)", told.stdout):
        ctypes.c_uint16.from_address(base + int(address, 16)).value = value
    assert _core.semaphores() == (value,) * 5


# -- spans ----------------------------------------------------------------------------------------


def check_nesting_and_parents():
    assert current() == 0
    with span("outer") as outer:
        assert (current(), outer.parent_id) == (outer.span_id, 0)
        with span("inner", 5, 6) as inner:
            assert (current(), inner.parent_id) == (inner.span_id, outer.span_id)
            assert (inner.name, inner.id, inner.amount) == ("inner", 5, 6)
        assert current() == outer.span_id
        assert inner.closed and not inner.entered
    assert current() == 0


def check_entering_twice_is_an_error():
    one = span("x")
    with one:
        with raises(RuntimeError, "already entered"), one:
            pass
        assert one.entered
    one.exit()
    one.close()
    assert current() == 0


def check_a_span_used_again_is_a_new_one():
    one, ids = span("x"), set()
    for _ in range(3):
        with one:
            ids.add(one.span_id)
    assert len(ids) == 3
    with span("parent") as parent, one:
        assert one.parent_id == parent.span_id


def check_enter_and_exit_keep_the_span():
    one = span("x")
    ids = set()
    for _ in range(3):
        one.enter()
        ids.add(one.span_id)
        one.exit()
    assert len(ids) == 1 and not one.closed
    one.close()
    assert one.closed


def check_exceptions_pass_through():
    one = span("x")
    with raises(KeyError), one:
        raise KeyError
    assert one.closed and current() == 0


def check_exits_out_of_order():
    a, b, c = (span(name).enter() for name in "abc")
    a.exit()
    assert current() == c.span_id
    c.exit()
    assert current() == b.span_id
    b.close()
    assert current() == 0


def check_arguments():
    for wrong in ((), (5,), (b"x",), ("x", "y"), ("x", 1.5), ("x", 1, None), ("x", 1, 1, 1, 1)):
        with raises(TypeError):
            span(*wrong)
    with raises(TypeError, "colour"):
        span("x", colour=1)
    with raises(TypeError, "name"):
        span("x", name="y")
    with raises(TypeError, "decorates"):
        span("x")(5)
    with raises(TypeError):
        type(span("x"))()
    one = span(name="x", amount=-1, id=2**64 + 3, exit_stack=True)
    assert (one.id, one.amount) == (3, 2**64 - 1)
    assert re.fullmatch(r"<span 'x' \d+>", repr(one))


def check_with_by_hand():
    one = span("x")
    for wrong in ((), (None, None, None)):
        with raises(TypeError, "decorates"):
            one(*wrong)
    assert one.__enter__() is one and one.entered
    assert one.__exit__(None, None, None) is None and one.closed
    with raises(TypeError, "decorates"):
        one(enter=1)
    with contextlib.ExitStack() as stack:
        inner = stack.enter_context(span("in a stack"))
        pushed = span("pushed").enter()
        stack.push(pushed)
        stack.push(span("never entered").__exit__)
        assert current() == pushed.span_id
    assert inner.closed and pushed.closed and current() == 0
    kind = type(one)
    again = kind.__enter__(one)
    assert again is one and current() == one.span_id
    kind.__exit__(one, None, None, None)
    for name in ("__enter__", "__exit__"):
        bound = vars(kind)[name]
        for other in (5, None, object(), bound):
            with raises(TypeError):
                bound.__get__(other, type(other))(other)
        with raises(TypeError):
            type(bound)()
    assert isinstance(one, tracing_stacks.Span)
    assert isinstance(one, contextlib.AbstractContextManager)


def check_calls_with_a_tuple():
    one = functools.partial(span("x"))
    with raises(TypeError, "decorates"):
        one()
    with raises(TypeError, "decorates"):
        span("x")(*range(9))
    one = span("x")
    functools.partial(one.__enter__)()
    assert current() == one.span_id
    functools.partial(one.__exit__, None, None)(None)
    assert current() == 0
    assert functools.partial(span("x"))(lambda: 5)() == 5


def check_memory_that_is_used_again():
    kept = [span(str(n), n) for n in range(200)]
    ids = {one.span_id for one in kept}
    kept[50:150] = []
    gc.collect()
    kept += [span("later") for _ in range(100)]
    assert {one.entered or one.closed for one in kept} == {False}
    assert len({one.span_id for one in kept} | ids) == 300
    assert {one.id for one in kept[100:]} == {0}


def check_names_of_all_sorts():
    for name in ("", "x" * 15, "x" * 16, "x" * 100_000, "é" * 40, "\0", "a lone \ud800 surrogate"):
        for _ in range(2):
            with span(name):
                pass


def check_many_levels():
    spans = [span(str(n)).enter() for n in range(10_000)]
    assert current() == spans[-1].span_id
    assert spans[5000].parent_id == spans[4999].span_id
    order = list(range(10_000))
    random.Random(1).shuffle(order)
    for n in order:
        spans[n].close()
    assert current() == 0


# -- decorators -----------------------------------------------------------------------------------


def check_a_decorated_function():
    seen = []

    @span("f", 7)
    def function(a, *, b):
        "Doc."
        seen.append(current())
        return a + b

    assert (function(1, b=2), function(3, b=4)) == (3, 7)
    assert function.__name__ == "function" and function.__doc__ == "Doc."
    assert len(set(seen)) == 2 and 0 not in seen and current() == 0


def check_a_decorated_coroutine_function():
    @span("f")
    async def function(a):
        inside = current()
        await asyncio.sleep(0)
        assert current() == inside != 0
        return a

    async def twice():
        return await asyncio.gather(function(1), function(2))

    assert inspect.iscoroutinefunction(function)
    assert asyncio.run(twice()) == [1, 2]
    steps = function(3)  # driven by hand: no task, and still exited while it is suspended
    steps.send(None)
    assert current() == 0
    with raises(StopIteration, "3"):
        steps.send(None)


def check_a_decorated_generator_function():
    @span("g")
    def generate():
        inside = current()
        got = yield inside
        assert current() == inside
        try:
            yield got
        except KeyError:
            yield "caught"
        return "end"

    assert inspect.isgeneratorfunction(generate)
    one = generate()
    inside = next(one)
    assert inside and current() == 0
    assert (one.send("sent"), one.throw(KeyError())) == ("sent", "caught")
    with raises(StopIteration, "end"):
        next(one)
    assert [*map(bool, generate())] == [True, False]
    left = generate()
    next(left)
    left.close()
    assert current() == 0


def check_a_decorated_async_generator_function():
    ended = []

    @span("g")
    async def generate():
        try:
            inside = current()
            got = yield inside
            await asyncio.sleep(0)
            assert current() == inside
            try:
                yield got
            except KeyError:
                yield "caught"
        finally:
            ended.append(current())

    async def main():
        own = current()
        one = generate()
        inside = await one.asend(None)
        assert current() == own != inside
        assert await one.asend("sent") == "sent"
        assert await one.athrow(KeyError()) == "caught"
        with raises(StopAsyncIteration):
            await one.asend(None)
        async for _ in generate():
            break
        left = generate()
        await left.asend(None)
        await left.aclose()

    assert inspect.isasyncgenfunction(generate)
    asyncio.run(main())
    assert len(ended) == 3


# -- tasks ----------------------------------------------------------------------------------------


def check_tasks_have_stacks_of_their_own():
    async def child(n):
        with span(f"child {n}") as one:
            for _ in range(5):
                await asyncio.sleep(0.0001 * n)
                assert current() == one.span_id
        return one.parent_id

    async def main():
        with span("main") as outer:
            parents = await asyncio.gather(*map(child, range(10)))
            assert current() == outer.span_id
        assert len(set(parents)) == 10 and outer.span_id not in parents  # a span for each task

    asyncio.run(main())
    assert current() == 0


def check_a_task_is_a_child_of_its_maker():
    async def child():
        with span("probe") as one:
            return current(), one.parent_id

    async def main():
        with span("maker") as maker:
            inside, own = await asyncio.create_task(child())
        assert own not in (maker.span_id, 0, inside)

    asyncio.run(main())


def check_cancelled_and_failing_tasks_leave_nothing():
    async def fails():
        with span("fails"):
            await asyncio.sleep(0)
            raise KeyError

    async def waits():
        with span("waits"):
            await asyncio.sleep(60)

    async def main():
        with span("main") as one:
            with raises(BaseExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(fails())
                    group.create_task(waits())
            with raises(TimeoutError):
                await asyncio.wait_for(waits(), 0.001)
            never = asyncio.create_task(waits())
            never.cancel()
            with raises(asyncio.CancelledError):
                await never
            results = await asyncio.gather(fails(), fails(), return_exceptions=True)
            assert [type(result) for result in results] == [KeyError] * 2
            async with asyncio.timeout(1):
                await asyncio.shield(asyncio.sleep(0.001))
            assert current() == one.span_id

    asyncio.run(main())
    assert current() == 0


def check_a_task_looks_as_before():
    async def a_coroutine():
        await asyncio.sleep(0.01)

    async def main():
        task = asyncio.create_task(a_coroutine(), name="its name")
        await asyncio.sleep(0)
        assert "a_coroutine() running at" in repr(task) and __file__ in repr(task), repr(task)
        # 3.13.0 to 3.13.x names no task that a factory makes with its keyword
        assert task.get_name() == "its name"
        (frame,) = task.get_stack()
        assert frame.f_code is a_coroutine.__code__
        assert task.get_coro().cr_frame is frame and asyncio.iscoroutine(task.get_coro())
        assert inspect.getcoroutinestate(task.get_coro()) == "CORO_SUSPENDED"
        await task

    asyncio.run(main())


def check_a_factory_of_the_program_is_called():
    made = []

    def factory(loop, coroutine, **options):
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def child():
        return current()

    async def main():
        asyncio.get_running_loop().set_task_factory(factory)
        assert await asyncio.create_task(child()) != 0
        assert len(made) == 1
        asyncio.get_running_loop().set_task_factory(None)
        assert await asyncio.create_task(child()) != 0

    asyncio.run(main())


def check_eager_tasks():
    if sys.version_info < (3, 12):
        raise Skipped("eager tasks came with 3.12")

    async def child():
        with span("child") as one:
            await asyncio.sleep(0)
            assert current() == one.span_id

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        with span("maker") as maker:
            tasks = [asyncio.create_task(child()) for _ in range(3)]
            assert current() == maker.span_id
            await asyncio.gather(*tasks)
            assert current() == maker.span_id

    asyncio.run(main())


def check_loops_of_all_makings():
    async def own():
        return current()

    for make in (asyncio.new_event_loop, asyncio.SelectorEventLoop):
        loop = make()
        assert loop.run_until_complete(own()) != 0
        loop.close()
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(own()) != 0


def check_uvloop():
    try:
        import uvloop
    except ImportError:
        raise Skipped("uvloop is not installed") from None

    async def child(n):
        with span(str(n)) as one:
            await asyncio.sleep(0.001)
            assert current() == one.span_id

    async def main():
        assert current() != 0
        await asyncio.gather(*map(child, range(5)))

    uvloop.run(main())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def check_async_generators_left_open():
    async def generate():
        with span("left open"):
            yield 1
            yield 2

    async def main():
        async for _ in generate():
            break
        await asyncio.sleep(0)

    asyncio.run(main())
    gc.collect()
    assert current() == 0


def check_tasks_are_freed():
    async def child():
        with span("child"):
            await asyncio.sleep(0)

    async def some(count):
        for _ in range(count // 100):
            await asyncio.gather(*(child() for _ in range(100)))

    asyncio.run(some(10_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asyncio.run(some(40_000))
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):  # it keeps what is freed
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2000

    async def freed():
        task = asyncio.create_task(child())
        await task
        return weakref.ref(task)

    reference = asyncio.run(freed())
    gc.collect()
    assert reference() is None


def check_a_coroutine_that_nobody_awaits_is_still_told():
    async def coroutine():
        pass

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _core.steps(coroutine(), "x")
        gc.collect()
    assert any("never awaited" in str(one.message) for one in caught)


def check_a_cycle_through_steps_is_collected():
    def generate():
        yield me  # noqa: F821 - it is set below

    me = _core.steps(generate())
    next(me)
    reference = weakref.ref(me)
    del me
    gc.collect()
    assert reference() is None


# -- threads --------------------------------------------------------------------------------------


def check_threads_have_stacks_of_their_own():
    def run():
        assert current() == 0
        with span("on a thread") as one:
            assert one.parent_id == 0

    with span("elsewhere"):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()


def check_jobs_are_children_of_the_submitter():
    def job():
        with span("probe") as one:
            return one.parent_id

    async def main():
        with span("submits") as outer:
            loop = asyncio.get_running_loop()
            parents = [await asyncio.to_thread(job), await loop.run_in_executor(None, job)]
            with ThreadPoolExecutor(1) as pool:
                parents += [
                    pool.submit(functools.partial(job)).result(),
                    *pool.map(lambda _: job(), [1]),
                ]
            assert len(set(parents)) == 4 and outer.span_id not in parents and 0 not in parents

    asyncio.run(main())
    with ThreadPoolExecutor(1) as pool, raises(KeyError):
        pool.submit({}.__getitem__, 1).result()


def check_the_names_of_jobs():
    from tracing_stacks._threads import _name

    assert _name(time.sleep) == "sleep"
    assert _name(functools.partial(functools.partial(check_threads_have_stacks_of_their_own))) == (
        "check_threads_have_stacks_of_their_own"
    )
    import contextvars

    called = functools.partial(contextvars.copy_context().run, time.sleep, 1)
    assert _name(called) == "sleep"
    assert _name(object()) == "object"


def check_spans_left_open_by_threads_can_be_exited_elsewhere():
    chance, left, lock = random.Random(2), [], threading.Lock()

    def run(n):
        for _ in range(20):
            mine = [span(f"{n}").enter() for _ in range(chance.randrange(8))]
            with lock:
                left.extend(mine)
                chance.shuffle(left)
                taken = [left.pop() for _ in range(len(left) // 2)]
            for one in taken:
                one.exit()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(240)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in left:
        one.close()


# -- forks, locks, the absent extension ------------------------------------------------------------


def check_a_fork_inside_a_span():
    with span("parent") as outer:
        child = os.fork()
        if child == 0:
            with span("child") as one:
                fine = one.parent_id == outer.span_id
            outer.exit()
            os._exit(0 if fine and current() == 0 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert current() == outer.span_id


def check_locks_work_as_before():
    async def main():
        lock, taken = asyncio.Lock(), []

        async def takes(n):
            async with lock:
                taken.append(n)
                await asyncio.sleep(0)

        await asyncio.gather(*map(takes, range(5)))
        assert taken == [0, 1, 2, 3, 4] and not lock.locked()
        with raises(RuntimeError):
            lock.release()
        async with lock:
            waiter = asyncio.create_task(lock.acquire())
            await asyncio.sleep(0)
            waiter.cancel()
            with raises(asyncio.CancelledError):
                await waiter
        for semaphore in (asyncio.Semaphore(2), asyncio.BoundedSemaphore(2)):
            await semaphore.acquire()
            await semaphore.acquire()
            assert semaphore.locked()
            asyncio.get_running_loop().call_soon(semaphore.release)  # outside any task
            async with semaphore:
                pass
            semaphore.release()
        with raises(ValueError):
            semaphore.release()
        condition, event, queue = asyncio.Condition(), asyncio.Event(), asyncio.Queue(1)

        async def notifies():
            async with condition:
                condition.notify_all()
            event.set()
            await queue.put(1)
            await queue.put(2)

        async with condition:
            task = asyncio.create_task(notifies())
            assert await condition.wait() is True
        assert await event.wait() is True
        assert [await queue.get(), await queue.get()] == [1, 2]
        await task

    asyncio.run(main())
    assert current() == 0


def check_init_can_be_called_again():
    submit, run = ThreadPoolExecutor.submit, asyncio.Runner.__init__
    tracing_stacks.init()
    tracing_stacks.init(locks=True)
    assert (ThreadPoolExecutor.submit, asyncio.Runner.__init__) == (submit, run)


ABSENT = """
import sys
sys.modules["tracing_stacks._spans"] = None
import asyncio, tracing_stacks
assert not tracing_stacks.available and not tracing_stacks.listening()
tracing_stacks.init(locks=True)
@tracing_stacks.span("f", id=1)
async def f(): return 5
@tracing_stacks.span("g")
def g(): yield 6
with tracing_stacks.span("x", amount=3, exit_stack=True) as one:
    assert (one.entered, one.amount, tracing_stacks.current()) == (True, 3, 0)
    try: one.enter()
    except RuntimeError: pass
    else: raise AssertionError
with one: pass
assert asyncio.run(f()) == 5 and [*g()] == [6]
"""


def check_without_the_extension_nothing_happens():
    subprocess.run([sys.executable, "-W", "error", "-c", ABSENT], check=True)


def main(checks):
    *flags, path = sys.argv[1:]
    results = {}
    tracing_stacks.init(locks=True)
    if flags:
        set_semaphores(1)
    for name, check in list(checks.items()):
        if name.startswith("check_"):
            try:
                check()
                results[name] = "ok"
            except Skipped as why:
                results[name] = f"skipped: {why}"
            except BaseException:  # noqa: BLE001 - it is what the file tells
                results[name] = traceback.format_exc()
    if flags:
        set_semaphores(0)
    with open(path, "w") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main(globals())
