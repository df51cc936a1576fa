"""A page in one HTML file: its markup, style and script from `assets`, its data as JSON.

Comes in: a name of assets, a title, JSON text in pieces. Goes out: a file that any browser opens
from the disk. A content security policy forbids it the network and every script but its own, by
hash; nothing in the data can end the element that holds them.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from stacks_tui import text
from stacks_tui.errors import StacksError

_ASSETS = Path(__file__).resolve().parent / "assets"
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}
"""What could end a script element or begin a comment; in JSON it stands only in strings."""


def write_page(out: BinaryIO, name: str, title: str, data: Iterable[str]) -> None:
    """Write the page of the assets `name.html`, `name.css` and `name.js`.

    Args:
        out: where to.
        name: of the assets.
        title: of the page; hostile.
        data: JSON text, escaped by `json_text`; the script finds it in the element `data`.

    Raises:
        StacksError: the installation lacks the assets.
    """
    body, style, script = (_asset(f"{name}.{kind}") for kind in ("html", "css", "js"))
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(text.printable(title))}</title>\n"
        f"<style>{style}</style>\n</head>\n<body>\n{body}"
        '<script type="application/json" id="data">'
    )
    out.write(head.encode())
    for piece in data:
        out.write(piece.encode())
    out.write(f"</script>\n<script>{script}</script>\n</body>\n</html>\n".encode())


def json_text(value: Any) -> str:
    """The value as JSON in ASCII that is harmless inside a script element."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).translate(_ESCAPES)


def _asset(name: str) -> str:
    try:
        return (_ASSETS / name).read_text(encoding="utf-8")
    except OSError as error:
        raise StacksError(
            f"this installation lacks {name!r} ({error.strerror}); install stacks-tui again."
        ) from error


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def browser() -> tuple[list[str], str] | None:
    """The command that opens a page for a person, for `Format.viewer`."""
    return (["xdg-open"], "a browser") if shutil.which("xdg-open") else None
