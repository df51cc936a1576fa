"""Which file a mapping is of, and whether addresses still mean what they meant."""

from __future__ import annotations

from stacks_tui.spaces import Mapping

VDSO = "[vdso]"
"""The path of the vDSO's mapping."""

FileKey = tuple[object, ...]
"""Equal for mappings of one file, as far as it can be told without opening it."""

_LOW = 1 << 32
_NO_FILES = ("//", "/memfd:", "/dev/", "/SYSV", "/anon_hugepage", "/i915")
"""Shared memory with a name: if there is code in it, a JIT wrote it."""


def file_key(mapping: Mapping, tgid: int) -> FileKey | None:
    """The key of the mapping's file; None: it is of no file, so its code has no rules.

    Device and inode tell a file only while somebody has it mapped.
    """
    path = mapping.path
    if path == VDSO:
        # A 32-bit process has one of its own, below 4 GiB; it has no build id that is looked at.
        return (VDSO,) if mapping.start >= _LOW else None
    if mapping.buildid:
        return ("build id", mapping.buildid)
    if not path.startswith("/") or path.startswith(_NO_FILES):
        return None
    if mapping.inode:
        return ("inode", mapping.device, mapping.inode, path)
    return ("path", path, tgid)


def meaning_changed(old: tuple[Mapping, ...], new: tuple[Mapping, ...]) -> bool:
    """Whether an address in a file of `old` is of another place or file in `new`, or of none.

    Both are sorted by start. Anonymous code that gives way to other anonymous code doesn't count.
    """
    if set(old) <= set(new):
        return False
    at = 0
    for before in old:
        while at < len(new) and new[at].end <= before.start:
            at += 1
        has_file = file_key(before, 0) is not None
        reached, index = before.start, at
        while index < len(new) and new[index].start < before.end:
            after = new[index]
            if has_file and after.start > reached:
                return True
            if not _same_place(before, after):
                return True
            reached = after.end
            index += 1
        if has_file and reached < before.end:
            return True
    return False


def _same_place(one: Mapping, other: Mapping) -> bool:
    first, second = file_key(one, 0), file_key(other, 0)
    if first is None or second is None:
        return first is second
    if one.start - one.offset != other.start - other.offset:
        return False
    if one.buildid and other.buildid:
        return one.buildid == other.buildid
    if one.inode and other.inode:
        return (one.device, one.inode) == (other.device, other.inode)
    return one.path == other.path
