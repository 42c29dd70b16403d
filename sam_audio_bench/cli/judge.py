"""``sabench judge``: what listeners would say of an answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sam_audio_bench.cli.lazy import LazyGroup
from sam_audio_bench.cli.output import note, print_json, print_records
from sam_audio_bench.errors import UsageError

if TYPE_CHECKING:
    from sam_audio_bench.judge import SAJ, JudgeScores

__all__ = ["judge", "score"]

_COMMANDS = {
    "score": (f"{__name__}:score", "Rate one answer."),
    "explain": ("sam_audio_bench.cli.judge_explain:explain", "Draw why an answer of a run was rated as it was."),
    "train": ("sam_audio_bench.cli.judge_train:train", "Train a judge on ratings."),
    "evaluate": ("sam_audio_bench.cli.judge_train:evaluate", "Say how well a judge agrees with ratings."),
    "export": ("sam_audio_bench.cli.judge_train:export", "Write the judge of a finished run in the official layout."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS)
def judge() -> None:
    """Rate answers without a reference."""


@click.command()
@click.option("--judge", "place", default="saj-mini", show_default=True, help="A judge's folder or name.")
@click.option("--mixture", type=click.Path(path_type=Path), required=True, help="What was separated.")
@click.option("--target", type=click.Path(path_type=Path), required=True, help="The answer, as long as the mixture.")
@click.option("--text", required=True, help='What was asked for: "dog barking".')
@click.option("--span", "spans", multiple=True, help="+1.0:2.5 where it sounds, -3:4 where it does not, in seconds; "
              "may be repeated.")  # fmt: skip
@click.option("--frames", is_flag=True, help="Also the ratings over time.")
@click.option("--parity", default="exact", show_default=True, help="exact, or upstream for the reference's behaviour.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda ….")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def score(
    place: str,
    mixture: Path,
    target: Path,
    text: str,
    spans: tuple[str, ...],
    frames: bool,
    parity: str,
    device: str,
    as_json: bool,
) -> None:
    """Rate one answer: overall, recall, precision and faithfulness, from 1 to 5."""
    from sam_audio_bench import audio
    from sam_audio_bench.judge import load
    from sam_audio_bench.tasks.manifest import parse_spans

    if not text.strip():
        raise UsageError("expected a --text that says something, found an empty one")
    parsed = parse_spans(" ".join(spans))
    clips = [audio.read(path) for path in (mixture, target)]
    judge = load(place, parity=parity, device=device)
    if parsed and "spans" not in judge.prompts:
        note(f"sabench: {place} was not trained on spans and passes them over")
    found = judge.score(clips[0], clips[1:], text, spans=parsed)
    if as_json:
        print_json({**_ratings(found), **(_over_time(found, judge) if frames else {})})
    else:
        _print(found, judge, frames)


def _ratings(found: JudgeScores) -> dict[str, Any]:
    """The four ratings, and the spread of the overall one where the judge gives it."""
    from sam_audio_bench.judge.scores import AXES

    spread = None if found.spread is None else float(found.spread[0, 0])
    return {**dict(zip(AXES, found.values[0].tolist(), strict=True)), "spread": spread}


def _over_time(found: JudgeScores, judge: SAJ) -> dict[str, Any]:
    """Ratings of every frame, by axis."""
    from sam_audio_bench.judge.scores import AXES

    columns = found.frames[0].T.tolist()
    return {"frame_seconds": judge.frame_seconds, "frames": dict(zip(AXES, columns, strict=True))}


def _print(found: JudgeScores, judge: SAJ, frames: bool) -> None:
    for axis, value in _ratings(found).items():
        if value is not None:
            click.echo(f"{axis:<13} {value:.3f}")
    if frames:
        from sam_audio_bench.judge.scores import AXES

        click.echo("")
        rows = enumerate(found.frames[0].tolist())
        records = [
            {"seconds": f"{index * judge.frame_seconds:.2f}"}
            | {axis: f"{value:.3f}" for axis, value in zip(AXES, row, strict=True)}
            for index, row in rows
        ]
        print_records(records, ["seconds", *AXES])
