"""Verdicts as sentences above tables, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sam_audio_bench.render.numbers import with_interval
from sam_audio_bench.render.text import one_line, pluralize
from sam_audio_bench.stats.findings import Findings
from sam_audio_bench.stats.verdict import Gap, Verdict

__all__ = ["sentence", "verdicts_to_json"]

_MOST_NAMED = 3


def sentence(verdict: Verdict, metric: str, unit: str = "", digits: int = 2) -> str:
    """States the best separator, how sure that is, and which are surely better than the baseline; "" without a rival.

    Args:
        verdict: of `sam_audio_bench.stats.verdict.decide`.
        metric: the column of the verdict.
        unit: of that column.
        digits: decimals of the difference.

    >>> gap = Gap(value=0.31, low=0.1, high=0.52, p=0.01, items=50, recordings=50)
    >>> found = Verdict(order=("hpss", "mixture"), tasks=("sfx",), baseline="mixture", over_baseline={"hpss": gap})
    >>> sentence(found, "si_sdr_i", "dB")
    'By si_sdr_i, hpss is surely better than the mixture, by 0.31 [0.10, 0.52] dB.'
    """
    if len(verdict.order) < 2:
        return ""
    base = "" if verdict.baseline is None else f"the {one_line(verdict.baseline)}"
    text = _SentenceParts(verdict, base, unit, digits)
    if verdict.too_few:
        parts = [text.too_few()]
    else:
        parts = text.of_one() if len(verdict.over_baseline) == 1 else text.of_many()
    left_out = f" Left out, lacking a score or a task: {_names(verdict.left_out)}." if verdict.left_out else ""
    tasks = f"Over {len(verdict.tasks)} tasks, by" if len(verdict.tasks) > 1 else "By"
    return f"{tasks} {one_line(metric)}, {'; '.join(filter(None, parts))}.{left_out}"


class _SentenceParts:
    """Parts of the sentence."""

    def __init__(self, verdict: Verdict, base: str, unit: str, digits: int) -> None:
        self.verdict, self.base, self.unit, self.digits = verdict, base, unit, digits

    def too_few(self) -> str:
        """States that no difference could be significant."""
        count = pluralize(self.verdict.recordings, "recording")
        return f"nothing is sure with {count}: too few to tell {pluralize(len(self.verdict.order), 'system')} apart"

    def of_one(self) -> list[str]:
        """Compares a single separator with the baseline."""
        ((name, gap),) = self.verdict.over_baseline.items()
        result = "surely better" if gap.ahead else "surely worse" if gap.behind else "not surely better"
        return [f"{one_line(name)} is {result} than {self.base}{self._gap(gap)}"]

    def of_many(self) -> list[str]:
        """States the best separator, and which are better than the baseline."""
        verdict, others = self.verdict, self.verdict.over_baseline
        better = verdict.surely_better
        if others and not better:
            gap = others[self._leader()]
            where = f" is {self._ahead(gap)}" if gap.value is not None else " has no item in common with it"
            count = pluralize(verdict.recordings_with_baseline, "recording")
            nor = f", nor could be with {count}" if verdict.too_few_with_baseline else ""
            best = f"the best, {one_line(self._leader())},{where}"
            return [f"no separator is surely better than {self.base}{nor}", best]
        if not others:
            return [self._best()]
        unsure = [name for name in others if name not in better]
        if not unsure:
            return [self._best(), f"all are surely better than {self.base}"]
        if len(unsure) > len(better):
            return [self._best(), f"surely better than {self.base}: {_names(better)}"]
        return [self._best(), f"not surely better than {self.base}: {_names(unsure)}"]

    def _leader(self) -> str:
        return str(self.verdict.leader)

    def _best(self) -> str:
        best, same = one_line(self._leader()), self.verdict.indistinguishable
        if same:
            return f"{best} leads, and {_names(same)} cannot be told from it"
        if not self.verdict.behind_best:
            return f"{best} leads, alone in its class of coverage"
        name, gap = next(iter(self.verdict.behind_best.items()))
        return f"{best} is best, by {self._amount(gap)} over the next, {one_line(name)}"

    def _gap(self, gap: Gap) -> str:
        """Returns the difference to the baseline, with its direction unless the text before it states that."""
        if gap.value is None:
            return ""
        return f", by {self._amount(gap)}" if gap.ahead or gap.behind else f" ({self._ahead(gap)})"

    def _ahead(self, gap: Gap) -> str:
        return f"{'behind' if (gap.value or 0) < 0 else 'ahead'} by {self._amount(gap)}"

    def _amount(self, gap: Gap) -> str:
        """Returns the absolute difference with its interval."""
        if gap.value is not None and gap.value < 0:
            low, high = (None if bound is None else -bound for bound in (gap.high, gap.low))
            gap = replace(gap, value=-gap.value, low=low, high=high)
        unit = "" if self.unit[:1].isdigit() else one_line(self.unit)  # "1-5" is a scale
        return f"{with_interval(gap.value, gap.low, gap.high, self.digits)} {unit}".rstrip()


def _names(names: Sequence[str]) -> str:
    """Lists the first names, and the number of the others.

    >>> _names(["a", "b"]), _names(["a", "b", "c", "d", "e"])
    ('a and b', 'a, b, c and 2 more')
    """
    shown = [one_line(name) for name in names[:_MOST_NAMED]]
    rest = len(names) - len(shown)
    last = f"{rest} more" if rest else shown.pop() if len(shown) > 1 else ""
    return f"{', '.join(shown)}{f' and {last}' if last else ''}"


def verdicts_to_json(answers: Findings) -> list[dict[str, Any]]:
    """Returns one object per column of a task or slice, for ``--json``; over all tasks the task is "all tasks"."""
    return [
        {
            "task": found.tasks[0] if found.slice else task,
            "slice": found.slice,
            "metric": metric,
            "tasks": list(found.tasks),
            "order": list(found.order),
            "best": [name for name in found.order if name in found.best],
            "surely_better": list(found.surely_better),
            "surely_worse": list(found.surely_worse),
            "left_out": list(found.left_out),
            "recordings": found.recordings,
        }
        for (task, metric), found in answers.verdicts.items()
    ]
