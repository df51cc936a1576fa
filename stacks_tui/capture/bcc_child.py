"""The process in which BCC compiles: it takes clang's memory with it when it ends.

Comes in, as JSON on standard input: a text and its defines. Goes out, as JSON on standard output:
the maps' shapes, and each program's instructions in base64. Nothing is imported that it can do
without: a start of Python is a good part of its time.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import sys

from stacks_tui.capture.bcc_import import import_bcc


def child() -> None:
    """Read `{source, defines}`, compile, write `{maps, descriptors, programs}`."""
    wanted = json.load(sys.stdin)
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what clang and libbcc print is no part of the answer
    bcc = import_bcc()
    from bcc.libbcc import lib

    flags = [f"-D{name}={value}" for name, value in wanted["defines"].items()]
    module = bcc.BPF(text=wanted["source"], cflags=[*flags, "-Wno-everything"]).module
    maps = []
    descriptors = {}
    for index in range(lib.bpf_num_tables(module)):
        lib.bpf_table_name.restype = ctypes.c_char_p
        name = lib.bpf_table_name(ctypes.c_void_p(module), ctypes.c_ulonglong(index))
        sizes = [
            int(
                getattr(lib, f"bpf_table_{what}_id")(
                    ctypes.c_void_p(module), ctypes.c_ulonglong(index)
                )
            )
            for what in ("type", "key_size", "leaf_size", "max_entries", "flags")
        ]
        descriptors[lib.bpf_table_fd(module, name)] = index
        maps.append([name.decode(), *sizes])
    programs = {}
    for index in range(lib.bpf_num_functions(module)):
        name = lib.bpf_function_name(module, index)
        size = lib.bpf_function_size(module, name)
        raw = ctypes.string_at(lib.bpf_function_start(module, name), size)
        programs[name.decode()] = base64.b64encode(raw).decode()
    json.dump({"maps": maps, "descriptors": descriptors, "programs": programs}, output)
    output.flush()
    os._exit(0)  # what is left needs no tidying up, which takes a tenth of a second
