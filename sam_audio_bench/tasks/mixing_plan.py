"""Plans the mixtures of `sabench data mix`: which clips sound together, where and how loud.

Mixture i depends on the recipe, its seed, i and the pool only, so that shards give the same mixtures as one process.
Spans and overlap are the active spans of the clips, shifted to where the clips are placed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec import Struct

from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.metrics.functional.activity import merge_spans, span_overlap
from sam_audio_bench.tasks.mixing import ClipIndex, Random, cut_sounding
from sam_audio_bench.tasks.mixing_pool import Clip, ClipReader
from sam_audio_bench.tasks.mixing_recipe import MixRecipe

__all__ = ["MixPlan", "PlacedClip", "Planner", "compute_overlap", "format_key"]

_CASTS, _PLACEMENTS = 20, 100  # sets of clips per mixture, and placements per set, that are tried
_DRAWS = 50  # draws of one more source that differs from the others
_SHOWN = 3  # clips in a message

Times = Sequence[tuple[float, float]]


class PlacedClip(Struct, frozen=True, kw_only=True):
    """One source of a mixture."""

    clip: str  # its path in the pool
    sha256: str  # of its file
    label: str
    text: str  # "": never a target
    paraphrases: tuple[str, ...]
    group: str
    licence: str  # "": not stated
    credit: str
    first: int  # first sample of the clip that is used, at the mixture's rate
    length: int  # samples that are used
    start: int  # sample of the mixture at which it starts
    level: float  # dB, before the other sources are scaled together
    spans: tuple[tuple[float, float], ...]  # seconds of the mixture in which it is active


class MixPlan(Struct, frozen=True, kw_only=True):
    """The plan of one mixture; its first source is the target."""

    key: str
    sources: tuple[PlacedClip, ...]
    snr: float | None  # dB, of the target over all other sources; None: there is no other
    loudness: float  # in the recipe's unit


def format_key(index: int) -> str:
    """Returns the name of the mixture with a number."""
    return f"mix-{index:06d}"


def compute_overlap(sources: Sequence[PlacedClip], target: int = 0) -> float:
    """Returns the share of a source's active time in which another source is active too; 0 for a single source.

    Args:
        sources: the sources of a mixture.
        target: index of the source.
    """
    others = merge_spans(span for index, one in enumerate(sources) if index != target for span in one.spans)
    return span_overlap(reference=sources[target].spans, estimate=others).recall


@dataclass
class Planner:
    """Plans mixtures, and raises the errors of recipes that cannot be met.

    Args:
        clips: the clips of the pool that may be used.
        recipe: the recipe of the mixtures.

    Raises:
        UsageError: there are too few labels, or none that may be a target.
    """

    clips: Sequence[Clip]
    recipe: MixRecipe
    reader: ClipReader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = ClipReader(self.recipe)
        self._all = ClipIndex(self.clips)
        self._targets = ClipIndex(clip for clip in self.clips if clip.texts(self.recipe)[0])
        self._confused = [frozenset(labels) for labels in self.recipe.confused]
        most, labels = self.recipe.sources[1], self._all.labels()
        if len(labels) < most:
            raise UsageError(
                f"expected at least {most} labels for {most} sources in a mixture, no two of one label, found "
                f"{len(labels)} ({', '.join(labels) or 'none'}): ask for fewer sources, or use more of the pool"
            )
        if not self._targets.labels():
            raise UsageError("expected a label with a text, found an empty text for each of them in [prompts]")

    def plan(self, indices: Iterable[int], *, advance: Callable[[], None] = lambda: None) -> list[MixPlan]:
        """Plans mixtures, for which their clips are read.

        Args:
            indices: numbers of the mixtures, from 0.
            advance: called after each mixture.

        Raises:
            UsageError: no sources with the recipe's overlap were found, or none that are different enough.
            MediaError: some clips cannot be used; the message names the first ones.
        """
        found, problems = [], dict[str, str]()
        for index in indices:
            plan = self._plan(index, problems)
            if plan is not None:
                found.append(plan)
            advance()
        if problems:
            more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
            raise MediaError("; ".join(list(problems.values())[:_SHOWN]) + more)
        return found

    def _plan(self, index: int, problems: dict[str, str]) -> MixPlan | None:
        """Plans one mixture; returns None if a clip of it cannot be used, and adds the reason to ``problems``."""
        random = np.random.default_rng([self.recipe.seed, index])
        overlaps: list[float] = []
        for _ in range(_CASTS):
            clips = self._draw_clips(random)
            try:
                sources = self._place(clips, random, overlaps) if clips else None
            except MediaError as error:
                problems.setdefault(str(error), str(error))
                return None
            if sources is not None:
                snr = round(float(random.uniform(*self.recipe.snr)), 3)
                loudness = round(float(random.uniform(*self.recipe.loudness)), 3)
                return MixPlan(
                    key=format_key(index), sources=sources, snr=snr if len(sources) > 1 else None, loudness=loudness
                )
        if not overlaps:
            raise UsageError(
                f"expected {self.recipe.sources[1]} sources of different labels, groups and texts, none of them "
                f"confused, found none in {_CASTS} draws for mixture {index}: ask for fewer, or use more of the pool"
            )
        low, high = self.recipe.overlap
        raise UsageError(
            f"expected sources that overlap by {low:g} to {high:g} in {self.recipe.seconds:g} s, found "
            f"{min(overlaps):.2f} to {max(overlaps):.2f} in {len(overlaps)} placements for mixture {index}: change "
            "overlap or seconds, or use shorter or longer clips"
        )

    def _draw_clips(self, random: Random) -> list[Clip]:
        """Draws the target and other clips that all differ; returns none if there are no such clips."""
        count = int(random.integers(self.recipe.sources[0], self.recipe.sources[1] + 1))
        cast = [self._targets.draw("", random)]
        for _ in range(count - 1):
            drawn = (self._all.draw("", random) for _ in range(_DRAWS))
            other = next((clip for clip in drawn if all(self._can_join(clip, one) for one in cast)), None)
            if other is None:
                return []
            cast.append(other)
        return cast

    def _can_join(self, one: Clip, other: Clip) -> bool:
        """Returns whether two clips may be in one mixture: no prompt for one of them can mean the other."""
        if one.label == other.label or one.group == other.group:
            return False
        if any(one.label in labels and other.label in labels for labels in self._confused):
            return False
        texts = [{text.casefold() for text in clip.texts(self.recipe)} - {""} for clip in (one, other)]
        return texts[0].isdisjoint(texts[1])

    def _place(self, clips: Sequence[Clip], random: Random, overlaps: list[float]) -> tuple[PlacedClip, ...] | None:
        """Places clips so that their overlap is the recipe's; returns None if no such placement is found."""
        low, high = self.recipe.overlap
        parts = [self._draw_part(clip, random) for clip in clips]
        levels = [0.0, *(round(float(random.uniform(*self.recipe.levels)), 3) for _ in clips[1:])]
        for _ in range(_PLACEMENTS):
            sources = tuple(
                self._place_clip(clip, first, length, int(random.integers(0, self.recipe.length - length + 1)), level)
                for clip, (first, length), level in zip(clips, parts, levels, strict=True)
            )
            overlap = compute_overlap(sources)
            if len(sources) == 1 or low - 1e-9 <= overlap <= high + 1e-9:
                return sources
            overlaps.append(overlap)
            if all(length == self.recipe.length for _, length in parts):  # every placement is the same
                break
        return None

    def _draw_part(self, clip: Clip, random: Random) -> tuple[int, int]:
        """Returns first sample and length of the part of a clip that is used: all of it, or an active cut."""
        samples, length = self.reader(clip).samples, self.recipe.length
        return (0, len(samples)) if len(samples) <= length else (cut_sounding(samples, length, random), length)

    def _place_clip(self, clip: Clip, first: int, length: int, start: int, level: float) -> PlacedClip:
        at, end = start / self.recipe.rate, self.recipe.seconds
        spans = self.reader.spans(clip, first, length)
        text, *others = clip.texts(self.recipe)
        return PlacedClip(
            clip=clip.id, sha256=self.reader(clip).sha256, label=clip.label, text=text, paraphrases=tuple(others),
            group=clip.group, licence=clip.licence or self.recipe.licence, credit=clip.credit, first=first,
            length=length, start=start, level=level,
            spans=tuple((round(at + a, 3), round(min(at + b, end), 3)) for a, b in spans),
        )  # fmt: skip
