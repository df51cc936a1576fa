"""A shop's server for `spans/`: aiohttp, instrumented by OpenTelemetry as it comes, under load.

    opentelemetry-instrument python server.py SECONDS

Prints how many of each page it served. Its own code names no span but `query` and `render`, by
OpenTelemetry's API. A client, a process of its own, asks for pages; `settle` and `refund` take two
locks in opposite order, and stay there.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
from collections import Counter

import aiohttp
from aiohttp import web
from opentelemetry import trace

import tracing_stacks

PORT = 8089
PAGES = (("GET", "/"), ("GET", "/items/{id}"), ("GET", "/items/{id}"), ("POST", "/checkout"))
tracer = trace.get_tracer("shop")
scratch = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the server runs
archive: list[bytes] = []
served: Counter[str] = Counter()


def work(rounds: int) -> int:
    """Keep a CPU busy."""
    return sum(number * number for number in range(rounds))


async def query(seconds: float) -> None:
    """A database elsewhere."""
    with tracer.start_as_current_span("query"):
        work(3_000)
        await asyncio.sleep(random.uniform(0.5, 1.5) * seconds)


async def home(request: web.Request) -> web.Response:
    """The page of all items."""
    served["GET /"] += 1
    await query(0.004)
    with tracer.start_as_current_span("render"):
        work(30_000)
    return web.Response(text="x" * 20_000)


async def item(request: web.Request) -> web.Response:
    """The page of one; some are slow."""
    served["GET /items/{id}"] += 1
    await query(0.08 if int(request.match_info["id"]) % 20 == 0 else 0.003)
    return web.Response(text="x" * 2_000)


async def checkout(request: web.Request) -> web.Response:
    """Write an order, one after the other, and keep some of it."""
    served["POST /checkout"] += 1
    async with request.app[STOCK]:
        await query(0.006)
        scratch.write(b"o" * 50_000)
        scratch.flush()
    archive.append(bytes(bytearray(200_000)))
    return web.json_response({"order": len(archive)})


STOCK = web.AppKey("stock", asyncio.Lock)


async def settle(account: asyncio.Lock, ledger: asyncio.Lock) -> None:
    """Take one, then the other."""
    async with account:
        await asyncio.sleep(0.05)
        async with ledger:
            work(1)


async def refund(account: asyncio.Lock, ledger: asyncio.Lock) -> None:
    """The other way round."""
    async with ledger:
        await asyncio.sleep(0.05)
        async with account:
            work(1)


async def serve(seconds: float) -> None:
    """Serve for so long."""
    app = web.Application()
    app.add_routes(
        [web.get("/", home), web.get("/items/{id}", item), web.post("/checkout", checkout)]
    )
    app[STOCK] = asyncio.Lock()
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT).start()
    await asyncio.sleep(1.5)  # whoever listens has found the probes
    client = await asyncio.create_subprocess_exec(sys.executable, __file__, "load", str(seconds))
    await asyncio.sleep(seconds / 3)
    account, ledger = asyncio.Lock(), asyncio.Lock()
    both = (settle(account, ledger), refund(account, ledger))
    tasks = [asyncio.create_task(one) for one in both]
    await client.wait()
    await asyncio.wait(tasks, timeout=0.5)
    print(json.dumps(served), flush=True)
    os._exit(0)  # they would wait for ever


async def load(seconds: float) -> None:
    """Ask for pages, eight at a time."""
    end = asyncio.get_running_loop().time() + seconds
    async with aiohttp.ClientSession() as session:

        async def visitor() -> None:
            while asyncio.get_running_loop().time() < end:
                method, path = random.choice(PAGES)
                url = f"http://127.0.0.1:{PORT}{path.format(id=random.randrange(100))}"
                async with session.request(method, url) as response:
                    await response.read()
                await asyncio.sleep(random.uniform(0, 0.03))

        await asyncio.gather(*(visitor() for _ in range(8)))


if __name__ == "__main__":
    if sys.argv[1] == "load":
        asyncio.run(load(float(sys.argv[2])))
    else:
        tracing_stacks.init(locks=True)
        asyncio.run(serve(float(sys.argv[1])))
