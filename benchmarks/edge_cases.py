"""What every library says in fourteen edge cases of the SDR family; writes docs/sdr.md.

Run: python benchmarks/edge_cases.py, with the extra `[oracles]`. A library that raises is shown
by the exception's name.
"""

from __future__ import annotations

import importlib.util
import math
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sam_audio_bench.metrics.bss import BSSImagesSDR, BSSSourcesSDR
from sam_audio_bench.metrics.ratios import SDSDR, SISDR, SISNR, SNR, ReferenceMetric
from sam_audio_bench.types import Audio, Item, Prompt, Query, Score, Separation, Status

RATE = 16000
PAGE = Path(__file__).parents[1] / "docs" / "sdr.md"
Pair = tuple[Tensor, Tensor]
Judge = Callable[[Tensor, Tensor], float]  # reference, estimate -> dB; [channels, time]

OURS: dict[str, type[ReferenceMetric]] = {
    "snr": SNR,
    "si_sdr": SISDR,
    "si_snr": SISNR,
    "sd_sdr": SDSDR,
    "bss_sources_sdr": BSSSourcesSDR,
    "bss_images_sdr": BSSImagesSDR,
}
INTRODUCTION = f"""# One name, many numbers: SDR in edge cases

Written by `benchmarks/edge_cases.py`; nothing here was typed. {{versions}}.

Four seconds of noise at {RATE // 1000} kHz, the estimate with an error 10 dB below the reference, one thing changed
at a time. All values are dB. A library that raises is shown by the exception's name. Ours come from the metrics
themselves, with their status where it is not `ok`: `-` is undefined and no number enters a mean; a silent estimate of a
real sound gets the floor; `inf` is kept and capped in means only, with the cap printed. "shorter" drops the estimate's
last 100 samples; "x 1e-6" scales both signals; "delayed" shifts the estimate by one sample; "L = -R" is stereo of
opposite channels, which mono libraries see as two signals, one call each, whose scores are averaged.
"""

CLOSING = """## Another SI-SDR

The training framework whose [`bleedless`](metrics/bleedless.md), [`k_sdr`](metrics/k_sdr.md) and others music
separation quotes calls something else `si_sdr`: the gain is fitted and the ratio taken at every sample, over the
channels, and the ratios are averaged over time. In mono any estimate is then perfect but for the epsilons inside, for
one number can always be scaled to another; in stereo nothing but the balance of the channels counts. It is not offered
here, and its values are not those of `si_sdr`. Their `sdr` is `snr` with 1e-8 added to both energies.

```python
import torch
from sam_audio_bench.metrics.functional import si_sdr

s, estimate = torch.randn(2, 1, 16_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)  # unrelated
gain = (s * estimate).sum(dim=0) / (s * s).sum(dim=0)  # one for every sample
assert (gain * s - estimate).abs().max() < 1e-9  # no error at all
assert si_sdr(reference=s[0], estimate=estimate[0]) < -30
```
"""


def cases() -> dict[str, Pair]:
    """The fourteen, by name: reference and estimate ``[channels, time]``, float64."""
    generator = torch.Generator().manual_seed(0)
    reference, noise = torch.randn(2, 1, 4 * RATE, generator=generator, dtype=torch.float64) * 0.1
    estimate = reference + noise * (reference.norm() / noise.norm()) * 10**-0.5
    silence, broken = torch.zeros_like(reference), estimate.clone()
    broken[0, 1000] = math.nan
    return {
        "normal": (reference, estimate),
        "perfect": (reference, reference.clone()),
        "silent reference": (silence, estimate),
        "silent estimate": (reference, silence),
        "both silent": (silence, silence.clone()),
        "shorter": (reference, estimate[:, :-100]),
        "offset 0.1": (reference, estimate + 0.1),
        "gain 0.5": (reference, 0.5 * estimate),
        "polarity": (reference, -estimate),
        "x 1e-4": (1e-4 * reference, 1e-4 * estimate),
        "x 1e-6": (1e-6 * reference, 1e-6 * estimate),
        "delayed": (reference, estimate.roll(1)),
        "NaN": (reference, broken),
        "L = -R": (torch.cat([reference, -reference]), torch.cat([estimate, -estimate])),
    }


def ours(kind: type[ReferenceMetric], reference: Tensor, estimate: Tensor) -> str:
    """The first column of a metric for one answer, with its status."""
    item = Item(
        id="case",
        group="case",
        query=Query(mixture=Audio(reference, RATE), prompt=Prompt(text="noise")),
        reference=Audio(reference, RATE),
    )
    score = kind().score([item], [Separation(target=Audio(estimate, RATE), residual=Audio(estimate, RATE))])[0][0]
    return "not asked" if score is None else shown(score)


def shown(score: Score) -> str:
    """A score as the tables print it."""
    value = "-" if score.value is None else number(score.value)
    return value if score.status is Status.OK else f"{value} `{score.status}`"


def number(value: float) -> str:
    """Two decimals; none where they would be rounding errors."""
    return f"{value:.2f}" if not math.isfinite(value) or abs(value) < 100 else f"{value:.0f}"


