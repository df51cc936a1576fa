"""A trace is handed to one page, once, and to nothing else."""

from __future__ import annotations

import os
import pwd
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from queue import Queue

import pytest
from store_rows import me

from stacks_tui.errors import MachineError, StacksError
from stacks_tui.export import handover
from stacks_tui.owner import User

CONTENT = bytes(range(256)) * 5000


@pytest.fixture(autouse=True)
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        free = int(one.getsockname()[1])
    monkeypatch.setattr(handover, "PORT", free)
    return free


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "a b;ä.pftrace"
    made.write_bytes(CONTENT)
    return made


class Waiting:
    """The hand-over in a thread."""

    def __init__(self, path: Path, patience_s: float = 20.0) -> None:
        links: Queue[str] = Queue()
        self.given: list[bool] = []
        self.thread = threading.Thread(
            target=lambda: self.given.append(handover.hand_over(path, me(), links.put, patience_s))
        )
        self.thread.start()
        self.link = links.get(timeout=10)
        self.url = self.link.partition("?url=")[2]

    def end(self) -> bool:
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()
        return self.given[0]


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_the_page_gets_the_file_once_and_the_server_ends(path: Path) -> None:
    waiting = Waiting(path)
    assert waiting.link.startswith("https://ui.perfetto.dev/#!/?url=http://127.0.0.1:")
    code, headers, _ = get(waiting.url, "OPTIONS", Origin=handover.SITE)
    assert code == 204 and headers["Access-Control-Allow-Private-Network"] == "true"
    code, headers, body = get(waiting.url, Origin=handover.SITE)
    assert (code, body) == (200, CONTENT)
    assert headers["Access-Control-Allow-Origin"] == "https://ui.perfetto.dev"
    assert waiting.end()
    with pytest.raises(urllib.error.URLError):
        get(waiting.url, Origin=handover.SITE)


@pytest.mark.parametrize(
    "change",
    [
        lambda url: (url, {}),
        lambda url: (url, {"Origin": "https://evil.example"}),
        lambda url: (url, {"Origin": "null"}),
        lambda url: (url, {"Origin": handover.SITE, "Host": "evil.example"}),
        lambda url: (url[:-1], {"Origin": handover.SITE}),
        lambda url: (url.rpartition("/")[0].rpartition("/")[0] + "/", {"Origin": handover.SITE}),
        lambda url: (url + "/../../../../etc/passwd", {"Origin": handover.SITE}),
    ],
)
def test_nobody_else_gets_it(
    path: Path, change: Callable[[str], tuple[str, dict[str, str]]]
) -> None:
    waiting = Waiting(path)
    url, headers = change(waiting.url)
    code, answered, body = get(url, **headers)
    assert code == 403 and body == b"" and "Access-Control-Allow-Origin" not in answered
    assert get(waiting.url, Origin=handover.SITE)[2] == CONTENT
    assert waiting.end()


def test_links_differ_each_time(path: Path) -> None:
    first = Waiting(path, patience_s=0.1)
    assert not first.end()  # nobody came
    second = Waiting(path, patience_s=0.1)
    second.end()
    assert first.url != second.url


def test_a_port_in_use_is_told(path: Path, port: int) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", port))
        one.listen()
        with pytest.raises(MachineError, match=f"127.0.0.1:{port}"):
            handover.hand_over(path, me(), print)


def test_what_is_no_file_is_not_given(tmp_path: Path, path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    for wrong in (tmp_path, tmp_path / "none", tmp_path / "link"):
        with pytest.raises(StacksError):
            handover.hand_over(wrong, me(), print)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")
def test_under_sudo_the_server_is_the_users(path: Path) -> None:
    entry = pwd.getpwnam("nobody")
    user = User(entry.pw_uid, entry.pw_gid, Path("/nonexistent"), entry.pw_name)
    child = os.fork()
    if not child:  # being root is given up for good, so not in this process
        code = 1
        try:
            handover._become(user)
            same = {*os.getresuid(), *os.getresgid()} == {user.uid, user.gid}
            code = 0 if same and 0 not in os.getgroups() else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
