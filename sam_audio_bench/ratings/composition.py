"""All parts of a listening test, assembled before any sound is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TypedDict

import numpy as np

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import dump_json, sha256
from sam_audio_bench.ratings.blinded_stimuli import (
    RaterAssignment,
    Stimulus,
    assign_blind_names,
    assign_items,
    assign_stimuli,
    make_gold_stimuli,
    make_system_stimuli,
    make_trap_stimuli,
)
from sam_audio_bench.ratings.options import ListeningTestOptions
from sam_audio_bench.ratings.stimuli import RatedItem

__all__ = ["Composition", "WaveformSummary", "assign_raters", "compose"]

_PER_RATER = 40  # stimuli per rater by default


class WaveformSummary(TypedDict):
    """Duration and waveform of a sound, for the listening page."""

    seconds: float
    peaks: list[int]  # thousandths of full scale


@dataclass
class Composition:
    """A test under construction; ``designs`` and all later fields are filled step by step."""

    options: ListeningTestOptions
    items: Sequence[RatedItem]
    systems: tuple[str, ...]
    digest: str
    cells: dict[tuple[int, int], Stimulus]
    traps: list[Stimulus]
    golds: list[Stimulus]
    mixtures: list[str]  # blind name of each item's mixture
    designs: dict[str, RaterAssignment] = field(default_factory=dict)
    minutes: list[int] = field(default_factory=list)
    clips: dict[str, WaveformSummary] = field(default_factory=dict)  # by blind name
    files: dict[str, str] = field(default_factory=dict)  # a path of each sound in the folder of the test

    @property
    def stimuli(self) -> list[Stimulus]:
        """Every stimulus, checks included."""
        return [*self.cells.values(), *self.traps, *self.golds]


def compose(items: Sequence[RatedItem], systems: tuple[str, ...], options: ListeningTestOptions) -> Composition:
    """Makes the stimuli of a test and gives them blind names.

    The digest covers the audio of the estimates, so that only identical tests have the same names.
    """
    cells = make_system_stimuli(items, systems, hidden_reference=options.hidden_reference, anchors=options.anchors)
    checks = [
        maker(items, count, options.axes, options.seed)
        for maker, count in ((make_trap_stimuli, options.traps), (make_gold_stimuli, options.golds))
    ]
    what = {
        "answers": [[item.task, item.id, *(_estimate_digest(item, name) for name in systems)] for item in items],
        "systems": systems,
        "options": {name: value for name, value in asdict(options).items() if name not in ("formats", "audio_url")},
    }
    digest = sha256(dump_json(what).encode())[:8]
    names = iter(assign_blind_names([*cells.values(), *checks[0], *checks[1]], digest, options.seed))
    order = np.random.default_rng([options.seed, len(items)]).permutation(len(items)).tolist()
    return Composition(
        options=options,
        items=items,
        systems=systems,
        digest=digest,
        cells={cell: next(names) for cell in cells},
        traps=[next(names) for _ in checks[0]],
        golds=[next(names) for _ in checks[1]],
        mixtures=[f"m{digest[:4]}{number + 1:04d}" for number in order],
    )


def _estimate_digest(item: RatedItem, system: str) -> str:
    record = item.source.folders[system].items[item.id]
    return record.sha256.target


def assign_raters(test: Composition) -> list[str]:
    """Assigns stimuli, and items for webMUSHRA, to raters; returns notes for the user.

    Raises:
        UsageError: sizes that cannot be met, or webMUSHRA without any clean recording.
    """
    options, items = test.options, test.items
    notes = []
    if {"page", "p808"} & set(options.formats):
        pools = (test.traps, options.traps), (test.golds, options.golds)
        assigned = assign_stimuli(test.cells, *pools, items, options.requested_sizes, options.seed)
        if assigned.balance.components > 1:
            notes.append(
                "raters and stimuli fall apart into groups without a stimulus in common: ask for more raters per item"
            )
        test.designs["trials"] = assigned
    if "webmushra" in options.formats:
        with_reference = [name for name, item in zip(test.mixtures, items, strict=True) if item.has_reference]
        if not with_reference:
            raise UsageError("expected items with a clean recording for webMUSHRA, found none; use --format page")
        if missing := len(items) - len(with_reference):
            notes.append(f"webMUSHRA has no page for {missing} items without a clean recording")
        conditions = 1 + max(column for _, column in test.cells)
        trials = options.per_rater or (None if options.raters else _PER_RATER)
        requested_sizes = {
            **options.requested_sizes,
            "per_rater": None if trials is None else math.ceil(trials / conditions),
        }
        test.designs["items"] = assign_items(with_reference, requested_sizes, options.seed)
    if options.hidden_reference and not all(item.has_reference for item in items):
        notes.append("items without a clean recording have no hidden reference")
    if options.golds and not test.golds:
        notes.append("no golds: they need clean recordings")
    return notes
