"""Separators: built-in ones, and wrappers for models, functions, folders and programs.

    catalogue   one card per built-in separator
    baselines   mixture, silence
    oracles     ideal masks and the multichannel Wiener filter, computed from the references
    classical   hpss, repet-sim, spectral-gate
    prompt_keywords keywords and spans of a prompt, for separators without a learned text encoder
    base        common base class of oracles and classical separators
    stft        their short-time Fourier transform
    sam_audio   the SAM Audio networks of `nn`; sam_audio_query encodes their inputs
    adapted     models with their own rate, delay, length or number of channels; adaptation converts the audio
    stems       models that return all stems at once; prompt_stems maps prompts to stems
    suppressors rnnoise, dtln, nsnet2, gtcrn, hush
    demucs_stems demucs
    external    functions, folders of estimates, commands
    serving     programs that are loaded once and process one query after another
    program_command parsing of commands: placeholders, arguments, named files
    estimate_files reading the estimates that programs wrote
    dialogue    line-based exchange with a program; pipes has its two implementations
    programs    running a program, and ending every process that it started
    process_family finding these processes
    pickers     one card per picker, and the default picker for a prompt
    rerank      picking one of several candidates

Importing this package does not import torch.
"""

from sam_audio_bench.separators.catalogue import CARDS, SAM_AUDIO, SeparatorCard

__all__ = ["CARDS", "SAM_AUDIO", "SeparatorCard"]
