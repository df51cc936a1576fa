"""From the kernel: BPF programs, their rings, the side-band of who is who, targets, launching.

Comes in: program specifications and targets. Goes out: NumPy batches of events, stack records and
side-band records. The only room that knows BCC; nothing runs on import.
"""
