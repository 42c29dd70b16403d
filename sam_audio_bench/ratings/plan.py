"""Makes a listening test from runs: chooses and assigns items, matches loudness, writes the files.

    <out>/key.json         meaning of the blind names, for the experimenter only
    <out>/page/            index.html and its audio: for raters
    <out>/webmushra/       one YAML per rater, audio
    <out>/p808/            lists of clips, assignments, audio

Nothing outside key.json names a system, an item, or which stimuli are controls.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.errors import Precondition
from sam_audio_bench.files import write_json
from sam_audio_bench.ratings.blinded_stimuli import RaterAssignment, Stimulus
from sam_audio_bench.ratings.composition import Composition, assign_raters, compose
from sam_audio_bench.ratings.controls import fit_length, make_trap
from sam_audio_bench.ratings.export_bundle import build_key, build_page, write_p808, write_text, write_webmushra
from sam_audio_bench.ratings.exports import write_wav16
from sam_audio_bench.ratings.options import ListeningTestOptions
from sam_audio_bench.ratings.stimuli import Sound, choose_items, loudness_matched_sounds, open_task_runs

__all__ = ["PlannedTest", "plan_test"]

_BINS = 240  # of a waveform
_RATING_SECONDS = 12.0  # seconds per stimulus, besides listening to recording and estimate once each


@dataclass(frozen=True, kw_only=True)
class PlannedTest:
    """A listening test that was written."""

    folder: Path
    test: str  # digest
    items: int
    systems: tuple[str, ...]
    stimuli: int
    designs: Mapping[str, RaterAssignment]  # "trials" for the page and P.808, "items" for webMUSHRA
    minutes: tuple[int, ...]  # of each rater
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """As ``--json`` prints it."""
        designs = {name: {**asdict(design.sizes), **design.balance.to_json()} for name, design in self.designs.items()}
        plain = {"items": self.items, "systems": list(self.systems), "stimuli": self.stimuli, "designs": designs}
        return {"test": self.test, "folder": str(self.folder), **plain, "notes": list(self.notes)}


def plan_test(runs: Sequence[Path | str], out: Path, options: ListeningTestOptions | None = None) -> PlannedTest:
    """Makes a listening test from runs; the same runs, options and seed give the same bytes.

    Args:
        runs: run folders, or folders that hold them: several systems on one task or more.
        out: new or empty folder.
        options: None: the defaults.

    Raises:
        Precondition: no runs, missing data, or a folder that is not empty.
        UsageError: options that cannot be met. MediaError: the audio of an estimate is missing.
    """
    options = options or ListeningTestOptions()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Precondition(f"expected a new or empty folder at {out}, found something there; choose another --out")
    sources = open_task_runs(runs)
    items, left_out = choose_items(sources, options.items, options.seed)
    test = compose(items, tuple(sources[0].folders), options)
    notes = [f"left out {count} items {reason}" for reason, count in left_out.items()]
    notes += assign_raters(test)
    with _new_folder(out) as folder:
        _render(test, folder)
        if "page" in options.formats:
            write_text(folder / "page" / "index.html", build_page(test))
        if "webmushra" in options.formats:
            write_webmushra(test, folder / "webmushra")
        if "p808" in options.formats:
            write_p808(test, folder / "p808")
        write_json(folder / "key.json", build_key(test))
    return PlannedTest(
        folder=out,
        test=test.digest,
        items=len(items),
        systems=test.systems,
        stimuli=len(test.cells),
        designs=test.designs,
        minutes=tuple(test.minutes),
        notes=tuple(notes),
    )


def _render(test: Composition, folder: Path) -> None:
    """Writes every sound under its blind name, one item at a time."""
    by_origin: dict[int, list[Stimulus]] = {}
    for stimulus in test.stimuli:
        by_origin.setdefault(stimulus.sound[0], []).append(stimulus)
    for place, item in enumerate(test.items):
        sounds = loudness_matched_sounds(item, test.options.loudness, anchor=test.options.anchors)
        _write_sound(test, folder, test.mixtures[place], sounds[""], _formats_with_mixtures(test.options.formats))
        for stimulus in by_origin.get(place, ()):
            formats = ["page", "p808"]
            if item.has_reference and stimulus.kind not in ("trap", "gold"):
                formats.append("webmushra")
            _write_sound(test, folder, stimulus.name, _prepare_sound(test, stimulus, sounds), formats)
    for block in test.designs["trials"].blocks if "trials" in test.designs else ():
        seconds = sum(2 * test.clips[name]["seconds"] + _RATING_SECONDS for name in block)
        test.minutes.append(max(1, round(seconds / 60)))


def _formats_with_mixtures(formats: Sequence[str]) -> tuple[str, ...]:
    """Returns the formats that include recordings: our page plays them; otherwise they serve to train a judge."""
    return ("page",) if "page" in formats else tuple(formats[:1])


def _prepare_sound(test: Composition, stimulus: Stimulus, sounds: Mapping[str, Sound]) -> Sound:
    samples, rate = sounds[stimulus.sound[1]]
    if stimulus.beeps:
        return Sound(make_trap(samples, rate, stimulus.beeps), rate)
    if stimulus.sound[0] == stimulus.item:
        return Sound(samples, rate)
    import torch

    from sam_audio_bench import audio
    from sam_audio_bench.types import Audio

    shown = test.items[stimulus.item]
    moved = audio.resample(Audio(torch.from_numpy(np.ascontiguousarray(samples)), rate), shown.rate)
    return Sound(fit_length(moved.samples.numpy(), shown.length), shown.rate)


def _write_sound(test: Composition, folder: Path, name: str, sound: Sound, formats: Sequence[str]) -> None:
    import torch

    from sam_audio_bench import audio
    from sam_audio_bench.types import Audio

    for form in (form for form in formats if form in test.options.formats):
        path = folder / form / "audio" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        if form == "page":
            samples = torch.from_numpy(np.ascontiguousarray(sound.samples))
            path = audio.write(path.with_suffix(""), Audio(samples, sound.rate))
        else:
            write_wav16(path, sound.samples, sound.rate)
        test.files.setdefault(name, path.relative_to(folder).as_posix())
    test.clips[name] = {"seconds": round(sound.samples.shape[1] / sound.rate, 3), "peaks": _peaks(sound.samples)}


def _peaks(samples: NDArray[np.float64]) -> list[int]:
    """Returns the largest magnitude in each of `_BINS` equal parts, in thousandths of full scale."""
    envelope = np.abs(samples).max(axis=0)
    edges = np.linspace(0, envelope.size, min(_BINS, envelope.size), endpoint=False).astype(np.int64)
    found: list[int] = np.rint(1000 * np.maximum.reduceat(envelope, edges)).astype(np.int64).tolist()
    return found


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yields a temporary folder, renamed to ``out`` if the block succeeds and removed if it fails."""
    temporary = out.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.{out.name}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if out.exists():
            out.rmdir()
        temporary.replace(out)
    except OSError as error:
        raise Precondition(f"expected a folder that can be written at {out}, found: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
