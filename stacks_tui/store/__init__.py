"""The store: Arrow batches → a folder of Parquet files, and back as SQL views.

Comes in: batches of events, resolved stacks, processes, counts. Goes out: a recording on disk, and
`open_recording` for any recording. Names are imported from the modules: writing must not load
DuckDB.
"""
