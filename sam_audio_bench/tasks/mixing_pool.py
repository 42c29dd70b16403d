"""Reads the labelled clips that are mixed: one folder per class, or a table of files.

    dog/bark-1.wav  dog/bark-2.flac  rain/roof.ogg …      path,label,text,licence,group,credit
                                                          a/bark-1.wav,dog,a dog barks,CC0-1.0,field-7,A. Author

Only the columns ``path`` and ``label`` are required; paths are relative to the table's folder. A clip without a group
is a recording of its own. `ClipReader` reads the sounds, and only when they are needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sam_audio_bench import audio
from sam_audio_bench.digests import file_digest
from sam_audio_bench.errors import MediaError, UsageError, unknown_name
from sam_audio_bench.files import find_file
from sam_audio_bench.tasks.adapters.layouts import list_folders
from sam_audio_bench.tasks.adapters.texts import name_to_text
from sam_audio_bench.tasks.manifest_rows import ManifestProblem, ManifestRow, collect_questions
from sam_audio_bench.tasks.manifest_tables import read_csv
from sam_audio_bench.tasks.mixing import PEAK
from sam_audio_bench.tasks.mixing_recipe import MINI, MixRecipe
from sam_audio_bench.tasks.recipes import load_prompt_variants, load_stems
from sam_audio_bench.tasks.span_table import RULES
from sam_audio_bench.types import Audio

__all__ = ["Clip", "ClipAudio", "ClipReader", "read_pool", "select_licensed"]

COLUMNS = ("path", "label", "text", "licence", "group", "credit")
"""Columns of a table of clips."""

_CACHED = 1 << 26  # samples that are kept in memory: 256 MiB
_MARGIN = 0.5  # seconds of silence added around a clip, so that its start and end are detected


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One recording of a sound, and its licence."""

    id: str  # its path in the pool
    path: Path
    label: str
    text: str = ""  # "": the recipe's text for the label, or the label
    paraphrases: tuple[str, ...] = ()  # of ``text``
    licence: str = ""  # "": not stated
    group: str = ""  # the recording that it was cut from
    credit: str = ""
    domain: str = ""

    def texts(self, recipe: MixRecipe) -> tuple[str, ...]:
        """Returns the prompt for the clip and its paraphrases; ("",) if it is never a target."""
        texts = (
            (self.text, *self.paraphrases) if self.text else recipe.prompts.get(self.label, (name_to_text(self.label),))
        )
        return tuple(text.strip() for text in texts)


def read_pool(name: str | Path, *, allow_outside: bool = False) -> tuple[Clip, ...]:
    """Reads the list of clips of a folder or table, sorted by id; no sound is read.

    Args:
        name: a folder with one folder per class, named by the class; a table; or `MINI`.
        allow_outside: accept absolute paths, ``..`` and links that lead out of the folder.

    Raises:
        UsageError: there are no clips, or a row is invalid; the message names the row.
    """
    if name == MINI:
        return tuple(_mini_clips())
    path = Path(name)
    root = path if path.is_dir() else path.parent
    entries = list(_folder_clips(path) if path.is_dir() else _table_clips(path))
    clips = [entry for entry in entries if isinstance(entry, Clip)]
    rows: list[ManifestRow | ManifestProblem] = [entry for entry in entries if isinstance(entry, ManifestProblem)]
    rows += [
        ManifestRow(where=clip.id, id=clip.id, mixture=clip.id, text=clip.label, group=clip.group) for clip in clips
    ]
    found = collect_questions("pool", path, rows, root=root, allow_outside=allow_outside)  # names, places and links
    errors = [problem for problem in found.problems if problem.severity == "error"]
    if errors:
        more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
        raise UsageError(f"{errors[0].place} of {path}: {errors[0].what}{more}")
    return tuple(sorted(clips, key=lambda clip: clip.id))


def _mini_clips() -> Iterator[Clip]:
    variants = load_prompt_variants()
    for name, stem in sorted(load_stems().items()):
        known = variants[stem.label].paraphrases if stem.label in variants else ()
        yield Clip(
            id=name, path=stem.path, label=stem.label, text=stem.label, paraphrases=known, licence=stem.licence,
            group=name, credit=stem.credit,
        )  # fmt: skip


def _is_sound(file: Path) -> bool:
    return file.suffix.lower() in audio.SUFFIXES and not file.name.startswith(".") and file.is_file()


def _folder_clips(root: Path) -> Iterator[Clip]:
    count = 0
    for folder in list_folders(root):
        for file in sorted(folder.rglob("*")):
            if _is_sound(file):
                count += 1
                name = file.relative_to(root).as_posix()
                yield Clip(id=name, path=file, label=folder.name, group=name)
    if not count:
        raise UsageError(f"expected folders of sounds such as dog/bark.wav and rain/roof.wav in {root}, found none")
    if loose := next(filter(_is_sound, sorted(root.iterdir())), None):
        raise UsageError(
            f"expected every sound of {root} in a folder that is named by its class, found {loose.name} beside them"
        )


