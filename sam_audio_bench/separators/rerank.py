"""Picks one of several candidates of a query: span overlap, CLAP, ImageBind, the SAM Audio Judge, and an ensemble.

The models and defaults are those of SAM Audio (Shi et al., 2025): 8 candidates in the paper, ``5 CLAP + 1 SAJ`` for
texts, span IoU for spans, ImageBind for masked videos. Weights are located as by the metrics, never downloaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from sam_audio_bench.devices import device_unavailable_reason, find_device
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.identity import Options
from sam_audio_bench.judge.checkpoints import judge_source
from sam_audio_bench.metrics.activity import SpanOverlap
from sam_audio_bench.metrics.clap import Clap
from sam_audio_bench.metrics.functional.activity import Overlap, active_spans, span_overlap
from sam_audio_bench.metrics.imagebind import ImageBind
from sam_audio_bench.metrics.weights import LearnedMetric
from sam_audio_bench.types import Item, Prompt, Query, Separation

__all__ = [
    "ActivityPicker",
    "ClapPicker",
    "EnsemblePicker",
    "ImageBindPicker",
    "Picker",
    "SAJPicker",
    "best_candidate",
    "weighted_sum",
]

_MEASURES = Overlap._fields


@runtime_checkable
class Picker(Protocol):
    """Scores the candidates for one query; the highest score wins."""

    name: str  # the value of ``picked_by``

    @property
    def settings(self) -> Options:
        """Options that change the scores, apart from the weights."""
        ...

    @property
    def weights_sha256(self) -> Mapping[str, str | None]:
        """Digest of each model's weight file."""
        ...

    def missing(self) -> str | None:
        """Returns why this picker cannot run on this machine, and how to fix that; None: it can."""
        ...

    def applies_to(self, prompt: Prompt) -> bool:
        """Whether the prompt has the part that the scores need."""
        ...

    def scores(self, query: Query, candidates: Sequence[Separation]) -> list[float]:
        """Returns one score per candidate, in order; NaN if undefined."""
        ...


def best_candidate(scores: Sequence[float]) -> int:
    """Returns the index of the highest score; ties go to the first, NaN never wins against a number.

    >>> best_candidate([math.nan, 1.0, 2.0, 2.0]), best_candidate([math.nan, math.nan])
    (2, 0)
    >>> best_candidate([math.nan, -math.inf])
    1
    """
    ranks = [(not math.isnan(score), 0.0 if math.isnan(score) else score) for score in scores]
    return ranks.index(max(ranks))


def weighted_sum(weighted: Sequence[tuple[float, Sequence[float]]]) -> list[float]:
    """Returns the weighted sum of each candidate's scores, without normalisation; NaN if one is NaN.

    Args:
        weighted: a weight and scores ``[candidates]`` per member.

    >>> weighted_sum([(5.0, [0.5, 0.25]), (1.0, [3.0, 4.0])])
    [5.5, 5.25]
    """
    columns = zip(*(scores for _, scores in weighted), strict=True)
    weights = [weight for weight, _ in weighted]
    return [sum(weight * score for weight, score in zip(weights, column, strict=True)) for column in columns]


