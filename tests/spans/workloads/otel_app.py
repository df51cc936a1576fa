"""otel_app.py PORT: a web shop with OpenTelemetry's instrumentation as it comes, no word of ours.

Starlette under uvicorn. With OTEL_PYTHON_CONTEXT=tracing_stacks its spans are told, one for each
request and what it encloses. SIGTERM ends it; it prints how many requests it answered, by route.
"""

import asyncio
import collections
import contextlib
import hashlib
import json
import os
import sys
import tempfile

import uvicorn
from opentelemetry import trace
from opentelemetry.instrumentation.starlette import StarletteInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

trace.set_tracer_provider(TracerProvider())
tracer = trace.get_tracer("shop")
answered = collections.Counter()
stock = asyncio.Lock()
orders = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the shop is


async def basket(request):
    answered["/basket/{user}"] += 1
    await asyncio.sleep(0.002)
    return JSONResponse({"user": request.path_params["user"]})


async def checkout(request):
    answered["/checkout/{order}"] += 1
    with tracer.start_as_current_span("reserve"):
        async with stock:
            await asyncio.sleep(0.001)
    with tracer.start_as_current_span("sign"):
        signature = hashlib.pbkdf2_hmac("sha256", b"shop", b"salt", 500)
    await asyncio.gather(asyncio.to_thread(store, 4096), asyncio.sleep(0.001))
    return JSONResponse({"signature": signature.hex()})


def store(size):
    os.pwrite(orders.fileno(), bytes(size), 0)


async def search(request):
    answered["/search"] += 1
    words = sorted(str(n * 7919 % 1000) for n in range(2000))
    return JSONResponse(words[:10])


@contextlib.asynccontextmanager
async def counting(app):
    yield
    print(json.dumps({"tgid": os.getpid(), "answered": answered}), flush=True)


app = Starlette(
    lifespan=counting,
    routes=[
        Route("/basket/{user}", basket),
        Route("/checkout/{order}", checkout, methods=["GET", "POST"]),
        Route("/search", search),
    ],
)
StarletteInstrumentor.instrument_app(app)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
