"""http_load.py PORT SECONDS [--rate N] [--connections N] PATH…: asks for the paths in turn.

Open loop with --rate: requests are due at fixed times, whatever the server does; without, each
connection asks again as soon as it is answered. Prints JSON: requests by path and status, seconds,
per_second, latencies in ms. Waits up to 10 s for the server to come.
"""

import argparse
import asyncio
import collections
import itertools
import json
import time


async def connect(port):
    until = time.monotonic() + 10
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.05)


async def ask(reader, writer, path):
    """The status of one answer, read to its end; the connection stays."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.split("content-length:")[1].split("\r\n")[0])
    await reader.readexactly(length)
    return head.split()[1]


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--connections", type=int, default=16)
    given = parser.parse_args()
    paths, numbers = itertools.cycle(given.paths), itertools.count()
    done, took = collections.Counter(), []
    first = await connect(given.port)
    begin = time.monotonic()

    async def one_connection(n):
        reader, writer = first if n == 0 else await connect(given.port)
        while True:
            due = begin + next(numbers) / given.rate if given.rate else time.monotonic()
            if max(due, time.monotonic()) > begin + given.seconds:
                break
            await asyncio.sleep(max(0, due - time.monotonic()))
            path = next(paths)
            done[f"{path} {await ask(reader, writer, path)}"] += 1
            took.append(time.monotonic() - due)
        writer.close()

    await asyncio.gather(*map(one_connection, range(given.connections)))
    seconds, took = time.monotonic() - begin, sorted(took)
    at = {q: round(took[int(len(took) * q / 100)] * 1000, 3) for q in (50, 90, 99)}
    told = {"requests": done, "seconds": seconds, "per_second": len(took) / seconds}
    print(json.dumps(told | {"latency_ms": at}))


asyncio.run(main())
