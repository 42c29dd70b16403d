"""Writes metrics.json: scores of small signals, from the libraries that define them where one does.

Run `python -m tests.golden.make_metrics` with the extra `[oracles]` after a deliberate change; the signals come from
integer arithmetic, so that they are the same everywhere.
"""

from __future__ import annotations

import datetime
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam_audio_bench.metrics import functional as F

RATE = 2000
PATH = Path(__file__).with_name("metrics.json")


def signals() -> tuple[Tensor, Tensor]:
    """References and estimates ``[3, 2, 4500]``: coloured noise; an echo, interference and noise in the estimates."""
    state, values = 12345, []
    for _ in range(2 * 3 * 2 * 4500):
        state = (1103515245 * state + 12345) % 2**31
        values.append(state / 2**30 - 1)
    white, alien = torch.tensor(values, dtype=torch.float64).reshape(2, 3, 2, 4500)
    sources = white + 0.6 * white.roll(1, dims=-1) + 0.3 * white.roll(2, dims=-1)
    sources = sources * torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)[:, None, None]
    return sources, 0.9 * sources + 0.3 * sources.roll(3, dims=-1) + 0.2 * sources.roll(1, dims=0) + 0.1 * alien


def ours() -> dict[str, list[Any]]:
    """Every score of the signals by this package: mono ids on the left channels."""
    sources, estimates = signals()
    reference, estimate = sources[:, 0], estimates[:, 0]
    both = {"reference": reference, "estimate": estimate}
    names = ("snr", "si_sdr", "si_snr", "sd_sdr", "sa_sdr", "si_sir", "si_sar")
    scores = {name: getattr(F, name)(**both).tolist() for name in names}
    v3 = F.bss_sources(**both)
    scores |= {f"bss_sources_{name}": getattr(v3, name).tolist() for name in ("sdr", "sir", "sar")}
    v4 = F.bss_images(reference=sources, estimate=estimates, rate=RATE)
    scores |= {f"bss_images_{name}": getattr(v4, name).tolist() for name in ("sdr", "isr", "sir", "sar")}
    return scores


def theirs() -> dict[str, tuple[str, list[Any]]]:
    """The scores that another library defines, with its name."""
    from mir_eval.separation import bss_eval_sources
    from torchmetrics.functional import audio

    from tests.oracles import museval_metrics

    sources, estimates = signals()
    reference, estimate = sources[:, 0], estimates[:, 0]
    scores = {
        "snr": ("torchmetrics", audio.signal_noise_ratio(estimate, reference).tolist()),
        "si_sdr": ("torchmetrics", audio.scale_invariant_signal_distortion_ratio(estimate, reference).tolist()),
        "si_snr": ("torchmetrics", audio.scale_invariant_signal_noise_ratio(estimate, reference).tolist()),
        "sa_sdr": ("torchmetrics", float(_sa_sdr(estimate, reference))),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        v3 = bss_eval_sources(reference.numpy(), estimate.numpy(), compute_permutation=False)
    for name, values in zip(("sdr", "sir", "sar"), v3, strict=False):
        scores[f"bss_sources_{name}"] = ("mir_eval", np.asarray(values).tolist())
    images = (sources.transpose(1, 2).numpy(), estimates.transpose(1, 2).numpy())
    v4 = museval_metrics().bss_eval(*images, window=RATE, hop=RATE)
    for name, values in zip(("sdr", "isr", "sir", "sar"), v4, strict=False):
        scores[f"bss_images_{name}"] = ("museval", values.tolist())
    return scores


def _sa_sdr(estimate: Tensor, reference: Tensor) -> Tensor:
    from torchmetrics.functional.audio import source_aggregated_signal_distortion_ratio

    return source_aggregated_signal_distortion_ratio(estimate, reference, scale_invariant=False)


def main() -> None:
    """Writes the file."""
    found = {name: {"by": "sam_audio_bench", "values": values} for name, values in ours().items()}
    found |= {name: {"by": library, "values": values} for name, (library, values) in theirs().items()}
    libraries = ("torch", "numpy", "torchmetrics", "mir_eval", "museval")
    record = {
        "made": datetime.date.today().isoformat(),
        "by": "python -m tests.golden.make_metrics",
        "versions": {library: version(library) for library in libraries},
        "scores": found,
    }
    PATH.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
