"""Everything that answers queries.

    catalogue   one card a built-in separator
    baselines   mixture, silence
    oracles     ideal masks and the multichannel Wiener filter, shown the references
    classical   hpss, repet-sim, spectral-gate
    prompts     what they read from a prompt: keywords and spans
    base        options and answers of oracles and classical separators
    stft        the short-time Fourier transform that they share
    external    callables, answer folders, commands

Importing this package does not import torch.
"""

from sam_audio_bench.separators.catalogue import CARDS, SeparatorCard

__all__ = ["CARDS", "SeparatorCard"]
