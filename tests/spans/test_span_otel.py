"""OpenTelemetry's spans of a web server under load, told by nothing but an environment variable."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import listener
import pytest
from span_programs import SOURCES, environ, extension, has
from test_span_probes import assert_well_nested

NEEDED = ("opentelemetry.instrumentation.starlette", "opentelemetry.sdk", "uvicorn")
LACKING = [name for name in NEEDED if not has(Path(sys.executable), name)]
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"not installed: {' '.join(LACKING)}")

ROUTES = {"/basket/7": "/basket/{user}", "/checkout/5": "/checkout/{order}", "/search": "/search"}


def serve() -> tuple[dict[str, int], dict[str, int]]:
    """A second of load; requests by path and status, and by route as the server counted them."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
    app = subprocess.Popen(
        [sys.executable, SOURCES / "otel_app.py", port],
        env=environ() | {"OTEL_PYTHON_CONTEXT": "tracing_stacks"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        load = [sys.executable, str(SOURCES / "http_load.py"), port, "1", "--rate", "100", *ROUTES]
        asked = subprocess.run(load, capture_output=True, text=True, check=True, timeout=60)
    finally:
        app.send_signal(signal.SIGTERM)
        told, complained = app.communicate(timeout=30)
    assert complained == ""
    answered: dict[str, Any] = json.loads(told)
    return json.loads(asked.stdout)["requests"], answered["answered"]


def test_the_server_answers_as_before() -> None:
    asked, answered = serve()
    assert set(asked) == {f"{path} 200" for path in ROUTES}
    assert {ROUTES[name.split()[0]]: count for name, count in asked.items()} == answered


@pytest.mark.bpf
@pytest.mark.skipif(listener.missing() is not None, reason=str(listener.missing()))
def test_each_request_is_a_span() -> None:
    with listener.listening(extension()) as heard:
        _, answered = serve()
    fired = heard.fired
    assert_well_nested(fired)
    first = {one.span_id: one for one in reversed(fired) if one.what == "enter"}
    names = Counter(one.text for one in first.values())
    assert {name: names[f"GET {name}"] for name in answered} == answered
    closes = Counter(one.span_id for one in fired if one.what == "close")
    assert closes == dict.fromkeys(first, 1)
    checkouts = answered["/checkout/{order}"]
    # the spans within a request, its task of gather, and its job on another thread
    assert (names["reserve"], names["sign"], names["store"]) == (checkouts,) * 3
    parents = Counter(
        first[one.parent_id].text for one in first.values() if one.text in ("reserve", "sign")
    )
    assert parents == {"GET /checkout/{order}": 2 * checkouts}
    (job_threads,) = {one.tid != one.tgid for one in first.values() if one.text == "store"}
    assert job_threads
    request = next(one for one in first.values() if one.text == "GET /search")
    assert request.id and request.span_id >> 32  # the trace's, and OpenTelemetry's own
    assert os.getpid() not in {one.tgid for one in fired}
