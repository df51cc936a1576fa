"""What this machine allows: a list of checks, used by `--doctor`, by `--record` and by the tests.

Comes in: nothing but the machine. Goes out: `Check` values, each with the fix.
"""
