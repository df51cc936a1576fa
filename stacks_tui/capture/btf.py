"""Struct offsets and raw tracepoints of the running kernel, from its BTF, by libbpf.

Comes in: names. Goes out: byte offsets, sizes, and how many arguments a tracepoint's program gets.
Nothing is ever derived from a version number. libbpf comes with libbcc (Debian, Ubuntu:
libbpf.so.1 or .0). The format is Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass

from stacks_tui.errors import MachineError

_PTR, _ARRAY, _STRUCT, _UNION, _TYPEDEF, _FUNC_PROTO, _DATASEC = 2, 3, 4, 5, 8, 13, 15
_MODIFIERS = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type tag


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member lies in its struct."""

    offset: int
    """Bytes."""
    type_id: int


class KernelTypes:
    """The running kernel's types."""

    def __init__(self) -> None:
        """Raises MachineError where the kernel has no BTF or there is no libbpf."""
        self._lib = _load_libbpf()
        self._btf = self._lib.btf__load_vmlinux_btf()
        if not self._btf or self._btf >= 2**64 - 4096:
            raise MachineError(
                "this kernel has no type information (/sys/kernel/btf/vmlinux); "
                "boot one built with CONFIG_DEBUG_INFO_BTF=y, as the distributions' are."
            )

    def member(self, struct_name: str, path: str) -> Member | None:
        """A member by dotted path, anonymous parts entered; None where there is none."""
        type_id = self._find(struct_name, _STRUCT)
        at = 0
        for name in path.split("."):
            found = self._member(type_id, name) if type_id else None
            if found is None:
                return None
            at += found.offset
            type_id = self._resolve(found.type_id)
        return Member(at, type_id)

    def offset(self, struct_name: str, *paths: str) -> int | None:
        """Offset of the first of `paths` that this kernel has."""
        for path in paths:
            found = self.member(struct_name, path)
            if found is not None:
                return found.offset
        return None

    def array_element(self, type_id: int) -> int | None:
        """The element's type id where `type_id` is an array."""
        kind, _, _ = self._type(type_id)
        if kind != _ARRAY:
            return None
        element: int = struct.unpack("<I", ctypes.string_at(self._at(type_id) + 12, 4))[0]
        return self._resolve(element)

    def name(self, type_id: int) -> str:
        """The name of a type, or ''."""
        return self._string(struct.unpack("<I", ctypes.string_at(self._at(type_id), 4))[0])

    def size(self, type_id: int) -> int:
        """Bytes of a struct, union or number."""
        return self._type(type_id)[2]

    def raw_tracepoint_arguments(self, name: str) -> int | None:
        """How many arguments a raw tracepoint gives; None where the kernel has no such one."""
        type_id = self._find(f"btf_trace_{name}", _TYPEDEF)
        if not type_id:
            return None
        pointer = self._type(type_id)[2]
        kind, _, target = self._type(pointer)
        if kind != _PTR:
            return None
        kind, count, _ = self._type(target)
        return count - 1 if kind == _FUNC_PROTO else None  # the first is the probe's own data

    def per_cpu_variable(self, name: str) -> int | None:
        """Offset of a variable in the section of per-CPU data; None where it isn't told."""
        section = self._find(".data..percpu", _DATASEC)
        if not section:
            return None
        _, count, _ = self._type(section)
        raw = ctypes.string_at(self._at(section) + 12, 12 * count)
        for type_id, offset, _ in struct.iter_unpack("<III", raw):
            if self.name(type_id) == name:
                return int(offset)
        return None

    def _find(self, name: str, kind: int) -> int:
        found: int = self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind)
        return max(found, 0)

    def _at(self, type_id: int) -> int:
        return int(self._lib.btf__type_by_id(self._btf, type_id) or 0)

    def _type(self, type_id: int) -> tuple[int, int, int]:
        """(kind, number of members, size or type)."""
        at = self._at(type_id)
        if not at:
            return 0, 0, 0
        _, info, size = struct.unpack("<III", ctypes.string_at(at, 12))
        return info >> 24 & 31, info & 0xFFFF, size

    def _resolve(self, type_id: int) -> int:
        for _ in range(32):
            kind, _, target = self._type(type_id)
            if kind not in _MODIFIERS:
                break
            type_id = target
        return type_id

    def _member(self, type_id: int, want: str) -> Member | None:
        at = self._at(type_id)
        kind, count, _ = self._type(type_id)
        if kind not in (_STRUCT, _UNION):
            return None
        bit_fields = struct.unpack("<I", ctypes.string_at(at + 4, 4))[0] >> 31
        raw = ctypes.string_at(at + 12, 12 * count)
        for name_at, member_type, position in struct.iter_unpack("<III", raw):
            offset = (position & 0xFFFFFF if bit_fields else position) // 8
            name = self._string(name_at)
            if name == want:
                return Member(offset, member_type)
            if not name:
                inner = self._member(self._resolve(member_type), want)
                if inner is not None:
                    return Member(offset + inner.offset, inner.type_id)
        return None

    def _string(self, at: int) -> str:
        text: bytes = self._lib.btf__name_by_offset(self._btf, at) or b""
        return text.decode("utf-8", "replace")


def _load_libbpf() -> ctypes.CDLL:
    for name in ("libbpf.so.1", "libbpf.so.0"):
        try:
            lib = ctypes.CDLL(name, use_errno=True)
        except OSError:
            continue
        lib.btf__load_vmlinux_btf.restype = ctypes.c_void_p
        lib.btf__type_by_id.restype = ctypes.c_void_p
        lib.btf__type_by_id.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        lib.btf__name_by_offset.restype = ctypes.c_char_p
        lib.btf__name_by_offset.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        lib.btf__find_by_name_kind.restype = ctypes.c_int
        lib.btf__find_by_name_kind.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint]
        return lib
    raise MachineError(
        "libbpf is not installed; it comes with BCC: apt-get install python3-bpfcc libbpf1"
    )