class ActivityPicker:
    """Overlap of each candidate's activity with the "+" spans of the prompt, by SAM Audio's formula.

    Activity is that of `active_spans` (250 ms windows, relative to the loudest one); spans are not merged before the
    comparison, so that scores equal those of the reference implementation's SoundActivityRanker. A silent candidate
    scores 0.

    Args:
        measure: "iou", "recall" or "precision".
        threshold: level in dB relative to the loudest window, below which a window is silent.

    Raises:
        UsageError: an unknown measure.
    """

    weights_sha256: Mapping[str, str | None] = {}

    def __init__(self, measure: str = "iou", threshold: float = SpanOverlap().threshold) -> None:
        if measure not in _MEASURES:
            raise UsageError(f"expected measure to be one of {', '.join(_MEASURES)}, found {measure!r}")
        self.measure = measure
        self.threshold = float(threshold)
        self.name = "activity" if measure == "iou" else f"activity-{measure}"

    @property
    def settings(self) -> Options:
        """Measure and threshold."""
        return {"measure": self.measure, "threshold": self.threshold}

    def missing(self) -> str | None:
        """Returns None: it has no requirements."""
        return None

    def applies_to(self, prompt: Prompt) -> bool:
        """Whether the prompt has a "+" span."""
        return any(sign == "+" for sign, _, _ in prompt.spans)

    def scores(self, query: Query, candidates: Sequence[Separation]) -> list[float]:
        """Returns the measure, at least 0; above 1 only if spans of the prompt overlap each other."""
        prompted = [(start, end) for sign, start, end in query.prompt.spans if sign == "+"]
        return [self._score(prompted, candidate) for candidate in candidates]

    def _score(self, prompted: Sequence[tuple[float, float]], candidate: Separation) -> float:
        target = candidate.target
        silent = not bool(target.samples.any())  # a silent clip below one window would count as active
        found = [] if silent else active_spans(target.samples, target.rate, threshold=self.threshold)
        return float(getattr(span_overlap(reference=prompted, estimate=found, merge=False), self.measure))


class _MetricPicker:
    """A picker by a metric of estimate and prompt; one network scores all candidates."""

    def __init__(self, name: str, metric: LearnedMetric) -> None:
        self.name = name
        self.metric = metric

    @property
    def settings(self) -> Options:
        """The parameters of the metric, without the location of its weights."""
        places = {"model", "revision", "weights_sha256"}
        return {key: value for key, value in self.metric.options.items() if key not in places}

    @property
    def weights_sha256(self) -> Mapping[str, str | None]:
        """Digest of the metric's weight file."""
        return {self.name: self.metric.weights_sha256}

    def missing(self) -> str | None:
        """Returns the reason of the metric."""
        return _name_picker_option(self.metric.missing())

    def applies_to(self, prompt: Prompt) -> bool:
        """Whether the metric applies to the prompt."""
        raise NotImplementedError

    def scores(self, query: Query, candidates: Sequence[Separation]) -> list[float]:
        """Returns the scores of the metric; NaN for a silent candidate, whose embedding is meaningless."""
        items = [Item(id="candidate", group="candidate", query=query)] * len(candidates)
        rows = self.metric.score(items, candidates)
        return [math.nan if row[0] is None or row[0].value is None else row[0].value for row in rows]


class ClapPicker(_MetricPicker):
    """Cosine of the prompt's text and each candidate's target, the metric `Clap`.

    Args:
        path: a folder with the model; empty: the cache of the hub.
        clap_model: see `Clap`.
        clap_revision: see `Clap`.
        device: see `Clap`.
    """

    def __init__(
        self,
        path: str = "",
        clap_model: str = "laion/clap-htsat-unfused",
        clap_revision: str = "main",
        device: str = "auto",
    ) -> None:
        metric = Clap(path=path, clap_model=clap_model, clap_revision=clap_revision, device=device)
        super().__init__("clap", metric)

    def applies_to(self, prompt: Prompt) -> bool:
        """Whether the prompt has a text."""
        return prompt.text is not None


class ImageBindPicker(_MetricPicker):
    """Cosine of the prompt's masked video and each candidate's target, the metric `ImageBind`.

    Args:
        path: a folder with the authors' weights.
        device: see `ImageBind`.
    """

    def __init__(self, path: str = "", device: str = "auto") -> None:
        super().__init__("imagebind", ImageBind(path=path, device=device))

    def applies_to(self, prompt: Prompt) -> bool:
        """Whether the prompt has a video."""
        return prompt.video is not None


