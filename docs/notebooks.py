"""Executes the notebooks of the tutorials and writes their outputs into them: ``python docs/notebooks.py [NAME …]``.

Each runs in an empty folder, offline and on one thread, with the ``sabench`` that is on the path. Times, and whatever
else differs from run to run, is not kept, so that what git shows as a difference is one.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TUTORIALS = Path(__file__).parent / "tutorials"
LARGEST = 1 << 20  # bytes of a notebook with its outputs
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


COLOUR = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs with one text a stream, wherever it was cut on its way, and without colours."""
    found: list[nbformat.NotebookNode] = []
    for one in outputs:
        before = next((other for other in found if other.get("name") == one.get("name")), None)
        if one.output_type == "stream":
            one.text = COLOUR.sub("", one.text)
        if one.output_type == "stream" and before is not None:
            before.text += one.text
        else:
            found.append(one)
    return found


def execute(path: Path) -> None:
    """Runs a notebook and writes it with its outputs; raises CellExecutionError where a cell fails.

    Args:
        path: of the notebook; its code, text and the order of its cells stay.
    """
    book = nbformat.read(path, as_version=4)
    book.metadata = nbformat.from_dict(KERNEL)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(book, timeout=600, record_timing=False, resources={"metadata": {"path": folder}}).execute()
    book.metadata = nbformat.from_dict({**KERNEL, "language_info": {"name": "python"}})
    for number, cell in enumerate(book.cells):
        cell.id, cell.metadata = f"cell-{number:02}", nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    text = nbformat.writes(book, indent=1) + "\n"
    if len(text.encode()) > LARGEST:
        raise SystemExit(f"expected {path.name} to have at most {LARGEST:,} bytes, found {len(text.encode()):,}")
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    os.environ |= {"OMP_NUM_THREADS": "1", "SABENCH_OFFLINE": "1", "COLUMNS": "100", "NO_COLOR": "1"}
    for name in sys.argv[1:] or sorted(path.stem for path in TUTORIALS.glob("*.ipynb")):
        sys.stderr.write(f"{name}\n")
        execute(TUTORIALS / f"{name}.ipynb")
