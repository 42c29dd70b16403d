"""Batches of the judge against the reference's, with the clips that the reference fails on."""

from __future__ import annotations

import pytest
import torch

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.judge.processor import JudgeProcessor

GOOD = ("list_1d", "list_2d", "ragged", "exact_multiple", "shortest")
PARITIES = ("exact", "upstream")


def processor(parity: str = "exact", tokenizer: object = "") -> JudgeProcessor:
    return JudgeProcessor(1920, 48_000, parity=parity, tokenizer=tokenizer)


def clips(tensors: dict[str, torch.Tensor], case: str) -> list[torch.Tensor]:
    return [tensors[name] for name in sorted(tensors) if name.startswith(f"{case}.in.")]


@pytest.mark.parametrize("parity", PARITIES)
@pytest.mark.parametrize("case", GOOD)
def test_the_references_batches(golden, case: str, parity: str) -> None:
    tensors = golden("judge_processor")
    values, mask = processor(parity).audio(clips(tensors, case), 48_000)
    assert torch.equal(values, tensors[f"{case}.values"])
    assert torch.equal(mask, tensors[f"{case}.mask"])


def test_every_case_of_the_reference_is_estimateed_here(golden_json) -> None:
    """What fails there, and the bare tensor that it turns into garbage, is refused or put right."""
    odd = {"too_short_for_reflect", "bare_tensor_3d", "bare_tensor_2d", "bare_tensor_1d", "stereo", "wrong_rate"}
    assert {case["name"] for case in golden_json("judge_processor")["cases"]} == odd | set(GOOD)


def test_short_clips(golden) -> None:
    clip = clips(golden("judge_processor"), "too_short_for_reflect")
    with pytest.raises(UsageError, match="a clip of more than 1440 samples, which its reflection adds, found 480"):
        processor("upstream").audio(clip, 48_000)
    values, mask = processor().audio(clip, 48_000)
    assert values.shape == (1, 1, 1920)
    assert bool(mask.all())
    assert torch.equal(values[0, 0, :480], clip[0][0])
    assert torch.equal(values[0, 0, 480:959], clip[0][0, :-1].flip(0))
    assert torch.equal(processor().audio([torch.ones(1)], 48_000)[0], torch.ones(1, 1, 1920))


@pytest.mark.parametrize("parity", PARITIES)
@pytest.mark.parametrize("shape", [(1920,), (1, 1920), (1, 1, 1920)])
def test_bare_tensors(shape: tuple[int, ...], parity: str) -> None:
    with pytest.raises(UsageError, match=r"a list of clips \[channels, samples\], found Tensor"):
        processor(parity).audio(torch.zeros(shape), 48_000)  # type: ignore[arg-type]


def test_stereo() -> None:
    clip = torch.stack([torch.arange(1920.0), torch.zeros(1920)])
    assert torch.equal(processor("upstream").audio([clip], 48_000)[0], clip[None])
    assert torch.equal(processor().audio([clip], 48_000)[0], clip.mean(dim=0)[None, None])
    with pytest.raises(UsageError, match="the same number of channels"):
        processor("upstream").audio([clip, clip[:1]], 48_000)


@pytest.mark.parametrize(
    ("given", "rate", "message"),
    [
        ([torch.zeros(1, 1920)], 8000, "clips at 48000 Hz, the judge's rate, found 8000; resample"),
        ([], 48_000, "expected a list of clips"),
        ([torch.zeros(1920, dtype=torch.int16)], 48_000, r"a float clip .* found torch.int16 \(1920,\)"),
        ([torch.zeros(1, 1, 1920)], 48_000, r"a float clip .* found torch.float32 \(1, 1, 1920\)"),
        ([torch.zeros(1, 0)], 48_000, "at least one sample"),
    ],
)
def test_what_is_no_clip(given, rate, message) -> None:
    with pytest.raises(UsageError, match=message):
        processor().audio(given, rate)


class _Lengths:
    """A tokenizer whose ids are the lengths of words, and which keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], dict[str, object]]] = []

    def __call__(self, texts: list[str], **options: object) -> dict[str, torch.Tensor]:
        self.asked.append((texts, options))
        rows = [torch.tensor([len(word) for word in text.split()]) for text in texts]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}


@pytest.mark.parametrize(("parity", "read"), [("exact", "a dog"), ("upstream", " A dog ")])
def test_batches_are_arguments_of_the_judge(parity: str, read: str) -> None:
    tokenizer = _Lengths()
    mixtures, estimates = [torch.ones(1, 1921), torch.ones(1, 1000)], [torch.ones(3840), torch.ones(1920)]
    found = processor(parity, tokenizer)([" A dog ", "rain"], mixtures, estimates, 48_000)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "input_ids": (2, 2),
        "attention_mask": (2, 2),
        "input_values": (2, 1, 3840),
        "separated_values": (2, 1, 3840),
        "padding_mask": (2, 3840),
    }
    assert found["padding_mask"].sum(dim=1).tolist() == [3840, 1920]
    ((texts, options),) = tokenizer.asked
    assert texts == [read, "rain"]
    assert (options["max_length"], options["truncation"], options["padding"]) == (512, True, "longest")


def test_batches_that_do_not_belong_together() -> None:
    clip = torch.ones(1920)
    with pytest.raises(UsageError, match="as many texts, mixtures and estimates, found 1, 1 and 2"):
        processor()(["a"], [clip], [clip, clip], 48_000)
    with pytest.raises(UsageError, match="every estimate to be as long as its mixture"):
        processor()(["a"], [clip], [torch.ones(1921)], 48_000)


def test_no_tokenizer(tmp_path) -> None:
    with pytest.raises(Precondition, match=r"expected the tokenizer .*; run `hf download"):
        processor(tokenizer=str(tmp_path / "nowhere")).tokens(["a dog"])
