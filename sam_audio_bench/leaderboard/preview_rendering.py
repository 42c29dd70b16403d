"""Makes previews: small lossy sound files, spectrograms and masked frames of the items.

Previews are written to ``site/listen/<task>/<item>/`` and are illustrations only; no score is computed from them.
Making them needs the runs and torch; building the site needs neither.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from sam_audio_bench import audio
from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import atomic_write, case_sensitive_name, write_json
from sam_audio_bench.leaderboard.previews import ITEM, LISTEN, read_preview, read_rule
from sam_audio_bench.leaderboard.records import Credit, Frame, Preview, PreviewEstimate, RatingsOverTime, to_builtins
from sam_audio_bench.leaderboard.submission import Submission, find_submissions
from sam_audio_bench.ratings.loudness import integrated_loudness
from sam_audio_bench.run.recorded_data import load_recorded_data
from sam_audio_bench.run.remote import find_runs
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.separators.catalogue import BASELINES
from sam_audio_bench.tasks.data import TaskData
from sam_audio_bench.tasks.recipes import SECONDS, list_task_recipes, load_stems
from sam_audio_bench.types import Audio, Item
from sam_audio_bench.video import masked_frames

if TYPE_CHECKING:
    from sam_audio_bench.judge import SAJ

__all__ = ["PreviewOptions", "make_previews"]

_RATE = 24_000  # Hz, that of the mini split's stems
_FRAMES = 4
_LARGEST_SUBMISSION = 30e6  # bytes of one separator's sounds and spectrograms
_LARGEST_SOUND = 190e3  # bytes; `preview_problems` allows 200 kB, and a codec meets its bit rate only on average
_SPECTROGRAM = 8e3  # bytes, about
_REDISTRIBUTABLE = frozenset(
    {"CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "Public Domain", "Public Domain (US government)", "MIT"}
)  # licences that allow redistribution
_DECIMALS = 2
_DIGITS = 12  # of a digest in a file name

_LEVELS = 32  # colours of a spectrogram: fewer colours make a smaller file
_COLUMNS, _ROWS = 256, 80  # pixels of a spectrogram
_LOWEST, _HIGHEST = 60.0, 11_000.0  # Hz, the ends of the logarithmic axis
_DYNAMIC = 75.0  # dB below the loudest bin
_COLOURS = ((4, 5, 20), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))


@dataclass(frozen=True, kw_only=True)
class PreviewOptions:
    """Number and size of previews.

    Args:
        items: number of items per task, those with a present target first; None: all, or as many as keep the sounds
            of a submission within 30 MB.
        kbits: kilobits per second of Opus, mono; less if a file would exceed 200 kB.
        residuals: whether residuals are included.
        judge: rates each estimate of an item with a text prompt over time; None: no ratings.
    """

    items: int | None = None
    kbits: float = 48.0
    residuals: bool = True
    judge: SAJ | None = None

    @classmethod
    def of_board(cls, root: Path) -> PreviewOptions:
        """Reads the options of a leaderboard from its previews.json, if it has one; raises StoreError."""
        rule = read_rule(root)
        return cls(items=rule.items, kbits=rule.kbits, residuals=rule.residuals)


def make_previews(
    root: Path, runs: Sequence[Path | str], options: PreviewOptions | None = None,
    *, tell: Callable[[str], None] | None = None, progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, tuple[int, int]]:  # fmt: skip
    """Writes previews of items of every task that runs and submissions have in common.

    Args:
        root: the leaderboard.
        runs: run folders, or folders that contain them, of submitted separators.
        options: number and size of previews; None: those of the leaderboard.
        tell: called with a sentence about each task that is skipped because its recordings must not be redistributed.
        progress: callback (items done, items in total).

    Returns:
        Task -> number of items with a preview, and of all its items.

    Raises:
        UsageError: no task whose recordings may be redistributed. StoreError: an invalid previews.json.
    """
    options = options or PreviewOptions.of_board(root)
    submitted = [Submission.read(path) for path in find_submissions(root / "results")]
    tasks: dict[str, list[RunFolder]] = {}
    for path in find_runs(runs):
        folder = RunFolder.open(path)
        label = folder.header.task.label
        if any(label in submission.tasks for submission in submitted):
            tasks.setdefault(label, []).append(folder)
    data = {label: load_recorded_data([folders[0]]) for label, folders in tasks.items()}
    for label in [label for label, one in data.items() if one.split != "mini"]:
        sentence = f"expected recordings that may be passed on, found {label}; only the mini split has some"
        if len(data) == 1:
            raise UsageError(sentence)
        (tell or (lambda _: None))(f"no previews: {sentence}")
        del data[label], tasks[label]
    share = min(1.0, _LARGEST_SUBMISSION / max(1.0, _size_of_all(data, options)))
    items = {label: _sorted_items(data[label].task) for label in tasks}
    chosen = {
        label: names[: max(1, int(share * len(names))) if options.items is None else options.items]
        for label, names in items.items()
    }
    done, total = 0, sum(map(len, chosen.values()))
    for label, folders in tasks.items():
        known = {digest for one in submitted for digest in one.header.answers.get(label, {}).values()}
        for identifier in chosen[label]:
            progress(done, total)
            place = root / "site" / LISTEN / case_sensitive_name(label) / case_sensitive_name(identifier)
            estimates = dict(_submitted_estimates(identifier, folders, known))
            makers = _credits(data[label].task, identifier)
            _Previewer(place, data[label][identifier], options).write(makers, estimates)
            done += 1
    progress(done, total)
    return {label: (len(names), len(items[label])) for label, names in chosen.items()}


def _sorted_items(task: str) -> list[str]:
    """Returns the items of a task, those with a present target first."""
    recipes = list_task_recipes(task, _prompt(task))
    return sorted(recipes, key=lambda name: not recipes[name][0].target)  # stable


def _size_of_all(tasks: Mapping[str, TaskData], options: PreviewOptions) -> float:
    """Returns the maximum size in bytes of one separator's sounds and spectrograms if all items were previewed."""
    sounds = sum(len(_sorted_items(data.task)) for data in tasks.values())
    return sounds * (1 + options.residuals) * (SECONDS * options.kbits * 125 + _SPECTROGRAM)


