"""The session: wires capture, enrich, symbols and store into one recording.

Comes in: `RecordOptions`. Goes out: a recording on disk, a `Status` once a second, an `Outcome`.
"""
