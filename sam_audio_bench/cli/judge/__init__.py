"""``sabench judge``: predicted ratings of estimates.

    train       training, evaluation and export of judges

The commands for one estimate, ``score`` and ``explain``, are here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sam_audio_bench.cli.arguments import RUN_OR_URL
from sam_audio_bench.cli.lazy import HomeText, LazyGroup
from sam_audio_bench.cli.output import echo, note, print_json, print_records
from sam_audio_bench.errors import UsageError
from sam_audio_bench.render.numbers import number
from sam_audio_bench.run.settings import check_device

if TYPE_CHECKING:
    from sam_audio_bench.judge import SAJ, JudgeScores
    from sam_audio_bench.judge.explain import Explanation
    from sam_audio_bench.types import Audio, Query

__all__ = ["explain", "judge", "score"]

_COMMANDS = {
    "score": (f"{__name__}:score", "Rate one estimate."),
    "explain": (f"{__name__}:explain", "Explain the ratings of an estimate of a run by a figure."),
    "listeners": (f"{__name__}.listeners:listeners", "Measure how well a judge agrees with listening tests."),
    "train": (f"{__name__}.train:train", "Train a judge on ratings."),
    "evaluate": (f"{__name__}.train:evaluate", "Measure how well a judge agrees with ratings."),
    "export": (f"{__name__}.train:export", "Write the judge of a finished run in the official layout."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS)
def judge() -> None:
    """Rate estimates without a reference."""


@click.command()
@click.option("--judge", "place", default="saj-mini", show_default=True, type=HomeText(),
              help="A judge's folder or name.")  # fmt: skip
@click.option("--mixture", type=click.Path(path_type=Path), required=True, help="The mixture.")
@click.option("--target", type=click.Path(path_type=Path), required=True, help="The estimate, as long as the mixture.")
@click.option("--text", default="", help='The text of the prompt: "dog barking"; optional with a --span.')
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
    """Rate one estimate: overall, recall, precision and faithfulness, from 1 to 5.

    A question mark after a rating means that the prompt was not understood.
    """
    from sam_audio_bench.names import check_exists

    check_exists("an audio file", mixture, target)
    check_device(device)
    from sam_audio_bench.judge import load
    from sam_audio_bench.judge.checkpoints import find_judge
    from sam_audio_bench.judge.input_checks import check_prompt
    from sam_audio_bench.judge.training_mixtures import TrainingMixtures
    from sam_audio_bench.tasks.manifest import parse_spans

    parsed = parse_spans(" ".join(spans))
    if not text.strip() and not parsed:
        raise UsageError("expected a --text that is not empty, or a --span, found neither")
    clips = _read_clips(mixture, target)
    checkpoint = find_judge(place)
    judge = load(checkpoint, parity=parity, device=device)
    if parsed and "spans" not in judge.prompts:
        note(f"sabench: {place} was not trained on spans and ignores them")
        if not text.strip():
            raise UsageError(f"expected a --text, since {place} does not read spans, found none")
    if clips[0] in TrainingMixtures.of_folder(checkpoint.folder):
        note(f"sabench: {place} was trained on {mixture}; its ratings of that are biased")
    remark = check_prompt(judge, text, parsed)
    found = judge.score(clips[0], clips[1:], text, spans=parsed)
    if as_json:
        prompt_state = {"understood": remark is None or remark.understood, "remark": remark and remark.text}
        print_json({**_ratings(found), **prompt_state, **(_ratings_over_time(found, judge) if frames else {})})
    else:
        _print(found, judge, frames, mark=" ?" if remark and not remark.understood else "")
        if remark:
            note(f"sabench: {remark.text}")


def _read_clips(mixture: Path, target: Path) -> list[Audio]:
    """Reads mixture and estimate at one rate; raises UsageError if they cannot be rated."""
    from sam_audio_bench import audio
    from sam_audio_bench.judge.input_checks import find_clip_fault

    whole, estimate = audio.read(mixture), audio.read(target)
    if estimate.rate != whole.rate and abs(estimate.seconds - whole.seconds) * min(estimate.rate, whole.rate) < 1:
        estimate = audio.resample(estimate, whole.rate)
    if fault := find_clip_fault(whole, estimate):
        raise UsageError(fault[1])
    return [whole, estimate]


def _ratings(found: JudgeScores) -> dict[str, float | None]:
    """Returns the four ratings, and the spread of the overall one if the judge predicts it."""
    from sam_audio_bench.judge.scores import AXES

    spread = None if found.spread is None else float(found.spread[0, 0])
    return {**dict(zip(AXES, found.values[0].tolist(), strict=True)), "spread": spread}


def _ratings_over_time(found: JudgeScores, judge: SAJ) -> dict[str, object]:
    """Returns the ratings of every frame, by axis."""
    from sam_audio_bench.judge.scores import AXES

    columns = found.frames[0].T.tolist()
    return {"frame_seconds": judge.frame_seconds, "frames": dict(zip(AXES, columns, strict=True))}


def _print(found: JudgeScores, judge: SAJ, frames: bool, mark: str) -> None:
    for axis, value in _ratings(found).items():
        if value is not None:
            echo(f"{axis:<13} {number(value, 3)}{mark}")
    if frames:
        from sam_audio_bench.judge.scores import AXES

        echo("")
        rows = enumerate(found.frames[0].tolist())
        records = [
            {"seconds": number(index * judge.frame_seconds)}
            | {axis: number(value, 3) for axis, value in zip(AXES, row, strict=True)}
            for index, row in rows
        ]
        print_records(records, ["seconds", *AXES])


@click.command()
@click.argument("run", type=RUN_OR_URL)
@click.argument("item")
@click.option("--judge", "place", default="saj-mini", show_default=True, type=HomeText(),
              help="A judge's folder or name.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="The PNG file; default: ITEM.saj.png in the run folder.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda ….")
@click.option("--json", "as_json", is_flag=True, help="Print ratings, events and flagged seconds as one JSON object.")
def explain(run: Path | str, item: str, place: str, out: Path | None, device: str, as_json: bool) -> None:
    """Draw spectrograms of an estimate, its ratings over time, and passages with poor ratings, and give the reason."""
    from sam_audio_bench.files import case_sensitive_name
    from sam_audio_bench.run.remote import find_runs

    if out is None and not isinstance(run, Path):
        raise UsageError(f"expected --out with a run at a URL, found none; say where the picture of {run} goes")
    find_runs([run])
    check_device(device)
    from sam_audio_bench.judge.explain import write_explanation

    found = _explain_item(run, item, place, device)
    path = out or Path(run) / f"{case_sensitive_name(item)}.saj.png"
    write_explanation(found, path)
    if as_json:
        print_json({**_explanation_to_json(found), "picture": str(path)})
    else:
        _print_explanation(found)
        echo(path)


def _explanation_to_json(found: Explanation) -> dict[str, object]:
    """Converts an explanation to JSON values."""
    from dataclasses import asdict

    from sam_audio_bench.judge.rationale import POOR_BELOW
    from sam_audio_bench.judge.scores import AXES

    return {
        **dict(zip(AXES, found.scores.values[0].tolist(), strict=True)),
        "judge": found.judge,
        "why": found.reason,
        "understood": found.remark is None or found.remark.understood,
        "remark": found.remark and found.remark.text,
        "events": [asdict(match) for match in found.matches],
        "poor_below": POOR_BELOW,
        "flags": [asdict(flag) for flag in found.flags],
    }


def _print_explanation(found: Explanation) -> None:
    """Prints the reason, the events of the prompt, and the passages with poor ratings."""
    from sam_audio_bench.judge.rationale import FAULT_NAMES

    echo(found.reason)
    sounds = ("mixture", "answer", "residual")
    if found.matches and (found.remark is None or found.remark.understood):
        echo("")
        events = [
            {"event": one.name, "share": f"{one.weight:.0%}"} | {sound: number(getattr(one, sound)) for sound in sounds}
            for one in found.matches
        ]
        print_records(events, ["event", "share", *sounds])
    echo("")
    for flag in found.flags:
        echo(f"{flag.start:6.2f} to {flag.end:6.2f} s  {FAULT_NAMES[flag.axis]}")


def _explain_item(run: Path | str, item: str, place: str, device: str) -> Explanation:
    """Rates a stored estimate of a run again; raises UsageError if it cannot be rated."""
    from sam_audio_bench.judge import load
    from sam_audio_bench.judge.checkpoints import find_judge
    from sam_audio_bench.judge.explain import Explanation
    from sam_audio_bench.judge.input_checks import check_prompt, find_clip_fault
    from sam_audio_bench.judge.rationale import match_events

    title, query, target = _read_estimate(run, item)
    if fault := find_clip_fault(query.mixture, target):
        raise UsageError(fault[1])
    checkpoint = find_judge(place)
    judge = load(checkpoint, device=device)
    name = Path(place).name if checkpoint.model == "local" else checkpoint.model.rpartition("/")[2]
    text = query.prompt.text or ""
    return Explanation(
        title=title,
        judge=f"{name} {checkpoint.sha256()[:8]}",
        mixture=query.mixture,
        target=target,
        text=text,
        spans=query.prompt.spans,
        scores=judge.score(query.mixture, [target], text, spans=query.prompt.spans),
        frame_seconds=judge.frame_seconds,
        matches=match_events(judge, text, query.mixture, target),
        remark=check_prompt(judge, text, query.prompt.spans),
    )


def _read_estimate(run: Path | str, item: str) -> tuple[str, Query, Audio]:
    """Reads title, query and stored estimate of an item; raises UsageError if it has no estimate, or no text."""
    from sam_audio_bench import audio
    from sam_audio_bench.run.recorded_data import load_recorded_data
    from sam_audio_bench.run.remote import find_runs
    from sam_audio_bench.run.store import RunFolder

    (path, *others) = find_runs([run])
    if others:
        raise UsageError(f"expected one run folder, found {1 + len(others)} below {run}; name one, such as {path}")
    folder = RunFolder.open(path)
    record = folder.items.get(item)
    if record is None or record.failed:
        known = ", ".join(list(folder.items)[:5])
        raise UsageError(f"expected an item with an estimate in {run}, found none called {item}; it has {known} …")
    query = load_recorded_data([folder])[item].query
    if query.prompt.text is None:
        raise UsageError(f"expected an item with a text, found {item} without one; the judge needs texts")
    title = f"{folder.header.model.name} on {folder.header.task.id}, {item}"
    return title, query, audio.read(folder.audio_path(item, "target"))
