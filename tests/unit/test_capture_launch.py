from __future__ import annotations

import json
import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacks_tui.capture.launch import find_program, launch
from stacks_tui.errors import UsageError

PY = sys.executable


def run(*argv: str) -> int | None:
    with launch(argv) as child:
        child.release()
        return child.wait()


def test_exit_status_is_passed_on() -> None:
    assert run("sh", "-c", "exit 37") == 37
    assert run("true") == 0


def test_a_signal_is_128_and_its_number() -> None:
    assert run("sh", "-c", "kill -TERM $$") == 128 + signal.SIGTERM
    assert run("sh", "-c", "kill -KILL $$") == 128 + signal.SIGKILL


def test_nothing_runs_before_release(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with launch(["touch", str(mark)]) as child:
        assert child.wait(0.2) is None
        assert not mark.exists()
        assert not child.released
        assert Path(f"/proc/{child.tgid}").exists()
        child.release()
        assert child.released
        assert child.wait() == 0
    assert mark.exists()


def test_the_process_keeps_its_number() -> None:
    with launch([PY, "-c", "import os,sys; sys.exit(os.getpid() != int(sys.argv[1]))", "0"]) as no:
        no.release()
        assert no.wait() == 1
    read, write = os.pipe()
    os.set_inheritable(write, True)
    saved = os.dup(1)
    os.dup2(write, 1)
    try:
        child = launch(["sh", "-c", "echo $$"])
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(write)
    child.release()
    with os.fdopen(read) as pipe:
        assert int(pipe.read()) == child.tgid
    assert child.wait() == 0
    child.close()


def test_never_released_ends_with_the_object(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    child = launch(["touch", str(mark)])
    child.close()
    assert not Path(f"/proc/{child.tgid}").exists()
    assert not mark.exists()


def test_never_released_ends_with_the_recorder(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = (
        "import os,sys; from stacks_tui.capture.launch import launch\n"
        f"c = launch(['touch', {str(mark)!r}]); print(c.tgid, flush=True); os.kill(os.getpid(), 9)"
    )
    out = subprocess.run([PY, "-c", code], capture_output=True, text=True, check=False)
    assert out.returncode == -9
    # stdout's other end was the child's as well: run() saw its end of file, so it has ended
    assert int(out.stdout) > 0
    assert not mark.exists()


def test_a_child_killed_while_waiting_is_told_by_poll() -> None:
    with launch(["true"]) as child:
        os.kill(child.tgid, signal.SIGKILL)
        assert child.wait() == 128 + signal.SIGKILL
        child.release()
        assert child.poll() == 128 + signal.SIGKILL
        child.send(signal.SIGTERM)


def test_not_found_and_not_executable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't run 'no-such-program': it is not on the PATH"):
        launch(["no-such-program"])
    with pytest.raises(UsageError, match="no such file"):
        launch([str(tmp_path / "absent")])
    with pytest.raises(UsageError, match="is not an executable file"):
        launch([str(tmp_path)])
    plain = tmp_path / "plain"
    plain.write_text("x")
    with pytest.raises(UsageError, match="is not an executable file"):
        find_program(str(plain))
    with pytest.raises(UsageError, match="no program"):
        launch([])
    with pytest.raises(UsageError, match="NUL"):
        launch(["true", "a\0b"])


def script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_the_kernel_s_refusal_comes_back(tmp_path: Path) -> None:
    with launch([script(tmp_path / "s", "#!/no/such/interpreter\n")]) as child:
        with pytest.raises(UsageError, match=r"interpreter .* doesn't exist"):
            child.release()
        assert child.poll() is not None


def test_a_script_without_interpreter_line_runs_in_a_shell(tmp_path: Path) -> None:
    assert run(script(tmp_path / "s", "exit $1\n"), "9") == 9


@pytest.fixture
def handled() -> Iterator[None]:
    old_usr = signal.signal(signal.SIGUSR1, lambda *_: None)
    old_hup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signal.SIGHUP, old_hup)
    signal.signal(signal.SIGUSR1, old_usr)


@pytest.mark.usefixtures("handled")
def test_signals_and_descriptors_are_those_of_a_fresh_program(tmp_path: Path) -> None:
    out = tmp_path / "status"
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    code = (
        "ls /proc/self/fd | wc -l; grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; ls -l /proc/$$/fd"
    )
    assert run("sh", "-c", f"exec > {out}; {code}") == 0
    os.close(leak)
    text = out.read_text()
    signals = {
        line.split(":")[0]: int(line.split()[1], 16)
        for line in text.splitlines()
        if line.startswith("Sig")
    }
    assert signals["SigBlk"] == 0
    ignored = {number for number in range(1, 65) if signals["SigIgn"] >> (number - 1) & 1}
    assert signal.SIGHUP in ignored  # nohup's wish
    assert not ignored & {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGUSR1}
    assert not signals["SigCgt"] >> (signal.SIGUSR1 - 1) & 1
    assert "pipe:" not in text
    assert "/dev/null" not in "\n".join(line for line in text.splitlines() if f" {leak} ->" in line)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_it_runs_as_the_user_who_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    user = pwd.getpwnam("nobody")
    monkeypatch.setenv("SUDO_UID", str(user.pw_uid))
    monkeypatch.setenv("SUDO_GID", str(user.pw_gid))
    monkeypatch.setenv("SUDO_USER", user.pw_name)
    monkeypatch.chdir("/")
    read, write = os.pipe()
    saved = os.dup(1)
    os.dup2(write, 1)
    code = (
        "import json,os; print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups(), "
        "os.getcwd(), os.environ['HOME'], 'SUDO_UID' in os.environ]))"
    )
    groups_before = os.getgroups()
    try:
        os.setgroups([0, 54321])
        child = launch(["/usr/bin/python3", "-c", code])
    finally:
        os.setgroups(groups_before)
        os.dup2(saved, 1)
        os.close(saved)
        os.close(write)
    child.release()
    with os.fdopen(read) as pipe:
        uids, gids, groups, folder, home, sudo = json.loads(pipe.read())
    assert child.wait() == 0
    child.close()
    assert uids == [user.pw_uid] * 3
    assert gids == [user.pw_gid] * 3
    assert not {0, 54321} & set(groups)
    assert (folder, home, sudo) == ("/", user.pw_dir, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_what_that_user_may_not_run_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SUDO_UID", str(pwd.getpwnam("nobody").pw_uid))
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\n")
    program.chmod(stat.S_IRWXU)
    with (
        launch([str(program)]) as child,
        pytest.raises(UsageError, match=r"can't run .*: permission denied"),
    ):
        child.release()
