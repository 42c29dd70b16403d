"""Loading and scoring: sizes, faults of checkpoints, candidates, spans and video, whatever audio people have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from misalign import SHIFTS, misaligned_copy
from safetensors.torch import load_file, save_file

import sam_audio_bench.judge as package
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.judge import SAJ, load
from sam_audio_bench.judge.config import RELEASED, JudgeConfig
from sam_audio_bench.judge.tiny import write_tiny_judge
from sam_audio_bench.types import Audio


def test_keys_and_parameters_of_the_released_judge() -> None:
    with torch.device("meta"):
        model = SAJ(JudgeConfig.of_options(RELEASED))
    state = model.state_dict()
    assert len(state) == 707
    assert sum(value.numel() for value in state.values()) / 1e6 == pytest.approx(1533.8, abs=0.06)
    parts = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in model.named_children()}
    assert parts["transformer"] == pytest.approx(1104.8, abs=0.06)
    assert parts["finetune_transformer"] == pytest.approx(2.9, abs=0.06)
    assert parts["text_model"] == pytest.approx(394.8, abs=0.06)
    assert tuple(state["cat_audio_proj.weight"].shape) == (256, 3584)


@pytest.mark.bits
def test_both_file_formats(tiny_folder: Path, tiny: SAJ, noise, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_folder / name, tmp_path / name)
    torch.save(load_file(tiny_folder / "model.safetensors"), tmp_path / "checkpoint.pt")
    other, expected = load(tmp_path), tiny.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in other.state_dict().items())
    mixture, target = noise(), noise(seed=1)
    found = other.score(mixture, [target], "a dog").values
    assert torch.equal(found, tiny.score(mixture, [target], "a dog").values)


@pytest.mark.bits
@pytest.mark.parametrize("shift", SHIFTS)
def test_ratings_do_not_depend_on_where_a_file_puts_a_tensor(tiny_folder, tiny, noise, tmp_path, shift: int) -> None:
    moved = SAJ.from_pretrained(misaligned_copy(tiny_folder, tmp_path / "moved", shift))
    mixture, targets = noise(), [noise(seed=1), noise(seed=2)]
    expected = tiny.score(mixture, targets, "a dog").values
    assert torch.equal(moved.score(mixture, targets, "a dog").values, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("parity", ["exact", "upstream"])
def test_a_gpu_rates_as_the_cpu_does(tiny_folder: Path, noise, parity: str) -> None:
    """The official layout and the shipped judge, without TF32."""
    mixtures, targets = [noise(), noise(seed=2)], [[noise(seed=1), noise(seed=3)], [noise(seed=4), noise(seed=5)]]
    for place in (tiny_folder, "saj-mini") if parity == "exact" else (tiny_folder,):
        here, there = (load(place, parity=parity, device=name) for name in ("cpu", "cuda"))
        found = [judge.score_batch(mixtures, targets, ["a dog", "rain"]) for judge in (here, there)]
        for expected, got in zip(*found, strict=True):
            assert torch.allclose(got.values.cpu(), expected.values, atol=2e-4)
    spans = [("+", 0.05, 0.1)]
    told = [judge.score(mixtures[0], targets[0], "rain", spans=spans).values.cpu() for judge in (here, there)]
    assert torch.allclose(*told, atol=2e-4)


def test_aligned_tensors_are_not_copied(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sam_audio_bench.judge.model as module

    places: dict[str, int] = {}

    def read(path: Path) -> dict[str, torch.Tensor]:
        tensors = load_file(path)
        places.update((name, value.data_ptr()) for name, value in tensors.items())
        return tensors

    monkeypatch.setattr(module, "open_weights", read)
    model = SAJ.from_pretrained(misaligned_copy(tiny_folder, tmp_path / "aligned", 0))
    state, aligned = model.state_dict(), {name for name, place in places.items() if place % 64 == 0}
    same = {name for name, place in places.items() if state[name].data_ptr() == place}
    assert all(name.startswith("audio_codec.") and name.endswith("weight_v") for name in aligned - same)  # folded
    assert same <= aligned
    assert not any(value.data_ptr() % 64 for value in [*model.parameters(), *model.buffers()])
    assert not any(value.is_meta for value in [*model.parameters(), *model.buffers()])
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def altered(folder: Path, target: Path, change: Callable[[dict, dict], object]) -> Path:
    config, tensors = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    change(config, tensors)
    (target / "config.json").write_text(json.dumps(config))
    save_file(tensors, target / "model.safetensors")
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, t: t.pop("head.weight"), r"1 missing \(head\.weight\)"),
        (lambda c, t: t.update({"head.bias": torch.zeros(4)}), r"1 unexpected \(head\.bias\)"),
        (lambda c, t: c.update(bottleneck_dim=8), r"cat_audio_proj\.weight \(16, 72\) instead of \(8, 72\)"),
        (lambda c, t: c.update(dac_vae_encoder=c.pop("audio_codec")), r"found dac_vae_encoder.*--revision sam_audio"),
        (lambda c, t: c.update(nth_text_layer=9), "nth_text_layer of at most 4"),
        (lambda c, t: c["transformer"].update(num_attention_heads=5), "equal, even width"),
        (lambda c, t: (c.pop("finetune_transformer"), c.update(num_anchors=3)), "found a separator's config; give the"),
        (lambda c, t: c.pop("finetune_transformer"), "found another one"),
    ],
)
def test_faults_of_a_checkpoint(tiny_folder: Path, tmp_path: Path, change, message) -> None:
    with pytest.raises(Precondition, match=message):
        SAJ.from_pretrained(altered(tiny_folder, tmp_path, change))


def test_names(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sam_audio_bench.judge.checkpoints as module

    asked = []

    def find(place: object, *, names: object, repository: str | None = None, revision: str | None = None) -> object:
        asked.append((str(place), repository, revision))
        raise Precondition("asked")

    monkeypatch.setattr(module, "find_checkpoint", find)
    for place in ("sam-audio-judge", "facebook/sam-audio-judge", "other"):
        with pytest.raises(Precondition, match="asked"):
            load(place)
    with pytest.raises(Precondition, match="asked"):
        load("sam-audio-judge", revision="abc")
    official = "facebook/sam-audio-judge"
    assert [entry[1:] for entry in asked] == [(official, "sam_audio")] * 2 + [(None, None), (official, "abc")]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(Precondition, match=r"expected a checkpoint folder with config\.json at .*nowhere"):
        load(tmp_path / "nowhere")


def test_unknown_parity_and_attribute(tiny_folder: Path) -> None:
    with pytest.raises(UsageError, match="parity to be one of exact, upstream, found 'both'"):
        SAJ.from_pretrained(tiny_folder, parity="both")
    with pytest.raises(AttributeError, match="no attribute 'SAK'"):
        _ = package.SAK


@pytest.mark.bits
def test_candidates_are_scored_as_if_alone(tiny: SAJ, noise, monkeypatch: pytest.MonkeyPatch) -> None:
    mixture, targets = noise(0.3), [noise(0.3, seed) for seed in (1, 2, 3)]
    alone = [tiny.score(mixture, [target], "a dog").values for target in targets]
    heard: list[int] = []
    hear = tiny.encode_audio

    def counted(values: torch.Tensor) -> torch.Tensor:
        heard.append(len(values))
        return hear(values)

    monkeypatch.setattr(tiny, "encode_audio", counted)
    together = tiny.score(mixture, targets, "a dog")
    assert sum(heard) == 1 + len(targets)  # the mixture once
    assert torch.equal(together.values, torch.cat(alone))
    assert together.overall.shape == (3, 1)
    assert together.frames.shape == (3, 8, 4)
    assert together.spread is None


@pytest.mark.parametrize("parity", ["exact", "upstream"])
def test_scoring_queries_of_one_length_together_or_apart(tiny_folder: Path, noise, error, parity: str) -> None:
    judge = SAJ.from_pretrained(tiny_folder, parity=parity)
    mixtures = [noise(0.2), noise(0.2, 1)]
    targets = [[noise(0.2, 2)], [noise(0.2, 3), noise(0.2, 4)]]
    found = judge.score_batch(mixtures, targets, ["Dog", "rain"])
    for query, scores in enumerate(found):
        apart = judge.score(mixtures[query], targets[query], ["Dog", "rain"][query])
        assert error(scores.values, apart.values) < 2e-6
    assert [len(scores.values) for scores in found] == [1, 2]


@pytest.mark.bits
def test_exact_queries_of_other_lengths_do_not_hear_each_other(tiny: SAJ, noise) -> None:
    mixtures, texts = [noise(seconds, 1) for seconds in (0.2, 0.5)], ["dog", "a dog that barks at the rain"]
    targets = [[noise(seconds, 2)] for seconds in (0.2, 0.5)]
    for query, scores in enumerate(tiny.score_batch(mixtures, targets, texts)):
        assert torch.equal(scores.values, tiny.score(mixtures[query], targets[query], texts[query]).values)


@pytest.mark.bits
def test_texts(tiny_folder: Path, tiny: SAJ, noise) -> None:
    mixture, target = noise(), noise(seed=1)
    plain = tiny.score(mixture, [target], "dog barking").values
    assert torch.equal(tiny.score(mixture, [target], "  Dog BARKING\n").values, plain)
    assert not torch.allclose(tiny.score(mixture, [target], "rain").values, plain, atol=1e-3)
    upstream = SAJ.from_pretrained(tiny_folder, parity="upstream")
    assert torch.equal(upstream.score(mixture, [target], "dog barking").values, plain)
    assert not torch.allclose(upstream.score(mixture, [target], "Dog barking").values, plain, atol=1e-3)
    assert torch.isfinite(tiny.score(mixture, [target], "").values).all()


@pytest.mark.bits
def test_rates_and_channels(tiny: SAJ, noise) -> None:
    stereo = noise(0.3, rate=44_100, channels=2)
    mono = Audio(stereo.samples.mean(dim=0, keepdim=True), 44_100)
    target = noise(0.3, 5, rate=44_100)
    found = tiny.score(stereo, [target], "dog").values
    assert torch.equal(found, tiny.score(mono, [target], "dog").values)
    resampled = noise(0.3, rate=16_000)
    assert tiny.score(resampled, [resampled], "dog").frames.shape[1] == 8


@pytest.mark.parametrize("samples", [1, 2, 480, 961, 1920, 1921])
def test_short_clips(tiny: SAJ, noise, samples: int) -> None:
    clip = noise(samples / 48_000)
    found = tiny.score(clip, [clip], "dog")
    assert torch.isfinite(found.values).all()
    assert found.frames.shape[1] == -(-samples // 1920)


def test_silence_is_rated(tiny: SAJ, noise) -> None:
    silence = Audio(torch.zeros(1, 4800), 48_000)
    assert torch.isfinite(tiny.score(silence, [silence, noise(0.1)], "dog").values).all()


def test_what_cannot_be_scored(tiny: SAJ, noise) -> None:
    mixture = noise(0.2)
    with pytest.raises(UsageError, match="as long as its mixture, 5 frames, found 13"):
        tiny.score(mixture, [noise(0.5)], "dog")
    with pytest.raises(UsageError, match="at least one estimate"):
        tiny.score(mixture, [], "dog")
    with pytest.raises(UsageError, match="finite samples to rate, found NaN"):
        tiny.score(mixture, [Audio(mixture.samples * float("nan"), 48_000)], "dog")
    with pytest.raises(UsageError, match="finite samples to rate, found none"):
        tiny.score(Audio(torch.zeros(1, 0), 48_000), [mixture], "dog")
    with pytest.raises(
        UsageError, match="a text and at least one estimate for each mixture, found 1 mixtures, 2 texts"
    ):
        tiny.score_batch([mixture], [[mixture]], ["dog", "rain"])


def test_upstream_batches_refuse_estimates_of_another_length(tiny_folder: Path, noise) -> None:
    judge = SAJ.from_pretrained(tiny_folder, parity="upstream")
    with pytest.raises(UsageError, match=r"as long as their mixtures, found \[6\] frames for \[5\]"):
        judge.score_batch([noise(0.2)], [[noise(0.24)]], ["dog"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"separated_values": torch.zeros(2, 1, 1920)}, r"found \(2, 1, 3840\), \(2, 1, 1920\) and 2 texts"),
        ({"input_ids": torch.zeros(1, 3, dtype=torch.long)}, "and 1 texts"),
        ({"padding_mask": torch.ones(2, 3, dtype=torch.bool)}, r"expected padding_mask \(2, 3840\), found \(2, 3\)"),
        ({"padding_mask": torch.arange(3840).expand(2, -1) > 9}, "padding after the samples of every item"),
        ({"padding_mask": torch.zeros(2, 3840, dtype=torch.bool)}, "a sample in each"),
    ],
)
def test_tensors_that_do_not_belong_together(tiny: SAJ, change, message) -> None:
    given = {
        "input_ids": torch.zeros(2, 3, dtype=torch.long),
        "input_values": torch.zeros(2, 1, 3840),
        "separated_values": torch.zeros(2, 1, 3840),
    }
    with pytest.raises(UsageError, match=message):
        tiny(**{**given, **change})


@pytest.mark.bits
def test_official_weights_give_official_scores_whatever_the_spans(tiny_folder: Path, tiny: SAJ, noise) -> None:
    mixture, target, spans = noise(), noise(seed=1), (("+", 0.05, 0.1), ("-", 0.15, 0.2))
    plain = tiny.score(mixture, [target], "dog").values
    video = torch.randn(7, 12, generator=torch.Generator().manual_seed(0))
    assert tiny.prompts == {"text"}
    assert torch.equal(tiny.score(mixture, [target], "dog", spans=spans, video=video).values, plain)
    extended = SAJ.from_pretrained(tiny_folder)
    extended.extend(spans=True, video_width=12)
    assert extended.prompts == {"text", "spans", "video"}
    assert torch.equal(extended.score(mixture, [target], "dog", spans=spans, video=video).values, plain)
    with pytest.raises(UsageError, match=r"video features \[7, width\], found \(6, 12\)"):
        extended.score(mixture, [target], "dog", video=video[:6])


@pytest.mark.bits
def test_trained_spans_and_video_are_heard_stored_and_read(tiny_folder: Path, noise, tmp_path: Path) -> None:
    judge = SAJ.from_pretrained(tiny_folder)
    judge.extend(spans=True, video_width=12)
    assert judge.span_proj is not None
    assert judge.video_proj is not None
    with torch.no_grad():
        judge.span_proj.weight.normal_(generator=torch.Generator().manual_seed(0))
        judge.video_proj.weight.normal_(generator=torch.Generator().manual_seed(1))
    mixture, target, video = noise(), noise(seed=1), torch.ones(7, 12)
    plain = judge.score(mixture, [target], "dog").values
    told = {
        "+": judge.score(mixture, [target], "dog", spans=(("+", 0.04, 0.2),)).values,
        "-": judge.score(mixture, [target], "dog", spans=(("-", 0.04, 0.2),)).values,
        "later": judge.score(mixture, [target], "dog", spans=(("+", 0.08, 0.2),)).values,
        "video": judge.score(mixture, [target], "dog", video=video).values,
    }
    everything = [plain, *told.values()]
    assert all(not torch.allclose(a, b, atol=1e-3) for i, a in enumerate(everything) for b in everything[:i])
    shutil.copytree(tiny_folder, tmp_path / "trained")
    save_file(judge.state_dict(), tmp_path / "trained" / "model.safetensors")
    again = SAJ.from_pretrained(tmp_path / "trained")
    assert again.prompts == {"text", "spans", "video"}
    assert torch.equal(again.score(mixture, [target], "dog", video=video).values, told["video"])


def test_spans_of_a_batch_follow_their_items(tiny_folder: Path, error) -> None:
    judge = SAJ.from_pretrained(tiny_folder)
    judge.extend(spans=True)
    assert judge.span_proj is not None
    judge.requires_grad_(False).span_proj.weight.normal_(generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([9600, 3840, 9600])
    mask = torch.arange(9600) < lengths[:, None]
    given = {
        "input_ids": torch.randint(4, 200, (3, 5), generator=generator),
        "input_values": torch.randn(3, 1, 9600, generator=generator) * mask[:, None],
        "separated_values": torch.randn(3, 1, 9600, generator=generator) * mask[:, None],
        "spans": torch.nn.functional.one_hot(torch.randint(0, 3, (3, 5), generator=generator), 3),
    }
    together = judge(**given, padding_mask=mask).values
    for row, length in enumerate(lengths.tolist()):
        cut = {name: value[row : row + 1] for name, value in given.items()}
        for name in ("input_values", "separated_values"):
            cut[name] = cut[name][..., :length]
        cut["spans"] = cut["spans"][:, : length // 1920]
        assert error(judge(**cut).values, together[row : row + 1]) < 2e-6


def test_gradients_reach_the_head_and_not_the_codec(tiny_folder: Path) -> None:
    judge = SAJ.from_pretrained(tiny_folder).requires_grad_(True)
    clips = torch.randn(2, 1, 3840, generator=torch.Generator().manual_seed(0))
    ids = torch.ones(2, 3, dtype=torch.long)
    judge(input_ids=ids, input_values=clips, separated_values=clips.flip(-1)).values.sum().backward()
    reached = {name.split(".")[0] for name, value in judge.named_parameters() if value.grad is not None}
    assert {"head", "finetune_transformer", "transformer", "text_proj1", "text_model"} <= reached
    assert "audio_codec" not in reached


def test_bfloat16(tiny_folder: Path, tiny: SAJ, noise) -> None:
    judge = SAJ.from_pretrained(tiny_folder, dtype=torch.bfloat16)
    kinds = {name.split(".")[0]: value.dtype for name, value in judge.named_parameters()}
    assert kinds["transformer"] == kinds["text_model"] == torch.bfloat16
    assert kinds["audio_codec"] == torch.float32
    assert {value.dtype for value in judge.text_model.rotary_emb.buffers()} == {torch.float32}
    mixture, target = noise(), noise(seed=1)
    found = judge.score(mixture, [target], "dog").values
    assert found.dtype == torch.float32
    assert torch.allclose(found, tiny.score(mixture, [target], "dog").values, atol=0.15)


def test_tiny_judges(tmp_path: Path, tiny_folder: Path) -> None:
    same = write_tiny_judge(tmp_path / "same", seed=1)
    other = write_tiny_judge(tmp_path / "other", seed=2)
    assert (same / "model.safetensors").read_bytes() == (tiny_folder / "model.safetensors").read_bytes()
    assert (same / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()
    with pytest.raises(Precondition, match="a folder without a checkpoint"):
        write_tiny_judge(same)
    (tmp_path / "file").write_text("")
    with pytest.raises(Precondition, match="a folder that can be written"):
        write_tiny_judge(tmp_path / "file")
