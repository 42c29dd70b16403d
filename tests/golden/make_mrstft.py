"""Writes mrstft.json: values of auraloss for signals in closed form. Run by hand: python tests/golden/make_mrstft.py.

Made on 2026-11-23 with auraloss 0.4.0, torch 2.13.0, CPU, float64.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor


def signals() -> dict[str, tuple[Tensor, Tensor]]:
    """Pairs of reference and estimate ``[channels, time]``: chirps, gains, a pause of digital silence."""
    times = torch.arange(12_000, dtype=torch.float64) / 24_000
    chirp = 0.5 * torch.sin(2 * torch.pi * (100 * times + 5000 * times.square()))
    hum = 0.1 * torch.sin(2 * torch.pi * 333 * times)
    paused = chirp * (times > 0.2)
    return {
        "noisy": (chirp[None], (chirp + hum)[None]),
        "gain": (chirp[None], 0.25 * chirp[None]),
        "pause": (paused[None], (paused + hum)[None]),
        "silent": (chirp[None], torch.zeros_like(chirp)[None]),
        "stereo": (torch.stack([chirp, 0.1 * hum]), torch.stack([chirp + hum, hum])),
    }


def main() -> None:
    """The loss of each pair as it is, and after division by the reference's RMS."""
    from auraloss.freq import MultiResolutionSTFTLoss

    torch.set_default_dtype(torch.float64)  # of its windows
    loss = MultiResolutionSTFTLoss()
    values = {}
    for name, (reference, estimate) in signals().items():
        rms = reference.square().mean().sqrt()
        values[name] = {
            "full_scale": float(loss(estimate[None], reference[None])),
            "reference": float(loss(estimate[None] / rms, reference[None] / rms)),
        }
    Path(__file__).with_name("mrstft.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
