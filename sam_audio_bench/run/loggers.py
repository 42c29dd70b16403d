"""Logging of an evaluation to experiment trackers, in addition to its run folders: ``--log tensorboard:DIR``,
``wandb:PROJECT``, ``trackio:PROJECT``.

A tracker is a `RunLogger`; all log the same: the configuration, every mean, figures, and the worst items as audio. The
package of a tracker is imported when the tracker is opened, before any other work.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sam_audio_bench.errors import BenchError, Precondition, UsageError, describe_error, unknown_name
from sam_audio_bench.files import dump_json, expand_home, safe_name
from sam_audio_bench.identity import Options
from sam_audio_bench.records import to_builtins
from sam_audio_bench.separators.catalogue import BASELINES, is_installed

if TYPE_CHECKING:
    from sam_audio_bench.run.plan import Plan
    from sam_audio_bench.run.results import Results
    from sam_audio_bench.stats.summary import SummaryRow
    from sam_audio_bench.types import Audio

__all__ = ["LOGGERS", "LoggerSpec", "RunLogger", "log_results", "open_loggers", "parse_loggers"]

_SECONDS = 10.0  # logged of each sound
_FIGURES = ("bars", "box")
_COLUMNS = ("task", "separator", "metric", "value", "ci_low", "ci_high", "n_ok", "n", "unit")


class RunLogger(Protocol):
    """An experiment tracker. Its methods are called in this order, and may raise any exception."""

    def log_config(self, config: Options) -> None:
        """Logs the configuration: nested mappings of plain JSON values."""

    def log_table(self, rows: Sequence[SummaryRow]) -> None:
        """Logs every mean with its confidence interval."""

    def log_media(self, name: str, path: Path, caption: str) -> None:
        """Logs a PNG figure or a 16-bit WAV, which is deleted afterwards; ``name`` has parts separated by slashes."""

    def finish(self) -> None:
        """Closes the tracker, whether or not the evaluation succeeded."""


class LoggerSpec(NamedTuple):
    """A parsed ``--log KIND:PLACE``."""

    kind: str
    place: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}"


class _Tensorboard:
    """TensorBoard event files in a new subfolder of the given folder."""

    def __init__(self, folder: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
        kind: Any = SummaryWriter
        self._writer = kind(str(expand_home(folder) / name))

    def log_config(self, config: Options) -> None:
        self._writer.add_text("config", f"```json\n{dump_json(config, indent=1)}\n```")

    def log_table(self, rows: Sequence[SummaryRow]) -> None:
        lines = [_COLUMNS, ["---"] * len(_COLUMNS), *(map(str, record.values()) for record in _records(rows))]
        self._writer.add_text("table", "\n".join(f"| {' | '.join(line)} |" for line in lines))
        for name, value in _means(rows).items():
            self._writer.add_scalar(name, value)

    def log_media(self, name: str, path: Path, caption: str) -> None:
        import numpy as np
        import soundfile
        from PIL import Image

        if path.suffix == ".png":
            with Image.open(path) as picture:
                self._writer.add_image(name, np.asarray(picture.convert("RGB")), dataformats="HWC")
        else:  # TensorBoard takes one channel
            samples, rate = soundfile.read(path, always_2d=True, dtype="float32")
            self._writer.add_audio(name, samples.mean(axis=1)[None], sample_rate=rate)
        self._writer.add_text(name, caption)

    def finish(self) -> None:
        self._writer.close()


class _Wandb:
    """A run in a Weights & Biases project, ``PROJECT`` or ``ENTITY/PROJECT``; WANDB_MODE=offline keeps it local."""

    def __init__(self, place: str) -> None:
        import wandb

        entity, _, project = place.rpartition("/")
        self._wandb: Any = wandb
        self._run: Any = wandb.init(
            project=project, entity=entity or None, job_type="eval", settings=wandb.Settings(console="off")
        )

    def log_config(self, config: Options) -> None:
        self._run.config.update(config)

    def log_table(self, rows: Sequence[SummaryRow]) -> None:
        data = [list(record.values()) for record in _records(rows)]
        self._run.log({"table": self._wandb.Table(columns=list(_COLUMNS), data=data)})
        self._run.summary.update(_means(rows))

    def log_media(self, name: str, path: Path, caption: str) -> None:
        kind = self._wandb.Image if path.suffix == ".png" else self._wandb.Audio
        self._run.log({name: kind(str(path), caption=caption)})

    def finish(self) -> None:
        self._run.finish()


class _Trackio:
    """A run in a Trackio project, on this machine unless TRACKIO_SPACE_ID names a Space."""

    def __init__(self, project: str) -> None:
        import trackio

        self._trackio: Any = trackio
        self._run: Any = trackio.init(project=project, embed=False)

    def log_config(self, config: Options) -> None:
        self._run.config.update(config)

    def log_table(self, rows: Sequence[SummaryRow]) -> None:
        import pandas as pd

        self._trackio.log({"table": self._trackio.Table(dataframe=pd.DataFrame(_records(rows))), **_means(rows)})

    def log_media(self, name: str, path: Path, caption: str) -> None:
        kind = self._trackio.Image if path.suffix == ".png" else self._trackio.Audio
        self._trackio.log({name: kind(path, caption=caption)})

    def finish(self) -> None:
        self._trackio.finish()


class _LoggerKind(NamedTuple):
    target: Any  # makes a `RunLogger` from the text after the colon
    place: str  # placeholder of that text, for messages


LOGGERS: Mapping[str, _LoggerKind] = {
    "tensorboard": _LoggerKind(_Tensorboard, "DIR"),
    "wandb": _LoggerKind(_Wandb, "PROJECT"),
    "trackio": _LoggerKind(_Trackio, "PROJECT"),
}
"""Kinds of loggers by the text before the colon, which is also the name of their package and of its extra."""


def parse_loggers(texts: Sequence[str]) -> list[LoggerSpec]:
    """Parses the values of ``--log``, without importing their packages.

    Raises:
        UsageError: an invalid value, or a tracker given twice. Precondition: its package is not installed.
    """
    found = []
    for text in texts:
        kind, _, place = text.partition(":")
        if kind not in LOGGERS:
            raise unknown_name("logger", kind, LOGGERS)
        if not place.strip():
            raise UsageError(f"expected --log {kind}:{LOGGERS[kind].place}, found {text!r}")
        if not is_installed(kind):
            raise Precondition(
                f"expected the package {kind} for --log {text}, found none; pip install 'sam-audio-bench[{kind}]'"
            )
        found.append(LoggerSpec(kind, place))
    if len(set(found)) < len(found):
        raise UsageError(f"expected each --log once, found {', '.join(texts)}")
    return found


@contextmanager
def open_loggers(specs: Sequence[LoggerSpec], plan: Plan) -> Iterator[dict[LoggerSpec, RunLogger]]:
    """Opens trackers and logs the configuration of a plan; they are closed at the end of the block in any case.

    What they print goes to standard error.

    Raises:
        Precondition: one cannot be opened, for example without a key or a network.
    """
    found: dict[LoggerSpec, RunLogger] = {}
    with ExitStack() as stack:
        for spec in specs:
            with _tracker_errors(spec, "to be opened"):
                found[spec] = LOGGERS[spec.kind].target(spec.place)
                stack.callback(_finish, spec, found[spec])
                found[spec].log_config(_config(plan))
        yield found


def _finish(spec: LoggerSpec, logger: RunLogger) -> None:
    with _tracker_errors(spec, "to take the rest"):
        logger.finish()


def log_results(results: Results, loggers: Mapping[LoggerSpec, RunLogger]) -> None:
    """Logs finished runs: the table, figures of the main metric, and the worst items of each separator.

    Raises:
        Precondition: a tracker raised an exception; the run folders are complete.
    """
    if not loggers:
        return
    rows = results.rows
    with tempfile.TemporaryDirectory(prefix="sabench-logged-") as folder:
        media = [*_figures(results, rows, Path(folder)), *_sounds(results, rows, Path(folder))]
        for spec, logger in loggers.items():
            with _tracker_errors(spec, "to take the results, which are whole in the run folders"):
                logger.log_table(rows)
                for name, path, caption in media:
                    logger.log_media(name, path, caption)


@contextmanager
def _tracker_errors(spec: LoggerSpec, expected: str) -> Iterator[None]:
    """Turns any exception of a tracker into a one-line Precondition, and redirects its output to standard error."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except Exception as error:  # any, from a third-party package
        raise Precondition(
            f"expected --log {spec} {expected}, found: {describe_error(error, named=True)}; the same command without "
            "--log evaluates, and with it logs what is finished"
        ) from error


