"""Configuration of a training run, read from a TOML file.

Every table is a frozen dataclass; an unknown key is rejected with a suggestion. Recipes are in ``judge/recipes`` of the
repository; docs/judge-training.md explains each key.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import expand_home

__all__ = [
    "CALIBRATIONS",
    "PARTS",
    "PRECISIONS",
    "Data",
    "Extend",
    "Loss",
    "Optimizer",
    "Recipe",
    "Stop",
    "read_recipe",
]

PARTS = ("fusion", "head", "backbone", "all")
"""Values of ``train``; see `sam_audio_bench.judge.training.trainable_model.PARTS_OF`."""

PRECISIONS = ("auto", "float32", "bf16")
"""Precision of the forward pass: bf16 under autocast; "auto" uses it on a GPU that supports it."""

CALIBRATIONS = ("least_squares", "quantiles", "none")
"""Final monotone piecewise linear mapping of ratings: for the least error on held-out data, to match the distribution
of listeners' ratings, or none."""


@dataclass(frozen=True, kw_only=True)
class _Table:
    """Options that are read from a table of the TOML file."""

    @classmethod
    def of(cls, options: Any, where: str) -> Self:
        """Reads the options of a table; raises UsageError for unknown keys and values of another type."""
        if not isinstance(options, Mapping):
            raise UsageError(f"expected a table [{where}] in the recipe, found {options!r}")
        known = {item.name: item for item in fields(cls)}
        for name in options:
            if name not in known:
                raise UsageError(_unknown(name, known, where))
        found = {name: _typed(value, known[name].type, f"{where}.{name}") for name, value in options.items()}
        return cls(**found)


@dataclass(frozen=True, kw_only=True)
class Data(_Table):
    """Data; paths are relative to the working folder."""

    train: tuple[str, ...] = ()  # tables of ratings and folders of shards
    valid: tuple[str, ...] = ()  # likewise; empty: held out from train
    hold_out_groups: float = 0.1  # share of the recordings of train that is held out
    hold_out_systems: tuple[str, ...] = ()  # systems of train that are held out
    max_seconds: float = 30.0  # longer clips are cut
    texts: bool = True  # whether to use prompts; if not, only rows of intended prompts are kept, with empty texts
    cache: str = ""  # folder of cached features; empty: in the run's folder


@dataclass(frozen=True, kw_only=True)
class Extend(_Table):
    """Inputs and outputs added to the network of ``init``."""

    spread: bool = True  # an output for the standard deviation of the error
    spans: bool = False  # an input for spans
    video_width: int = 0  # width of an input for video features; 0: none


@dataclass(frozen=True, kw_only=True)
class Loss(_Table):
    """Weights and parameters of the losses."""

    huber_delta: float = 0.5  # in standard deviations of the ratings
    axes: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)  # weights, in the order of `AXES`
    raters_cap: float = 0.0  # maximum number of raters by which a mean is weighted; 0: no cap
    ranking: float = 0.2  # weight of the loss for the order of estimates of one mixture
    ranking_gap: float = 0.5  # rating points; pairs with smaller differences are ignored
    ranking_temperature: float = 0.5  # standard deviations
    spread: float = 0.1  # weight of the likelihood of errors under the spread


@dataclass(frozen=True, kw_only=True)
class Optimizer(_Table):
    """AdamW with warm-up and cosine decay, and the moving average of the weights."""

    learning_rate: float = 1e-3
    final_rate: float = 0.01  # share of learning_rate at the end
    backbone_rate: float = 0.1  # share of learning_rate for the backbone, if it is trained
    weight_decay: float = 0.01  # not of biases, norms and embeddings
    betas: tuple[float, float] = (0.9, 0.98)
    epochs: int = 10
    warmup: float = 0.05  # share of all steps
    clip: float = 1.0  # norm of the gradient
    ema: float = 0.999  # decay of the moving average, after a warm-up; 0: none
    max_frames: int = 8000  # per batch: number of estimates times frames of the longest
    ratings_per_mixture: int = 12  # maximum per batch
    accumulate: int = 1  # batches per step
    precision: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Stop(_Table):
    """Evaluation interval, early stopping and checkpoint interval."""

    every: int = 0  # steps between evaluations on held-out data; 0: once per epoch
    patience: int = 0  # evaluations without a better SRCC of overall; 0: never stop early
    checkpoint: int = 200  # steps between checkpoints; each evaluation also writes one


