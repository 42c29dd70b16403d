"""`wer` and `dwer`: real recognisers, small and random, whose words are compared as everybody compares them."""

from __future__ import annotations

import csv
import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metric_signals import noise
from tiny_networks import write_ctc, write_whisper
from torch import Tensor

from sam_audio_bench.columns import build_metrics
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.metrics.bridge import word_error_rate
from sam_audio_bench.metrics.recognition import DifferentialWordErrorRate, WordErrorRate, read_transcripts
from sam_audio_bench.types import Audio, Item, Prompt, Query, Score, Separation, Status

RATE = 16_000


@pytest.fixture(scope="module")
def ctc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ctc(tmp_path_factory.mktemp("ctc") / "model")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whisper(tmp_path_factory.mktemp("whisper") / "model")


def bursts(seconds: float = 1.0, seed: int = 0) -> Tensor:
    """Noise ``[1, time]`` of ten loudnesses a second, of which a network makes different letters."""
    parts = noise(math.ceil(10 * seconds), seed=seed).abs().repeat_interleave(RATE // 10)
    return (0.1 * noise(len(parts), seed=seed + 1) * parts)[None, : int(seconds * RATE)]


def question(reference: Tensor | None, name: str = "a", rate: int = RATE) -> Item:
    query = Query(mixture=Audio(bursts(), rate), prompt=Prompt(text="a voice"))
    return Item(id=name, group=name, query=query, reference=None if reference is None else Audio(reference, rate))


def answer(samples: Tensor, rate: int = RATE) -> Separation:
    return Separation(target=Audio(samples, rate), residual=Audio(samples, rate))


def pipeline(folder: Path, sound: Tensor) -> str:
    """What transformers' own pipeline says, without the five beams that it has for Whisper."""
    import transformers

    asr: Any = transformers.pipeline("automatic-speech-recognition", model=str(folder), device="cpu")
    greedy = {} if asr.type == "ctc" else {"generate_kwargs": {"num_beams": 1, "do_sample": False}}
    return str(asr({"raw": sound[0].float().numpy(), "sampling_rate": RATE}, **greedy)["text"])


def normalised(text: str) -> list[str]:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    words: list[str] = BasicTextNormalizer()(text).split()
    return words


def edits(one: list[str], other: list[str]) -> int:
    """The definition of the distance between two lists of words."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        before, row = row, [i]
        for j, right in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (left != right)))
    return row[-1]


@pytest.mark.parametrize("kind", ["ctc", "whisper"])
def test_dwer_is_the_pipeline_and_the_distance_of_words(kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    metric = DifferentialWordErrorRate(path=str(folder), device="cpu")
    reference = bursts(2.0)
    for given_ in (bursts(2.0, seed=2), reference + 0.01 * noise(*reference.shape, seed=5)):
        said, heard = (normalised(pipeline(folder, sound)) for sound in (reference, given_))
        assert said
        ((score,),) = metric.score([question(reference)], [answer(given_)])
        assert score is not None
        assert score.status is Status.OK
        assert score.value == pytest.approx(edits(said, heard) / len(said), abs=1e-6)
    assert metric.score([question(reference)], [answer(reference)]) == [(Score(0.0, Status.OK),)]


def test_wer_is_against_the_given_words(ctc: Path, tmp_path: Path) -> None:
    """By the item's name, of questions in other words too; an item without a transcript is not asked."""
    sound = bursts(2.0)
    words = normalised(pipeline(ctc, sound))
    table = tmp_path / "words.csv"
    said = "[a cough] " + " ".join(words).upper() + ", AND more!"
    table.write_text(f'mixture,id,transcript\nx.wav,a,"{said}"\ny.wav,b,\nz.wav,d,...\n')
    metric = WordErrorRate(transcripts=str(table), path=str(ctc), device="cpu")
    assert metric.missing() is None
    names = ["a", "a~p1", "b", "c", "d"]
    found = metric.score([question(None, name) for name in names], [answer(sound)] * 5)
    assert [row[0] and row[0].status for row in found] == ["ok", "ok", None, None, "silent_reference"]
    expected = pytest.approx(2 / (len(words) + 2), abs=1e-6)
    assert [row[0] and row[0].value for row in found] == [expected, expected, None, None, None]


def test_statuses(ctc: Path) -> None:
    """Silence has every word wrong, and asks no model what it imagines."""
    metric = DifferentialWordErrorRate(path=str(ctc), device="cpu")
    sound = bursts()
    cases = {
        Status.SILENT_ESTIMATE: (sound, 0 * sound),
        Status.SILENT_REFERENCE: (0 * sound, sound),
        Status.BOTH_SILENT: (0 * sound, 0 * sound),
        Status.NON_FINITE: (sound, sound * math.nan),
        Status.LENGTH_MISMATCH: (sound, sound[:, 1:]),
        Status.TOO_SHORT: (sound[:, :3000], sound[:, :3000]),
    }
    for status, (reference, estimate) in cases.items():
        value = 1.0 if status is Status.SILENT_ESTIMATE else None
        assert metric.score([question(reference)], [answer(estimate)]) == [(Score(value, status),)]
    assert metric.score([question(None)], [answer(sound)]) == [(None,)]


def test_rows_do_not_depend_on_what_stands_beside_them(whisper: Path) -> None:
    metric = DifferentialWordErrorRate(path=str(whisper), device="cpu")
    items = [question(bursts(seed=seed)) for seed in (0, 2)] + [question(0 * bursts())]
    answers = [answer(bursts(seed=seed)) for seed in (4, 6, 8)]
    together = metric.score(items, answers)
    assert together == [metric.score([one], [given_])[0] for one, given_ in zip(items, answers, strict=True)]
    assert together[::-1] == DifferentialWordErrorRate(path=str(whisper), device="cpu").score(
        items[::-1], answers[::-1]
    )


@pytest.mark.parametrize("kind", ["ctc", "whisper"])
def test_other_rates_and_long_clips_are_heard(kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    metric = DifferentialWordErrorRate(path=str(folder), device="cpu")
    long = bursts(33.0)
    assert metric.score([question(long)], [answer(long)]) == [(Score(0.0, Status.OK),)]
    assert metric.transcript(long[0].numpy())
    slow = bursts()[:, ::2]
    assert metric.score([question(slow, rate=8000)], [answer(slow, 8000)]) == [(Score(0.0, Status.OK),)]


def test_the_model_is_part_of_the_identity(ctc: Path, tmp_path: Path) -> None:
    other = write_ctc(tmp_path / "other", seed=1)

    def fingerprint(spec: str, **arguments: Any) -> str | None:
        (loaded,) = build_metrics([spec], arguments)
        return loaded.fingerprints[next(iter(loaded.fingerprints))]

    before = fingerprint("dwer", path=str(ctc))
    assert before is not None
    assert fingerprint("dwer", path=str(ctc), device="cpu") == before
    assert fingerprint("dwer", path=str(other)) != before
    assert fingerprint("dwer", path=str(ctc), asr_language="de") != before
    table = tmp_path / "words.csv"
    table.write_text("id,transcript\na,one\n")
    first = fingerprint("wer", path=str(ctc), transcripts=str(table))
    table.write_text("id,transcript\na,two\n")
    assert fingerprint("wer", path=str(ctc), transcripts=str(table)) != first
    options = DifferentialWordErrorRate(path=str(ctc), device="cpu").options
    assert {"model", "revision", "weights_sha256", "transformers", "normalizer"} <= set(options)


def test_what_is_missing_is_told(ctc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    lacking = DifferentialWordErrorRate(device="cpu").missing()
    assert "run `hf download openai/whisper-base.en`" in str(lacking)
    with pytest.raises(Precondition, match=r"hf download openai/whisper-base\.en"):
        DifferentialWordErrorRate(device="cpu").score([question(bursts())], [answer(bursts())])
    assert "wer(transcripts=FILE)" in str(WordErrorRate(path=str(ctc)).missing())
    assert "none.csv, found none" in str(WordErrorRate(transcripts=str(tmp_path / "none.csv"), path=str(ctc)).missing())
    (ctc.parent / "broken").mkdir()
    for file in ctc.iterdir():
        (ctc.parent / "broken" / file.name).write_bytes(file.read_bytes())
    (ctc.parent / "broken" / "model.safetensors").write_bytes(b"none")
    with pytest.raises(Precondition, match="expected a model that can be loaded"):
        DifferentialWordErrorRate(path=str(ctc.parent / "broken"), device="cpu").score([], [])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "item,transcript\na,b\n", "expected the columns id and transcript in .*, found item, transcript"),
        ("a.csv", "", "expected the columns id and transcript in .*, found none"),
        ("a.csv", "id,transcript\na,b\na,c\n", "row 3 of .*expected one transcript of a, found a second"),
        ("a.csv", 'id,transcript\na,"b\n', "never closed"),
        ("a.csv", "id,transcript\n,b\na,c\n", "row 2 of .*expected the id of an item, found an empty cell"),
        ("a.jsonl", '{"id": "a", "transcript": 3}\n', "row 1 of .*expected a text as transcript, found 3"),
        ("a.jsonl", "[1]\n", r"row 1 of .*expected an object with id and transcript, found \[1\]"),
        ("a.jsonl", "{\n", "row 1 of .*expected an object with id and transcript"),
    ],
)
def test_tables_that_are_none(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        read_transcripts(tmp_path / name)


def test_tables_that_are(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("transcript\tid\n one two \ta\n\tb\none two\ta\n")
    assert read_transcripts(tmp_path / "a.tsv") == {"a": "one two"}
    (tmp_path / "a.jsonl").write_text(
        '{"id": 3, "transcript": "one"}\n\n{"id": "b"}\n{"id": "c", "transcript": null}\n'
    )
    assert read_transcripts(tmp_path / "a.jsonl") == {"3": "one"}


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=12)


@given(rows=st.dictionaries(CELLS, CELLS, min_size=1, max_size=6), delimiter=st.sampled_from(",;\t|"))
def test_any_table_comes_back(rows: dict[str, str], delimiter: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([("id", "transcript"), *rows.items()])
        assert read_transcripts(path) == rows
        lines = (json.dumps({"id": item, "transcript": said}) for item, said in rows.items())
        path.with_suffix(".jsonl").write_text("\n".join(lines), encoding="utf-8")
        assert read_transcripts(path.with_suffix(".jsonl")) == rows


WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=8)


@given(reference=WORDS.filter(bool), estimate=WORDS)
def test_the_rate_is_its_definition(reference: list[str], estimate: list[str]) -> None:
    found = word_error_rate(reference=" ".join(reference), estimate=" ".join(estimate))
    assert found == pytest.approx(edits(reference, estimate) / len(reference), abs=1e-6)
    assert word_error_rate(reference=" ".join(reference), estimate="") == 1


def test_code_beside_the_weights_is_not_run(ctc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anybody asked whether it may: a record that is made again names a folder of its author's."""
    folder = Path(shutil.copytree(ctc, tmp_path / "model"))
    (folder / "theirs.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    kinds = ("AutoConfig", "AutoModelForCTC", "AutoTokenizer", "AutoFeatureExtractor")
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "theirs"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {kind: f"theirs.{kind}" for kind in kinds}}))
    monkeypatch.setattr("builtins.input", lambda *words: "y")
    metric = DifferentialWordErrorRate(path=str(folder), device="cpu")
    with pytest.raises(Precondition, match="expected a model that can be loaded"):
        metric.score([question(bursts())], [answer(bursts(seed=4))])
    assert not (tmp_path / "run").exists()
