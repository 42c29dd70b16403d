"""Which clips sound together in each mixture of `sabench data mix`, where and how loud: known before any is made.

Mixture i depends on the recipe, its seed, i and the pool alone, so that shards are parts of the whole. Spans and
overlap follow from when the clips sound by themselves, moved to where they are placed.
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

_CASTS, _PLACEMENTS = 20, 100  # that are tried for a mixture
_DRAWS = 50  # of one more source that is unlike the others
_SHOWN = 3  # clips in a message

Times = Sequence[tuple[float, float]]


class PlacedClip(Struct, frozen=True, kw_only=True):
    """One source of a mixture."""

    clip: str  # its path in the pool
    sha256: str  # of its file
    label: str
    text: str  # "": nobody asks for it
    paraphrases: tuple[str, ...]
    group: str
    licence: str  # "": not stated
    credit: str
    first: int  # sample of the clip that is the first one here, at the mixture's rate
    length: int  # samples
    start: int  # sample of the mixture
    level: float  # dB, before the others are scaled together
    spans: tuple[tuple[float, float], ...]  # seconds of the mixture in which it sounds


class MixPlan(Struct, frozen=True, kw_only=True):
    """One mixture before it is made; its first source is the target."""

    key: str
    sources: tuple[PlacedClip, ...]
    snr: float | None  # dB, of the target over all others; None: it is alone
    loudness: float  # in the recipe's unit


def format_key(index: int) -> str:
    """The name of a mixture by its number."""
    return f"mix-{index:06d}"


def compute_overlap(sources: Sequence[PlacedClip], asked: int = 0) -> float:
    """Share of the time in which a source sounds that another one sounds in as well; 0 for one alone.

    Args:
        sources: of a mixture.
        asked: which one.
    """
    others = merge_spans(span for at, one in enumerate(sources) if at != asked for span in one.spans)
    return span_overlap(reference=sources[asked].spans, estimate=others).recall


@dataclass
class Planner:
    """Draws mixtures; everything that a recipe cannot be met for is told here.

    Args:
        clips: of the pool, that may be used.
        recipe: what is to be made.

    Raises:
        UsageError: too few labels, or nothing to ask for.
    """

    clips: Sequence[Clip]
    recipe: MixRecipe
    reader: ClipReader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = ClipReader(self.recipe)
        self._all = ClipIndex(self.clips)
        self._asked = ClipIndex(clip for clip in self.clips if clip.texts(self.recipe)[0])
        self._confused = [frozenset(labels) for labels in self.recipe.confused]
        most, labels = self.recipe.sources[1], self._all.labels()
        if len(labels) < most:
            raise UsageError(
                f"expected at least {most} labels for {most} sources in a mixture, no two of one label, found "
                f"{len(labels)} ({', '.join(labels) or 'none'}): ask for fewer sources, or use more of the pool"
            )
        if not self._asked.labels():
            raise UsageError("expected a label that is asked for, found an empty text for each of them in [prompts]")

    def plan(self, indices: Iterable[int], *, advance: Callable[[], None] = lambda: None) -> list[MixPlan]:
        """The mixtures of some numbers, each clip of which was read.

        Args:
            indices: of mixtures, from 0.
            advance: called after each.

        Raises:
            UsageError: no sources were found whose overlap is as the recipe says, or that can be told apart.
            MediaError: clips that cannot be used; the message names the first.
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
        """One mixture; None where a clip of it is a problem."""
        random = np.random.default_rng([self.recipe.seed, index])
        overlaps: list[float] = []
        for _ in range(_CASTS):
            cast = self._cast(random)
            try:
                sources = self._placed(cast, random, overlaps) if cast else None
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

    def _cast(self, random: Random) -> list[Clip]:
        """The target and its company, all apart; none where there is no such company."""
        count = int(random.integers(self.recipe.sources[0], self.recipe.sources[1] + 1))
        cast = [self._asked.draw("", random)]
        for _ in range(count - 1):
            drawn = (self._all.draw("", random) for _ in range(_DRAWS))
            other = next((clip for clip in drawn if all(self._apart(clip, one) for one in cast)), None)
            if other is None:
                return []
            cast.append(other)
        return cast

    def _apart(self, one: Clip, other: Clip) -> bool:
        """Whether nothing that asks for one clip can mean another."""
        if one.label == other.label or one.group == other.group:
            return False
        if any(one.label in labels and other.label in labels for labels in self._confused):
            return False
        texts = [{text.casefold() for text in clip.texts(self.recipe)} - {""} for clip in (one, other)]
        return texts[0].isdisjoint(texts[1])

    def _placed(self, cast: Sequence[Clip], random: Random, overlaps: list[float]) -> tuple[PlacedClip, ...] | None:
        """The cast where its overlap is as it should be; None where no placement is found."""
        low, high = self.recipe.overlap
        parts = [self._part(clip, random) for clip in cast]
        levels = [0.0, *(round(float(random.uniform(*self.recipe.levels)), 3) for _ in cast[1:])]
        for _ in range(_PLACEMENTS):
            sources = tuple(
                self._at(clip, first, length, int(random.integers(0, self.recipe.length - length + 1)), level)
                for clip, (first, length), level in zip(cast, parts, levels, strict=True)
            )
            overlap = compute_overlap(sources)
            if len(sources) == 1 or low - 1e-9 <= overlap <= high + 1e-9:
                return sources
            overlaps.append(overlap)
            if all(length == self.recipe.length for _, length in parts):  # there is no other place
                break
        return None

    def _part(self, clip: Clip, random: Random) -> tuple[int, int]:
        """First sample and length of what is heard of a clip: all of it, or a stretch in which it sounds."""
        samples, length = self.reader(clip).samples, self.recipe.length
        return (0, len(samples)) if len(samples) <= length else (cut_sounding(samples, length, random), length)

    def _at(self, clip: Clip, first: int, length: int, start: int, level: float) -> PlacedClip:
        at, end = start / self.recipe.rate, self.recipe.seconds
        spans = self.reader.spans(clip, first, length)
        text, *others = clip.texts(self.recipe)
        return PlacedClip(
            clip=clip.id, sha256=self.reader(clip).sha256, label=clip.label, text=text, paraphrases=tuple(others),
            group=clip.group, licence=clip.licence or self.recipe.licence, credit=clip.credit, first=first,
            length=length, start=start, level=level,
            spans=tuple((round(at + a, 3), round(min(at + b, end), 3)) for a, b in spans),
        )  # fmt: skip
