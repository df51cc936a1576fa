"""Hands one trace to ui.perfetto.dev, once, only when a person asks for it.

Comes in: a file. Goes out: the link that opens it there. A server on the loopback address gives the
file to that page alone (by the origin that browsers send), under a path that nobody can guess, and
ends. Nothing is uploaded: the page works in the browser.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote

from stacks_tui.errors import MachineError
from stacks_tui.export.output import written
from stacks_tui.owner import User

SITE = "https://ui.perfetto.dev"
HOST, PORT = "127.0.0.1", 9001
"""The one local address that the page's own policy lets it read."""
PATIENCE_S = 300.0
_STALLED_S = 20


def hand_over(
    path: Path, user: User, tell: Callable[[str], None], patience_s: float = PATIENCE_S
) -> bool:
    """Wait until the page has fetched the file; False: it never came.

    If we are root for a user, we are that user from here on: nothing more can be done as root.

    Args:
        path: the trace.
        user: whose it is.
        tell: given the link, once the file can be fetched.
        patience_s: how long to wait.

    Raises:
        MachineError: the port is in use.
        StacksError: the file can't be read.
    """
    _become(user)
    with written(path, user) as file:
        try:
            server = _Server(file.fileno(), quote(path.name))
        except OSError as error:
            raise MachineError(
                f"can't listen on {HOST}:{PORT}: {(error.strerror or '').lower()}. Another program "
                f"uses it; open {SITE} and drag the file there."
            ) from error
        with server:
            tell(f"{SITE}/#!/?url=http://{HOST}:{PORT}{server.path}")
            end = time.monotonic() + patience_s
            while not server.given and time.monotonic() < end:
                server.handle_request()
            return server.given


def _become(user: User) -> None:
    """Give up being root for good."""
    if os.geteuid() == 0 and user.uid != 0:
        os.setgroups(os.getgrouplist(user.name, user.gid))
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)


class _Server(HTTPServer):
    timeout = 1.0

    def __init__(self, fd: int, name: str) -> None:
        super().__init__((HOST, PORT), _Handler)
        self.fd = fd
        self.path = f"/{secrets.token_urlsafe(24)}/{name}"
        self.given = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that went away is no error to tell."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _STALLED_S
    server: _Server

    def do_OPTIONS(self) -> None:
        """The question whether the page may read us."""
        if not self._allowed():
            return
        self._begin(204)
        self.send_header("Access-Control-Allow-Methods", "GET")
        self.send_header("Access-Control-Allow-Private-Network", "true")
        self.end_headers()

    def do_GET(self) -> None:
        """The file, once."""
        if not self._allowed():
            return
        self._begin(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(os.fstat(self.server.fd).st_size))
        self.end_headers()
        os.lseek(self.server.fd, 0, os.SEEK_SET)
        with contextlib.suppress(OSError), os.fdopen(os.dup(self.server.fd), "rb") as file:
            shutil.copyfileobj(file, self.wfile, 1 << 20)
            self.wfile.flush()
            self.server.given = True

    def _allowed(self) -> bool:
        # the host too: a page whose name was made to lead here is not the one that was meant
        expected = {"Host": f"{HOST}:{PORT}", "Origin": SITE}
        fits = all(self.headers.get(name) == value for name, value in expected.items())
        if not fits or not secrets.compare_digest(self.path, self.server.path):
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        return True

    def _begin(self, code: int) -> None:
        self.send_response(code)
        self.send_header("Access-Control-Allow-Origin", SITE)
        self.send_header("Vary", "Origin")
        self.send_header("Cache-Control", "no-store")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is told of requests."""
