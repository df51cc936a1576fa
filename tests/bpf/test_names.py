"""Names that would hurt a terminal or a parser are stored as they are, and shown as escapes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from recordings import COMMAND, DEADLINE_S, assert_well_told, environment, record, run
from workloads import built

pytestmark = pytest.mark.bpf

COMM = b"a\"'\x1b]8;;\n\xffz"
PLACE = b"evil_name_goes_here_"
SYMBOL = b"e '\"\x1b]8;;x\x07\n\xff<[/]>%s"
PERF_MAP = b'jit "quoted" \x1b]8;;x\x07 \xff'
FILE = b"hos'\"\x1b]8;;\n\xff{}%*.x"


def stored(raw: bytes) -> str:
    """As a recording holds it: bytes that are not UTF-8 as escapes, all else as it is."""
    return raw.decode("utf-8", "backslashreplace")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workload under a hostile file name, with a hostile function in its symbol table."""
    assert len(SYMBOL) == len(PLACE)
    image = built("hostile").read_bytes()
    assert image.count(PLACE) >= 1
    folder = tmp_path_factory.mktemp("hostile")
    path = Path(bytes(folder).decode() + "/" + FILE.decode("utf-8", "surrogateescape"))
    path.write_bytes(image.replace(PLACE, SYMBOL))
    path.chmod(0o755)
    return path


def test_hostile_names_are_stored_as_they_are(tmp_path: Path, hostile: Path) -> None:
    recorded = record(tmp_path / "r", "vfs:uk", [hostile, "--truth", "TRUTH"])
    rows = recorded.rows(
        "select amount, command, thread, ustack, count(*) as calls from samples "
        "where kind = 'vfs_write' and amount between 201 and 203 group by all"
    )
    assert {row["command"] for row in rows} == {stored(COMM)}
    assert {row["thread"] for row in rows} == {stored(COMM)}
    frames = {row["amount"]: row["ustack"] for row in rows}
    assert [frame["name"] for frame in frames[202]][:3] == ["write", stored(SYMBOL), "main"]
    assert stored(FILE) in frames[202][1]["module"]
    names = [frame["name"] for frame in frames[203]]
    at = names.index(stored(PERF_MAP))
    assert names[:2] == ["write", "below_jit"]
    assert names[at - 1 : at + 2] == ["below_jit", stored(PERF_MAP), "main"]
    (process,) = recorded.rows(
        "select * from processes where tgid = $tgid and comm = $comm",
        tgid=recorded.truth["tgid"],
        comm=stored(COMM),
    )
    assert process["exe"].endswith(stored(FILE))
    assert stored(FILE) in process["cmdline"]


def test_hostile_names_do_not_reach_a_terminal(tmp_path: Path, hostile: Path) -> None:
    truth = tmp_path / "truth.json"
    done = subprocess.run(
        [
            *COMMAND,
            *("--record", "-p", "vfs:uk,switch:uk,profile:u:999", "-d", tmp_path / "r"),
            *("--", hostile, "--truth", truth),
        ],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=DEADLINE_S,
        env=environment(),
        check=True,
    )
    assert_well_told(done.stdout + done.stderr)
    assert "\\x1b]8;;x" in done.stdout  # it is there, and can be read
    again = run("--open", tmp_path / "r")
    assert again.exit_code == 0
    again.assert_well_told()
    assert "\\x1b]8;;x" in again.stdout
    as_json = run("--open", tmp_path / "r", "--json")
    as_json.assert_well_told()
    assert as_json.summary["kinds"]["vfs_write"]["events"] >= 60


def test_a_hostile_name_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "'; drop table\x1b"
    shutil.copy(built("ticks"), path)
    program = subprocess.Popen([path, "20", "30", "--truth", "/dev/null"])
    try:
        recorded = run(
            *("--record", "--json", "-p", "vfs", "-d", tmp_path / "r", "--duration", "2"),
            "'; drop table\x1b",
        )
    finally:
        program.kill()
        program.wait()
    assert recorded.exit_code == 0, recorded.stderr
    recorded.assert_well_told()
    assert recorded.summary["kinds"]["vfs_write"]["events"] > 20


@pytest.mark.parametrize(("owner", "mode"), [("65534", "644"), ("0", "666")])
def test_a_perf_map_that_others_may_write_is_not_believed(
    tmp_path: Path, hostile: Path, owner: str, mode: str
) -> None:
    """Whoever may write to /tmp must not name the frames of somebody else's process."""
    recorded = record(tmp_path / "r", "vfs:u", [hostile, owner, mode, "--truth", "TRUTH"])
    (row,) = recorded.rows(
        "select distinct list_transform(ustack, lambda f: f.name) as names "
        "from samples where kind = 'vfs_write' and amount = 203"
    )
    assert row["names"][:2] == ["write", "below_jit"]
    assert row["names"][2].startswith("[0x")
    named = recorded.value(
        "select count(*) from (select unnest(frames) as f from stacks) where f.name = $name",
        name=stored(PERF_MAP),
    )
    assert named == 0
