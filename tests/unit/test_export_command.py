"""The command stacks-export: what it makes, what it says, and what it leaves behind."""

from __future__ import annotations

import gzip
import json
import os
import pty
import pwd
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from export_fixture import MS, TOTALS, read_profile, write_fixture
from other_tools import go_pprof

from stacks_tui.cli import export as command
from stacks_tui.export import viewer
from stacks_tui.export.registry import all_formats
from stacks_tui.owner import User

ROOT = Path(__file__).resolve().parents[2]
RUN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from stacks_tui.cli.export import run; run()"
)
Export = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fixture(tmp_path_factory.mktemp("cli") / "recording")


@pytest.fixture
def export(tmp_path: Path) -> Export:
    def run(
        *arguments: str | Path, limit: int | None = None, **environ: str
    ) -> subprocess.CompletedProcess[bytes]:
        def set_limit() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.run(
            [sys.executable, "-P", "-c", RUN, str(ROOT), *map(str, arguments)],
            capture_output=True,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environ},
            preexec_fn=set_limit,
            check=False,
        )

    return run


def failed(done: subprocess.CompletedProcess[bytes], code: int) -> str:
    """The one line that a failure tells."""
    text = done.stderr.decode()
    assert done.returncode == code, text
    (line,) = text.splitlines()
    assert line.startswith("stacks-export: ") and line.isprintable()
    assert done.stdout == b""
    return line


