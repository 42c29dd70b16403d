"""Makes previews: small lossy sound files, spectrograms and masked frames of a few items per task.

They are written to ``site/listen/<task>/<item>/`` and only illustrate; no score is computed from them. Making them
needs the runs and torch; building the site needs neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench import audio
from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import atomic_write, cased_name, write_json
from sam_audio_bench.leaderboard.labels import BASELINES
from sam_audio_bench.leaderboard.png import encode_png, spectrogram
from sam_audio_bench.leaderboard.previews import ITEM, LISTEN, read_preview
from sam_audio_bench.leaderboard.records import Credit, Frame, Preview, PreviewAnswer, RatingsOverTime, to_plain
from sam_audio_bench.leaderboard.submission import Submission, find_submissions
from sam_audio_bench.run.data import recorded_data
from sam_audio_bench.run.remote import find_runs
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.tasks.recipes import list_task_recipes, load_stems
from sam_audio_bench.types import Audio, Item
from sam_audio_bench.video import masked_frames

if TYPE_CHECKING:
    from sam_audio_bench.judge import SAJ

__all__ = ["make_previews"]

_RATE = 24_000  # Hz, that of the mini split's stems
_FRAMES = 4
_REDISTRIBUTABLE = frozenset(
    {"CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "Public Domain", "MIT"}
)  # licences that allow redistribution
_DECIMALS = 2
_DIGITS = 12  # of a digest in a file name


def make_previews(root: Path, runs: Sequence[Path | str], *, items: int = 1, judge: SAJ | None = None) -> list[Path]:
    """Writes previews of the first items of every task that runs and submissions have in common.

    Args:
        root: the leaderboard.
        runs: run folders, or folders that hold them, of separators that are submitted.
        items: how many per task, of those whose target is audible.
        judge: rates each estimate of an item with a text prompt over time; None: no ratings.

    Returns:
        The folders, one per item.

    Raises:
        UsageError: a task whose recordings may not be redistributed.
    """
    submitted = [Submission.read(path) for path in find_submissions(root / "results")]
    tasks: dict[str, list[RunFolder]] = {}
    for path in find_runs(runs):
        folder = RunFolder.open(path)
        label = folder.header.task.label
        if any(label in submission.tasks for submission in submitted):
            tasks.setdefault(label, []).append(folder)
    written = []
    for label, folders in tasks.items():
        data = recorded_data([folders[0]])
        known = {digest for one in submitted for digest in one.header.answers.get(label, {}).values()}
        if data.split != "mini":
            raise UsageError(f"expected recordings that may be passed on, found {label}; only the mini split has some")
        chosen = [
            name for name, (recipe, _) in list_task_recipes(data.task, _prompt(data.task)).items() if recipe.target
        ]
        for identifier in chosen[:items]:
            place = root / "site" / LISTEN / cased_name(label) / cased_name(identifier)
            answers = dict(_submitted_estimates(identifier, folders, known))
            _preview(place, data[identifier], _credits(data.task, identifier), answers, judge)
            written.append(place)
    return written


def _submitted_estimates(
    item: str, folders: Iterable[RunFolder], known: Set[str]
) -> Iterator[tuple[str, tuple[str, Path]]]:
    """SHA-256 of each submitted estimate of an item, with its separator and its file."""
    for folder in folders:
        record, separator = folder.items.get(item), folder.header.model.name
        if record is None or record.failed or separator in BASELINES:
            continue
        digest = record.sha256.target
        if digest in known:
            yield digest, (separator, folder.audio_path(item, "target"))


def _prompt(task: str) -> str:
    from sam_audio_bench.tasks import TASKS

    return TASKS[task].prompt


def _credits(task: str, identifier: str) -> list[Credit]:
    """Credits of the recordings of an item; raises UsageError for a licence that forbids redistribution."""
    recipe, _ = list_task_recipes(task, _prompt(task))[identifier]
    used = [load_stems()[name] for name in (*recipe.target, *recipe.others)]
    for stem in used:
        if stem.licence not in _REDISTRIBUTABLE:
            raise UsageError(f"expected a licence to pass {stem.id} on, found {stem.licence}")
    return [Credit(what=stem.label, licence=stem.licence, credit=stem.credit) for stem in used]


def _preview(
    place: Path,
    item: Item,
    makers: list[Credit],
    answers: Mapping[str, tuple[str, Path]],
    judge: SAJ | None,
) -> None:
    mixture = item.query.mixture
    top = _sound(place / "mixture", mixture, None)
    if item.reference is not None:
        _sound(place / "reference", item.reference, top)
    kept = dict(read_preview(place / ITEM).answers) if (place / ITEM).exists() else {}
    for digest, (separator, path) in answers.items():
        answer, stem = audio.read(path), cased_name(f"{separator}@{digest[:_DIGITS]}")
        _sound(place / stem, answer, top)
        kept[digest] = PreviewAnswer(stem=stem, over_time=_over_time(judge, item, answer))
    prompt = item.query.prompt
    preview = Preview(
        item=item.id,
        text=prompt.text,
        spans=[("+" if sign == "+" else "-", start, end) for sign, start, end in prompt.spans],
        seconds=mixture.seconds,
        frames=_frames(place, item),
        credits=makers,
        answers=dict(sorted(kept.items())),
    )
    write_json(place / ITEM, to_plain(preview))


def _sound(stem: Path, sound: Audio, top: float | None) -> float:
    """Writes ``stem.ogg`` and ``stem.png``; returns the loudest bin in dB."""
    small = audio.resample(audio.to_mono(sound), _RATE)
    audio.write_ogg(stem.with_name(stem.name + ".ogg"), small)
    picture, loudest = spectrogram(small.samples[0].double().numpy(), _RATE, top)
    _write(stem.with_name(stem.name + ".png"), picture)
    return loudest


def _frames(place: Path, item: Item) -> list[Frame]:
    """Writes masked frames, taken at the middles of equal parts of the clip."""
    prompt = item.query.prompt
    if prompt.video is None:
        return []
    seconds = item.query.mixture.seconds
    times = [(number + 0.5) * seconds / _FRAMES for number in range(_FRAMES)]
    found = []
    for number, pixels in enumerate(masked_frames(prompt.video, prompt.mask, times)):
        shown: NDArray[np.uint8] = pixels.permute(1, 2, 0).contiguous().numpy()
        _write(place / f"frame{number}.png", encode_png(shown))
        found.append(Frame(file=f"frame{number}.png", time=round(times[number], 3)))
    return found


def _over_time(judge: SAJ | None, item: Item, answer: Audio) -> RatingsOverTime | None:
    """A judge's ratings per frame; None without a judge or a text."""
    from sam_audio_bench.judge.scores import AXES

    prompt = item.query.prompt
    if judge is None or prompt.text is None:
        return None
    scores = judge.score(item.query.mixture, [answer], prompt.text, spans=prompt.spans)
    frames = scores.frames[0][scores.keep[0]].double().cpu().numpy()
    ratings = {axis: [round(float(one), _DECIMALS) for one in frames[:, at]] for at, axis in enumerate(AXES)}
    return RatingsOverTime(step=judge.frame_seconds, **ratings)


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
