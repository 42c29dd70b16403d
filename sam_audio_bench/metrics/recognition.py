"""`wer` and `dwer`: word error rate of the estimate, by a speech recogniser.

Any model of transformers' pipeline for speech recognition, Whisper or one with CTC, from a folder or from the hub's
cache. Texts are normalised by transformers' ``BasicTextNormalizer``: lower case, no punctuation, nothing in brackets.
The model is part of a score's identity: values of different models are different metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam_audio_bench.devices import deterministic_fp32
from sam_audio_bench.errors import BenchError, Precondition, UsageError
from sam_audio_bench.identity import Options
from sam_audio_bench.metrics.base import Row
from sam_audio_bench.metrics.catalogue import metric_ids_of
from sam_audio_bench.metrics.speech import Signal, SpeechMetric
from sam_audio_bench.metrics.weights import PretrainedModelMixin, load_pretrained
from sam_audio_bench.nn.hub import Checkpoint, ModelSource
from sam_audio_bench.nn.text import silence_transformers
from sam_audio_bench.tabular import parse_json_lines, parse_table, read_text
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["DifferentialWordErrorRate", "WordErrorRate", "read_transcripts"]

CHUNK_SECONDS = 30  # for longer clips; a sixth of a chunk at both ends is context


class _Recognition(PretrainedModelMixin, SpeechMetric):
    """Word error rate of the estimate's transcript, 0 and above: edits over the words of the reference transcript.

    The model's input is mono at 16 kHz. It decodes greedily, whereas transformers' pipeline would use five beams; a
    clip above 30 s is recognised in overlapping chunks. A silent estimate has the value 1, since every word is missing,
    whatever a model would hallucinate. If the reference transcript is empty, the score is undefined, with status
    ``silent_reference``.
    """

    library = "transformers"
    imports = ("transformers",)
    rate = 16_000
    lowest = 1.0  # insertions can lead beyond it

    def __init__(
        self,
        path: str = "",
        asr_model: str = "openai/whisper-base.en",
        asr_revision: str = "main",
        asr_language: str = "",
        device: str = "auto",
    ) -> None:
        source = ModelSource(
            repository=asr_model,
            revision=str(asr_revision),
            path=str(path),
            weights=("model.safetensors", "pytorch_model.bin"),
            files=(("preprocessor_config.json", "processor_config.json"), ("tokenizer.json", "vocab.json")),
        )
        super().__init__(source, device=device)
        self.language = str(asr_language)

    def missing(self) -> str | None:
        """Returns why the model cannot be used; checks names of files only."""
        return SpeechMetric.missing(self) or PretrainedModelMixin.missing(self)

    @property
    def options(self) -> Options:
        """Options that change the values, for ``run.json``: the model, its settings, the version of transformers."""
        own = {"language": self.language, "chunk_seconds": CHUNK_SECONDS, "normalizer": "BasicTextNormalizer"}
        return {**self.model_options, **super().options, **own}

    def load(self, model: Checkpoint, device: torch.device) -> _Recogniser:
        """Loads the network with its tokenizer and feature extractor."""
        return _Recogniser(model, device, self.language)

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """Returns one row per item; raises Precondition, instead of failing items, if the model cannot be loaded."""
        if reason := self.missing():
            raise Precondition(reason)
        self._get_network()
        return super().score(items, separations)

    def transcript(self, signal: Signal) -> str:
        """Returns the normalised transcript of a signal at 16 kHz."""
        with torch.inference_mode(), deterministic_fp32():
            text: str = self._get_network()(signal.astype(np.float32))
        return self.normalize(text)

    def normalize(self, text: str) -> str:
        """Returns a text in the form in which texts are compared."""
        return " ".join(self._normaliser(text).split())

    def compare(self, transcript: str, estimate: Signal) -> Sequence[Score | None]:
        """Returns the word error rate ``[1]`` of an estimate, given the normalised reference transcript."""
        from sam_audio_bench.metrics.bridge import word_error_rate

        if not transcript:
            return [Score(None, Status.SILENT_REFERENCE)]
        return [Score(word_error_rate(reference=transcript, estimate=self.transcript(estimate)), Status.OK)]

    def measure(self, reference: Signal, estimate: Signal) -> Sequence[Score | None]:
        """Returns the word error rate ``[1]`` with respect to the model's transcript of the reference."""
        return self.compare(self.transcript(reference), estimate)

    @cached_property
    def _normaliser(self) -> Any:
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer

        return BasicTextNormalizer()


class DifferentialWordErrorRate(_Recognition):
    """Word error rate with respect to the same model's transcript of the reference; needs no transcripts.

    Args:
        path: a folder with the model, see `ModelSource`; empty: the hub's cache.
        asr_model: id of the model on the hub.
        asr_revision: branch, tag or commit of it.
        asr_language: language of the speech for multilingual models, such as ``de``; empty: chosen by the model.
        device: "auto" (CUDA where there is one), "cpu", "cuda" …
    """

    columns = metric_ids_of("sam_audio_bench.metrics.recognition:DifferentialWordErrorRate")


