"""A live, lossless stack profiler for Linux: kernel → ring buffer → NumPy → Arrow → Parquet."""

__version__ = "0.1.0"
