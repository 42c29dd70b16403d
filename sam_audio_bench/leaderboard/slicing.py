"""Where separators fail: the slices of each task by its main metric, with the statistics of `sabench slices`.

Compared are the lines that are ranked. Every task is a report of its own, as `sabench slices` gives of its runs: p is
by Holm over its slices and separators.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sam_audio_bench.leaderboard.attributes import submittable
from sam_audio_bench.leaderboard.board import Board, Line, rounded
from sam_audio_bench.leaderboard.sitetypes import SliceCell, TaskSlices
from sam_audio_bench.render.text import pluralize
from sam_audio_bench.run.attributes import is_same
from sam_audio_bench.run.slices import SliceCase, SliceRow, attribute_names, compare_cases, slice_cases
from sam_audio_bench.stats.slices import FEWEST
from sam_audio_bench.tasks.attributes import Attributes

__all__ = ["task_slices"]

_WORST = 5  # items of a row


def task_slices(board: Board, label: str) -> TaskSlices:
    """The slices of one task; attributes are those of the submission that stated them first."""
    current = _in_order(board, label)
    if not current:
        return {"source": "", "rows": [], "small": [], "notes": []}
    first, *others = current
    own, refused = submittable(first.submission.attributes[label])
    notes = [*refused.values()]
    for line in others:
        notes += _disagreements(line.id, line.submission.attributes[label], own)
    metric = board.main_metric(label)
    ranked = [line for line in board.lines if _is_ranked(board, line, label, metric)]
    known = {(label, item): attributes for item, attributes in own.items()}
    scores = {(label, line.id): line.items[label, metric] for line in ranked}
    cases = list(slice_cases(known, scores, dict.fromkeys(attribute_names(known), ()), notes))
    found = compare_cases(cases, higher_is_better=board.metrics[metric].higher_is_better)
    return {
        "source": first.id,
        "rows": [_cell(row, cases) for row in found if row.recordings >= FEWEST],
        "small": list(dict.fromkeys(row.slice for row in found if row.recordings < FEWEST)),
        "notes": [note.removeprefix(f"{label}: ") for note in notes],
    }


def _in_order(board: Board, label: str) -> list[Line]:
    """A line of each submission that has attributes of a task and counts, the one that was submitted first ahead."""
    numbers = {entry.key: entry.number for entry in board.entries if entry.event == "submitted"}
    lines = {
        numbers[line.submission.separator, line.submission.revision]: line
        for line in reversed(board.lines)  # of a submission with two lines the first one
        if line.standing not in ("withdrawn", "superseded") and line.submission.attributes.get(label)
    }
    return [lines[number] for number in sorted(lines)]


def _is_ranked(board: Board, line: Line, label: str, metric: str) -> bool:
    cell = board.cells[label][metric].get(line.id)
    return cell is not None and not cell["why"]


def _disagreements(name: str, stated: Attributes, known: Attributes) -> Iterator[str]:
    """What another submission says otherwise, and what it says beside."""
    different: dict[str, list[str]] = {}
    beside: dict[str, None] = {}
    names = {one for attributes in known.values() for one in attributes}
    for item, attributes in stated.items():
        for one, value in attributes.items():
            if one not in names:
                beside[one] = None
            elif one in known.get(item, {}) and not is_same(known[item][one], value):
                different.setdefault(one, []).append(f"{value} of {item}, which is {known[item][one]} here")
    for one, found in different.items():
        yield f"{name} disagrees about {one} of {pluralize(len(found), 'item')}: it says {found[0]}"
    if beside:
        yield f"{name} alone knows {', '.join(beside)}, which {'is' if len(beside) == 1 else 'are'} left out"


def _cell(row: SliceRow, cases: list[SliceCase]) -> SliceCell:
    case = next(one for one in cases if (one.separator, one.attribute) == (row.separator, row.attribute))
    return {
        "line": row.separator, "attribute": row.attribute, "slice": row.slice, "place": row.place,
        "n": row.n, "recordings": row.recordings,
        "mean": rounded(row.mean), "low": rounded(row.low), "high": rounded(row.high),
        "elsewhere": rounded(row.elsewhere), "difference": rounded(row.difference),
        "difference_low": rounded(row.difference_low), "difference_high": rounded(row.difference_high),
        "p": rounded(row.p_holm), "surely_worse": row.is_surely_worse(), "untested": row.untested,
        "worst": _worst(row, case),
    }  # fmt: skip


def _worst(row: SliceRow, case: SliceCase) -> list[str]:
    """The worst items of a slice; none where all scores are equal, as those of the mixture by an improvement."""
    values: Mapping[str, float] = {item: score.value for item, score in case.scores.items() if score.value is not None}
    if len(set(values.values())) < 2:
        return []
    sign = 1 if row.higher_is_better else -1
    own = [item for item in map(str, case.slices[row.place].items) if item in values]
    return sorted(own, key=lambda item: (sign * values[item], item))[:_WORST]
