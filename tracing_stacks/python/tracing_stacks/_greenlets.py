"""Greenlets, and so gevent's: their switches are followed once the package greenlet is loaded.

The extension does it, by a tracer of each thread that enters a span. Where the package is not
loaded yet, a finder waits for its import.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from tracing_stacks._core import follow_greenlets

_PACKAGE = "greenlet"
_watching = False


def watch() -> None:
    """Follow greenlets, from now on or from the import of their package on."""
    global _watching
    if _watching:
        return
    _watching = True
    loaded = sys.modules.get(_PACKAGE)
    if loaded is None:
        sys.meta_path.insert(0, _Finder())
    else:
        _follow(loaded)


def _follow(package: ModuleType) -> None:
    settrace = getattr(package, "settrace", None)
    if settrace is not None:  # it can be built without
        follow_greenlets(settrace)


class _Finder:
    """Finds what the other finders find, and has the package followed when it is loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Of the package alone; nothing of any other."""
        if name != _PACKAGE:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                _follow_when_loaded(spec.loader)
                return spec
        return None


def _follow_when_loaded(loader: Any) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        _follow(module)

    with contextlib.suppress(AttributeError):  # a loader that can't be changed
        loader.exec_module = exec_module
