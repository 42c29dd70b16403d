"""Checks the user's own data in full, for `sabench data validate`.

Loading a task checks its table only; here every file is opened and decoded as well. A row with an error fails in a run;
for a warning there is a workaround, which the message states.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path

from sam_audio_bench import video
from sam_audio_bench.errors import MediaError
from sam_audio_bench.files import find_file
from sam_audio_bench.tasks.manifest_rows import ManifestProblem, ManifestRow, Questions
from sam_audio_bench.tasks.manifest_sounds import (
    Sound,
    SoundReader,
    describe_sum_error,
    match_to_mixture,
    sound_name,
    sum_sounds,
)
from sam_audio_bench.types import Audio

__all__ = ["SLACK", "check_questions"]

SLACK = 0.05
"""Seconds by which spans and videos may differ from their mixture: one frame at 20 frames per second."""

_Report = Callable[..., ManifestProblem]


def check_questions(questions: Questions, *, advance: Callable[[], None] = lambda: None) -> Iterator[ManifestProblem]:
    """Yields every problem: first those of the table, then those of the files, row by row.

    Args:
        questions: from `sam_audio_bench.tasks.manifest.read_questions`.
        advance: called after the files of each row are checked.
    """
    yield from questions.problems
    for row in questions.rows.values():
        yield from _check_row(questions.root, row)
        advance()


def _check_row(root: Path, row: ManifestRow) -> Iterator[ManifestProblem]:
    report = partial(ManifestProblem, where=row.where, item=row.id)
    first: Sound = row.mixture if row.mixture is not None else row.target[0]
    column = "target" if row.mixture is None else "mixture"
    read = SoundReader(root, row.part)
    try:
        mixture = read(first)
    except MediaError as error:
        yield report(what=str(error), column=column)
        mixture = None
    yield from _remarks(read, partial(report, column=column))
    parts: dict[str, list[Audio | None]] = {"target": [], "residual": []}
    for name, sounds in (("target", row.target), ("residual", row.residual)):
        for sound in sounds:
            if sound is not first:
                part = yield from _check_reference(
                    SoundReader(root, row.part), mixture, first, sound, partial(report, column=name)
                )
                parts[name].append(part)
    if row.mixture is not None and mixture is not None:
        yield from _check_sum(mixture, parts["target"], parts["residual"], partial(report, column="residual"))
    if mixture is not None:
        yield from _check_spans(row, mixture.seconds, partial(report, column="spans"))
    if row.video:
        yield from _check_video(root, row, mixture, report)


def _remarks(read: SoundReader, report: _Report) -> Iterator[ManifestProblem]:
    """Yields warnings about what the decoder worked around."""
    return (report(what=remark, severity="warning") for remark in read.remarks)


def _check_reference(
    read: SoundReader, mixture: Audio | None, first: Sound, sound: Sound, report: _Report
) -> Generator[ManifestProblem, None, Audio | None]:
    """Decodes a sound and compares its rate, length and channels with the mixture; returns it as items will have it."""
    try:
        found = read(sound)
        yield from _remarks(read, report)
        if mixture is None:
            return None
        if found.rate != mixture.rate:
            yield report(
                what=f"expected {sound_name(sound)} at {mixture.rate} Hz as its mixture, found {found.rate} Hz: "
                "it will be resampled",
                severity="warning",
            )
        return match_to_mixture(mixture, first, found, sound)
    except MediaError as error:
        yield report(what=str(error))
        return None


def _check_sum(
    mixture: Audio, target: Sequence[Audio | None], residual: Sequence[Audio | None], report: _Report
) -> Iterator[ManifestProblem]:
    """Checks that target and residual add up to the mixture, if all of their files could be read."""
    known = [[part for part in parts if part is not None] for parts in (target, residual)]
    complete = all(known) and len(known[0]) == len(target) and len(known[1]) == len(residual)
    if complete and (what := describe_sum_error(mixture, sum_sounds(known[0]), sum_sounds(known[1]))):
        yield report(what=what, severity="warning")


def _check_spans(row: ManifestRow, seconds: float, report: _Report) -> Iterator[ManifestProblem]:
    for sign, start, end in row.spans:
        if start >= seconds or end > seconds + SLACK:
            yield report(what=f"expected spans within {seconds:.2f} s of sound, found {sign}{start:g}:{end:g}")


def _check_video(root: Path, row: ManifestRow, mixture: Audio | None, report: _Report) -> Iterator[ManifestProblem]:
    """Decodes all frames, and compares their duration with the audio and their number with the mask."""
    frames, first, last = 0, 0.0, 0.0
    try:
        for frame in video.stream_frames(find_file(root / row.video)):
            first = frame.time if frames == 0 else first
            frames, last = frames + 1, frame.time
    except MediaError as error:
        yield report(what=str(error), column="video")
    else:
        seconds = last + (last - first) / (frames - 1) if frames > 1 else first
        if mixture is not None and seconds < mixture.seconds - SLACK - (seconds / frames):
            what = f"expected a video of {mixture.seconds:.2f} s, found {seconds:.2f} s: it will stay on its last frame"
            yield report(what=what, column="video", severity="warning")
    if row.mask:
        yield from _check_mask(find_file(root / row.mask), frames, partial(report, column="mask"))


def _check_mask(path: Path, frames: int, report: _Report) -> Iterator[ManifestProblem]:
    try:
        mask = video.read_mask(path)
    except MediaError as error:
        yield report(what=str(error))
        return
    if frames and len(mask) != frames:
        yield report(what=f"expected {frames} masks in {path.name}, one a frame, found {len(mask)}")
    if not bool(mask.any()):
        yield report(what=f"expected an object in {path.name}, found a mask that is zero everywhere")
