"""Makes `mixed/`, the recording that screens are tested and pictured with: a real one, of mixed.c.

    sudo python3 tests/recordings/make.py

It needs root, gcc and a kernel that can record. What it makes is committed; tests never run it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROGRAMS = "profile:uk:99,rss:u:29,switch:uk,vfs:uk"
SECONDS = 4
MOST_BYTES = 1 << 20


def _forget_the_machine(manifest: Path) -> None:
    found = json.loads(manifest.read_text("utf-8"))
    found["host"] = "host"
    found["kernel"] = found["kernel"].partition("-")[0]
    manifest.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


def main() -> None:
    folder = Path(tempfile.gettempdir()) / "mixed-demo"
    folder.mkdir()
    try:
        program = folder / "mixed"
        compile_it = ["gcc", "-O1", "-g", "-pthread", "-o", str(program), str(HERE / "mixed.c")]
        subprocess.run(compile_it, check=True)
        made = folder / "recording"
        start = "import sys; sys.path.insert(0, sys.argv.pop(1));"
        start += "from stacks_tui.cli.main import run; run()"
        options = ["--record", "-d", str(made), "-p", PROGRAMS, "--compression", "zstd:19"]
        command = [sys.executable, "-P", "-c", start, str(ROOT), *options, "--", str(program)]
        subprocess.run([*command, str(SECONDS)], check=True)
        _forget_the_machine(made / "manifest.json")
        size = sum(file.stat().st_size for file in made.iterdir())
        if size > MOST_BYTES:
            raise SystemExit(f"the recording has {size:,} bytes, more than {MOST_BYTES:,}")
        shutil.rmtree(HERE / "mixed", ignore_errors=True)
        shutil.copytree(made, HERE / "mixed")
        for file in (HERE / "mixed").iterdir():
            file.chmod(0o644)
        (HERE / "mixed").chmod(0o755)
    finally:
        shutil.rmtree(folder)
    print(f"{HERE / 'mixed'}: {size:,} bytes")


if __name__ == "__main__":
    main()
