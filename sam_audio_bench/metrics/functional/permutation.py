"""Assignment of estimates to references if the order of the estimates is arbitrary, as for speakers."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import CAP_DB, FLOOR_DB

__all__ = ["Permuted", "best_assignment", "permuted"]


class Ratio(Protocol):
    """A function such as `functional.si_sdr`, ``[..., time] -> [...]``."""

    def __call__(self, *, reference: Tensor, estimate: Tensor) -> Tensor:
        """Returns decibels ``[...]``."""
        ...


class Permuted(NamedTuple):
    """Scores under the best assignment."""

    scores: Tensor  # [references], dB
    assignment: Tensor  # [references]: index of the estimate of each reference


def best_assignment(scores: Tensor) -> Tensor:
    """Assigns a different estimate to every reference so that the mean score is maximal (Hungarian method).

    Undefined scores count as `FLOOR_DB`, infinite ones as `CAP_DB`.

    Args:
        scores: ``[references, estimates]``, dB, higher is better; at least as many estimates as references.

    Returns:
        Index of the estimate of each reference ``[references]``.

    Raises:
        UsageError: there are fewer estimates than references.

    >>> best_assignment(torch.tensor([[3.0, 9.0], [8.0, 10.0]]))
    tensor([1, 0])
    """
    if scores.ndim != 2 or scores.shape[0] > scores.shape[1]:
        raise UsageError(f"expected scores [references, estimates], not fewer estimates, found {list(scores.shape)}")
    finite = scores.double().nan_to_num(nan=FLOOR_DB, posinf=CAP_DB, neginf=FLOOR_DB)
    from scipy.optimize import linear_sum_assignment  # takes 0.3 s, so not at start

    _, columns = linear_sum_assignment(finite.cpu().numpy(), maximize=True)
    return torch.from_numpy(columns)


def permuted(function: Ratio, *, reference: Tensor, estimate: Tensor) -> Permuted:
    """Computes the scores of the estimates in the order with the highest mean score.

    Args:
        function: `functional.si_sdr` or another function with its signature.
        reference: ``[references, time]``.
        estimate: ``[estimates, time]``.

    Raises:
        UsageError: there are fewer estimates than references, or lengths differ.
    """
    if reference.ndim != 2 or estimate.ndim != 2 or reference.shape[1] != estimate.shape[1]:
        found = f"{list(reference.shape)} and {list(estimate.shape)}"
        raise UsageError(f"expected [references, time] and [estimates, time], found {found}")
    every = torch.stack([function(reference=r.expand_as(estimate), estimate=estimate) for r in reference])
    assignment = best_assignment(every).to(every.device)
    return Permuted(every.gather(1, assignment[:, None])[:, 0], assignment)
