"""Execute the notebooks of examples/, and write them with what they show.

    python tools/notebooks.py [NAME ...]

Without names all of them. Outputs are kept so that the notebooks are readable as pages; what changes from run to run
(times, the state of widgets, standard error) is left out. It needs nbclient, nbformat and ipykernel (extra ``test``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1] / "examples"
_PATIENCE = 300  # seconds a cell
_LIVE = "application/vnd.jupyter.widget-view+json"


def executed(path: Path) -> Any:
    """Return the notebook at *path*, executed in its folder; nbclient's CellExecutionError if a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=_PATIENCE, resources={"metadata": {"path": str(path.parent)}}).execute()
    return _steady(notebook)


def _steady(notebook: Any) -> Any:
    """Return *notebook* without what changes from run to run, and without pictures that HTML holds too."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type != "code":
            continue
        cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        for output in cell.outputs:
            data = output.get("data", {})
            if data.pop(_LIVE, None) is not None:
                data["text/plain"] = "the viewer, which a running notebook draws"
            elif "image/png" in data:
                data["text/plain"] = "a figure"
            if "text/html" in data:
                data.pop("image/png", None)
                data["text/plain"] = "shown as HTML"
    return notebook


def main(names: list[str]) -> None:
    """Execute and write the notebooks called *names*."""
    import nbformat

    for path in [EXAMPLES / f"{name}.ipynb" for name in names] or sorted(EXAMPLES.glob("*.ipynb")):
        nbformat.write(executed(path), path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
