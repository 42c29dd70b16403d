"""A run made again from its record: which options it had, what of it would run somebody's code, and what differs.

A record may come from a stranger. So what it says is turned into the words of a command line, which are read as those
of anyone; and `code_of_others` names what starts programs, imports modules or unpickles files.
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
from sam_audio_bench.tasks.adapters import adapter_of
from sam_audio_bench.tasks.catalogue import TASKS
from sam_audio_bench.tasks.load import SPLITS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MetricAgreement", "Reproduction", "code_of_others", "compare_with_record", "recorded_options"]

_KEY = ["item", "candidate", "picked_by", "metric"]  # of a score
_UNPICKLED = {"demucs": ("folder", "model")}  # options of files that another package unpickles
_FROM_CONFIG = (  # what the record itself does not hold; the rest, a cluster and its workers say, changes no number
    "model_args", "metric_args", "batch_size", "picker_args", "keep_candidates", "timeout", "retry", "memory",
)  # fmt: skip
_IDENTITY = ("seed", "align", "stereo", "candidates", "device", "dtype", "packages", "hardware", "git")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricAgreement:
    """Stored scores by one metric beside those that were made again."""

    metric: str
    unit: str
    equal: int  # the same status and the same value, bit for bit
    within: int  # that differ, by no more than the tolerance
    beyond: int  # that differ by more or in status, or that one of the two runs does not have
    largest: float | None  # largest absolute difference; None: no two values, or one of them is infinite
    item: str | None  # where that is


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What differs between a run and the same run made again."""

    name: str  # of the separator
    task: str
    made: Path  # the new run folder
    tolerance: float  # in the unit of each metric
    identity: tuple[str, ...]  # what was different from what the record says
    metrics: tuple[MetricAgreement, ...]  # none: the record came without its scores
    equal_files: int  # files of estimates with equal samples
    files: int  # of the stored run
    same_table: bool | None  # whether the digest of all scores is that of the record; None: it has none

    @property
    def same(self) -> bool:
        """Whether all scores agree within the tolerance; of a record alone, whether their digest is the one it says."""
        return all(not one.beyond for one in self.metrics) if self.metrics else bool(self.same_table)

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {**asdict(self), "made": str(self.made), "same": self.same}


def recorded_options(record: RunRecord, items: Sequence[str] = (), *, data: str | None = None) -> Options:
    """Options of ``sabench eval``, by the names of its parameters, that make a run again; None: its default.

    Args:
        record: of the run.
        items: that its folder has, which are asked for; none: those that its options choose.
        data: where its table or folder lies here; None: where the record says.

    Raises:
        UsageError: the separator was an object of a program. StoreError: no metrics, or a part of the items that
            nothing names. Precondition: the data are gone.
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
    """The options that choose items: by name those of a folder, which several commands may have filled."""
    if not items:
        shard = None if record.shard is None else "/".join(map(str, record.shard))
        if record.status != "success" and not config:  # of a run from Python
            raise StoreError(
                f"expected which of the {record.task.items} items of {record.task.label} the run has, found a record "
                "that does not tell (of a run from Python); give its folder, with items.jsonl"
            )
        return {"limit": config.get("limit"), "sample_id": config.get("sample_id"), "shard": shard}
    if len(items) == record.task.items:
        return {}
    if config.get("limit") == len(items) and not config.get("sample_id") and record.shard is None:
        return {"limit": config["limit"]}
    return {"sample_id": list(items)}


def _models(record: RunRecord, config: Options) -> list[str]:
    """The spelling of the separator; where its name does not tell which one it is, all of that command."""
    name, asked = record.model.name, config.get("model") or []
    spelt = [one for text in (asked if isinstance(asked, list) else [asked]) for one in split_specifications(str(text))]
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
    """The name that tables show for a separator without a name of its own."""
    spelt = parse_specification(spec)
    return "+".join([spelt.name, *sorted(f"{key}={value}" for key, value in {**spelt.options, **arguments}.items())])


def _task(task: TaskRecord, data: str | None) -> str:
    """What ``--task`` takes for the data of a run: where they lie, under the name that they had."""
    if task.place is None:
        if data is not None:
            raise UsageError(
                f"expected --data for anyone's data, found the task {task.id}; --data-dir says where official data lie"
            )
        return task.source
    place = data or task.place
    if not exists(place):
        raise Precondition(f"expected the data of {task.label} at {place}, found none; --data says where they lie here")
    layout = adapter_of(task.source.rpartition("=")[2]) or adapter_of(task.source)
    spelt = f"{layout[0].name}:{place}" if layout else place
    return spelt if task.id in TASKS else f"{task.id}={spelt}"


def code_of_others(
    models: Iterable[str], metrics: Iterable[str], model_args: Iterable[str] = (), *, allow_outside: bool = False
) -> list[str]:
    """What of a command runs code that is neither of this package nor installed as a plugin, or reaches too far.

    Args:
        models: spellings of separators.
        metrics: spellings of metrics.
        model_args: names of options beside them.
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
    """Holds a run that was made again against its record, its scores and its audio.

    Args:
        record: of the stored run.
        stored: its folder; None: the record came alone.
        made: the folder of the new run.
        tolerance: by which scores may differ, in the unit of each metric.
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
    """What was not as the record says, what changes numbers first."""
    header = made.header
    found = [change.nested_in("separator") for change in record.model.differences(header.model)]
    found += [change.nested_in("task") for change in record.task.differences(header.task)]
    known = {metric.id: metric for metric in header.metrics}
    for metric in record.metrics:
        if metric.id in known:
            found += [change.nested_in(metric.id) for change in metric.differences(known[metric.id])]
    found += differences(record, header, ("picker", *_IDENTITY))
    lacking = [f"{metric.id} was not computed" for metric in record.metrics if metric.id not in known]
    items = {} if stored is None else stored.items
    changed = [name for name, item in items.items() if name in made.items and item.data_sha256
               and item.data_sha256 != made.items[name].data_sha256]  # fmt: skip
    told = [f"recordings or prompt of {len(changed)} items, {changed[0]} first"] if changed else []
    return [*map(str, found), *lacking, *told]


def _agreements(
    record: RunRecord, stored: pd.DataFrame, made: pd.DataFrame, tolerance: float
) -> Iterable[MetricAgreement]:
    """How far the scores agree, a metric each."""
    import numpy as np

    texts = dict.fromkeys(("item", "picked_by", "metric", "status"), object)
    frames = (frame.assign(picked_by=frame["picked_by"].fillna("")) for frame in (stored, made))
    one, other = (frame[[*_KEY, "value", "status"]].astype(texts) for frame in frames)
    both = one.merge(other, on=_KEY, how="outer", suffixes=("_one", "_other"), indicator=True)
    a, b = (both[f"value_{side}"].to_numpy(float) for side in ("one", "other"))
    alike = (both["_merge"] == "both").to_numpy() & (both["status_one"] == both["status_other"]).to_numpy()
    equal = alike & ((a == b) | (np.isnan(a) & np.isnan(b)))
    with np.errstate(invalid="ignore"):  # infinity less infinity, which are equal
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
    """Of the files of estimates of a run, how many have the same samples in the other one."""
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
    """Whether two files hold the same sound: the bytes of a WAV also tell when it was written."""
    import torch

    from sam_audio_bench import audio

    try:
        first, second = audio.read(one), audio.read(other)
    except MediaError:
        return False
    return first.rate == second.rate and torch.equal(first.samples, second.samples)
