"""`--debuginfod`: a server on the loopback is asked when it is wanted, and never otherwise."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from export_fixture import samples_of
from lines_fixture import build, write_worked
from other_tools import addr2line

from stacks_tui.export.lines import read_buildid, with_lines
from stacks_tui.export.model import Samples
from stacks_tui.export.task import ExportOptions, Task


@dataclass
class Server:
    """Answers as debuginfod does: `/buildid/HEX/debuginfo`."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            content = served.files.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    if shutil.which("debuginfod-find") is None:
        pytest.skip("no debuginfod-find on this machine")
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Server(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    monkeypatch.setenv("DEBUGINFOD_URLS", served.url)
    monkeypatch.setenv("DEBUGINFOD_CACHE_PATH", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    yield served
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture(scope="module")
def stripped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A program without debug information, and the file that has it."""
    folder = tmp_path_factory.mktemp("stripped")
    binary = build(folder)
    debug = folder / "elsewhere.debug"
    subprocess.run(["objcopy", "--only-keep-debug", binary, debug], check=True)
    write_worked(folder / "recording", binary)
    subprocess.run(["strip", binary], check=True)
    yield binary, debug


def looked_up(binary: Path, task: Task) -> Samples:
    return with_lines(samples_of(binary.parent / "recording", "cpu"), task)


def request_for(binary: Path) -> str:
    return f"/buildid/{read_buildid(binary).hex()}/debuginfo"


def test_no_server_is_asked_unless_it_is_wanted(
    server: Server, stripped: tuple[Path, Path]
) -> None:
    binary, debug = stripped
    server.files[request_for(binary)] = debug.read_bytes()
    for options in (ExportOptions(lines=True), ExportOptions(binary=binary)):
        task = Task(options)
        found = looked_up(binary, task)
        assert not any(line.line for one in found.stacks.locations for line in one.lines)
        assert f"no debug information for {binary.name}; --debuginfod asks" in " ".join(task.notes)
    # nor where there is nothing to look up at all
    looked_up(binary, Task(ExportOptions(debuginfod=True)))
    assert server.asked == []


def test_a_server_gives_the_lines_that_the_machine_lacks(
    server: Server, stripped: tuple[Path, Path]
) -> None:
    binary, debug = stripped
    server.files[request_for(binary)] = debug.read_bytes()
    task = Task(ExportOptions(lines=True, debuginfod=True))
    found = looked_up(binary, task)
    chains = {one.address: [line.line for line in one.lines] for one in found.stacks.locations}
    said = addr2line(debug, list(chains))
    assert chains == {at: [line for _, line in chain] for at, chain in said.items()}
    assert max(map(len, chains.values())) == 3
    assert server.asked == [request_for(binary)]  # once, for all addresses
    looked_up(binary, Task(ExportOptions(lines=True, debuginfod=True)))
    assert len(server.asked) == 1  # its client keeps what it got


@pytest.mark.parametrize("content", [None, b"", b"no ELF file", "another"])
def test_a_server_that_has_it_not_or_lies(
    content: bytes | str | None, server: Server, stripped: tuple[Path, Path], tmp_path: Path
) -> None:
    binary, _ = stripped
    if content == "another":
        content = Path("/proc/self/exe").read_bytes()
    if isinstance(content, bytes):
        server.files[request_for(binary)] = content
    task = Task(ExportOptions(lines=True, debuginfod=True))
    found = looked_up(binary, task)
    assert not any(line.line for one in found.stacks.locations for line in one.lines)
    assert f"no debug information for {binary.name}." in " ".join(task.notes)
    assert server.asked == [request_for(binary)]


def test_without_its_client_a_note_names_the_package(
    server: Server, stripped: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    task = Task(ExportOptions(lines=True, debuginfod=True))
    looked_up(stripped[0], task)
    assert "debuginfod-find is not installed (package debuginfod)" in " ".join(task.notes)
    assert server.asked == []