def theirs(judge: Judge, reference: Tensor, estimate: Tensor) -> str:
    """What a library says, or the name of what it raises."""
    try:
        return number(judge(reference.clone(), estimate.clone()))
    except Exception as error:  # whatever it is, the page says so
        return type(error).__name__


def museval_metrics() -> Any:
    """The module `museval.metrics` without its package, which wants an ffmpeg."""
    package = importlib.util.find_spec("museval")
    if package is None or not package.submodule_search_locations:
        sys.exit("expected museval, found none; run: pip install -e '.[oracles]'")
    path = Path(package.submodule_search_locations[0]) / "metrics.py"
    spec = importlib.util.spec_from_file_location("museval_metrics", path)
    if spec is None or spec.loader is None:
        sys.exit(f"expected a module at {path}, found none")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _torch(function: Callable[..., Any], dtype: torch.dtype, **options: Any) -> Judge:
    """A function (estimate, reference) of tensors."""
    return _channels(lambda r, e: function(e.to(dtype), r.to(dtype), **options))


def _loss(loss: Any) -> Judge:
    """A loss of auraloss, (estimate, reference) ``[batch, 1, time]``: the negative of a score."""
    return _channels(lambda r, e: -loss(e.float()[None], r.float()[None]))


def _sources(function: Callable[..., Any]) -> Judge:
    """A function (references, estimates) ``[sources, time]`` whose first result is the SDR."""
    return _channels(lambda r, e: function(r, e, compute_permutation=False)[0])


def _channels(function: Callable[[Tensor, Tensor], Any]) -> Judge:
    """Mean over channels of a function of mono signals ``[1, time]``."""

    def mean(reference: Tensor, estimate: Tensor) -> float:
        pairs = zip(reference[:, None], estimate[:, None], strict=True)
        return float(np.mean([np.asarray(function(one, other)) for one, other in pairs]))

    return mean


def peers() -> dict[str, dict[str, Judge]]:
    """By our metric's id: every library's function for the same quantity."""
    import auraloss
    import fast_bss_eval
    from mir_eval.separation import bss_eval_sources
    from torchmetrics.functional import audio

    museval, single, double = museval_metrics(), torch.float32, torch.float64

    def images(window: float) -> Judge:
        def median(reference: Tensor, estimate: Tensor) -> float:
            turned = reference.T[None].numpy(), estimate.T[None].numpy()
            return float(np.nanmedian(museval.bss_eval(*turned, window, window)[0]))

        return median

    def in_numpy(function: Callable[..., Any]) -> Judge:
        return _sources(lambda r, e, **options: function(r.numpy(), e.numpy(), **options))

    si_sdr, si_snr = audio.scale_invariant_signal_distortion_ratio, audio.scale_invariant_signal_noise_ratio
    return {
        "snr": {
            "torchmetrics, float32": _torch(audio.signal_noise_ratio, single),
            "torchmetrics, float64": _torch(audio.signal_noise_ratio, double),
            "auraloss": _loss(auraloss.time.SNRLoss(zero_mean=False)),
            "museval images, one frame": images(math.inf),
        },
        "si_sdr": {
            "torchmetrics, float32": _torch(si_sdr, single),
            "torchmetrics, float64": _torch(si_sdr, double),
            "fast_bss_eval, float64": _sources(fast_bss_eval.si_bss_eval_sources),
            "auraloss": _loss(auraloss.time.SISDRLoss(zero_mean=False)),
        },
        "si_snr": {
            "torchmetrics, float32": _torch(si_snr, single),
            "torchmetrics, float64": _torch(si_snr, double),
            "auraloss, zero_mean": _loss(auraloss.time.SISDRLoss(zero_mean=True)),
        },
        "sd_sdr": {"auraloss": _loss(auraloss.time.SDSDRLoss(zero_mean=False))},
        "bss_sources_sdr": {
            "mir_eval": in_numpy(bss_eval_sources),
            "museval sources": in_numpy(museval.bss_eval_sources),
            "fast_bss_eval, float64": _sources(fast_bss_eval.bss_eval_sources),
            "torchmetrics, float32": _torch(audio.signal_distortion_ratio, single),
            "torchmetrics, load_diag=1e-3": _torch(audio.signal_distortion_ratio, double, load_diag=1e-3),
        },
        "bss_images_sdr": {"museval, median of 1 s frames": images(RATE)},
    }


def our_line(name: str, signals: Mapping[str, Pair]) -> str:
    """The table row of one of our metrics."""
    return _line(f"**{name}**", [ours(OURS[name], *pair) for pair in signals.values()])


def _line(name: str, cells: list[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Writes the page."""
    warnings.simplefilter("ignore")
    signals = cases()
    libraries = ("torchmetrics", "mir_eval", "museval", "fast_bss_eval", "auraloss")
    page = [INTRODUCTION.format(versions=", ".join(f"{name} {version(name)}" for name in libraries))]
    for name, judges in peers().items():
        page += [f"## `{name}`", "", _line("", list(signals)), "| --- |" + " --: |" * len(signals)]
        page.append(our_line(name, signals))
        page += [_line(peer, [theirs(judge, *pair) for pair in signals.values()]) for peer, judge in judges.items()]
        page.append("")
    PAGE.write_text("\n".join([*page, CLOSING]), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