class SAJPicker:
    """Overall score of the SAM Audio Judge for mixture, candidate and text; the mixture is encoded once.

    Args:
        path: a folder with the released judge, or with a subfolder ``sam-audio-judge``; empty: the cache of the hub.
        parity: "exact", or "upstream" for the reference implementation's treatment of padding.
        device: "auto" (CUDA if available), "cpu", "cuda" …
        judge: "sam-audio-judge", the released one, which SAM Audio uses; "saj-mini", which is included; or a folder.
    """

    name = "saj"

    def __init__(
        self, path: str = "", parity: str = "exact", device: str = "auto", judge: str = "sam-audio-judge"
    ) -> None:
        self.source = judge_source(str(judge), str(path))
        self.parity = parity
        self.device = find_device(device)
        self._sha256: str | None = None
        self._judge: Any = None

    @property
    def settings(self) -> Options:
        """The parity."""
        return {"parity": self.parity}

    @property
    def weights_sha256(self) -> Mapping[str, str | None]:
        """Digest of the judge's weight file."""
        if self._sha256 is None and self.missing() is None:
            self._sha256 = self.source.find().sha256()
        return {self.name: self._sha256}

    def missing(self) -> str | None:
        """Returns why the judge cannot be used, by file names only; None: it can."""
        if (reason := device_unavailable_reason(self.device)) is not None:
            return f"{reason}; use --device cpu"
        try:
            self.source.find()
        except Precondition as error:
            return _name_picker_option(str(error))
        return None

    def applies_to(self, prompt: Prompt) -> bool:
        """Whether the prompt has a text."""
        return prompt.text is not None

    def scores(self, query: Query, candidates: Sequence[Separation]) -> list[float]:
        """Returns the overall scores of the judge."""
        if self._judge is None:
            from sam_audio_bench.judge import SAJ

            self._judge = SAJ.from_pretrained(self.source.find().folder, parity=self.parity, device=self.device)
        targets = [candidate.target for candidate in candidates]
        found = self._judge.score(query.mixture, targets, query.prompt.text or "")
        return [float(value) for value in torch.as_tensor(found.overall).double().flatten()]


class EnsemblePicker:
    """``clap_weight`` CLAP + ``saj_weight`` SAJ overall, without normalisation.

    Args:
        clap_weight: of the cosine.
        saj_weight: of the overall score.
        path: a folder with both models in subfolders ``clap-htsat-unfused`` and ``sam-audio-judge``; empty: the
            hub's cache.
        parity: see `SAJPicker`.
        device: see `SAJPicker`.

    Raises:
        UsageError: a weight that is not finite.
    """

    def __init__(
        self,
        clap_weight: float = 5.0,
        saj_weight: float = 1.0,
        path: str = "",
        parity: str = "exact",
        device: str = "auto",
    ) -> None:
        self.weights = float(clap_weight), float(saj_weight)
        if not all(map(math.isfinite, self.weights)):
            raise UsageError(f"expected finite weights of the ensemble, found {clap_weight} and {saj_weight}")
        self.name = "ensemble" if self.weights == (5.0, 1.0) else "ensemble-{:g}-{:g}".format(*self.weights)
        self.members: tuple[Picker, Picker] = (
            ClapPicker(path=path, device=device),
            SAJPicker(path=path, parity=parity, device=device),
        )

    @property
    def settings(self) -> Options:
        """The weights, and the settings of both members."""
        members = {member.name: dict(member.settings) for member in self.members}
        return {**members, "weights": dict(zip(members, self.weights, strict=True))}

    @property
    def weights_sha256(self) -> Mapping[str, str | None]:
        """Digests of both weight files."""
        return {name: digest for member in self.members for name, digest in member.weights_sha256.items()}

    def missing(self) -> str | None:
        """Returns the reasons of both members."""
        return "; ".join(filter(None, (member.missing() for member in self.members))) or None

    def applies_to(self, prompt: Prompt) -> bool:
        """Whether both members apply to the prompt."""
        return all(member.applies_to(prompt) for member in self.members)

    def scores(self, query: Query, candidates: Sequence[Separation]) -> list[float]:
        """Returns weighted sums; NaN if a member is undefined."""
        found = [member.scores(query, candidates) for member in self.members]
        return weighted_sum(list(zip(self.weights, found, strict=True)))


def _name_picker_option(reason: str | None) -> str | None:
    """Replaces the option for arguments of metrics in a reason by that of pickers."""
    return None if reason is None else reason.replace("--metric-args", "--picker-args")
