"""Unwinding by tables: from ELF call frame information to rows that a BPF program searches.

Comes in: ELF images, and the executable mappings of processes. Goes out: rows and mappings in the
kernel's arrays, and what each mapping of a process can give.
"""
