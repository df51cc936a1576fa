"""Runtimes that make code while they run: which one a process is, and how its code gets names.

Comes in: the address space of a process. Goes out: the runtime, and what to tell a user whose
recording has code of it that nobody names.
"""

from __future__ import annotations

import re
from enum import Enum

from stacks_tui.spaces import AddressSpace


class Runtime(Enum):
    """A runtime whose users can have its code named; the value is what to tell them."""

    NODE = (
        "a node ran code that has no names here; start node with --perf-basic-prof "
        "--interpreted-frames-native-stack to name it."
    )
    JVM = (
        "a JVM ran code that has no names here; add --jvm to ask it for them (and start java with "
        "-XX:+PreserveFramePointer for whole stacks)."
    )


_NODE = re.compile(r"/(?:.*/)?(?:node|nodejs|libnode\.so[.0-9]*)")
_JVM = re.compile(r"/(?:.*/)?libjvm\.so")


def runtime_of(space: AddressSpace) -> Runtime | None:
    """The runtime of a process; None: none that is known."""
    for mapping in space.mappings:
        if _JVM.fullmatch(mapping.path):
            return Runtime.JVM
        if _NODE.fullmatch(mapping.path):
            return Runtime.NODE
    return None
