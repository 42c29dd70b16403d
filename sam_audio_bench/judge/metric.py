"""`saj_overall`, `saj_recall`, `saj_precision`, `saj_faithfulness`: predicted listener ratings, without a reference."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from sam_audio_bench.errors import UsageError
from sam_audio_bench.identity import Options
from sam_audio_bench.judge.checkpoints import judge_source, tokenizer_folder
from sam_audio_bench.judge.input_checks import check_prompt, find_clip_fault
from sam_audio_bench.judge.processor import PARITIES
from sam_audio_bench.judge.training_mixtures import TrainingMixtures
from sam_audio_bench.metrics.base import Row, has_silent_reference
from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.weights import LearnedMetric, split_batches
from sam_audio_bench.nn.hub import Checkpoint
from sam_audio_bench.nn.peav import TOKENIZER
from sam_audio_bench.types import Audio, Item, Query, Separation, Status

if TYPE_CHECKING:
    from sam_audio_bench.judge.model import SAJ, PreparedQuery

__all__ = ["LONGEST", "SAMAudioJudge"]

LONGEST = 300.0
"""Longest clip in seconds that is rated as a whole: the network's time grows with the square of the length."""

_TOGETHER = 60.0  # seconds; longer clips are not batched


class SAMAudioJudge(LearnedMetric):
    """The four ratings of the SAM Audio Judge, for items with a text; see `sam_audio_bench.judge.SAJ`.

    Unlike other learned metrics, the judge also gets the mixture, so a silent estimate is rated too: the target was
    missed. Scores are undefined with the status ``silent_reference`` if the mixture is silent, or ``both_silent`` if
    the estimate is silent as well; ``too_short`` below `SHORTEST`; ``not_understood`` if too little of the prompt is
    understood, see `check_prompt`; ``length_mismatch`` if estimate and mixture differ in rate or length; and
    ``non_finite`` for such samples in either, or damaged weights.

    Clips longer than `LONGEST` are cut into windows of equal length, each rated as a clip of its own; the score is the
    mean over the windows whose mixture is not silent.

    A folder of a trained judge records the mixtures that it was trained on; rating the first of them warns.

    Args:
        judge: "saj-mini", which is shipped; "sam-audio-judge", the released one, in the hub's cache; or the folder of
            a judge or of a training run. Empty: the released one if ``path`` is given, else the shipped one.
        path: a folder with the released judge, see `ModelSource`.
        parity: one of `PARITIES`; for a single item "upstream" differs only in the case of the text.
        device: see `LearnedMetric`.
        stereo: "joint" and "mono": the channels are averaged; "mean": the mean of the ratings of the estimate's
            channels, each against its channel of the mixture.

    Raises:
        UsageError: unknown parity or stereo policy.
    """

    columns = metric_ids_of("sam_audio_bench.judge.metric:SAMAudioJudge")
    rate = 48_000
    batch_size = 8
    in_blocks = True

    def __init__(
        self,
        judge: str = "",
        path: str = "",
        parity: str = "exact",
        device: str = "auto",
        stereo: str = "joint",
    ) -> None:
        super().__init__(judge_source(str(judge), str(path)), device=device, stereo=stereo)
        if parity not in PARITIES:
            raise UsageError(f"expected parity to be one of {', '.join(PARITIES)}, found {parity!r}")
        self.parity = parity
        if parity == "upstream":
            self.batch_size = 1  # the reference attends to padding, so that a rating would depend on its batch
        self._last: tuple[Query, PreparedQuery] | None = None
        self._understood: dict[str, bool] = {}
        self._trained: TrainingMixtures | None = None
        self._warned = False

    @property
    def options(self) -> Options:
        """Options that change the scores, for ``run.json``."""
        return {**super().options, "parity": self.parity}

    def applies_to(self, item: Item) -> bool:
        """Applies to items with a text: the released judge reads nothing else, and spans alone mislead saj-mini."""
        return item.query.prompt.text is not None

    def missing(self) -> str | None:
        """Returns what is missing: first the weights, then the tokenizer; looks only at file names."""
        reason = super().missing()
        if reason is None and tokenizer_folder(self._model().folder) is None:
            reason = (
                f"expected a tokenizer.json in {self._model().folder} or that of {TOKENIZER} in the cache of the hub, "
                f"found neither; run `hf download {TOKENIZER} tokenizer.json tokenizer_config.json`"
            )
        return reason

    def load(self, model: Checkpoint, device: torch.device) -> SAJ:
        """Loads the judge with its tokenizer."""
        from sam_audio_bench.judge.model import SAJ

        tokenizer = tokenizer_folder(model.folder)
        return SAJ.from_pretrained(
            model.folder, parity=self.parity, device=device, tokenizer=str(tokenizer) if tokenizer else ""
        )

    def measure(self, network: SAJ, clips: Sequence[Audio], items: Sequence[Item]) -> Sequence[Sequence[float]]:
        """Returns the ratings of each clip."""
        pairs = list(zip(clips, (item.query for item in items), strict=True))
        if self.batch_size == 1 or any(clip.seconds > _TOGETHER for clip in clips):
            return [self._rated(network, *pair) for pair in pairs]
        return [row for batch in split_batches(pairs, self.batch_size) for row in _rated_together(network, batch)]

    def _rated(self, judge: SAJ, clip: Audio, query: Query) -> list[float]:
        """Rates one clip; the features of the last query are reused."""
        if self._last is None or self._last[0] is not query:
            self._last = query, judge.prepare_query(query.mixture, query.prompt.text or "", spans=query.prompt.spans)
        ratings: list[float] = self._last[1].score(clip).values[0].double().tolist()
        return ratings

    def _clips(self, item: Item, estimate: Separation) -> list[tuple[Audio, Item]] | Row:
        if not self.applies_to(item):
            return self._uniform_row(None)
        pairs = list(self._pairs(item, estimate.target))
        faults = [fault and fault[0] for fault in (find_clip_fault(one.query.mixture, clip) for clip, one in pairs)]
        for status in (Status.LENGTH_MISMATCH, Status.NON_FINITE):
            if status in faults:
                return self._uniform_row(status)
        if has_silent_reference(item):
            return self._uniform_row(Status.SILENT_REFERENCE)
        if None not in faults:
            return self._uniform_row(faults[0])
        if not self._understands(item.query.prompt.text or ""):
            return self._uniform_row(Status.NOT_UNDERSTOOD)
        self._warn_of_training(item)
        return [pair for pair, fault in zip(pairs, faults, strict=True) if fault is None]

    def _understands(self, text: str) -> bool:
        """Returns whether the judge understands enough of a text to rate estimates for it."""
        if text not in self._understood:
            if self._network is None:
                self._network = self._load_network()
            remark = check_prompt(self._network, text)
            self._understood[text] = remark is None or remark.understood
        return self._understood[text]

    def _warn_of_training(self, item: Item) -> None:
        """Warns at the first mixture that the judge was trained on."""
        if self._trained is None:
            self._trained = TrainingMixtures.of_folder(self._model().folder)
        if not self._warned and item.query.mixture in self._trained:
            self._warned = True
            warnings.warn(
                f"{self._model().model} was trained on {len(self._trained)} mixtures, that of {item.id} among them: "
                "its ratings of these are too good",
                stacklevel=2,
            )

    def _pairs(self, item: Item, target: Audio) -> Iterator[tuple[Audio, Item]]:
        """Yields windows of estimates with their items, of one channel each unless channels are averaged."""
        mixture = item.query.mixture
        if self.stereo != "mean" or target.channels == 1 or mixture.channels != target.channels:
            yield from _windows(target, item)
            return
        for one, estimate in zip(mixture.samples, target.samples, strict=True):
            query = replace(item.query, mixture=Audio(one[None], mixture.rate))
            yield from _windows(Audio(estimate[None], target.rate), replace(item, query=query))