def _submitted_estimates(
    item: str, folders: Iterable[RunFolder], known: Set[str]
) -> Iterator[tuple[str, tuple[str, RunFolder]]]:
    """Yields the SHA-256 of each submitted estimate of an item, with its separator and run."""
    for folder in folders:
        record, separator = folder.items.get(item), folder.header.model.name
        if record is None or record.failed or separator in BASELINES:
            continue
        digest = record.sha256.target
        if digest in known:
            yield digest, (separator, folder)


def _prompt(task: str) -> str:
    from sam_audio_bench.tasks import TASKS

    return TASKS[task].prompt


def _credits(task: str, identifier: str) -> list[Credit]:
    """Returns the credits of an item's recordings; raises UsageError for a licence that forbids redistribution."""
    recipe, _ = list_task_recipes(task, _prompt(task))[identifier]
    used = [load_stems()[name] for name in (*recipe.target, *recipe.others)]
    for stem in used:
        if stem.licence not in _REDISTRIBUTABLE:
            raise UsageError(f"expected a licence to pass {stem.id} on, found {stem.licence}")
    return [Credit(what=stem.label, licence=stem.licence, credit=stem.credit) for stem in used]


class _Previewer:
    """Writes the preview files of one item."""

    def __init__(self, place: Path, item: Item, options: PreviewOptions) -> None:
        self.place, self.item, self.options = place, item, options
        self.top: float | None = None  # dB of the loudest bin of the mixture
        self.loudness: dict[str, float] = {}

    def write(self, makers: list[Credit], estimates: Mapping[str, tuple[str, RunFolder]]) -> None:
        """Writes mixture, reference, the mixture without the reference, and estimates.

        Args:
            makers: credits of the recordings.
            estimates: SHA-256 -> separator and run.
        """
        item, mixture, prompt = self.item, self.item.query.mixture, self.item.query.prompt
        known = read_preview(self.place / ITEM) if (self.place / ITEM).exists() else None
        self.top = self.sound("mixture", mixture)
        if item.reference is not None and bool(item.reference.samples.any()):
            self.sound("reference", item.reference)
            self.sound("rest", Audio(mixture.samples - item.reference.samples, mixture.rate))
        kept = dict(known.answers) if known else {}
        for digest, (separator, run) in estimates.items():
            kept[digest] = self.estimate(case_sensitive_name(f"{separator}@{digest[:_DIGITS]}"), run)
        preview = Preview(
            item=item.id,
            text=prompt.text,
            spans=[("+" if sign == "+" else "-", start, end) for sign, start, end in prompt.spans],
            seconds=mixture.seconds,
            frames=_frames(self.place, item),
            credits=makers,
            answers=dict(sorted(kept.items())),
            loudness=dict(sorted({**((known and known.loudness) or {}), **self.loudness}.items())),
        )
        write_json(self.place / ITEM, to_builtins(preview))

    def estimate(self, stem: str, run: RunFolder) -> PreviewEstimate:
        """Writes the sounds of an estimate, with its residual if requested and available."""
        target = audio.read(run.audio_path(self.item.id, "target"))
        self.sound(stem, target)
        over_time = _ratings_over_time(self.options.judge, self.item, target)
        residual = run.audio_path(self.item.id, "residual")
        if not self.options.residuals or not residual.exists():
            return PreviewEstimate(stem=stem, over_time=over_time)
        self.sound(f"{stem}.residual", audio.read(residual))
        return PreviewEstimate(stem=stem, over_time=over_time, residual=f"{stem}.residual")

    def sound(self, stem: str, sound: Audio) -> float:
        """Writes ``stem.ogg`` and ``stem.png``, stores the loudness, and returns the level of the loudest bin in dB."""
        small = audio.resample(audio.to_mono(sound), _RATE)
        samples = small.samples.double().numpy()
        kbits = min(self.options.kbits, _LARGEST_SOUND / (125 * small.seconds))
        audio.write_ogg(self.place / f"{stem}.ogg", small, kbits)
        picture, loudest = _spectrogram_png(samples[0], _RATE, self.top)
        _write(self.place / f"{stem}.png", picture)
        if (level := integrated_loudness(samples, _RATE)) is not None:
            self.loudness[stem] = round(level, 1)
        return loudest


