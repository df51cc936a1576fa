"""Checks as text for people and as values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stacks_tui import text
from stacks_tui.doctor.checks import Check


def passed(checks: Sequence[Check]) -> bool:
    """Whether something can be recorded here."""
    return all(check.ok for check in checks if check.needed)


def machine_text(checks: Sequence[Check]) -> str:
    """A line for each check, its fix below it, and a line that sums up."""
    width = max((text.cell_width(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        mark = "ok" if check.ok else "NO" if check.needed else "less"
        name = text.pad(check.name, width)
        lines.append(f"{mark:<4}  {name}  {text.printable(check.detail)}")
        if check.fix:
            lines.append(f"{'':<4}  {'':<{width}}  fix: {text.printable(check.fix)}")
    failed = sum(check.needed and not check.ok for check in checks)
    lines += [
        "",
        f"{failed} to fix before it can record." if failed else "This machine can record.",
    ]
    return "\n".join(lines) + "\n"


def machine_object(checks: Sequence[Check]) -> dict[str, Any]:
    """The same as JSON holds it."""
    return {
        "ok": passed(checks),
        "checks": [
            {
                "name": check.name,
                "ok": check.ok,
                "needed": check.needed,
                "detail": text.valid(check.detail),
                "fix": text.valid(check.fix),
            }
            for check in checks
        ],
    }
