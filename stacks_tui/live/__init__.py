"""What a screen shows: rolling totals of a running session, and rows computed from any totals.

Comes in: batches of events and named stacks, or totals that a recording's queries give. Goes out:
`Snapshot`s with the rows of the one `View` that is asked for. Both ways share every computation.
"""
