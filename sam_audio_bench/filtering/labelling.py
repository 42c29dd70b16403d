"""Makes a folder of labels from runs or a table: the steps of ``sabench filter``.

Every process applies the conditions to whole columns. Only measuring targets (decoding, spans, fingerprint) takes time,
so only that is sharded: a shard writes its measurements to a journal in the folder, and the same command without a
shard reads all journals, measures the remaining targets, and decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from sam_audio_bench import __version__
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import load_json, write_json
from sam_audio_bench.filtering.choosing import (
    OUTCOMES,
    Choice,
    FilterRequest,
    check_request,
    choose_labels,
    compute_quantiles,
    count_by_condition,
    known_columns,
    rows_to_measure,
)
from sam_audio_bench.filtering.expression import check_columns, parse_condition
from sam_audio_bench.filtering.measuring import Measurement, Measurer
from sam_audio_bench.filtering.pool import Pool, read_pool
from sam_audio_bench.filtering.presets import CORRECT, PRESETS
from sam_audio_bench.filtering.writing import (
    MANIFEST,
    RECORD,
    REPORT,
    check_folder,
    lock_folder,
    remove_kept,
    write_decisions,
    write_kept,
)
from sam_audio_bench.metrics.catalogue import CARDS
from sam_audio_bench.render.text import pluralize
from sam_audio_bench.run.progress import Progress
from sam_audio_bench.tasks.manifest import read_questions
from sam_audio_bench.tasks.span_table import RULES, SpanRule

if TYPE_CHECKING:
    from sam_audio_bench.filtering.precision import Precision
    from sam_audio_bench.ratings.plan import PlannedTest

__all__ = ["OUTCOMES", "FilterRecord", "FilterResult", "LabelOptions", "filter_labels"]


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """The options of `sabench filter`; raises UsageError without a condition, or for invalid values."""

    keep: str = ""
    preset: str = ""
    best: str | None = None
    quota: int | None = None
    by: str = "text"
    duplicates: bool = False
    rule: SpanRule = RULES["absolute"]
    copy: bool = False
    shard: tuple[int, int] | None = None
    sample: int = 0
    raters: int = 3  # of each label of the sample
    seed: int = 0
    rated: Path | None = None
    correct: str = CORRECT
    allow_outside: bool = False
    report: bool = True

    def __post_init__(self) -> None:
        if not (self.keep or self.preset):
            raise UsageError(f"expected --keep CONDITION or --preset {' or '.join(PRESETS)}, found neither")
        if self.preset and self.preset not in PRESETS:
            raise UsageError(f"expected --preset {' or '.join(PRESETS)}, found {self.preset!r}")
        if self.sample < 0 or self.raters < 1:
            raise UsageError(f"expected a sample of 0 labels or more with 1 rater or more, found {self.sample} and "
                             f"{self.raters}")  # fmt: skip
        if self.seed < 0:
            raise UsageError(f"expected a seed of 0 or more, found {self.seed}")
        parse_condition(self.correct, option="--correct")
        if self.keep:
            parse_condition(self.keep)

    def request(self, pool: Pool) -> FilterRequest:
        """Returns the criteria, whose condition joins ``preset``, for videos if there are some, and ``keep``."""
        videos = any(label.has_video for label in pool.labels)
        texts = [PRESETS[self.preset].text(videos=videos)] if self.preset else []
        texts += [f"({self.keep})"] if self.keep and texts else [self.keep] if self.keep else []
        return FilterRequest(
            condition=parse_condition(" and ".join(texts)), best=self.best, quota=self.quota, by=self.by,
            duplicates=self.duplicates,
        )  # fmt: skip


class FilterRecord(TypedDict, total=False):
    """The content of filter.json; empty for a shard."""

    version: str
    sources: list[str]
    condition: str
    preset: Mapping[str, str] | None
    best: str | None
    quota: int | None
    by: str
    duplicates: bool
    rule: Mapping[str, object]
    labels: int
    left_out: Mapping[str, int]
    outcomes: Mapping[str, int]
    conditions: Sequence[Mapping[str, object]]
    quantiles: Mapping[str, Mapping[str, float | None]]
    precision: Mapping[str, object] | None


@dataclass(frozen=True, kw_only=True)
class FilterResult:
    """The result of `filter_labels`."""

    out: Path
    total: int  # labels in the pool
    counts: Mapping[str, int]  # labels by outcome; empty for a shard
    condition: str
    record: FilterRecord
    notes: Sequence[str]
    quantiles: Mapping[str, Mapping[str, float | None]]
    measured: int = 0  # targets that were measured
    precision: Precision | None = None
    listening: Path | None = None  # folder of the sample's listening test


def filter_labels(
    inputs: Sequence[Path | str], out: Path, options: LabelOptions, *, progress: bool | None = None
) -> FilterResult:
    """Writes the labels that meet conditions to a folder, as a task.

    Args:
        inputs: run folders or folders that contain some; or a table with a column ``target``, or a folder with one.
        out: a new folder, or that of an earlier call, whose measurements are reused.
        options: the conditions and other options.
        progress: whether to show a progress bar; None: if standard error is a terminal.

    Raises:
        UsageError: a condition, column or option is invalid. Precondition: there is no input, a metric was not
            computed, or the folder has other content. StoreError: a run is damaged.
    """
    check_folder(out)
    if options.sample or options.rated is not None:
        from sam_audio_bench.filtering.precision import check_sample  # slow to import, and not needed without a sample

        check_sample(out, drawn=options.sample > 0, rated=options.rated)
    pool = read_pool(inputs, allow_outside=options.allow_outside, out=out)
    request = options.request(pool)
    _check_metrics(pool, request, options)
    check_request(pool, request)
    with lock_folder(out, options.shard):
        measurer = Measurer(out, options.rule, options.shard)
        if options.shard is not None:
            return _measure_shard(pool, request, measurer, out, options.shard, progress)
        return _decide(pool, request, measurer, out, options, progress)


def _decide(
    pool: Pool, request: FilterRequest, measurer: Measurer, out: Path, options: LabelOptions, progress: bool | None
) -> FilterResult:
    """Chooses the labels, and writes all files."""

    def measure(rows: Sequence[int]) -> dict[int, Measurement]:
        return _measure(pool, rows, measurer, "measuring", progress)

    choice = choose_labels(pool, request, measure)
    notes = [*pool.notes, *_notes(pool, choice)]
    table = _quantiles(choice, request)
    write_decisions(pool, choice, out)
    if choice.kept:
        fresh = not (out / RECORD).exists() or load_json(out / RECORD).get("sources") != list(pool.sources)
        if fresh:  # if this is interrupted, the earlier record would not match the files
            (out / RECORD).unlink(missing_ok=True)
        with Progress(len(choice.kept), show=progress) as bar:
            write_kept(pool, choice, out, copy=options.copy, fresh=fresh, advance=bar.item_callback("writing"))
    else:
        remove_kept(out)
    listening = _plan_listening(out, options, choice)
    notes += listening.notes if listening is not None else ()
    precision = _estimate_precision(pool, choice, out, options)
    record = _make_record(pool, choice, request, options, table, precision)
    (out / REPORT).unlink(missing_ok=True)  # that of an earlier call
    if options.report:
        _write_page(pool, choice, request, out, record, notes, precision)
    write_json(out / RECORD, record)
    return FilterResult(
        out=out, total=len(pool.labels), counts=choice.counts, condition=request.condition.text, record=record,
        notes=notes, quantiles=table, measured=len(choice.measured), precision=precision,
        listening=None if listening is None else listening.folder,
    )  # fmt: skip


def _check_metrics(pool: Pool, request: FilterRequest, options: LabelOptions) -> None:
    """Raises Precondition for metrics that are missing from the pool, with the command that computes them."""
    known = known_columns(pool)
    names = [*request.condition.columns, *([ranking[0]] if (ranking := request.ranking(pool)) else [])]
    missing = [name for name in dict.fromkeys(names) if name not in known and name in CARDS]
    if missing:
        check_columns([name for name in names if name not in CARDS], known)
        why = f" for --preset {options.preset}" if options.preset else ""
        raise Precondition(
            f"expected a column {' and a column '.join(missing)}{why}, found {', '.join(known)}; what computes them: "
            f"{pool.remedy.format(','.join(missing))}"
        )


def _measure(
    pool: Pool, rows: Sequence[int], measurer: Measurer, what: str, progress: bool | None
) -> dict[int, Measurement]:
    with Progress(len(rows), show=progress) as bar:
        found = measurer.measure([pool.labels[row] for row in rows], bar.item_callback(what))
        return dict(zip(rows, found, strict=True))


def _measure_shard(
    pool: Pool, request: FilterRequest, measurer: Measurer, out: Path, shard: tuple[int, int], progress: bool | None
) -> FilterResult:
    index, count = shard
    if not 1 <= index <= count:
        raise UsageError(f"expected --shard I/N with 1 <= I <= N, found {index}/{count}")
    rows = rows_to_measure(pool, request)[index - 1 :: count].tolist()
    found = _measure(pool, rows, measurer, f"shard {index}/{count}", progress)
    problems = [f"{pool.labels[row].id}: {one.problem}" for row, one in found.items() if one.problem]
    return FilterResult(
        out=out, total=len(pool.labels), counts={}, condition=request.condition.text, record={}, notes=problems,
        quantiles={}, measured=len(found),
    )  # fmt: skip


def _notes(pool: Pool, choice: Choice) -> list[str]:
    """Returns notes about rows that are not labels, undefined and unreadable labels, and conditions without effect."""
    counts, total = choice.counts, len(pool.labels)
    notes = [f"left out {pluralize(count, 'label')}: {reason}" for reason, count in pool.left_out.items()]
    if counts["undefined"]:
        causes = Counter(why for why, one in zip(choice.why, choice.outcomes, strict=True) if one == "undefined")
        reasons = ", ".join(f"{condition} ({count})" for condition, count in causes.items())
        notes.append(f"{pluralize(counts['undefined'], 'label')} dropped as undefined, never kept: {reasons}")
    if counts["unreadable"]:
        first = next(why for why, one in zip(choice.why, choice.outcomes, strict=True) if one == "unreadable")
        notes.append(f"{pluralize(counts['unreadable'], 'label')} dropped as unreadable: {first}")
    if counts["kept"] == 0:
        notes.append(f"the conditions keep nothing of {pluralize(total, 'label')}: see the distribution")
    elif counts["rejected"] == counts["undefined"] == 0:
        notes.append(f"the conditions reject nothing of {pluralize(total, 'label')}: see the distribution")
    return notes


def _quantiles(choice: Choice, request: FilterRequest) -> dict[str, dict[str, float | None]]:
    table = compute_quantiles(choice, request.condition.columns)
    return {
        str(name): {str(key): None if value != value else float(value) for key, value in row.items()}
        for name, row in table.iterrows()
    }


def _plan_listening(out: Path, options: LabelOptions, choice: Choice) -> PlannedTest | None:
    """Plans the listening test of the sample; returns None if no sample is requested, or nothing is kept."""
    if not options.sample or not choice.kept:
        return None
    from sam_audio_bench.filtering.precision import plan_sample

    return plan_sample(out, options.sample, seed=options.seed, raters=options.raters)


def _estimate_precision(pool: Pool, choice: Choice, out: Path, options: LabelOptions) -> Precision | None:
    if options.rated is None:
        return None
    from sam_audio_bench.filtering.precision import estimate_precision

    kept = {pool.labels[row].id for row in choice.kept}
    return estimate_precision(options.rated, out, kept, parse_condition(options.correct, option="--correct"))


def _make_record(
    pool: Pool, choice: Choice, request: FilterRequest, options: LabelOptions,
    table: Mapping[str, Mapping[str, float | None]], precision: Precision | None,
) -> FilterRecord:  # fmt: skip
    return {
        "version": __version__,
        "sources": list(pool.sources),
        "condition": request.condition.text,
        "preset": {"name": options.preset, "source": PRESETS[options.preset].source} if options.preset else None,
        "best": options.best,
        "quota": options.quota,
        "by": options.by,
        "duplicates": options.duplicates,
        "rule": asdict(options.rule),
        "labels": len(pool.labels),
        "left_out": dict(pool.left_out),
        "outcomes": choice.counts,
        "conditions": [
            {str(name): cell for name, cell in row.items()}
            for row in count_by_condition(choice).to_dict(orient="records")
        ],
        "quantiles": table,
        "precision": None if precision is None else {**asdict(precision), "share": precision.share},
    }


def _write_page(
    pool: Pool, choice: Choice, request: FilterRequest, out: Path, record: FilterRecord, notes: Sequence[str],
    precision: Precision | None,
) -> None:  # fmt: skip
    from sam_audio_bench.filtering.report import write_page  # slow to import

    finding = [
        f"{len(choice.kept)} of {len(pool.labels)} labels are kept: {request.condition.text}",
        str(precision) if precision else "Nobody has rated a sample of them: how many are right is not known.",
    ]
    if record["preset"]:
        finding.append(f"Preset {record['preset']['name']}: {record['preset']['source']}.")
    rows = read_questions(out / MANIFEST).rows if choice.kept else {}
    files = {item: str(row.target[0]) for item, row in rows.items()}
    write_page(out / REPORT, pool, choice, by=request.by, finding=finding, notes=notes, files=files)