def _config(plan: Plan) -> Options:
    """Returns options, separators, tasks and metrics of a plan, without the contents of run folders."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "options": {name: entry["value"] for name, entry in plan.config.items()},
        "separators": {job.model.name: to_builtins(job.model) for job in plan.jobs},
        "tasks": {job.data.label: to_builtins(job.data.record) for job in plan.jobs},
        "metrics": {record.id: to_builtins(record) for job in plan.jobs for one in job.metrics
                    for record in one.records.values()},
    }  # fmt: skip


def _records(rows: Sequence[SummaryRow]) -> list[dict[str, Any]]:
    from sam_audio_bench.render.layout import line_label

    return [{**{name: getattr(row, name) for name in _COLUMNS}, "separator": line_label(row)} for row in rows]


def _means(rows: Sequence[SummaryRow]) -> dict[str, float]:
    """Returns ``task/separator/metric`` -> mean, without undefined means, which are only in the table."""
    return {
        f"{record['task']}/{record['separator']}/{record['metric']}": record["value"]
        for record in _records(rows) if record["value"] is not None
    }  # fmt: skip


def _figures(results: Results, rows: Sequence[SummaryRow], folder: Path) -> Iterator[tuple[str, Path, str]]:
    from sam_audio_bench.stats.findings import main_metric

    if main_metric(rows) is None:
        return
    for kind in _FIGURES:
        plot = results.plot(kind)
        yield f"figures/{kind}", next(path for path in plot.save(folder) if path.suffix == ".png"), plot.caption


def _sounds(results: Results, rows: Sequence[SummaryRow], folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Yields mixture, estimate and reference of the worst items of each separator, except baselines and oracles."""
    from sam_audio_bench.run.display import find_worst_items, load_worst_item
    from sam_audio_bench.run.store import estimate_path
    from sam_audio_bench.stats.findings import main_metric

    metric = main_metric(rows)
    separators = dict.fromkeys(row.separator for row in rows)
    for separator in [name for name in separators if name not in BASELINES | results.oracles and metric is not None]:
        for rank, one in enumerate(find_worst_items(results, separator, str(metric)), 1):
            run, item, why = load_worst_item(results.runs, one)
            sounds = {} if item is None else {"mixture": item.query.mixture, "reference": item.reference}
            estimate = None if run is None else estimate_path(run, one.item)
            name = f"worst/{separator}/{rank} {one.task} {one.item}"
            about = f"{metric} {one.score}{f'; {why}' if why else ''}"
            for part, sound in {**sounds, "estimate": _read(estimate)}.items():
                if sound is not None:
                    path = folder / f"{safe_name(f'{name} {part}')}.wav"
                    if (remark := _write(path, sound)) is not None:
                        yield f"{name}/{part}", path, f"{part}, {about}{remark}"


def _read(path: Path | None) -> Audio | None:
    from sam_audio_bench import audio

    try:
        return None if path is None else audio.read(path, end=_SECONDS)
    except BenchError:
        return None


def _write(path: Path, sound: Audio) -> str | None:
    """Writes a sound in an audible form and returns remarks on what was changed for that; None: it is inaudible."""
    import soundfile

    from sam_audio_bench.notebook import playable_samples

    samples, remarks = playable_samples(sound, _SECONDS)
    if samples is None:
        return None
    soundfile.write(path, samples, sound.rate, format="WAV", subtype="PCM_16")
    return "".join(f"; {remark}" for remark in remarks)
