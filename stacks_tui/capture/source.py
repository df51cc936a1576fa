"""Splices the BPF programs into one text for BCC, and cuts out of it what isn't needed.

Comes in: the folder `bpf/`. Goes out: one C text, with `#line` marks so that a compiler's message
names the file and line that one edits. (BCC rewrites map accesses in the main text only, not in an
included header.)
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

PARTS = (
    "helpers.h",
    "event.h",
    "maps.h",
    "spans.h",
    "emit.h",
    "target.h",
    "unwind.h",
    "stack.h",
    "python.h",
    "cpu.bpf.c",
    "kinds/profile.bpf.c",
    "kinds/switch.bpf.c",
    "kinds/rss.bpf.c",
    "kinds/block.bpf.c",
    "kinds/vfs.bpf.c",
    "kinds/net.bpf.c",
    "tasks.bpf.c",
    "tails.bpf.c",
    "kinds/usdt.bpf.c",
)
"""In the order in which they need each other."""

STEPS = "steps.bpf.c"
CONTEXTS = {
    "sample": "struct bpf_perf_event_data",
    "raw": "struct bpf_raw_tracepoint_args",
    "probe": "struct pt_regs",
}
"""By type of program: what stands for CONTEXT where `STEPS` is spliced for it, at the end. (Macros
would ask more of BCC, which rewrites map accesses where they stand in the text.)"""

_PREAMBLE = "#include <uapi/linux/ptrace.h>\n#include <uapi/linux/bpf_perf_event.h>\n"
_ONCE = re.compile(r"^#pragma once$", re.MULTILINE)
_PROGRAM = re.compile(r"^int (\w+)\((?:[^\n]*}|.*?^})$", re.MULTILINE | re.DOTALL)
"""What the kernel runs; every other function is static, and inlined."""


def splice(folder: Path) -> str:
    """One text of all parts in `folder` (the project's `bpf/`)."""
    texts = [_PREAMBLE]
    for part in PARTS:
        body = _ONCE.sub("", (folder / part).read_text(encoding="utf-8"))
        texts.append(f'#line 1 "bpf/{part}"\n{body}')
    steps = (folder / STEPS).read_text(encoding="utf-8")
    for name, context in CONTEXTS.items():
        body = steps.replace("CONTEXT", context).replace("TYPE", name)
        texts.append(f'#line 1 "bpf/{STEPS}"\n{body}')
    return "\n".join(texts)


def programs(text: str) -> list[str]:
    """The functions of a text that the kernel runs."""
    return _PROGRAM.findall(text)


def only(text: str, functions: Collection[str]) -> str:
    """The text with no other programs than these, on the same lines."""

    def kept(found: re.Match[str]) -> str:
        whole = found.group(0)
        return whole if found.group(1) in functions else "\n" * whole.count("\n")

    return _PROGRAM.sub(kept, text)
