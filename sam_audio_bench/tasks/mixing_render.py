"""Renders planned mixtures in exact arithmetic, and makes questions about them.

All sources are on the 24-bit grid, and the sum of their magnitudes stays below 2 at every sample. So float32 adds them
without rounding in any order: ``sum(sources) == mixture`` bit by bit, in memory and in 24-bit files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench import audio
from sam_audio_bench.errors import MediaError
from sam_audio_bench.metrics.functional.loudness import integrated_loudness
from sam_audio_bench.tasks.manifest_tables import COLUMNS, format_spans
from sam_audio_bench.tasks.mixing import Signal, add_at, headroom, normalise_level, peak_of, residual_gain, rms
from sam_audio_bench.tasks.mixing_plan import MixPlan, PlacedClip, compute_overlap
from sam_audio_bench.tasks.mixing_pool import Clip, ClipReader
from sam_audio_bench.tasks.mixing_recipe import MixRecipe

__all__ = ["ATTRIBUTES", "RenderedMixture", "question_rows", "render"]

ATTRIBUTES = ("sources", "snr", "overlap", "loudness", "target_class", "other_classes", "licences")
"""Attribute columns of the table of questions."""

_SNR_SLACK = 0.05  # dB by which rounding to 24 bits may change the ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedMixture:
    """The signals of a mixture, with their levels."""

    sources: tuple[Signal, ...]  # [time] each, the target first
    mixture: Signal
    snr: tuple[float, ...]  # dB, of each source over all others; empty for a single source
    loudness: float  # in the recipe's unit
    turned_down: float  # dB below the planned loudness, for headroom


def render(plan: MixPlan, clips: Mapping[str, Clip], reader: ClipReader) -> RenderedMixture:
    """Places and scales the sources of a mixture.

    Raises:
        MediaError: a clip cannot be read, or 24 bits cannot represent the ratio at this loudness.
    """
    recipe = reader.recipe
    tracks = [_render_track(one, reader(clips[one.clip]).samples, recipe) for one in plan.sources]
    if plan.snr is not None:
        _check_sounding(_sum(tracks[1:]), plan)
        balance = np.float32(residual_gain(tracks[0], _sum(tracks[1:]), plan.snr))
        tracks = [tracks[0], *(track * balance for track in tracks[1:])]
    _check_sounding(_sum(tracks), plan)
    gain, turned_down = _mixture_gain(tracks, plan, recipe)
    sources = tuple(audio.quantise_24_bit(track * np.float32(gain)) for track in tracks)
    mixture = _sum(sources)
    ratios = _ratios(sources, mixture) if len(sources) > 1 else ()
    if plan.snr is not None and not abs(ratios[0] - plan.snr) <= _SNR_SLACK:
        raise MediaError(
            f"expected {plan.key} with {plan.snr:.2f} dB between its target and the rest, found {ratios[0]:.2f} dB in "
            "24 bits: ask for a higher loudness or another snr"
        )
    return RenderedMixture(
        sources=sources, mixture=mixture, snr=ratios, loudness=_loudness(mixture, plan.key, recipe),
        turned_down=turned_down,
    )  # fmt: skip


def _check_sounding(total: Signal, plan: MixPlan) -> None:
    """Raises MediaError for sources that cancel each other, such as a clip and its inverted copy."""
    if not total.any():
        clips = ", ".join(one.clip for one in plan.sources)
        raise MediaError(
            f"expected clips of different sounds in {plan.key}, found some that cancel each other among {clips}: take "
            "one out of the pool"
        )


def _render_track(source: PlacedClip, samples: Signal, recipe: MixRecipe) -> Signal:
    track = np.zeros(recipe.length, np.float32)
    add_at(track, samples[source.first : source.first + source.length], source.start)
    return normalise_level(track) * np.float32(10 ** (source.level / 20))


def _sum(signals: Sequence[Signal]) -> Signal:
    """Returns the sum, computed in float64, which is exact on the 24-bit grid; so is float32 below 2."""
    total: NDArray[np.float64] = np.sum(signals, axis=0, dtype=np.float64)
    return total.astype(np.float32)


def _mixture_gain(tracks: Sequence[Signal], plan: MixPlan, recipe: MixRecipe) -> tuple[float, float]:
    """Returns the gain to the planned loudness, reduced if a peak would exceed `PEAK`, and the reduction in dB."""
    mixture = _sum(tracks)
    gain = 10 ** ((plan.loudness - _loudness(mixture, plan.key, recipe)) / 20)
    magnitudes: NDArray[np.float32] = np.sum(np.abs(tracks), axis=0)
    down = headroom(gain * max(peak_of(mixture, *tracks), float(magnitudes.max()) / 2))
    return gain * down, -20 * float(np.log10(down))


def _loudness(mixture: Signal, key: str, recipe: MixRecipe) -> float:
    found = integrated_loudness(mixture[None], recipe.rate) if recipe.unit == "LUFS" else 20 * np.log10(rms(mixture))
    if found is None:
        raise MediaError(f'expected {key} to be above -70 LUFS, found less: write unit = "dBFS"')
    return float(found)


def _ratios(sources: Sequence[Signal], mixture: Signal) -> tuple[float, ...]:
    return tuple(20 * float(np.log10(rms(source) / rms(mixture - source))) for source in sources)


def question_rows(
    plan: MixPlan, rendered: RenderedMixture, recipe: MixRecipe, folder: str
) -> list[dict[str, str | int | float]]:
    """Returns one row of a table of questions per source that is a target.

    The residual is left out, since mixture minus target is exact.

    Args:
        plan: the plan of the mixture.
        rendered: the mixture's signals.
        recipe: states which sources are targets.
        folder: the folder of the mixture's files, relative to the table; "" or with a slash at the end.
    """
    targets = [index for index, one in enumerate(plan.sources) if one.text and (index == 0 or recipe.ask == "every")]
    licences = dict.fromkeys(one.licence or "not stated" for one in plan.sources)
    rows: list[dict[str, str | int | float]] = []
    for at in targets:
        one, others = plan.sources[at], [other for index, other in enumerate(plan.sources) if index != at]
        known: dict[str, str | int | float] = dict.fromkeys((*COLUMNS, *ATTRIBUTES), "")
        rows.append({
            **known,
            "mixture": f"{folder}mixture.flac",
            "text": one.text,
            "spans": format_spans(("+", start, end) for start, end in one.spans),
            "target": f"{folder}source{at + 1}.flac",
            "group": one.group,
            "id": plan.key if at == 0 else f"{plan.key}-{at + 1}",
            "paraphrases": "|".join(one.paraphrases),
            "sources": len(plan.sources),
            "loudness": round(rendered.loudness, 3),
            "target_class": one.label,
            "licences": " + ".join(sorted(licences)),
            **({"snr": round(rendered.snr[at], 3), "overlap": round(compute_overlap(plan.sources, at), 4),
                "other_classes": " + ".join(sorted(other.label for other in others))} if others else {}),
        })  # fmt: skip
    return rows
