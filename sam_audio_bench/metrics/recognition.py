"""`wer` and `dwer`: what a speech recogniser makes of the answer, in words that are wrong.

Any model that transformers' pipeline for speech recognition runs, Whisper or one with CTC, from a folder or from the
hub's cache. Texts are compared as transformers' ``BasicTextNormalizer`` writes them: lower case, no punctuation,
nothing in brackets. Which model heard is part of a score's identity: values of different models are different metrics.
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
from sam_audio_bench.metrics.weights import OwnModel, pretrained
from sam_audio_bench.nn.hub import Checkpoint, Source
from sam_audio_bench.nn.text import quiet
from sam_audio_bench.tabular import parse_json_lines, parse_table, read_text
from sam_audio_bench.types import Audio, Item, Score, Separation, Status

__all__ = ["DifferentialWordErrorRate", "WordErrorRate", "read_transcripts"]

CHUNK_SECONDS = 30  # of a longer clip, a sixth of it at both ends as context


class _Recognition(OwnModel, SpeechMetric):
    """Word errors of the answer's transcript, over the words that should be heard; 0 and above.

    The model hears mono at 16 kHz and decodes greedily, where transformers' pipeline would take five beams; a clip
    above 30 s is heard in overlapping chunks. A silent answer has the value 1, every word being missing, whatever a
    model would imagine in silence. Where no word should be heard the score is undefined, with status
    ``silent_reference``.
    """

    library = "transformers"
    imports = ("transformers",)
    rate = 16_000
    lowest = 1.0  # inserted words lead beyond it

    def __init__(
        self,
        path: str = "",
        asr_model: str = "openai/whisper-base.en",
        asr_revision: str = "main",
        asr_language: str = "",
        device: str = "auto",
    ) -> None:
        source = Source(
            repository=asr_model,
            revision=str(asr_revision),
            path=str(path),
            weights=("model.safetensors", "pytorch_model.bin"),
            files=(("preprocessor_config.json", "processor_config.json"), ("tokenizer.json", "vocab.json")),
        )
        super().__init__(source, device=device)
        self.language = str(asr_language)

    def missing(self) -> str | None:
        """Why the model cannot be used here; looks at names of files only."""
        return SpeechMetric.missing(self) or OwnModel.missing(self)

    @property
    def options(self) -> Options:
        """What changes the values, for ``run.json``: the model, how it is asked, and the version of transformers."""
        own = {"language": self.language, "chunk_seconds": CHUNK_SECONDS, "normalizer": "BasicTextNormalizer"}
        return {**self.model_options, **super().options, **own}

    def load(self, model: Checkpoint, device: torch.device) -> _Recogniser:
        """The network with its tokenizer and feature extractor."""
        return _Recogniser(model, device, self.language)

    def score(self, items: Sequence[Item], separations: Sequence[Separation]) -> list[Row]:
        """One row an item; a model that cannot be loaded is no fault of the items, and raises Precondition."""
        if reason := self.missing():
            raise Precondition(reason)
        self._kept()
        return super().score(items, separations)

    def transcript(self, signal: Signal) -> str:
        """Normalised words that are heard in a signal at 16 kHz."""
        with torch.inference_mode(), deterministic_fp32():
            heard: str = self._kept()(signal.astype(np.float32))
        return self.normalised(heard)

    def normalised(self, text: str) -> str:
        """A text as it is compared."""
        return " ".join(self._normaliser(text).split())

    def compare(self, said: str, estimate: Signal) -> Sequence[Score | None]:
        """The rate ``[1]`` of an answer in which normalised words should be heard."""
        from sam_audio_bench.metrics.bridge import word_error_rate

        if not said:
            return [Score(None, Status.SILENT_REFERENCE)]
        return [Score(word_error_rate(reference=said, estimate=self.transcript(estimate)), Status.OK)]

    def measure(self, reference: Signal, estimate: Signal) -> Sequence[Score | None]:
        """The rate ``[1]`` against what the model hears in the reference."""
        return self.compare(self.transcript(reference), estimate)

    @cached_property
    def _normaliser(self) -> Any:
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer

        return BasicTextNormalizer()


class DifferentialWordErrorRate(_Recognition):
    """Word errors against what the same model hears in the reference, so that no transcripts are needed.

    Args:
        path: a folder with the model, see `Source`; empty: the hub's cache.
        asr_model: id of the model on the hub.
        asr_revision: branch, tag or commit of it.
        asr_language: of the speech, for models of several, ``de`` say; empty: the model's own choice.
        device: "auto" (CUDA where there is one), "cpu", "cuda" …
    """

    columns = metric_ids_of("sam_audio_bench.metrics.recognition:DifferentialWordErrorRate")


class WordErrorRate(_Recognition):
    """Word errors against given transcripts; an item without one is not asked.

    Args:
        transcripts: a table with the columns ``id`` and ``transcript``, see `read_transcripts`; a manifest may be one.
        path: as for `DifferentialWordErrorRate`, and so are the others.
        asr_model: the model.
        asr_revision: of it.
        asr_language: of the speech.
        device: where it runs.
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
        """Also why the transcripts cannot be used."""
        if not self.transcripts:
            return (
                "expected a table with the columns id and transcript, found none; name it: "
                "--metrics 'wer(transcripts=FILE)', or take dwer, which needs none"
            )
        try:
            _ = self._texts
        except BenchError as error:
            return str(error)
        return super().missing()

    def measure_item(self, item: Item, reference: Audio, estimate: Audio) -> Sequence[Score | None]:
        """The rate ``[1]`` against the item's transcript."""
        return self.compare(self.normalised(self._said(item) or ""), self._signal(estimate))

    def _row(self, item: Item, answer: Separation) -> Row:
        return self._all(None) if self._said(item) is None else super()._row(item, answer)

    def _said(self, item: Item) -> str | None:
        """The item's transcript; that of the item for a question about it in other words, ``ITEM~p1``."""
        whole, tilde, _ = item.id.rpartition("~")
        return self._texts.get(item.id, self._texts.get(whole) if tilde else None)

    @cached_property
    def _texts(self) -> Mapping[str, str]:
        return read_transcripts(Path(self.transcripts))