@dataclass(frozen=True, kw_only=True)
class Recipe(_Table):
    """The whole configuration."""

    name: str = "judge"
    seed: int = 0
    init: str = ""  # a judge's folder or name; empty: [judge], the config of a small judge with random weights
    reset: tuple[str, ...] = ()  # parts of init that are reinitialised at random
    train: tuple[str, ...] = ("all",)  # parts that are trained
    listener: str = ""  # with [judge]: folder of an audio encoder, or of a small judge whose audio encoder is used
    words: str = ""  # likewise for its word vectors
    prototypes: str = ""  # likewise for its prototypes, with the names of their recordings; empty: none
    pitch_jitter: float = 0.0  # octaves: standard deviation of a pitch shift of all voices of a mixture (small judge)
    text_dropout: float = 0.5  # share of mixtures whose prompts have events only, without a class (small judge)
    calibration: str = "least_squares"
    judge: Mapping[str, object] = field(default_factory=dict)
    data: Data = Data()
    extend: Extend = Extend()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    stop: Stop = Stop()

    def __post_init__(self) -> None:
        _among(self.train, PARTS, "train")
        _among(self.reset, PARTS, "reset")
        _among([self.calibration], CALIBRATIONS, "calibration")
        _among([self.optimizer.precision], PRECISIONS, "optimizer.precision")
        if not self.train:
            raise UsageError(f"expected train to name parts among {', '.join(PARTS)}, found none")
        if bool(self.init) == bool(self.judge):
            raise UsageError(
                "expected either init, a judge to continue from, or [judge], the config of a new small judge"
            )
        if not self.data.train:
            raise UsageError("expected data.train to name tables of ratings or folders of shards, found none")
        if len(self.loss.axes) != 4:
            raise UsageError(f"expected 4 weights in loss.axes, found {len(self.loss.axes)}")
        for name, value, low, high in _ranges(self):
            if not low <= value <= high:
                raise UsageError(f"expected {name} between {low:g} and {high:g} in the recipe, found {value:g}")

    def plain(self) -> dict[str, object]:
        """Returns the recipe as a plain dict, for JSON."""
        return asdict(self)


_TABLES: Mapping[str, type[_Table]] = {kind.__name__: kind for kind in (Data, Extend, Loss, Optimizer, Stop)}


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Reads the recipe in a file.

    Args:
        path: a TOML file.
        changes: ``key=value`` or ``table.key=value``, with values in TOML syntax.

    Raises:
        Precondition: the file is missing. UsageError: invalid TOML, an unknown key, or an invalid value.
    """
    try:
        options = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Precondition(f"expected a recipe at {path}, found none that can be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"expected TOML in {path}, found: {error}") from error
    for change in changes:
        _change(options, change)
    return recipe_of({name: _expand_paths(value) for name, value in options.items()})


def _expand_paths(value: object) -> object:
    """Expands ``~`` in a value's paths."""
    if isinstance(value, dict):
        return {name: _expand_paths(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_expand_paths(one) for one in value]
    return str(expand_home(value)) if isinstance(value, str) and value.startswith("~") else value


def recipe_of(options: Mapping[str, object]) -> Recipe:
    """Returns the recipe in the tables of a TOML file, or in the result of `Recipe.plain`."""
    return Recipe.of(options, "recipe")


def _ranges(recipe: Recipe) -> list[tuple[str, float, float, float]]:
    data, loss, optimizer = recipe.data, recipe.loss, recipe.optimizer
    most = float("inf")
    return [
        ("data.hold_out_groups", data.hold_out_groups, 0, 0.9),
        ("data.max_seconds", data.max_seconds, 0.1, 3600),
        ("loss.huber_delta", loss.huber_delta, 1e-6, most),
        ("loss.ranking_temperature", loss.ranking_temperature, 1e-6, most),
        ("pitch_jitter", recipe.pitch_jitter, 0, 2),
        ("text_dropout", recipe.text_dropout, 0, 1),
        ("optimizer.learning_rate", optimizer.learning_rate, 0, 1),
        ("optimizer.epochs", optimizer.epochs, 1, 100_000),
        ("optimizer.warmup", optimizer.warmup, 0, 1),
        ("optimizer.clip", optimizer.clip, 1e-6, most),
        ("optimizer.ema", optimizer.ema, 0, 0.999_999),
        ("optimizer.max_frames", optimizer.max_frames, 1, most),
        ("optimizer.ratings_per_mixture", optimizer.ratings_per_mixture, 1, 1000),
        ("optimizer.accumulate", optimizer.accumulate, 1, 10_000),
        ("stop.checkpoint", recipe.stop.checkpoint, 1, most),
    ]


def _unknown(name: str, known: Collection[str], where: str) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
    place = "the recipe" if where == "recipe" else f"[{where}] of the recipe"
    return f"unknown key {name!r} in {place}: {hint}"


def _among(names: Sequence[str], known: Sequence[str], key: str) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"expected {key} among {', '.join(known)}, found {name!r}{hint}")


def _typed(value: Any, kind: Any, where: str) -> Any:
    """Converts a TOML value to the type of its field; raises UsageError for another type."""
    text = str(kind)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    many = isinstance(value, list | tuple)
    if text == "float" and number:
        return float(value)
    if text.startswith("tuple[float") and many and all(isinstance(one, int | float) for one in value):
        return tuple(float(one) for one in value)
    if text.startswith("tuple[str") and (many or isinstance(value, str)):
        return (value,) if isinstance(value, str) else tuple(str(one) for one in value)
    if text in ("int", "bool", "str") and type(value).__name__ == text:
        return value
    if text in _TABLES:
        return _TABLES[text].of(value, where.removeprefix("recipe."))
    if text.startswith("Mapping") and isinstance(value, Mapping):
        return value
    raise UsageError(f"expected {where} to be {text} in the recipe, found {value!r}")


def _change(options: dict[str, object], change: str) -> None:
    key, equals, text = change.partition("=")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a string without quotes
    *tables, name = key.strip().split(".")
    if not equals or not name:
        raise UsageError(f"expected a change as table.key=value, found {change!r}")
    for table in tables:
        inside = options.setdefault(table, {})
        if not isinstance(inside, dict):
            raise UsageError(f"expected a change of a table, found {change!r}, and {table!r} is none")
        options = inside
    options[name] = value
