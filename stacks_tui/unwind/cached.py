"""Unwind tables by build id on disk, so that a file is parsed once and not once per run."""

from __future__ import annotations

import numpy as np

from stacks_tui.diskcache import DiskCache
from stacks_tui.elf import ElfImage
from stacks_tui.unwind.ehframe import UnwindTable, base_of, parse
from stacks_tui.unwind.rows import ROW

VERSION = 5
"""Of what a cached table means: to be raised with every change of rows or of the parser."""
CACHE_BYTES = 512 << 20


def open_cache() -> DiskCache:
    """The cache of this user (root's own when root)."""
    return DiskCache("unwind", ".rows", VERSION, CACHE_BYTES)


def load_table(
    image: ElfImage, cache: DiskCache | None, followed: int | None = None
) -> UnwindTable:
    """The image's table, from the cache if its build id is there. `followed`: as in `parse`.

    Raises:
        ElfError: the file is cut short, or can't be read.
    """
    build_id = image.build_id if cache is not None else None
    if cache is None or not build_id:
        return parse(image, followed)
    key = build_id.hex() if followed is None else f"{build_id.hex()}-{followed}"
    arrays = cache.get(key)
    if arrays is not None:
        rows, facts, source = (arrays.get(name) for name in ("rows", "facts", "source"))
        if rows is not None and facts is not None and source is not None:
            whole = rows.dtype == ROW and rows.ndim == 1 and facts.shape == (4,)
            if whole and source.dtype == np.uint8:
                text = source.tobytes().decode("ascii", "replace")
                # rows count from the base, so they hold for a prelinked copy too
                return UnwindTable(rows, base_of(image.loads), text, *facts.tolist())
    table = parse(image, followed)
    facts = np.array(
        [table.functions, table.one_by_one, table.code_bytes, table.ruled_bytes], np.int64
    )
    source = np.frombuffer(table.source.encode("ascii"), np.uint8)
    cache.put(key, {"rows": table.rows, "facts": facts, "source": source})
    return table