def _frames(place: Path, item: Item) -> list[Frame]:
    """Writes masked frames from the middles of equal parts of the clip."""
    prompt = item.query.prompt
    if prompt.video is None:
        return []
    seconds = item.query.mixture.seconds
    times = [(number + 0.5) * seconds / _FRAMES for number in range(_FRAMES)]
    found = []
    for number, pixels in enumerate(masked_frames(prompt.video, prompt.mask, times)):
        shown: NDArray[np.uint8] = pixels.permute(1, 2, 0).contiguous().numpy()
        _write(place / f"frame{number}.png", _encode_png(shown))
        found.append(Frame(file=f"frame{number}.png", time=round(times[number], 3)))
    return found


def _ratings_over_time(judge: SAJ | None, item: Item, estimate: Audio) -> RatingsOverTime | None:
    """Returns a judge's ratings per frame; None without a judge or a text prompt."""
    from sam_audio_bench.judge.scores import AXES

    prompt = item.query.prompt
    if judge is None or prompt.text is None:
        return None
    scores = judge.score(item.query.mixture, [estimate], prompt.text, spans=prompt.spans)
    frames = scores.frames[0][scores.keep[0]].double().cpu().numpy()
    ratings = {axis: [round(float(one), _DECIMALS) for one in frames[:, at]] for at, axis in enumerate(AXES)}
    return RatingsOverTime(step=judge.frame_seconds, **ratings)


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def _spectrogram_png(samples: NDArray[np.float64], rate: int, top: float | None = None) -> tuple[bytes, float]:
    """Returns a spectrogram as PNG, with a logarithmic frequency axis, and the level of its loudest bin in dB.

    Args:
        samples: ``[time]``.
        rate: Hz.
        top: level of the brightest colour in dB, for example that of the loudest bin of the mixture, which makes images
            comparable; None: that of the loudest bin of this sound.
    """
    window = round(0.046 * rate)
    transform = ShortTimeFFT(hann(window, sym=False), hop=max(1, len(samples) // _COLUMNS), fs=rate, scale_to="psd")
    power = np.abs(transform.stft(samples)) ** 2
    edges = np.geomspace(_LOWEST, min(_HIGHEST, rate / 2), _ROWS + 1)
    bins = np.clip(np.searchsorted(transform.f, edges), 0, len(transform.f) - 1)
    rows = np.stack([power[low : max(high, low + 1)].mean(axis=0) for low, high in pairwise(bins)])
    level = 10 * np.log10(np.maximum(rows[::-1], 1e-20))
    loudest = float(level.max())
    scaled = (level - ((loudest if top is None else top) - _DYNAMIC)) / _DYNAMIC
    indices = np.clip(np.rint(scaled * (_LEVELS - 1)), 0, _LEVELS - 1).astype(np.uint8)
    return _encode_png(indices, _palette()), loudest


def _encode_png(pixels: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None) -> bytes:
    """Encodes a PNG file without a drawing library, so that the same input gives the same bytes.

    Args:
        pixels: ``[height, width, 3]`` of red, green and blue, or with a palette its indices ``[height, width]``.
        palette: ``[colours, 3]``.
    """
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    kind = 2 if palette is None else 3
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))]
    parts += [] if palette is None else [(b"PLTE", palette.tobytes())]
    parts += [(b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


def _palette() -> NDArray[np.uint8]:
    """Returns colours from dark to light through violet and orange, interpolated evenly between `_COLOURS`."""
    known = np.array(_COLOURS, float)
    positions = np.linspace(0, len(known) - 1, _LEVELS)
    found = np.stack([np.interp(positions, np.arange(len(known)), known[:, channel]) for channel in range(3)], axis=1)
    colours: NDArray[np.uint8] = np.rint(found).astype(np.uint8)
    return colours