def read_transcripts(path: Path) -> dict[str, str]:
    """Item -> what is said in it, of a table of delimited text or JSON lines; cells without a word are left out.

    Args:
        path: of a file with the columns ``id`` and ``transcript``, in any order, beside any others.

    Raises:
        UsageError: no such columns, a damaged row, or an item that is said to say two things.
        Precondition: there is no such file.
    """
    if not path.is_file():
        raise Precondition(f"expected a table with the columns id and transcript at {path}, found none")
    found: dict[str, str] = {}
    rows = _json_rows if path.suffix.lower() in (".jsonl", ".ndjson") else _text_rows
    for number, item, said in rows(path):
        if not said.strip():
            continue
        if not item.strip():
            raise UsageError(f"row {number} of {path}: expected the id of an item, found an empty cell")
        if found.setdefault(item, said.strip()) != said.strip():
            raise UsageError(f"row {number} of {path}: expected one transcript of {item}, found a second one")
    return found


def _text_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    table = parse_table(read_text(path))
    if table.errors:
        number, what = table.errors[0]
        raise UsageError(f"row {number} of {path}: {what}")
    if not {"id", "transcript"} <= set(table.names):
        raise UsageError(f"expected the columns id and transcript in {path}, found {', '.join(table.names) or 'none'}")
    item, said = table.names.index("id"), table.names.index("transcript")
    yield from ((number, cells[item], cells[said]) for number, cells in table.rows)


def _json_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, value in parse_json_lines(read_text(path)):
        if not isinstance(value, dict) or "id" not in value:
            raise UsageError(f"row {number} of {path}: expected an object with id and transcript, found {value!r:.80}")
        said = value.get("transcript")
        if not isinstance(said, str | None):
            raise UsageError(f"row {number} of {path}: expected a text as transcript, found {said!r:.80}")
        yield number, str(value["id"]), said or ""


class _Recogniser:
    """What a model hears in a signal ``[time]``, float32 at 16 kHz."""

    def __init__(self, model: Checkpoint, device: torch.device, language: str) -> None:
        import transformers

        place: Any = {"pretrained_model_name_or_path": model.folder, "local_files_only": True,
                      "trust_remote_code": False}  # fmt: skip
        config = transformers.AutoConfig.from_pretrained(**place)
        is_ctc = any(name.endswith("ForCTC") for name in config.architectures or ())
        kind: Any = transformers.AutoModelForCTC if is_ctc else transformers.AutoModelForSpeechSeq2Seq
        network = pretrained(kind, model, without="masked_spec_embed")
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(**place)
        extractor: Any = transformers.AutoFeatureExtractor
        features: Any = extractor.from_pretrained(**place)
        if features.sampling_rate != _Recognition.rate:
            raise Precondition(f"expected a model for {_Recognition.rate} Hz, found one for {features.sampling_rate}")
        self.pipeline: Any = transformers.pipeline(
            "automatic-speech-recognition", model=network.eval(), tokenizer=tokenizer, feature_extractor=features,
            device=device,
        )  # fmt: skip
        asked = {"language": language, "task": "transcribe"} if language else {}
        self.options: Any = {} if is_ctc else {"generate_kwargs": {"num_beams": 1, "do_sample": False, **asked}}

    def __call__(self, signal: np.ndarray) -> str:
        """The text."""
        long = len(signal) > CHUNK_SECONDS * _Recognition.rate
        cut = {"chunk_length_s": CHUNK_SECONDS} if long else {}
        with quiet():
            heard = self.pipeline({"raw": signal, "sampling_rate": _Recognition.rate}, **self.options, **cut)
        return str(heard["text"])
