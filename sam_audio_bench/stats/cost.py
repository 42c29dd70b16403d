"""Cost and lag of separators by run, read from run folders, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from statistics import median
from typing import Any

from sam_audio_bench.records import ItemRecord, RunRecord

__all__ = ["Cost", "constant_lag", "cost_of", "lag_notes", "machine", "real_time_factor"]

_LATE_MS = 1.0  # shorter lags are not reported
_ALIKE_MS = 0.5  # maximum distance from the median of lags that count as one constant lag


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost and lag of one separator on one task; None where unknown."""

    task: str
    label: str  # the task with its version and split
    separator: str
    real_time_factor: float | None  # seconds of computation per second of sound
    peak_memory_mib: int | None  # largest resident set of the process that separated
    device_memory_mib: int | None  # largest amount on a GPU
    parameters: int | None
    lag_ms: float | None  # median over items, positive: late
    lag_items: int  # items with a measurable lag
    constant_lag_ms: float | None  # the median if most items have that lag, and it is 1 ms or more
    delay: int | None  # the delay to state for this lag, in samples at ``delay_rate``
    delay_rate: int | None  # Hz, of the model
    align: str | None  # of the run
    moved_items: int  # items shifted by ``--align lag``
    hardware: str = ""  # the GPU, or else the processor


def real_time_factor(records: Iterable[ItemRecord]) -> float | None:
    """Computes the median over items of seconds of separation per second of sound, without the first of several calls.

    Args:
        records: in the order in which they were separated; those of one call have the same time.

    >>> sound = {"group": "", "fingerprint": "", "seed": 0, "status": "ok", "audio_seconds": 2.0}
    >>> first, second, third = (ItemRecord(item=str(x), seconds=x, **sound) for x in (9.0, 1.0, 2.0))
    >>> real_time_factor([first, second]), real_time_factor([first, second, third]), real_time_factor([first])
    (0.5, 0.75, 4.5)
    """
    known = [record for record in records if not record.failed and record.audio_seconds > 0]
    warm = dropwhile(lambda record: record.seconds == known[0].seconds, known)
    factors = [record.seconds / record.audio_seconds for record in [*warm] or known]
    return median(factors) if factors else None


def constant_lag(lags: Sequence[float]) -> float | None:
    """Returns the median lag in milliseconds if it is 1 ms or more and most items are within half a millisecond of it.

    >>> constant_lag([20.0, 20.1, 3.0]), constant_lag([20.0, 3.0]), constant_lag([0.9, 0.9])
    (20.0, None, None)
    """
    if not lags:
        return None
    middle = median(lags)
    alike = sum(abs(lag - middle) <= _ALIKE_MS for lag in lags)
    return middle if abs(middle) >= _LATE_MS and 2 * alike > len(lags) else None


def cost_of(headers: Sequence[RunRecord], records: Sequence[ItemRecord]) -> Cost:
    """Computes the cost of a run, or of all shards of a run.

    Args:
        headers: header of the run, or headers of its shards.
        records: records of the items to include, in the order in which they were separated.
    """
    first, timings = headers[0], [header.timing for header in headers if header.timing is not None]
    lags = [record.lag_ms for record in records if record.lag_ms is not None]
    constant = constant_lag(lags)
    delay, rate = (None, None) if constant is None else _delay(first, records, constant)

    def largest(name: str) -> int | None:
        return max((found for one in timings if (found := getattr(one, name)) is not None), default=None)

    return Cost(
        task=first.task.id,
        label=first.task.label,
        separator=first.model.name,
        real_time_factor=real_time_factor(records),
        peak_memory_mib=largest("peak_memory_mib"),
        device_memory_mib=largest("device_memory_mib"),
        parameters=largest("parameters"),
        lag_ms=median(lags) if lags else None,
        lag_items=len(lags),
        constant_lag_ms=constant,
        delay=delay,
        delay_rate=rate,
        align=first.align,
        moved_items=sum(bool(record.moved_ms) for record in records),
        hardware=machine(first.hardware),
    )


def machine(hardware: Mapping[str, Any]) -> str:
    """Returns the GPU of a machine, or else its processor; "" if neither is known.

    >>> machine({"gpus": [], "processor": "Xeon"}), machine({"gpus": ["H200"], "processor": "Xeon"}), machine({})
    ('Xeon', 'H200', '')
    """
    gpus = hardware.get("gpus")
    return str(gpus[0] if isinstance(gpus, list | tuple) and gpus else hardware.get("processor") or "")


def _delay(header: RunRecord, records: Sequence[ItemRecord], lag_ms: float) -> tuple[int | None, int | None]:
    """Returns the delay that a model must state, at its own or the sounds' rate; None if below 0 or if rates differ."""
    if header.model.oracle or header.model.target.endswith(":FolderSeparator"):  # neither can be adapted
        return None, None
    found = header.model.settings.get("adapted")
    stated = found if isinstance(found, dict) else {}
    rates = {record.rate for record in records if record.rate}
    rate = stated.get("rate") or (rates.pop() if len(rates) == 1 else None)
    if not isinstance(rate, int):
        return None, None
    delay = round(lag_ms * rate / 1000) + int(stated.get("delay") or 0)
    return (delay, rate) if delay >= 0 else (None, rate)


def lag_notes(costs: Iterable[Cost]) -> dict[str, list[str]]:
    """Returns notes under the table of each task: separators with a constant lag, its correction, shifted items."""
    found: dict[str, list[str]] = {}
    for cost in costs:
        if (lag := cost.constant_lag_ms) is not None:
            found.setdefault(cost.task, []).append(
                f"{cost.separator} answers {abs(lag):.1f} ms {'late' if lag > 0 else 'early'} (median of "
                f"{cost.lag_items} item{'s' * (cost.lag_items != 1)}), which scores count as an error: {_advice(cost)}"
            )
        if cost.moved_items:
            found.setdefault(cost.task, []).append(
                f"{cost.moved_items} answer{'s' * (cost.moved_items != 1)} of {cost.separator} moved by what they lag "
                "behind the mixture (--align lag)"
            )
    return found


def _advice(cost: Cost) -> str:
    """Returns how to correct a constant lag."""
    cut = "run it with --align lag"
    if cost.delay is None:
        return cut
    stated = f"delay={cost.delay}"
    return f"state {stated} (samples at {cost.delay_rate} Hz) on the class, or Adapted(model, {stated}), or {cut}"
