"""Finds the distribution's BCC package for any CPython.

Debian and Ubuntu install `bcc` for the system's Python only; it is pure Python over libbcc, so
another CPython 3 can import it from where it lies, without seeing anything else of that folder.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from stacks_tui.errors import MachineError

DISTRIBUTION_FOLDERS = ("/usr/lib/python3/dist-packages", "/usr/lib/python3/site-packages")
"""Debian, Ubuntu; others that follow them."""


def find_bcc() -> str | None:
    """The folder of the `bcc` package that `import_bcc` would load, or None."""
    spec = importlib.util.find_spec("bcc")
    if spec is not None and spec.origin is not None and spec.submodule_search_locations:
        return str(Path(spec.origin).parent)
    for folder in DISTRIBUTION_FOLDERS:
        init = Path(folder, "bcc", "__init__.py")
        if init.is_file():
            return str(init.parent)
    return None


def import_bcc() -> ModuleType:
    """Import BCC, from the environment or from the distribution's folder.

    Raises:
        MachineError: it is not installed, or its library does not load.
    """
    folder = find_bcc()
    if folder is None:
        raise MachineError(
            "BCC's Python package is not installed. Install it: apt-get install python3-bpfcc"
        )
    if "bcc" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "bcc", Path(folder, "__init__.py"), submodule_search_locations=[folder]
        )
        if spec is None or spec.loader is None:
            raise MachineError(f"BCC's package in {folder} can't be read; reinstall python3-bpfcc.")
        module = importlib.util.module_from_spec(spec)
        sys.modules["bcc"] = module
        try:
            spec.loader.exec_module(module)
        except (ImportError, OSError, AttributeError) as error:
            del sys.modules["bcc"]
            raise MachineError(
                f"BCC in {folder} does not load ({error}); reinstall python3-bpfcc."
            ) from error
    return sys.modules["bcc"]