def _table_clips(path: Path) -> Iterator[Clip | ManifestProblem]:
    try:
        lines = read_csv(path)
        where, header = next(lines)
    except OSError as error:
        raise UsageError(f"expected a folder or a table of clips at {path}, found none ({error})") from error
    if isinstance(header, ManifestProblem):
        yield header
        return
    for name in ("path", "label"):
        if name not in header:
            raise UsageError(
                f"expected columns {', '.join(COLUMNS)} in {path}, of which path and label are required, found "
                f"{', '.join(header) or 'none'}"
            )
    if strange := next((name for name in header if name not in COLUMNS), None):
        raise UsageError(f"row {where} of {path}: {unknown_name('column', strange, COLUMNS)}")
    known: set[str] = set()
    for number, cells in lines:
        if isinstance(cells, ManifestProblem):
            yield cells
            continue
        own = {name: text.strip() for name, text in cells.items()}
        if missing := next((name for name in ("path", "label") if not own[name]), None):
            what = f"expected a value in column {missing!r}, found an empty cell"
            yield ManifestProblem(where=number, what=what, column=missing)
            continue
        if own["path"] in known:
            what = f"expected each path once, found {own['path']!r} again"
            yield ManifestProblem(where=number, what=what, column="path")
            continue
        known.add(own["path"])
        name, text, licence, credit = (own.get(column, "") for column in ("path", "text", "licence", "credit"))
        yield Clip(
            id=name, path=path.parent / name, label=own["label"], text=text, licence=licence,
            group=own.get("group") or name, credit=credit,
        )  # fmt: skip


def select_licensed(clips: Sequence[Clip], recipe: MixRecipe) -> tuple[Clip, ...]:
    """Selects the clips whose licence the recipe allows; raises UsageError if no clip has a label or licence of it."""
    labels = {clip.label for clip in clips}
    for label in (*recipe.prompts, *(label for labels in recipe.confused for label in labels)):
        if label not in labels:
            raise UsageError(f"the recipe: {unknown_name('label', label, sorted(labels))}")
    stated = {clip.licence or recipe.licence for clip in clips}
    for licence in recipe.licences:
        if licence not in stated:
            raise UsageError(f"the recipe: {unknown_name('licence', licence, sorted(stated - {''}))}")
    return tuple(clip for clip in clips if not recipe.licences or (clip.licence or recipe.licence) in recipe.licences)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipAudio:
    """The audio of a clip, at the recipe's rate."""

    samples: NDArray[np.float32]  # [time], the mean of its channels
    rate: int  # of its file, Hz
    channels: int
    sha256: str  # of its file


@dataclass(slots=True)
class ClipReader:
    """Reads clips at the rate of a recipe, caches the last ones, and records what was changed."""

    recipe: MixRecipe
    resampled: set[str] = field(default_factory=set)  # clips of another rate
    averaged: set[str] = field(default_factory=set)  # clips of several channels
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)  # clip -> what the decoder worked around
    _cache: OrderedDict[str, ClipAudio] = field(default_factory=OrderedDict)
    _spans: dict[tuple[str, int, int], tuple[tuple[float, float], ...]] = field(default_factory=dict)

    def __call__(self, clip: Clip) -> ClipAudio:
        """Reads a clip.

        Raises:
            MediaError: the clip cannot be read, or is shorter than the recipe's shortest.
        """
        if clip.id in self._cache:
            self._cache.move_to_end(clip.id)
            return self._cache[clip.id]
        path = find_file(clip.path)
        sound, remarks = audio.read_with_remarks(path)
        if sound.seconds < self.recipe.shortest:
            raise MediaError(
                f"expected clips of {self.recipe.shortest:g} s or more, found {sound.seconds:.3g} s in {clip.id}: "
                "take it out of the pool, or change shortest"
            )
        mono = audio.resample(audio.to_mono(sound), self.recipe.rate)
        found = ClipAudio(
            samples=np.ascontiguousarray(mono.samples[0].numpy()), rate=sound.rate, channels=sound.channels,
            sha256=file_digest(path),
        )  # fmt: skip
        self._note(clip, found, remarks)
        self._cache[clip.id] = found
        while sum(len(one.samples) for one in self._cache.values()) > _CACHED and len(self._cache) > 1:
            self._cache.popitem(last=False)
        return found

    def _note(self, clip: Clip, found: ClipAudio, remarks: tuple[str, ...]) -> None:
        if found.rate != self.recipe.rate:
            self.resampled.add(clip.id)
        if found.channels > 1:
            self.averaged.add(clip.id)
        if remarks:
            self.remarks[clip.id] = remarks

    def spans(self, clip: Clip, start: int, length: int) -> tuple[tuple[float, float], ...]:
        """Returns the active spans of a part of a clip, in seconds from the part's start.

        Args:
            clip: a clip of the pool.
            start: first sample of the part, at the recipe's rate.
            length: number of samples of the part.

        Raises:
            MediaError: the part is silent, or the clip cannot be read.
        """
        key = clip.id, start, length
        if key not in self._spans:
            part = self(clip).samples[start : start + length]
            peak = float(np.abs(part).max(initial=0))
            if not peak:
                raise MediaError(f"expected a sound in {clip.id}, found silence: take it out of the pool")
            self._spans[key] = _active_spans(part * np.float32(PEAK / peak), self.recipe.rate)
        return self._spans[key]


def _active_spans(part: NDArray[np.float32], rate: int) -> tuple[tuple[float, float], ...]:
    """Finds active spans in seconds, to 10 ms, by the rule of `span_iou`, which is relative to the loudest window."""
    margin, end = round(_MARGIN * rate), round(len(part) / rate, 3)
    padded = Audio(torch.from_numpy(np.pad(part, margin))[None], rate)
    shifted = ((round(start - _MARGIN, 3), round(stop - _MARGIN, 3)) for start, stop in RULES["relative"](padded))
    inside = ((max(0.0, start), min(end, stop)) for start, stop in shifted)
    return tuple((start, stop) for start, stop in inside if start < stop)