def test_a_profile_is_made_and_summed_up(export: Export, recording: Path, tmp_path: Path) -> None:
    done = export("pprof", "offcpu", "-r", recording)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "recording-offcpu.pb.gz"
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("recording-offcpu.pb.gz  (")
    assert lines[1:3] == ["  count: 4", "  offcpu: 1.00 s"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sum(read_profile(path).stacks().values()) == TOTALS["offcpu"]["offcpu"]
    assert os.listdir(tmp_path) == [path.name]


def test_json_tells_the_totals(export: Export, recording: Path, tmp_path: Path) -> None:
    done = export("pprof", "cpu", "rss", "-r", recording, "-o", tmp_path / "x", "--json")
    told = json.loads(done.stdout)
    assert told["path"] == str(tmp_path / "x") and told["bytes"] == (tmp_path / "x").stat().st_size
    found = {one["name"]: (one["value"], one["unit"]) for one in told["totals"]}
    assert found["cpu"] == (60 * MS, "nanoseconds") and found["rss_growth"] == (8192, "bytes")


def test_stdout_gets_the_file_and_nothing_else(export: Export, recording: Path) -> None:
    done = export("pprof", "cpu", "-r", recording, "-o", "-")
    assert done.returncode == 0 and gzip.decompress(done.stdout)
    done = export("folded", "cpu", "-r", recording, "-o", "-", "-c", "other")
    assert done.stdout.count(b"\n") == 1 and done.stdout.endswith(f" {10 * MS}\n".encode())


def test_a_reader_of_stdout_that_goes_away_is_no_error_to_tell(recording: Path) -> None:
    shell = f"{sys.executable} -P -c '{RUN}' {ROOT} folded -r {recording} -o - | true"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, check=False)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("arguments", "samples"),
    [
        (("-c", "job"), 5),
        (("--pid", "200,3"), 1),
        (("--thread", "reader"), 1),
        (("--cgroup", "/a"), 5),
        (("--begin", "300ms", "--end", "500ms"), 2),
        (("--begin", "2023-11-14T22:13:20.3+00:00"), 4),
        (("--last", "9.61s"), 3),
        (("--last", "9.6s", "--end", "450ms"), 4),
        (("--buildid", bytes(range(20)).hex()), 3),
    ],
)
def test_filters(arguments: tuple[str, ...], samples: int, export: Export, recording: Path) -> None:
    done = export("pprof", "cpu", "-r", recording, "-o", "x", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["totals"][0]["value"] == samples


def test_several_recordings_add_up(export: Export, recording: Path, tmp_path: Path) -> None:
    shutil.copytree(recording, tmp_path / "many" / "1")
    shutil.copytree(recording, tmp_path / "many" / "2")
    done = export("pprof", "cpu", "-r", tmp_path / "many" / "*", "-o", "x", "--json")
    assert json.loads(done.stdout)["totals"][1]["value"] == 2 * 60 * MS
    assert json.loads(done.stdout)["stacks"] == 4  # stacks that are alike are one


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("pproff",), 2, "did you mean 'pprof'"),
        (("pprof", "cpuu"), 2, "did you mean 'cpu'"),
        (("pprof", "switches"), 2, "for traces"),
        (("pprof", "--begin", "yesterday"), 2, "--begin: 'yesterday'"),
        (("pprof", "--begin", "2s", "--end", "1s"), 2, "not before --end"),
        (("pprof", "--begin", "2s", "--last", "1s"), 2, "--last and --begin"),
        (("pprof", "--label", "nothing"), 2, "--label"),
        (("pprof", "--minimum", "101%"), 2, "no share"),
        (("pprof", "--buildid", "xyz"), 2, "no build id"),
        (("pprof", "-b", "/no/such"), 2, "can't read the binary"),
        (("pprof", "-b", "/etc/passwd"), 2, "no ELF binary"),
        (("pprof", "--no-inlined"), 2, "--no-inlined"),
        (("pprof", "-o", "/"), 2, "no name of a file"),
        (("pprof", "-o", "/dev/null"), 2, "no regular file"),
        (("pprof", "-r", "/none/*"), 2, "nothing matches"),
        (("queries", "cpuu"), 2, "did you mean"),
        (("pprof", "--nothing"), 2, "--nothing"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    arguments: tuple[str, ...],
    code: int,
    says: str,
    recording: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    more = () if "-r" in arguments or arguments[0] == "queries" else ("-r", str(recording))
    assert command.main([*arguments, *more]) == code
    told = capfd.readouterr()
    (line,) = told.err.splitlines()
    assert line.startswith("stacks-export: ") and says in line and told.out == ""


def test_a_device_or_a_link_is_never_replaced(
    export: Export, recording: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_text("kept")
    (tmp_path / "link").symlink_to(target)
    assert "no regular file" in failed(export("pprof", "-r", recording, "-o", "link"), 2)
    assert target.read_text() == "kept" and (tmp_path / "link").is_symlink()
    os.mkfifo(tmp_path / "fifo")
    failed(export("pprof", "-r", recording, "-o", "fifo"), 2)


def test_without_room_the_old_file_stays(export: Export, recording: Path, tmp_path: Path) -> None:
    old = tmp_path / "x.pb.gz"
    old.write_text("old")
    line = failed(export("pprof", "cpu", "rss", "-r", recording, "-o", old, limit=100), 1)
    assert "too large" in line and "nothing was left" in line
    assert old.read_text() == "old" and os.listdir(tmp_path) == ["x.pb.gz"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-c", RUN, str(ROOT), "pprof", "-r", str(recording), "-o", "-"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1 and b"disk is full" in done.stderr


def test_no_recording_is_told(export: Export, tmp_path: Path) -> None:
    assert "no recording in" in failed(export("pprof"), 2)
    assert "not a recording" in failed(export("pprof", "-r", tmp_path), 2)


def test_own_queries_by_file(export: Export, recording: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.sql").write_text("select ustack, count(*)\nfrom event group by all")
    line = failed(export("pprof", "mine.sql", "-r", recording), 2)
    assert "mine.sql" in line and "line 2" in line
    (tmp_path / "mine.sql").write_text("-- Mine?\nselect ustack, count(*) from events group by all")
    done = export("pprof", "./mine.sql", "-r", recording)
    assert done.returncode == 0 and (tmp_path / "recording-mine.pb.gz").exists()
    line = failed(export("pprof", "mine.sql", "-r", recording, "-c", "job"), 2)
    assert "$command" in line


def test_queries_are_listed_and_explained(export: Export) -> None:
    text = export("queries").stdout.decode()
    for name in ("cpu", "offcpu", "wakers", "switches", "slow_spans", "io_latency"):
        assert f"  {name} " in text
    text = export("queries", "offcpu").stdout.decode()
    assert "offcpu_ns: from leaving the CPU" in text and "from chosen_waits(" in text


def test_help_names_every_format_and_its_queries(export: Export) -> None:
    text = export("--help").stdout.decode()
    for one in all_formats():
        assert one.hidden or f"  {one.name} " in text
    text = export("pprof", "--help").stdout.decode()
    assert "offcpu" in text and "--debuginfod" in text and "switches" not in text


def test_completion_offers_formats_and_queries(export: Export) -> None:
    def complete(words: str, at: int) -> str:
        done = export(_STACKS_EXPORT_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(at))
        return done.stdout.decode()

    assert "plain,pprof" in complete("stacks-export pp", 1)
    assert "plain,offcpu" in complete("stacks-export pprof of", 2)


def test_go_opens_what_the_command_made(export: Export, recording: Path, tmp_path: Path) -> None:
    export("pprof", "blocked", "-r", recording, "-o", "x.pb.gz")
    assert "700ms, 100% of 700ms total" in go_pprof("-top", tmp_path / "x.pb.gz")


def test_offsets_tell_addresses_of_one_function_apart(export: Export, recording: Path) -> None:
    done = export("folded", "cpu", "-r", recording, "-o", "-", "--offsets")
    assert b"main+0x3;rec+0x3;rec+0x3;rec+0x3;leaf+0x4 " in done.stdout
    assert b"[job+0x7777];" in done.stdout


ME = User(1000, 1000, Path("/home/me"), "me")


def test_nothing_is_opened_but_for_a_person_at_a_desktop(monkeypatch: pytest.MonkeyPatch) -> None:
    desktop = {"DISPLAY": ":0"}
    assert not viewer.at_desktop(ME, desktop)  # nobody looks at the output of a test
    main, other = pty.openpty()
    with os.fdopen(other, "w") as terminal, os.fdopen(main):
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        assert viewer.at_desktop(ME, desktop) and viewer.at_desktop(ME, {"WAYLAND_DISPLAY": "w"})
        assert not viewer.at_desktop(ME, {})  # over ssh
        assert not viewer.at_desktop(User(0, 0, Path("/root"), "root"), desktop)
        monkeypatch.undo()


def test_a_viewer_never_runs_as_root() -> None:
    with pytest.raises(ValueError, match="never runs as root"):
        viewer.open_file(["true"], User(0, 0, Path("/root"), "root"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")
def test_under_sudo_a_viewer_runs_as_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = pwd.getpwnam("nobody")
    user = User(entry.pw_uid, entry.pw_gid, Path("/nonexistent"), entry.pw_name)
    monkeypatch.setenv("SECRET", "root's")
    script = tmp_path / "viewer"
    told = Path("/tmp") / f"viewer-{os.getpid()}"
    script.write_text(f"#!/bin/sh\n(id -u; id -G; env) > {told}\n")
    script.chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/pytest"):
            folder.chmod(0o755)
    try:
        assert viewer.open_file([str(script)], user)
        lines = told.read_text().splitlines()
    finally:
        told.unlink(missing_ok=True)
    assert lines[0] == str(entry.pw_uid) and "0" not in lines[1].split()
    assert "HOME=/nonexistent" in lines and not any("SECRET" in line for line in lines)


def test_a_file_belongs_to_the_invoking_user(
    export: Export, recording: Path, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    tmp_path.chmod(0o777)
    shutil.copytree(recording, tmp_path / "r")
    nobody = pwd.getpwnam("nobody")
    done = export(
        "pprof", "-r", "r", "-o", "x", SUDO_UID=str(nobody.pw_uid), SUDO_GID=str(nobody.pw_gid)
    )
    assert done.returncode == 0, done.stderr
    status = (tmp_path / "x").stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (nobody.pw_uid, 0o600)
