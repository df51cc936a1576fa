"""From raw events to Arrow: the clock, names of processes and threads, address spaces.

Comes in: NumPy events and side-band records. Goes out: Arrow batches with the events' schema, rows
of processes, and each process's address space at any moment that still matters.
"""
