"""A simulated listening test to try the commands on: different raters, two metrics, one inattentive rater."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["example_ratings", "example_votes"]

_RATERS, _ITEMS, _SYSTEMS = 9, 12, 8
_CARELESS = _RATERS - 1  # answers at random, fast, and falls into the trap


def example_ratings(seed: int = 0) -> pd.DataFrame:
    """A long table: every rater rates every item of every system from 1 to 5, and answers one trap.

    Args:
        seed: of the random numbers.

    Returns:
        ``rater, session, item, domain, system, score, seconds, kind, expected, si_sdr, estoi``.
    """
    rng = np.random.default_rng(seed)
    raters, items, systems = (axis.ravel() for axis in np.indices((_RATERS, _ITEMS, _SYSTEMS)))
    truth = _qualities(rng)
    perceived = truth[items, systems] + rng.normal(0, 0.3, _RATERS)[raters] + rng.normal(0, 0.6, len(raters))
    careless = raters == _CARELESS
    score = np.where(careless, rng.integers(1, 6, len(raters)), np.clip(np.rint(perceived), 1, 5))
    metrics = {
        "si_sdr": 4 * truth - 4 + rng.normal(0, 3, truth.shape),
        "estoi": 0.5 + 0.05 * truth + rng.normal(0, 0.15, truth.shape),
    }
    rows = pd.DataFrame(
        {
            "rater": _names("rater", raters),
            "session": _names("session", raters),
            "item": _names("item", items),
            "domain": np.where(items % 2, "music", "speech"),
            "system": _names("system", systems),
            "score": score.astype(int),
            "seconds": np.round(np.where(careless, 1.0, rng.gamma(9, 1, len(raters))), 1),
            "kind": "rating",
            "expected": pd.array([pd.NA] * len(raters), dtype="Int64"),
            **{name: np.round(values[items, systems], 3) for name, values in metrics.items()},
        }
    )
    trap_values: dict[str, str | int] = {"item": "trap", "kind": "trap", "expected": 2, "score": 2}
    trap = rows.groupby("rater").head(1).assign(**trap_values, **dict.fromkeys(metrics, np.nan))
    trap.loc[trap["rater"] == f"rater-{_CARELESS + 1}", "score"] = 5
    return pd.concat([rows, trap], ignore_index=True)


def example_votes(seed: int = 0) -> pd.DataFrame:
    """Votes of the same raters on pairs of the same systems: ``rater, item, first, second, choice``.

    Args:
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    truth = _qualities(rng)
    raters = np.repeat(np.arange(_RATERS), 40)
    items = rng.integers(_ITEMS, size=len(raters))
    first = rng.integers(_SYSTEMS, size=len(raters))
    second = (first + rng.integers(1, _SYSTEMS, size=len(raters))) % _SYSTEMS
    lead = truth[items, first] - truth[items, second] + rng.normal(0, 0.8, len(raters))
    return pd.DataFrame(
        {
            "rater": _names("rater", raters),
            "item": _names("item", items),
            "first": _names("system", first),
            "second": _names("system", second),
            "choice": np.select([lead > 0.3, lead < -0.3], ["first", "second"], "tie"),
        }
    )


def _qualities(rng: np.random.Generator) -> np.ndarray:
    """True quality of each item of each system: [items, systems]."""
    systems = np.linspace(1.8, 4.2, _SYSTEMS)
    return systems + rng.normal(0, 0.4, (_ITEMS, 1)) + rng.normal(0, 0.4, (_ITEMS, _SYSTEMS))


def _names(kind: str, numbers: np.ndarray) -> list[str]:
    return [f"{kind}-{number + 1}" for number in numbers]
