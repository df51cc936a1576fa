"""From a recording to the files that other tools read: pprof, folded, traces, tables.

Comes in: open recordings, named queries or a user's SQL, a selection. Goes out: one whole file,
and what it holds. A format is one module in `formats`; a query one file in `sql/pprof` or
`sql/trace`.
"""
