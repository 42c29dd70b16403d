"""The judge against the reference: every stage, every score, batches, and SAM Audio's re-ranking."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sam_audio_bench.judge import SAJ, JudgeScores
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.nn import SAMAudio, flow
from sam_audio_bench.nn.conditioning import anchor_tables
from sam_audio_bench.types import Audio

NETWORK, CODEC, WAVEFORM = 2e-6, 1e-5, 1e-4
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def tensors(golden) -> dict[str, Tensor]:
    return golden("judge_io")


@pytest.fixture(scope="module", params=["exact", "upstream"])
def judge(request: pytest.FixtureRequest, reference_folder: Path) -> SAJ:
    return SAJ.from_pretrained(reference_folder, parity=request.param)


@pytest.fixture(scope="module")
def upstream(reference_folder: Path) -> SAJ:
    return SAJ.from_pretrained(reference_folder, parity="upstream")


@pytest.fixture(scope="module")
def exact(reference_folder: Path) -> SAJ:
    return SAJ.from_pretrained(reference_folder)


def batch(judge: SAJ, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The reference's batch, its audio made by us."""
    mixtures, mask = judge.processor.audio([tensors[f"in.audio.{row}"] for row in range(3)], 48_000)
    estimates, _ = judge.processor.audio([tensors[f"in.separated.{row}"] for row in range(3)], 48_000)
    return {
        "input_ids": tensors["proc.input_ids"],
        "attention_mask": tensors["proc.attention_mask"],
        "input_values": mixtures,
        "separated_values": estimates,
        "padding_mask": mask,
    }


def ask(judge: SAJ, given: dict[str, Tensor], **changes: Tensor | None) -> JudgeScores:
    with torch.inference_mode():
        found: JudgeScores = judge(**{**given, **changes})
    return found


def test_batches_are_the_references(judge, tensors) -> None:
    assert torch.equal(batch(judge, tensors)["padding_mask"], tensors["proc.padding_mask"])


def test_every_stage(upstream, tensors, error) -> None:
    given = batch(upstream, tensors)
    both = torch.cat([given["input_values"], given["separated_values"]])
    with torch.inference_mode():
        assert error(upstream.audio_codec.encode(both), tensors["mid.codec"]) < CODEC
        heard = upstream.encode_audio(both)
        assert error(heard, tensors["mid.transformer"]) < NETWORK
        texts = upstream.encode_text(given["input_ids"], given["attention_mask"])
        mixtures, estimates = heard.chunk(2)
        rated = upstream.rate_frames(estimates, mixtures, texts)
        expected = torch.nn.functional.linear(tensors["mid.finetune"], upstream.head.weight)
        assert error(rated, expected) < NETWORK


def test_scores_of_a_padded_batch(upstream, tensors, error) -> None:
    found = ask(upstream, batch(upstream, tensors))
    for axis in AXES:
        assert getattr(found, axis).shape == (3, 1)
        assert error(getattr(found, axis), tensors[f"out.{axis}"]) < NETWORK


def test_scores_without_masks(judge, tensors, error) -> None:
    found = ask(judge, batch(judge, tensors), attention_mask=None, padding_mask=None)
    for axis in AXES:
        assert error(getattr(found, axis), tensors[f"out_nomask.{axis}"]) < NETWORK


@pytest.mark.parametrize("row", range(3))
def test_scores_of_single_items(judge, tensors, error, row) -> None:
    given = batch(judge, tensors)
    samples = int(given["padding_mask"][row].sum())
    tokens = int(given["attention_mask"][row].sum())
    one = {name: value[row : row + 1] for name, value in given.items()}
    for name in ("input_values", "separated_values", "padding_mask"):
        one[name] = one[name][..., :samples]
    for name in ("input_ids", "attention_mask"):
        one[name] = one[name][:, :tokens]
    assert error(ask(judge, one).values, tensors[f"out_single.{row}"]) < NETWORK


def test_exact_scores_of_a_batch_are_those_of_single_items(exact, upstream, tensors, error) -> None:
    given = batch(exact, tensors)
    found = ask(exact, given)
    alone = torch.cat([tensors[f"out_single.{row}"] for row in range(3)])
    assert error(found.values, alone) < NETWORK
    assert error(ask(upstream, given).values, alone) > 1e-3
    reordered = ask(exact, {name: value[[2, 0, 1]] for name, value in given.items()})
    assert error(reordered.values[[1, 2, 0]], found.values) < NETWORK


