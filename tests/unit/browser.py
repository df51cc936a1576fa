"""Opens a page from the disk in headless Chromium, and reads what is there."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_SECONDS = 120


@dataclass(frozen=True)
class Shown:
    """A page after its script has run."""

    dom: str
    console: tuple[str, ...]

    def data(self) -> dict[str, Any]:
        """The attributes `data-…` of the root element; JSON is read."""
        tag = re.search(r"<html[^>]*>", self.dom)
        assert tag is not None
        found = re.findall(r'data-([a-z-]+)="([^"]*)"', tag[0])
        return {name: json.loads(html.unescape(value)) for name, value in found}

    def text(self, element: str) -> str:
        """The text of the element with this id."""
        found = re.search(rf'<(\w+)[^>]* id="{element}"[^>]*>(.*?)</\1>', self.dom, re.DOTALL) or (
            re.search(rf'<(\w+) id="{element}"[^>]*>(.*?)</\1>', self.dom, re.DOTALL)
        )
        assert found is not None, element
        return html.unescape(re.sub(r"<[^>]*>", "", found[2]))


def show(page: Path, fragment: str = "", *options: str, picture: Path | None = None) -> Shown:
    """The page as Chromium has it; skips where there is none.

    Args:
        page: the file.
        fragment: what follows `#` in the address.
        options: further ones of Chromium.
        picture: where to put a screenshot (a PNG).
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={profile}",
            "--enable-logging=stderr",
            "--virtual-time-budget=10000",
            *options,
            *(["--dump-dom"] if picture is None else [f"--screenshot={picture}"]),
            page.resolve().as_uri() + (f"#{fragment}" if fragment else ""),
        ]
        done = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS)
    said = done.stderr.decode(errors="replace")
    return Shown(
        done.stdout.decode(), tuple(line for line in said.splitlines() if "CONSOLE" in line)
    )
