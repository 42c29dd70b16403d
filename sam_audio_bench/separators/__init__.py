"""Everything that answers queries.

    catalogue   one card a built-in separator
    baselines   mixture, silence
    oracles     ideal masks and the multichannel Wiener filter, shown the references
    classical   hpss, repet-sim, spectral-gate
    prompt_keywords keywords and spans of a prompt, for separators without a learned text encoder
    base        options and answers of oracles and classical separators
    stft        the short-time Fourier transform that they share
    sam_audio   the SAM Audio networks of `nn`, with sam_audio_query for what they are told
    adapted     models of another rate, delay, length or number of channels, by what adaptation does
    stems       models that give all stems at once; prompt_stems says which of them a prompt asks for
    suppressors rnnoise, dtln, nsnet2, gtcrn, hush
    demucs_stems demucs
    external    callables, answer folders, commands
    serving     programs that stay, and answer one query after another
    command_line what a command says: placeholders, arguments, named files
    answers     what a program wrote
    dialogue    a line in, a line out, within a time; pipes has two ways to wait for one
    programs    running a program, and ending all that it started
    orphans     which processes those are
    pickers     one card a picker, and the default for a prompt
    rerank      picking one of several candidates

Importing this package does not import torch.
"""

from sam_audio_bench.separators.catalogue import CARDS, SAM_AUDIO, SeparatorCard

__all__ = ["CARDS", "SAM_AUDIO", "SeparatorCard"]
