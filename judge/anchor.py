"""Anchors the simulated overall rating on listeners: ``python -m judge.anchor --ratings gensvs_eval_data.csv``.

Listeners compared separated voices with the clean ones (GenSVS: 250 stimuli, 12 raters each, MIT licence; the audio is
not needed). Their mean rating falls with the multi-resolution STFT distance. That curve is fitted, and then the one
constant of the overall rating, so that simulated answers to voices follow it. Prints and writes both, with intervals.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import curve_fit, minimize_scalar
from scipy.stats import pearsonr, spearmanr

from judge.degrade import RATE
from judge.families import answer
from judge.labels import Truth, overall_of
from judge.queries import Casting, Roles, draw_query
from judge.stems import mini_pool
from sam_audio_bench.files import write_json
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.metrics.functional.spectral import mrstft

__all__ = ["Curve", "distance", "fit_curve", "fit_half"]

Values = NDArray[np.float64]

SEPARATORS = (
    "mild-mask",
    "irm",
    "ibm",
    "bleed",
    "hpss",
    "band-gains",
    "spectral-gate",
    "repet-sim",
    "resynthesis",
    "phase-noise",
)
"""Families that are most like the masks and generative models that listeners rated."""

_LEVEL = 0.08  # RMS of the target, for the floor of the distance: that of a typical voice track
_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Curve:
    """Mean rating ``1 + 4 / (1 + (d / half)^steepness)``: 5 at distance 0, 3 at ``half``, towards 1 far away."""

    half: float
    steepness: float

    def __call__(self, distance: Values) -> Values:
        """Ratings at some distances."""
        return _curve(distance, self.half, self.steepness)


def _curve(distance: Values, half: float, steepness: float) -> Values:
    return 1 + 4 / (1 + (distance / half) ** steepness)


def fit_curve(distances: Values, ratings: Values) -> Curve:
    """The least-squares curve."""
    found, _ = curve_fit(_curve, distances, ratings, p0=(1.0, 1.0), bounds=((0.01, 0.1), (100, 20)))
    return Curve(*map(float, found))


def distance(target: NDArray[np.float32], given: NDArray[np.float32]) -> float:
    """Multi-resolution STFT distance as auraloss has it, after both were scaled to a target of a typical level."""
    scale = _LEVEL / max(float(np.sqrt(np.mean(np.square(target, dtype=np.float64)))), 1e-12)
    one, two = (torch.from_numpy(signal[None] * np.float32(scale)) for signal in (target, given))
    return float(mrstft(reference=one, estimate=two, level="full_scale"))


@lru_cache(maxsize=1)
def simulated(mixtures: int = 100) -> pd.DataFrame:
    """Distances, and qualities of the axes in 0…1, of answers to mini's voices beside its music."""
    stems = mini_pool()
    voices = Roles(stem for stem in stems if stem.split == "train" and stem.domain == "speech")
    music = Roles(stem for stem in stems if stem.split == "train" and stem.domain == "music")
    rows = []
    for index in range(mixtures):
        random = np.random.default_rng([0, index])
        scene = draw_query(Casting(voices, music, augment=False), "speech", random).scene
        truth = Truth(scene.target, scene.interference, RATE)
        for family in SEPARATORS:
            given = answer(family, scene, random)
            rated = {axis: (value - 1) / 4 for axis, value in truth.rate(given)._asdict().items()}
            rows.append({"mixture": index, "family": family, "distance": distance(scene.target, given), **rated})
    return pd.DataFrame(rows)


def fit_half(distances: Values, qualities: Values, curve: Curve) -> float:
    """The damage at half quality for which the overall ratings are nearest to the curve, in least squares.

    Args:
        distances: of the answers.
        qualities: ``[answers, 3]``, their recall, precision and faithfulness in 0…1.
        curve: of the listeners.
    """
    wanted = curve(distances)

    def loss(half: float) -> float:
        return float(np.mean((_overall(qualities, half) - wanted) ** 2))

    return float(minimize_scalar(loss, bounds=(0.01, 5), method="bounded").x)