def _windows(target: Audio, item: Item) -> Iterator[tuple[Audio, Item]]:
    """Yields equal windows of an estimate with its item; both unchanged if they are short or of different lengths."""
    mixture, prompt = item.query.mixture, item.query.prompt
    count = math.ceil(mixture.seconds / LONGEST)
    if count < 2 or target.length != mixture.length:
        yield target, item
        return
    edges = [number * mixture.length // count for number in range(count + 1)]
    for begin, end in pairwise(edges):
        first, last = begin / mixture.rate, end / mixture.rate
        spans = tuple(
            (sign, max(start, first) - first, min(stop, last) - first)
            for sign, start, stop in prompt.spans
            if start < last and stop > first
        )
        query = Query(mixture=Audio(mixture.samples[:, begin:end], mixture.rate), prompt=replace(prompt, spans=spans))
        yield Audio(target.samples[:, begin:end], target.rate), replace(item, query=query)


def _rated_together(judge: SAJ, pairs: Sequence[tuple[Audio, Query]]) -> list[list[float]]:
    """Rates clips, each for its own query, in one call of the network."""
    clips, queries = zip(*pairs, strict=True)
    prompts = [query.prompt for query in queries]
    scores = judge.score_pairs(
        [query.mixture for query in queries],
        clips,
        [prompt.text or "" for prompt in prompts],
        [prompt.spans for prompt in prompts],
    )
    ratings: list[list[float]] = scores.values.double().tolist()
    return ratings
