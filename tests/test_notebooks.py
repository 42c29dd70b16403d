"""The notebooks of the tutorials: executed in order, without errors, with players and figures; their code runs."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from docs_blocks import ROOT

from sam_audio_bench.cli import group

FOLDER = ROOT / "docs" / "tutorials"
NAMES = ["first-table", "listening-test", "which-metric", "your-separator"]
LARGEST = 1 << 20  # bytes


def cells(name: str, kind: str = "code") -> list[dict[str, Any]]:
    """Cells of a notebook of one kind."""
    book = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in book["cells"] if cell["cell_type"] == kind]


def test_these_are_all() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_one_run(name: str) -> None:
    found = cells(name)
    assert [cell["execution_count"] for cell in found] == [*range(1, len(found) + 1)]
    outputs = [output for cell in found for output in cell["outputs"]]
    text = json.dumps(outputs)
    assert all(output["output_type"] != "error" for output in outputs)
    assert "<audio" in text
    assert re.search(r"<svg[^>]*>|image/png|image/svg", text)
    assert "\\u001b" not in text
    assert (FOLDER / f"{name}.ipynb").stat().st_size <= LARGEST


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    text = "\n".join("".join(cell["source"]) for cell in cells(name, "markdown"))
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (FOLDER / target).exists(), f"{name} links to {target}"


SLOW = {"first-table", "listening-test"}  # 14 items by three separators; a listening test from end to end


@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.slow) if one in SLOW else one for one in NAMES])
def test_code_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a kernel, but for outputs: cells in order in an empty folder, commands by the same entry."""
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells(name)):
        code = "".join(cell["source"])
        if code.startswith("%%bash\n"):
            for line in code.splitlines()[1:]:
                done = CliRunner().invoke(group, shlex.split(line)[1:])
                assert done.exit_code == 0, f"{line}\n{done.output}"
        elif "IPython" not in code or importlib.util.find_spec("IPython"):
            exec(compile(code, f"{name}:{number}", "exec"), scope)