def test_frames_have_the_scores_as_their_mean(exact, tensors, error) -> None:
    found = ask(exact, batch(exact, tensors))
    assert found.frames.shape == (3, 5, 4)
    assert found.keep.sum(dim=1).tolist() == [5, 2, 3]
    assert bool((found.frames[~found.keep] == 0).all())
    means = found.frames.sum(dim=1) / found.keep.sum(dim=1, keepdim=True)
    assert error(means, found.values) < NETWORK


def test_the_keys_are_the_checkpoints(judge, golden) -> None:
    expected = {name: value.shape for name, value in golden("judge").items()}
    assert {name: value.shape for name, value in judge.state_dict().items()} == expected


class _Known:
    """Gives the token ids that the reference's tokenizer gave."""

    def __call__(self, texts: list[str], **_: Any) -> dict[str, Tensor]:
        ids = {"man speaking": [2, 14, 60, 1], "a car horn honking loudly": [2, 39, 8, 15, 21, 58, 1]}
        rows = [torch.tensor(ids[text]) for text in texts]
        masks = [torch.ones_like(row) for row in rows]
        pad = torch.nn.utils.rnn.pad_sequence
        return {"input_ids": pad(rows, batch_first=True), "attention_mask": pad(masks, batch_first=True)}


def candidates(folder: Path, given: dict[str, Tensor], rerank: dict[str, Tensor], sizes: list[int]) -> Tensor:
    """Waveforms ``[2, 3, samples]`` of the reference's noise and watermarks."""
    model = SAMAudio.from_pretrained(folder)
    ids, alignment = anchor_tables([[], []], sizes, hop=1920, rate=48_000)
    rows = {
        "text_features": given["args.text_features"],
        "text_mask": given["args.text_mask"],
        "audio_pad_mask": given["args.audio_pad_mask"],
        "anchor_ids": ids,
        "anchor_alignment": alignment,
        "masked_video_features": torch.zeros(2, model.config.vision_encoder.dim, max(sizes)),
    }
    with torch.inference_mode():
        conditions = model.prepare(
            given["args.audio_features"].repeat_interleave(3, 0),
            **{name: value.repeat_interleave(3, 0) for name, value in rows.items()},
        )
        state = flow.integrate(
            lambda time, state: model.evaluate(state, time.expand(6), conditions), rerank["in.noise"], step=0.5
        )
        latents = state.transpose(1, 2).unflatten(1, (2, -1)).flatten(0, 1)
        return model.codec.decode(latents, rerank["message"])[::2, 0].unflatten(0, (2, 3))


def test_reranking_picks_what_the_reference_picks(reference_folder, golden, error, tmp_path) -> None:
    given, rerank, sizes = golden("separate_io"), golden("rerank_io"), [6, 3]
    for name, source in (("model.safetensors", "separator.safetensors"), ("config.json", "separator_config.json")):
        shutil.copy(GOLDEN / source, tmp_path / name)
    for name in ("pe_config.json", "t5_config.json"):
        shutil.copy(GOLDEN / name, tmp_path / name)
    waves = candidates(tmp_path, given, rerank, sizes)
    mixtures = [Audio(given[f"in.audio.{item}"], 48_000) for item in (0, 1)]
    targets = [[Audio(wave[None, : size * 1920], 48_000) for wave in waves[item]] for item, size in enumerate(sizes)]
    assert error(torch.cat([target.samples for target in targets[1]]), rerank["ranker.extracted_audio.1"]) < WAVEFORM
    judge = SAJ.from_pretrained(reference_folder, parity="upstream", tokenizer=_Known())
    texts = ["man speaking", "a car horn honking loudly"]
    found = judge.score_batch(mixtures, targets, texts)
    scores = torch.stack([scores.overall[:, 0] for scores in found])
    assert error(scores, rerank["scores_judge"]) < 2 * NETWORK
    assert error(6 * scores, rerank["scores_ensemble"]) < 2 * NETWORK
    best = scores.argmax(dim=1)
    assert torch.equal(best, rerank["best"])
    for item in (0, 1):
        assert error(targets[item][best[item]].samples[0], rerank[f"target.{item}"]) < WAVEFORM
    alone = judge.score(mixtures[1], targets[1], texts[1]).overall
    assert error(alone[:, 0], scores[1]) > 1e-3  # the shorter item hears the longer one's padding in a batch
