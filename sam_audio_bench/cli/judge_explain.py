"""``sabench judge explain``: why an answer of a run was rated as it was, in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sam_audio_bench.cli.output import print_json
from sam_audio_bench.errors import UsageError

if TYPE_CHECKING:
    from sam_audio_bench.judge.explain import Explanation

__all__ = ["explain"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("item")
@click.option("--judge", "place", default="saj-mini", show_default=True, help="A judge's folder or name.")
@click.option("--out", type=click.Path(path_type=Path), help="The PNG file; default: ITEM.saj.png in the run folder.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda ….")
@click.option("--json", "as_json", is_flag=True, help="Print the ratings and the flagged seconds as one JSON object.")
def explain(run: Path, item: str, place: str, out: Path | None, device: str, as_json: bool) -> None:
    """Draw the spectrograms of an answer, its ratings over time, and the seconds that are rated poor."""
    from sam_audio_bench.files import safe_name
    from sam_audio_bench.judge.explain import COMPLAINTS, write_explanation
    from sam_audio_bench.judge.scores import AXES

    found = _explanation(run, item, place, device)
    path = out or run / f"{safe_name(item)}.saj.png"
    write_explanation(found, path)
    if as_json:
        values = dict(zip(AXES, found.scores.values[0].tolist(), strict=True))
        flagged = [{"axis": flag.axis, "start": flag.start, "end": flag.end} for flag in found.flags]
        print_json({**values, "judge": found.judge, "flags": flagged, "picture": str(path)})
        return
    for flag in found.flags:
        click.echo(f"{flag.start:6.2f} to {flag.end:6.2f} s  {COMPLAINTS[flag.axis]}")
    click.echo(path)


def _explanation(run: Path, item: str, place: str, device: str) -> Explanation:
    """The kept answer of a run, rated again; raises UsageError where the item has none, or no text."""
    from sam_audio_bench import audio
    from sam_audio_bench.judge import load
    from sam_audio_bench.judge.checkpoints import find_judge
    from sam_audio_bench.judge.explain import Explanation
    from sam_audio_bench.run.data import recorded_data
    from sam_audio_bench.run.results import find_runs
    from sam_audio_bench.run.store import RunFolder, failed

    (path, *others) = find_runs([run])
    if others:
        raise UsageError(f"expected one run folder, found {1 + len(others)} below {run}; name one, such as {path}")
    folder = RunFolder.open(path)
    record = folder.items.get(item)
    if record is None or failed(record):
        known = ", ".join(list(folder.items)[:5])
        raise UsageError(f"expected an item with an answer in {run}, found none called {item}; it has {known} …")
    query = recorded_data([folder])[item].query
    if query.prompt.text is None:
        raise UsageError(f"expected an item with a text, found {item} without one; the judge hears texts")
    target = audio.read(folder.audio_path(item, "target"))
    checkpoint = find_judge(place)
    judge = load(checkpoint, device=device)
    return Explanation(
        title=f"{folder.header['model']['name']} on {folder.header['task']['id']}, {item}",
        judge=f"{Path(place).name} {checkpoint.sha256()[:8]}",
        mixture=query.mixture,
        target=target,
        text=query.prompt.text,
        spans=query.prompt.spans,
        scores=judge.score(query.mixture, [target], query.prompt.text, spans=query.prompt.spans),
        frame_seconds=judge.frame_seconds,
    )
