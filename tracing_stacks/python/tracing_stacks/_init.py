"""`init`: what of a program's own machinery shall carry spans along."""

from __future__ import annotations

from tracing_stacks._core import available


def init(
    asyncio: bool = True, threads: bool = True, locks: bool = False, greenlets: bool = True
) -> None:
    """Make spans follow tasks, jobs and greenlets; to be called once, before `asyncio.run`.

    asyncio: each task is a span, named after its coroutine, child of the span that made it. The
        spans that are open in it are exited while it is suspended. Event loops that exist already
        and do not run are left alone; also tasks that were made before.
    threads: each job of a ThreadPoolExecutor is a span, child of the one that submitted it. So are
        those of `asyncio.to_thread` and `run_in_executor`.
    locks: waiting for one of asyncio's locks, semaphores, conditions, events and queues is a span
        `lock.wait`, holding a lock or semaphore a span `lock.hold`; their `id` is the lock's.
    greenlets: spans belong to the greenlet that opened them, and are exited while another one runs,
        gevent's too. The package greenlet may be imported later.
    """
    if not available:
        return
    # imported here: a program without asyncio should not have to load it
    if asyncio:
        from tracing_stacks import _tasks

        _tasks.watch(always=True)
    if threads:
        from tracing_stacks import _threads

        _threads.watch(always=True)
    if locks:
        from tracing_stacks import _locks

        _locks.watch()
    if greenlets:
        from tracing_stacks import _greenlets

        _greenlets.watch()
