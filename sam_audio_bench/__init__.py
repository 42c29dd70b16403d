"""The evaluation harness of promptable audio source separation.

    errors      what is raised on purpose
    deprecated  old public names, for one release
    types       Audio, Prompt, Query, Item, Separation, Score and the separators' protocols
    notebook    players and waveforms as HTML
    platforms   what Windows does otherwise
    files       file names, JSON, journals
    digests     SHA-256 of files and of values
    parsed_code  the syntax, imports and bindings of a module's file
    loaded_code  differences between a loaded module and its file
    code_digests  SHA-256 of code
    identity    what a component is: options, code, weights, version
    options     spellings of components and their options
    tabular     text tables and JSON that anyone wrote
    parameters  what built-in constructors take, read from their source
    records     what run folders hold, typed
    cards       what each component says of itself, readable without loading it
    blocks      sound too long for memory, in blocks and temporary files
    decoding    from the bytes of a sound or video file to samples
    audio       reading, writing, resampling
    video       frames and masks
    devices     where networks run
    nn          the networks of SAM Audio
    metrics     scores of answers, with or without a clean reference
    judge       SAJ, the SAM Audio Judge
    separators  baselines, oracles, classical methods, SAM Audio, anyone's programs
    tasks       the catalogue, the embedded mini split, anyone's data
    stats       intervals and summaries
    render      numbers, texts and tables for readers
    plugins     components of third parties and their cards
    construction  from a class and arguments to an object
    names       whether a name means anything, told without importing it
    plots       figures as SVG, PNG and CSV
    columns     the metrics of a run, with the record of each column
    registry    names to objects and their identities
    run         plan, separate, persist, score, seal
    leaderboard  submissions, ranks, the site
    ratings     listening tests: import, screening, agreement, correlation, reports
    filtering   pseudo-labels: the estimates that are good enough to train on
    cli         the sabench command

    >>> import sam_audio_bench as sab
    >>> sab.Prompt(text="dog barking").text
    'dog barking'

Importing this package does not import torch: names are loaded when they are first used.
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


if not TYPE_CHECKING:  # a type checker would take any name to be there

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "judge":
            return importlib.import_module(f"{__name__}.judge")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'types')}"), name)


def __dir__() -> list[str]:
    return __all__
