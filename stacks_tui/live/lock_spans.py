"""The names of the spans that tell of locks: their `id` is the lock's address."""

WAIT, HOLD = "lock.wait", "lock.hold"
