"""The notebooks run, on a recording with known totals, and are kept without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from export_fixture import MS, write_fixture

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "sql" / "notebooks"
TOTALS = {"cpu": 60 * MS, "rss": 8192}


def test_every_notebook_has_a_total() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(TOTALS)


@pytest.mark.parametrize("name", TOTALS)
def test_notebooks_are_kept_without_outputs(name: str) -> None:
    nbformat = pytest.importorskip("nbformat")
    for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)


@pytest.mark.filterwarnings("default")  # of the kernel's libraries
@pytest.mark.parametrize("name", TOTALS)
def test_notebooks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for needed in ("pandas", "ipykernel", "nbformat", "nbclient"):
        pytest.importorskip(needed)
    import nbclient
    import nbformat

    monkeypatch.setenv("RECORDING", str(write_fixture(tmp_path / "recording")))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    read: Any = nbformat.read  # not typed
    notebook = read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    shown = [
        output.data["text/plain"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    assert str(TOTALS[name]) in shown
