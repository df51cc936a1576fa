"""What one recording is asked to do: checked by the command line, obeyed by the recorder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stacks_tui.capture.targets import Targets
from stacks_tui.kinds import ProgramSpec

DEFAULT_ROWS = 65_536
"""Rows in a row group, which is what waits in memory."""

DEFAULT_ROWS_PER_FILE = 1_000_000
"""Rows after which a file is closed and the next one begun."""

DEFAULT_SECONDS_PER_FILE = 120.0
"""Seconds after which a file is closed, however few rows it has."""

DEFAULT_COMPRESSION = "zstd:1"

DEFAULT_RING_BYTES = 16 << 20
"""Bytes of each ring. A power of two and a multiple of the page, as the kernel demands."""

MAX_RING_BYTES = 1 << 30

DEFAULT_MAX_FRAMES = 512
"""Frames of a user stack beyond which it is cut and marked truncated."""

MOST_FRAMES = 512


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """One recording's settings. The values are valid: whoever builds one has checked them."""

    programs: tuple[ProgramSpec, ...]
    targets: Targets
    directory: Path | None = None
    """Folder of the recording; None: a new one in the invoking user's data folder."""
    duration_s: float | None = None
    """None: until ^C, SIGTERM or the end of the launched program."""
    rows: int = DEFAULT_ROWS
    """Rows in each row group."""
    rows_per_file: int = DEFAULT_ROWS_PER_FILE
    seconds_per_file: float = DEFAULT_SECONDS_PER_FILE
    compression: str = DEFAULT_COMPRESSION
    ring_bytes: int = DEFAULT_RING_BYTES
    json: bool = False
    debug: bool = False
    max_frames: int = DEFAULT_MAX_FRAMES
    unwind: bool = True
    """False: user stacks by frame pointers only."""
    jvm: bool = False
    """Have JVMs write the names of the code that they made."""
