"""Reproduction of a run from its record: the options of the run, code of others that it would execute, and differences.

A record may come from an untrusted source. Its content is therefore turned into options of a command line, which are
parsed like any user's; and `find_untrusted_code` names what starts programs, imports modules or unpickles files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio_bench.errors import MediaError, Precondition, StoreError, UsageError
from sam_audio_bench.files import exists
from sam_audio_bench.identity import Options, differences
from sam_audio_bench.metrics.catalogue import CARDS, improvement_card
from sam_audio_bench.names import PROGRAM_PREFIXES, built_in_model
from sam_audio_bench.options import Specification, parse_arguments, parse_specification, split_specifications
from sam_audio_bench.plugins import plugins
from sam_audio_bench.records import ESTIMATE_PARTS, RunRecord, TaskRecord
from sam_audio_bench.run.settings import BASELINE
from sam_audio_bench.run.store import RunFolder, scored_estimates
from sam_audio_bench.tasks.adapters import find_adapter
from sam_audio_bench.tasks.catalogue import TASKS
from sam_audio_bench.tasks.load import SPLITS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MetricAgreement", "Reproduction", "compare_with_record", "find_untrusted_code", "recorded_options"]

_KEY = ["item", "candidate", "picked_by", "metric"]  # identifies a score
_UNPICKLED = {"demucs": ("folder", "model")}  # options that name files which another package unpickles
_FROM_CONFIG = (  # not in the record itself; other options, such as executors and workers, do not change scores
    "model_args", "metric_args", "batch_size", "picker_args", "keep_candidates", "timeout", "retry", "memory",
)  # fmt: skip
_IDENTITY = ("seed", "align", "stereo", "candidates", "device", "dtype", "packages", "hardware", "git")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricAgreement:
    """Agreement of the stored scores of one metric with the reproduced ones."""

    metric: str
    unit: str
    equal: int  # same status and same value, bit for bit
    within: int  # different, but within the tolerance
    beyond: int  # different by more than the tolerance or in status, or missing from one of the runs
    largest: float | None  # largest absolute difference; None: no finite pair of values
    item: str | None  # item of the largest difference


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Differences between a run and its reproduction."""

    name: str  # separator
    task: str
    made: Path  # the new run folder
    tolerance: float  # in each metric's unit
    identity: tuple[str, ...]  # differences from the record's identity
    metrics: tuple[MetricAgreement, ...]  # empty: the record came without its scores
    equal_files: int  # estimate files with equal samples
    files: int  # estimate files of the stored run
    same_table: bool | None  # whether the digest of all scores is the record's; None: the record has none

    @property
    def same(self) -> bool:
        """Whether all scores agree within the tolerance; for a record alone, whether their digest is the record's."""
        return all(not one.beyond for one in self.metrics) if self.metrics else bool(self.same_table)

    def to_json(self) -> dict[str, Any]:
        """Returns the output of ``--json``."""
        return {**asdict(self), "made": str(self.made), "same": self.same}


def recorded_options(record: RunRecord, items: Sequence[str] = (), *, data: str | None = None) -> Options:
    """Returns options of ``sabench eval``, by parameter name, that reproduce a run; None stands for the default.

    Args:
        record: ``run.json`` of the run.
        items: items of its folder, which are then requested by id; empty: those that its options choose.
        data: path of its table or folder on this machine; None: the path in the record.

    Raises:
        UsageError: the separator was a Python object. StoreError: no metrics, or a subset of the items that
            is not recorded. Precondition: the data are missing.
    """
    if not record.metrics:
        raise StoreError("expected a record with metrics, found none, so that there is nothing to compare")
    config = {name: setting.value for name, setting in record.config.items()}
    found = {name: config.get(name) for name in _FROM_CONFIG}
    models = _models(record, config)
    if models == [BASELINE]:
        found["model_args"] = None
    picker = config.get("picker") or (record.picker.name if record.picker else None)
    return {
        **found,
        **_items(record, config, items),
        "model": models,
        "task": _task(record.task, data),
        "metrics": ",".join(dict.fromkeys(metric.specification for metric in record.metrics)),
        "split": config.get("split") or (record.task.split if record.task.split in SPLITS else None),
        **{name: getattr(record.task, name) for name in ("subset", "prompts", "allow_outside")},
        **{name: getattr(record, name) for name in ("seed", "align", "stereo", "candidates", "device", "dtype")},
        "picker": picker,
    }


