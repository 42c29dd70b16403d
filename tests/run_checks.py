"""What two runs are compared by, and the worker processes that are alive."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd


def journal(output: Path, name: str) -> dict[str, dict[str, Any]]:
    """The last line of each item, without times of the clock."""
    (path,) = output.glob(f"{name}/*/items.jsonl")
    lines = {line["item"]: line for line in map(json.loads, path.read_text().splitlines())}
    for line in lines.values():
        line["seconds"] = None
        for part in (line, *line.get("kept", {}).values()):
            part["stat"] = None
    return dict(sorted(lines.items()))


def scores(output: Path, name: str) -> pd.DataFrame:
    (path,) = output.glob(f"{name}/*/scores.parquet")
    return pd.read_parquet(path)


def assert_equal_runs(one: Path, other: Path, name: str) -> None:
    assert journal(one, name) == journal(other, name)
    pd.testing.assert_frame_equal(scores(one, name), scores(other, name), check_exact=True)


def log(output: Path, name: str) -> str:
    return "".join(path.read_text() for path in output.glob(f"{name}/*/separator.log"))


def messages(output: Path, name: str) -> dict[str, str]:
    return {item: line["message"] for item, line in journal(output, name).items() if line.get("message")}


def workers_alive(temporary: Path | None = None) -> list[str]:
    """Workers of a run whose temporary files lie in a folder; None: of this process."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if b"worker_process import main" not in (path / "cmdline").read_bytes():
                continue
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (path / "environ").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() if temporary is None else f"TMPDIR={temporary}/".encode() in variables:
            found.append(path.name)
    return found