class WordErrorRate(_Recognition):
    """Word error rate with respect to given transcripts; an item without one is not scored.

    Args:
        transcripts: a table with the columns ``id`` and ``transcript``, see `read_transcripts`; a manifest may be one.
        path: see `DifferentialWordErrorRate`, also for the other arguments.
        asr_model: id of the model on the hub.
        asr_revision: branch, tag or commit of it.
        asr_language: language of the speech.
        device: where the model runs.
    """

    columns = metric_ids_of("sam_audio_bench.metrics.recognition:WordErrorRate")
    intrusive = False

    def __init__(
        self,
        transcripts: str = "",
        path: str = "",
        asr_model: str = "openai/whisper-base.en",
        asr_revision: str = "main",
        asr_language: str = "",
        device: str = "auto",
    ) -> None:
        super().__init__(path, asr_model, asr_revision, asr_language, device)
        self.transcripts = str(transcripts)

    def missing(self) -> str | None:
        """Returns why the transcripts or the model cannot be used."""
        if not self.transcripts:
            return (
                "expected a table with the columns id and transcript, found none; name it: "
                "--metrics 'wer(transcripts=FILE)', or take dwer, which needs none"
            )
        try:
            _ = self._transcripts
        except BenchError as error:
            return str(error)
        return super().missing()

    def measure_item(self, item: Item, reference: Audio, estimate: Audio) -> Sequence[Score | None]:
        """Returns the word error rate ``[1]`` with respect to the item's transcript."""
        return self.compare(self.normalize(self._transcript_of(item) or ""), self._signal(estimate))

    def _row(self, item: Item, separation: Separation) -> Row:
        return self._uniform_row(None) if self._transcript_of(item) is None else super()._row(item, separation)

    def _transcript_of(self, item: Item) -> str | None:
        """Returns the item's transcript; for a paraphrased query ``ITEM~p1``, that of the item by default."""
        base, tilde, _ = item.id.rpartition("~")
        return self._transcripts.get(item.id, self._transcripts.get(base) if tilde else None)

    @cached_property
    def _transcripts(self) -> Mapping[str, str]:
        return read_transcripts(Path(self.transcripts))


def read_transcripts(path: Path) -> dict[str, str]:
    """Reads transcripts by item from a table of delimited text or JSON lines; empty ones are skipped.

    Args:
        path: path of a file with the columns ``id`` and ``transcript``, in any order, among any others.

    Raises:
        UsageError: there are no such columns, a row is damaged, or an item has two different transcripts.
        Precondition: there is no such file.
    """
    if not path.is_file():
        raise Precondition(f"expected a table with the columns id and transcript at {path}, found none")
    found: dict[str, str] = {}
    rows = _json_rows if path.suffix.lower() in (".jsonl", ".ndjson") else _text_rows
    for number, item, transcript in rows(path):
        if not transcript.strip():
            continue
        if not item.strip():
            raise UsageError(f"row {number} of {path}: expected the id of an item, found an empty cell")
        if found.setdefault(item, transcript.strip()) != transcript.strip():
            raise UsageError(f"row {number} of {path}: expected one transcript of {item}, found a second one")
    return found


def _text_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    table = parse_table(read_text(path))
    if table.errors:
        number, what = table.errors[0]
        raise UsageError(f"row {number} of {path}: {what}")
    if not {"id", "transcript"} <= set(table.names):
        raise UsageError(f"expected the columns id and transcript in {path}, found {', '.join(table.names) or 'none'}")
    item, transcript = table.names.index("id"), table.names.index("transcript")
    yield from ((number, cells[item], cells[transcript]) for number, cells in table.rows)


def _json_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, value in parse_json_lines(read_text(path)):
        if not isinstance(value, dict) or "id" not in value:
            raise UsageError(f"row {number} of {path}: expected an object with id and transcript, found {value!r:.80}")
        transcript = value.get("transcript")
        if not isinstance(transcript, str | None):
            raise UsageError(f"row {number} of {path}: expected a text as transcript, found {transcript!r:.80}")
        yield number, str(value["id"]), transcript or ""


class _Recogniser:
    """Transcribes a signal ``[time]``, float32 at 16 kHz."""

    def __init__(self, model: Checkpoint, device: torch.device, language: str) -> None:
        import transformers

        place: Any = {"pretrained_model_name_or_path": model.folder, "local_files_only": True,
                      "trust_remote_code": False}  # fmt: skip
        config = transformers.AutoConfig.from_pretrained(**place)
        is_ctc = any(name.endswith("ForCTC") for name in config.architectures or ())
        kind: Any = transformers.AutoModelForCTC if is_ctc else transformers.AutoModelForSpeechSeq2Seq
        network = load_pretrained(kind, model, without="masked_spec_embed")
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(**place)
        extractor: Any = transformers.AutoFeatureExtractor
        features: Any = extractor.from_pretrained(**place)
        if features.sampling_rate != _Recognition.rate:
            raise Precondition(f"expected a model for {_Recognition.rate} Hz, found one for {features.sampling_rate}")
        self.pipeline: Any = transformers.pipeline(
            "automatic-speech-recognition", model=network.eval(), tokenizer=tokenizer, feature_extractor=features,
            device=device,
        )  # fmt: skip
        prompt = {"language": language, "task": "transcribe"} if language else {}
        self.options: Any = {} if is_ctc else {"generate_kwargs": {"num_beams": 1, "do_sample": False, **prompt}}

    def __call__(self, signal: np.ndarray) -> str:
        """Returns the text."""
        long = len(signal) > CHUNK_SECONDS * _Recognition.rate
        chunks = {"chunk_length_s": CHUNK_SECONDS} if long else {}
        with silence_transformers():
            result = self.pipeline({"raw": signal, "sampling_rate": _Recognition.rate}, **self.options, **chunks)
        return str(result["text"])