def _items(record: RunRecord, config: Options, items: Sequence[str]) -> Options:
    """Returns the options that choose items: ids if there is a folder, since several commands may have filled it."""
    if not items:
        shard = None if record.shard is None else "/".join(map(str, record.shard))
        if record.status != "success" and not config:  # a run from Python
            raise StoreError(
                f"expected which of the {record.task.items} items of {record.task.label} the run has, found a record "
                "that does not say (of a run from Python); give its folder, with items.jsonl"
            )
        return {"limit": config.get("limit"), "sample_id": config.get("sample_id"), "shard": shard}
    if len(items) == record.task.items:
        return {}
    if config.get("limit") == len(items) and not config.get("sample_id") and record.shard is None:
        return {"limit": config["limit"]}
    return {"sample_id": list(items)}


def _models(record: RunRecord, config: Options) -> list[str]:
    """Returns the spelling of the separator; if its name does not identify it, all separators of that command."""
    name, requested = record.model.name, config.get("model") or []
    texts = requested if isinstance(requested, list) else [requested]
    spelt = [one for text in texts for one in split_specifications(str(text))]
    arguments = parse_arguments(str(config.get("model_args") or ""))
    if exact := [one for one in spelt if name in (one, _label(one, arguments))]:
        return exact[:1]
    if name == BASELINE:
        return [BASELINE]
    if spelt:
        return spelt
    base, *options = name.split("+")
    if built_in_model(base) is None and base not in plugins("separators"):
        raise UsageError(
            f"expected a separator that can be made from its name, found {name!r} ({record.model.target}), an object "
            "of a program, of which a record holds no code; call `evaluate` on it again, and `sabench compare` the two"
        )
    return [f"{base}({','.join(options)})" if options else base]


def _label(spec: str, arguments: Options) -> str:
    """Returns the name that tables show for a separator without a name of its own."""
    spelt = parse_specification(spec)
    return "+".join([spelt.name, *sorted(f"{key}={value}" for key, value in {**spelt.options, **arguments}.items())])


def _task(task: TaskRecord, data: str | None) -> str:
    """Returns the value of ``--task`` for the data of a run: their path, with the name that they had."""
    if task.place is None:
        if data is not None:
            raise UsageError(
                f"expected --data for your own data, found the task {task.id}; --data-dir says where official data lie"
            )
        return task.source
    place = data or task.place
    if not exists(place):
        raise Precondition(f"expected the data of {task.label} at {place}, found none; --data says where they lie here")
    layout = find_adapter(task.source.rpartition("=")[2]) or find_adapter(task.source)
    spelt = f"{layout[0].name}:{place}" if layout else place
    return spelt if task.id in TASKS else f"{task.id}={spelt}"


def find_untrusted_code(
    models: Iterable[str], metrics: Iterable[str], model_args: Iterable[str] = (), *, allow_outside: bool = False
) -> list[str]:
    """Lists parts of a command that run code other than this package and its plugins, or read files outside a folder.

    Args:
        models: spellings of separators.
        metrics: spellings of metrics.
        model_args: names of further separator options.
        allow_outside: whether tables may name files outside their folder.
    """
    found, named = [], plugins("separators")
    for spec in models:
        spelt = parse_specification(spec)
        own = built_in_model(spelt.name)
        if spelt.name.startswith(PROGRAM_PREFIXES) or (own is None and spelt.name not in named):
            found.append(f"--model {spec!r}")
        elif any(option in _UNPICKLED.get(spelt.name, ()) for option in (*spelt.options, *model_args)):
            found.append(f"--model {spec!r}, whose package unpickles a file that is named here")
    known = plugins("metrics")
    names = [Specification(parse_specification(spec).name) for spec in metrics]
    found += [f"--metrics {one.name!r}" for one in names
              if one.name not in CARDS and one.name not in known and improvement_card(one.name) is None]  # fmt: skip
    return [*found, "--allow-outside, by which a table names any file of this machine"] if allow_outside else found


def compare_with_record(
    record: RunRecord, stored: RunFolder | None, made: RunFolder, *, tolerance: float
) -> Reproduction:
    """Compares a reproduced run with the record, the scores and the audio of the original one.

    Args:
        record: ``run.json`` of the stored run.
        stored: its folder; None: only the record is available.
        made: the folder of the new run.
        tolerance: largest allowed difference of scores, in each metric's unit.
    """
    own = {"stored": 0, "equal": 0}
    if stored is not None:
        own = _count_equal_files(stored, made)
    sealed, found = record.scores_sha256, made.header.scores_sha256
    return Reproduction(
        name=record.model.name,
        task=record.task.label,
        made=made.path,
        tolerance=tolerance,
        identity=tuple(_identity_differences(record, stored, made)),
        metrics=() if stored is None else tuple(_agreements(record, stored.frame(), made.frame(), tolerance)),
        equal_files=own["equal"],
        files=own["stored"],
        same_table=None if sealed is None else sealed == found,
    )


