"""How fast the command starts: ``sabench --help`` and ``list`` against ``python -c "import click"``, same machine.

Run: python benchmarks/startup.py. Prints medians and ratios and writes benchmarks/startup.md; the goal is a ratio < 3.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROUNDS = 15
SABENCH = shutil.which("sabench", path=sysconfig.get_path("scripts")) or "sabench"
COMMANDS = {
    'python -c "import click"': [sys.executable, "-c", "import click"],
    "sabench --help": [SABENCH, "--help"],
    "sabench list tasks": [SABENCH, "list", "tasks"],
    "sabench list metrics --json": [SABENCH, "list", "metrics", "--json"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    """Interleaves the commands, so that a busy moment hits all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    medians = {name: statistics.median(found) for name, found in times.items()}
    base = next(iter(medians.values()))
    lines = ["# Start-up", "", f"Medians of {ROUNDS} rounds, written by `benchmarks/startup.py`.", ""]
    lines += ["| command | ms | ratio |", "| --- | --: | --: |"]
    lines += [f"| `{name}` | {1000 * median:.0f} | {median / base:.2f} |" for name, median in medians.items()]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines[4:]))


if __name__ == "__main__":
    main()
