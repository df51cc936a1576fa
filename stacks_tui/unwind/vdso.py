"""The vDSO's image: code of the kernel in every process, one image for all 64-bit ones."""

from __future__ import annotations

from pathlib import Path

from stacks_tui.elf import ElfError, ElfImage
from stacks_tui.unwind.identity import VDSO

_SIZE_LIMIT = 1 << 20


def read_vdso() -> ElfImage:
    """The image mapped in this process.

    Raises:
        ElfError: there is none, or it can't be read.
    """
    try:
        maps = Path("/proc/self/maps").read_text("utf-8", "surrogateescape")
        for line in maps.splitlines():
            if line.endswith(VDSO):
                first, _, last = line.split(None, 1)[0].partition("-")
                start, size = int(first, 16), int(last, 16) - int(first, 16)
                with Path("/proc/self/mem").open("rb", 0) as memory:
                    memory.seek(start)
                    return ElfImage.from_bytes(memory.read(min(size, _SIZE_LIMIT)))
    except OSError as error:
        raise ElfError(f"can't read the vDSO: {error.strerror}.") from error
    raise ElfError("this kernel gives no vDSO.")