def _identity_differences(record: RunRecord, stored: RunFolder | None, made: RunFolder) -> list[str]:
    """Returns differences from the record's identity, those that change scores first."""
    header = made.header
    found = [change.nested_in("separator") for change in record.model.differences(header.model)]
    found += [change.nested_in("task") for change in record.task.differences(header.task)]
    known = {metric.id: metric for metric in header.metrics}
    for metric in record.metrics:
        if metric.id in known:
            found += [change.nested_in(metric.id) for change in metric.differences(known[metric.id])]
    found += differences(record, header, ("picker", *_IDENTITY))
    missing = [f"{metric.id} was not computed" for metric in record.metrics if metric.id not in known]
    items = {} if stored is None else stored.items
    changed = [name for name, item in items.items() if name in made.items and item.data_sha256
               and item.data_sha256 != made.items[name].data_sha256]  # fmt: skip
    data = [f"recordings or prompt of {len(changed)} items, {changed[0]} first"] if changed else []
    return [*map(str, found), *missing, *data]


def _agreements(
    record: RunRecord, stored: pd.DataFrame, made: pd.DataFrame, tolerance: float
) -> Iterable[MetricAgreement]:
    """Yields the agreement of the scores of each metric."""
    import numpy as np

    texts = dict.fromkeys(("item", "picked_by", "metric", "status"), object)
    frames = (frame.assign(picked_by=frame["picked_by"].fillna("")) for frame in (stored, made))
    one, other = (frame[[*_KEY, "value", "status"]].astype(texts) for frame in frames)
    both = one.merge(other, on=_KEY, how="outer", suffixes=("_one", "_other"), indicator=True)
    a, b = (both[f"value_{side}"].to_numpy(float) for side in ("one", "other"))
    alike = (both["_merge"] == "both").to_numpy() & (both["status_one"] == both["status_other"]).to_numpy()
    equal = alike & ((a == b) | (np.isnan(a) & np.isnan(b)))
    with np.errstate(invalid="ignore"):  # infinity minus infinity, which are equal here
        apart = np.where(equal, 0.0, np.abs(a - b))
    within = alike & ~equal & (apart <= tolerance)
    units = {metric.id: metric.unit for metric in record.metrics}
    for name in dict.fromkeys([*units, *both["metric"]]):
        here = (both["metric"] == name).to_numpy()
        known = np.where(here & np.isfinite(a) & np.isfinite(b), apart, -1.0)
        at = int(known.argmax()) if len(known) else 0
        has = bool(len(known)) and known[at] >= 0
        yield MetricAgreement(
            metric=name,
            unit=units.get(name, ""),
            equal=int((here & equal).sum()),
            within=int((here & within).sum()),
            beyond=int((here & ~equal & ~within).sum()),
            largest=float(known[at]) if has else None,
            item=str(both["item"].iloc[at]) if has and known[at] > 0 else None,
        )


def _count_equal_files(stored: RunFolder, made: RunFolder) -> dict[str, int]:
    """Counts the estimate files of a run, and how many of them have the same samples in the other run."""
    found = {"stored": 0, "equal": 0}
    for item, record in stored.items.items():
        other = made.items.get(item)
        known = {} if other is None else {(at.candidate, at.picked_by): at.files for at in scored_estimates(other)}
        for at in scored_estimates(record):
            files = known.get((at.candidate, at.picked_by))
            for part in ESTIMATE_PARTS:
                digest = getattr(at.files.sha256, part)
                found["stored"] += bool(digest)
                if digest and files is not None:
                    own, others = (folder.path / "audio" / str(getattr(which, part))
                                   for folder, which in ((stored, at.files), (made, files)))  # fmt: skip
                    found["equal"] += getattr(files.sha256, part) == digest or _same_samples(own, others)
    return found


def _same_samples(one: Path, other: Path) -> bool:
    """Returns whether two files contain the same samples; their bytes may differ, since a WAV has a time stamp."""
    import torch

    from sam_audio_bench import audio

    try:
        first, second = audio.read(one), audio.read(other)
    except MediaError:
        return False
    return first.rate == second.rate and torch.equal(first.samples, second.samples)
