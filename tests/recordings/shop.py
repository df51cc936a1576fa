"""A program in Python with a hot loop, a lock and calls through C."""

from __future__ import annotations

import json
import sys
import threading
import time

LOCK = threading.Lock()
DONE = threading.Event()


def price_cart(items: int) -> int:
    """The hot loop."""
    return sum(at * at % 7 for at in range(items))


def render_page() -> str:
    """Through a function of C, and back."""
    return json.dumps(sorted(range(2000), key=lambda at: -at))


def checkout() -> None:
    """Holds a lock for long."""
    with LOCK:
        time.sleep(0.001)


def serve(seconds: float) -> None:
    """What the main thread does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        price_cart(20_000)
        render_page()
        checkout()
    DONE.set()


def customer() -> None:
    """Waits for the lock."""
    while not DONE.is_set():
        checkout()


if __name__ == "__main__":
    threads = [threading.Thread(target=customer) for _ in range(2)]
    for thread in threads:
        thread.start()
    serve(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
    for thread in threads:
        thread.join()