def _overall(qualities: Values, half: float) -> Values:
    return np.array([1 + 4 * overall_of(recall, precision, faith, half) for recall, precision, faith in qualities])


def _redrawn(groups: pd.Series, draws: int) -> Iterator[NDArray[np.intp]]:
    """Rows of as many groups as there are, drawn with replacement."""
    random, rows = np.random.default_rng(0), [np.flatnonzero(groups == name) for name in sorted(groups.unique())]
    for _ in range(draws):
        yield np.concatenate([rows[at] for at in random.integers(0, len(rows), len(rows))])


def _interval(draws: list[float]) -> list[float]:
    return [round(float(value), 4) for value in np.percentile(draws, [2.5, 97.5])]


def listeners(table: pd.DataFrame) -> tuple[Curve, dict[str, Any]]:
    """The curve of the listeners and a report; intervals from resampled recordings, which five systems share."""
    distances, ratings = table["multi_res_loss"].to_numpy(float), table["DMOS"].to_numpy(float)
    curve = fit_curve(distances, ratings)
    draws = [fit_curve(distances[chosen], ratings[chosen]) for chosen in _redrawn(table["file_id"], _DRAWS)]
    error = ratings - curve(distances)
    report = {
        "stimuli": len(table),
        "half": round(curve.half, 4),
        "half_interval": _interval([draw.half for draw in draws]),
        "steepness": round(curve.steepness, 4),
        "steepness_interval": _interval([draw.steepness for draw in draws]),
        "pcc": round(float(pearsonr(curve(distances), ratings)[0]), 3),
        "srcc": round(float(spearmanr(curve(distances), ratings)[0]), 3),
        "rmse": round(float(np.sqrt(np.mean(error**2))), 3),
        "range": [round(float(distances.min()), 3), round(float(distances.max()), 3)],
        "bias_of_kinds": {
            kind: round(float(error[rows].mean()), 3) for kind, rows in table.groupby("model_type").indices.items()
        },
    }
    return curve, report


def anchored(curve: Curve, low: float, high: float) -> dict[str, Any]:
    """The damage at half quality and a report, from simulated answers at distances that listeners have heard."""
    rows = simulated()
    rows = rows[rows.distance.between(low, high)].reset_index(drop=True)
    distances, qualities = rows.distance.to_numpy(), rows[list(AXES[1:])].to_numpy()
    half = fit_half(distances, qualities, curve)
    redrawn = _redrawn(rows["mixture"], _DRAWS // 5)  # each takes a second
    draws = [fit_half(distances[chosen], qualities[chosen], curve) for chosen in redrawn]
    rows = rows.assign(rating=_overall(qualities, half), curve=curve(distances))
    fifths = pd.qcut(rows.distance, 5, labels=False)
    return {
        "answers": len(rows),
        "half": round(half, 3),
        "interval": _interval(draws),
        "pcc": round(float(pearsonr(rows.rating, rows.curve)[0]), 3),
        "srcc": round(float(spearmanr(rows.rating, rows.curve)[0]), 3),
        "rmse": round(float(np.sqrt(np.mean((rows.rating - rows.curve) ** 2))), 3),
        "fifths": _means(rows.groupby(fifths)),
        "families": _means(rows.groupby("family")),
    }


def _means(parts: Any) -> dict[str, dict[str, float]]:
    columns = ["distance", "rating", "curve"]
    return {str(name): means.round(3).to_dict() for name, means in parts[columns].mean().iterrows()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m judge.anchor", description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", type=Path, required=True, help="gensvs_eval_data.csv")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).with_name("anchor.json"), help="default: %(default)s"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    curve, heard = listeners(pd.read_csv(options.ratings))
    write_json(options.out, {"listeners": heard, "overall": anchored(curve, *heard["range"])})
    print(options.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
