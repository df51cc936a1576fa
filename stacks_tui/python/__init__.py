"""CPython in other processes: where its frames are, what they are called, where they belong.

The kernel side is bpf/python.h.
"""
