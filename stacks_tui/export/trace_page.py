"""A web page of a trace, by the best viewer that this machine has.

Comes in: a job that made a trace in Chrome's JSON, and that file. Goes out: a page beside it, and
by what: catapult's trace2html where it is installed; the same viewer out of a Go tree; otherwise
our own timeline.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import html
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from stacks_tui.export.output import output, written
from stacks_tui.export.viewer import convert
from stacks_tui.owner import User
from stacks_tui.text import printable

if TYPE_CHECKING:
    from stacks_tui.export.job import Job

TRACE2HTML = "trace2html"
_PATIENCE_S = 600.0
_MOST_BYTES = 128 << 20
"""Of a trace that catapult's viewer can hold: it keeps an object for each event."""
_PLACES = ("src/cmd/trace/static", "src/internal/trace/traceviewer/static", "misc/trace")
"""Of its viewer in a Go tree, by version."""
_ROOTS = ("/usr/local/go", "/usr/lib/go", "/usr/share/go", "/usr/lib/golang", "/snap/go/current")
_VIEWER, _POLYFILL = "trace_viewer_full.html", "webcomponents.min.js"
_CHUNK = 3 << 18
"""Bytes turned into base64 at a time: a multiple of 3."""
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "style-src 'unsafe-inline'; img-src data:; font-src data:; form-action 'none'"
)
_STYLE = "html, body, #trace-viewer { width: 100%; height: 100%; margin: 0; overflow: hidden; }"
_SHOW = """
"use strict";
document.addEventListener("WebComponentsReady", () => {
  const packed = atob(document.getElementById("trace").textContent);
  const bytes = Uint8Array.from(packed, (one) => one.charCodeAt(0));
  const model = new tr.Model();
  new tr.importer.Import(model).importTraces([new TextDecoder().decode(bytes)]);
  const tracks = document.createElement("track-view-container");
  tracks.id = "track_view_container";
  const viewer = document.createElement("tr-ui-timeline-view");
  viewer.track_view_container = tracks;
  Polymer.dom(viewer).appendChild(tracks);
  viewer.id = "trace-viewer";
  viewer.globalMode = true;
  Polymer.dom(document.body).appendChild(viewer);
  viewer.model = model;
  viewer.viewTitle = document.title;
});
"""


@dataclass(frozen=True, slots=True)
class TracePage:
    """A page that was made."""

    path: Path
    by: str
    """What draws it, for the person."""


def make_page(job: Job, path: Path, user: User) -> TracePage:
    """Make the page of a trace in JSON (or `.json.gz`) that `job` wrote.

    Raises:
        StacksError: no room, or a page of this name can't be written.
    """
    page = path.with_name(path.name.removesuffix(".gz").removesuffix(".json") + ".html")
    program = shutil.which(TRACE2HTML)
    if program is not None and user.uid != 0:
        command = [program, str(path.absolute()), "--output", str(page.absolute())]
        if convert(command, user, _PATIENCE_S) and page.is_file():
            return TracePage(page, TRACE2HTML)
    viewer = _go_viewer()
    if viewer is not None and _embed(viewer, path, page, user):
        return TracePage(page, f"the trace viewer of Go in {viewer}")
    # here, not above: it knows all formats, this one's too
    from stacks_tui.export.job import export
    from stacks_tui.export.registry import find_format

    export(replace(job, format=find_format("html"), path=page), user=user)
    return TracePage(page, "stacks-tui's own timeline")


def _go_viewer() -> Path | None:
    """The folder with catapult's viewer in a Go tree; root looks only where root installs."""
    roots = [Path(root) for root in _ROOTS]
    roots += [root for base in ("/usr/lib", "/usr/share") for root in Path(base).glob("go-*")]
    go = shutil.which("go") if os.geteuid() != 0 else None
    if go is not None:
        roots.insert(0, Path(go).resolve().parents[1])
    for root in roots:
        for place in _PLACES:
            if all((root / place / name).is_file() for name in (_VIEWER, _POLYFILL)):
                return root / place
    return None


def _embed(viewer: Path, path: Path, page: Path, user: User) -> bool:
    """Write the page; False: the trace is too large for the viewer, or it is another version's."""
    try:
        polyfill = (viewer / _POLYFILL).read_text("utf-8")
        before, head, rest = (viewer / _VIEWER).read_text("utf-8").partition("<head")
    except (OSError, UnicodeDecodeError):
        return False
    attributes, closed, rest = rest.partition(">")
    inside, body, after = rest.rpartition("</body>")
    if not (head and closed and body):
        return False
    head = (
        f"{before}{head}{attributes}{closed}"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{html.escape(printable(path.name))}</title><style>{_STYLE}</style>"
        f"<script>{polyfill}</script>{inside}"
        '<script type="application/octet-stream" id="trace">'
    )
    with written(path, user) as file, _unpacked(file, path) as trace:
        size = trace.seek(0, os.SEEK_END)
        trace.seek(0)
        if size > _MOST_BYTES:
            return False
        with output(page, user) as out:
            out.write(head.encode())
            while piece := trace.read(_CHUNK):
                out.write(base64.b64encode(piece))
            out.write(f"</script><script>{_SHOW}</script>{body}{after}".encode())
    return True


def _unpacked(file: BinaryIO, path: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    if path.suffix != ".gz":
        return contextlib.nullcontext(file)
    return cast("contextlib.AbstractContextManager[BinaryIO]", gzip.GzipFile(fileobj=file))
