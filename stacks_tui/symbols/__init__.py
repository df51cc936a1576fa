"""Addresses become names: each new stack once, off the reading thread.

Comes in: a `StackRecord` and the `AddressSpace` of its process. Goes out: a `ResolvedStack` of
frames, leaf first, none dropped.
"""
