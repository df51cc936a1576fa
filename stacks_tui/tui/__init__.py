"""The screen. Comes in: snapshots from `session`, keys and mouse. Goes out: commands to `session`.

Only this room imports Textual. Every string of a recording passes `text.printable` on its way to
a cell, and no such string is ever parsed as markup.
"""
