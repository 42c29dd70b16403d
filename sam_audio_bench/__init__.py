"""Evaluation harness of promptable audio source separation.

    errors      exceptions
    deprecated  old public names, for one release
    types       Audio, Prompt, Query, Item, Separation, Score and the separators' protocols
    notebook    players and waveforms as HTML
    platforms   differences of Windows
    files       file names, JSON, journals
    digests     SHA-256 of files and of values
    parsed_code  the syntax, imports and bindings of a module's file
    loaded_code  differences between a loaded module and its file
    code_digests  SHA-256 of code
    identity    identities of components: options, code, weights, version
    options     parsing of specifications such as hpss(margin=2)
    tabular     text tables and JSON written by users
    parameters  parameter names of built-in constructors, read from source
    records     typed records of run folders
    cards       descriptions of components, readable without loading them
    blocks      processing of long sound in blocks and temporary files
    decoding    decoding of sound and video files to samples
    audio       reading, writing, resampling
    video       frames and masks
    devices     devices of networks
    nn          the networks of SAM Audio
    metrics     scores of estimates, with or without a clean reference
    judge       SAJ, the SAM Audio Judge
    separators  baselines, oracles, classical methods, SAM Audio, external programs
    tasks       the catalogue, the embedded mini split, users' data
    stats       intervals and summaries
    render      numbers, texts and tables for readers
    plugins     components of third parties and their cards
    construction  import of classes and construction of objects
    names       checks of names and options without imports
    plots       figures as SVG, PNG and CSV
    columns     the metrics of a run, with a record per column
    registry    loading of components by name, with their identities
    run         planning, separation, storage, scoring
    leaderboard  submissions, ranks, the site
    ratings     listening tests: import, screening, agreement, correlation, reports
    filtering   pseudo-labels: estimates that are good enough for training
    cli         the sabench command

    >>> import sam_audio_bench as sab
    >>> sab.Prompt(text="dog barking").text
    'dog barking'

Importing this package does not import torch: names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

__all__ = [
    "Adapted",
    "Audio",
    "BenchError",
    "Item",
    "Metric",
    "OracleSeparator",
    "Prompt",
    "Query",
    "Results",
    "Score",
    "Separation",
    "Separator",
    "Status",
    "__version__",
    "evaluate",
    "judge",
    "load_metric",
    "load_separator",
    "load_task",
]

_HOMES = {
    "Adapted": "separators.adapted",
    "BenchError": "errors",
    "Metric": "metrics.base",
    "Results": "run.results",
    "evaluate": "run.evaluate",
    "load_metric": "registry",
    "load_separator": "registry",
    "load_task": "registry",
}

if TYPE_CHECKING:
    from sam_audio_bench import judge
    from sam_audio_bench.errors import BenchError
    from sam_audio_bench.metrics.base import Metric
    from sam_audio_bench.registry import load_metric, load_separator, load_task
    from sam_audio_bench.run.evaluate import evaluate
    from sam_audio_bench.run.results import Results
    from sam_audio_bench.separators.adapted import Adapted
    from sam_audio_bench.types import (
        Audio,
        Item,
        OracleSeparator,
        Prompt,
        Query,
        Score,
        Separation,
        Separator,
        Status,
    )


if not TYPE_CHECKING:  # with it, a type checker would accept any name

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "judge":
            return importlib.import_module(f"{__name__}.judge")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'types')}"), name)


def __dir__() -> list[str]:
    return __all__
