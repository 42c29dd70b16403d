"""SAM Audio as a separator, with a random checkpoint: the same answers whatever stands beside them, and bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from misalign import SHIFTS, misaligned_copy
from safetensors.torch import save_file

from sam_audio_bench.errors import BenchError, Precondition, UsageError
from sam_audio_bench.nn import SAMAudio
from sam_audio_bench.nn.checkpoint import load_strict, open_weights, strip_prefix
from sam_audio_bench.nn.span_predictor import SpanPredictor, SpanPredictorConfig
from sam_audio_bench.nn.tiny import TEXT_CONFIG, randomise, write_tiny_checkpoint, write_tokenizer
from sam_audio_bench.separators import sam_audio
from sam_audio_bench.separators.sam_audio import SAMAudioSeparator
from sam_audio_bench.types import Audio, Prompt, Query

GOLDEN = Path(__file__).parents[1] / "golden"
QUICK = {"solver": "euler", "step": 0.5, "device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny", seed=0)


@pytest.fixture(scope="module")
def separator(folder: Path) -> SAMAudioSeparator:
    return SAMAudioSeparator(str(folder), **QUICK)


def query(seconds: float = 0.3, rate: int = 48_000, channels: int = 1, seed: int = 0, **prompt) -> Query:
    samples = 0.1 * torch.randn(channels, round(seconds * rate), generator=torch.Generator().manual_seed(seed))
    return Query(mixture=Audio(samples, rate), prompt=Prompt(**(prompt or {"text": "a dog"})))


def target(separator: SAMAudioSeparator, asked: Query, seed: int = 1) -> torch.Tensor:
    answer = separator.separate([asked], [seed])[0]
    assert answer.target.rate == answer.residual.rate == asked.mixture.rate
    assert answer.target.samples.shape == answer.residual.samples.shape == asked.mixture.samples.shape
    assert bool(torch.isfinite(answer.target.samples).all())
    return answer.target.samples


MIXED = (
    query(0.3, text="a dog"),
    query(0.5, seed=1, text="the quick brown fox jumps over the lazy dog"),
    query(0.3, seed=2, text="rain", spans=(("+", 0.1, 0.2),)),
    query(0.11, seed=3, spans=(("+", 0.0, 0.1), ("-", 0.05, 0.11))),
)


@pytest.mark.parametrize("rows", [1, 3])
def test_an_answer_does_not_depend_on_its_batch_or_order(folder, rows) -> None:
    """Lengths, texts and spans differ: padding would show."""
    separator = SAMAudioSeparator(str(folder), rows=rows, **QUICK)
    alone = [separator.separate([asked], [seed])[0] for seed, asked in enumerate(MIXED)]
    together = separator.separate(MIXED, range(len(MIXED)))
    backwards = separator.separate(MIXED[::-1], range(len(MIXED))[::-1])[::-1]
    for one, two, three in zip(alone, together, backwards, strict=True):
        for other in (two, three):
            torch.testing.assert_close(one.target.samples, other.target.samples, rtol=0, atol=1e-5)
            torch.testing.assert_close(one.residual.samples, other.residual.samples, rtol=0, atol=1e-5)


def test_upstream_parity_does_depend_on_the_batch(folder) -> None:
    """The reference's padding reaches its answers, and its answers are as long as their frames."""
    separator = SAMAudioSeparator(str(folder), parity="upstream", **QUICK)
    short, long = query(0.3), query(0.5, seed=1)
    alone = separator.separate([short], [0])[0].target.samples
    padded = separator.separate([short, long], [0, 1])[0].target.samples
    assert alone.shape[1] == padded.shape[1] == 8 * 1920
    assert float((alone - padded).abs().max()) > 1e-3


@pytest.mark.bits
def test_candidates_share_their_conditions_and_the_first_is_the_answer(separator) -> None:
    candidates = separator.separate_candidates(MIXED[:2], [[5, 6, 7], [8, 9]])
    assert [len(found) for found in candidates] == [3, 2]
    assert torch.equal(candidates[0][0].target.samples, target(separator, MIXED[0], 5))
    assert torch.equal(candidates[0][2].target.samples, target(separator, MIXED[0], 7))
    assert not torch.allclose(candidates[0][0].target.samples, candidates[0][1].target.samples, atol=1e-3)


@pytest.mark.bits
@pytest.mark.parametrize("shift", SHIFTS)
def test_answers_do_not_depend_on_where_a_file_puts_a_tensor(folder, separator, tmp_path, shift) -> None:
    moved = misaligned_copy(folder, tmp_path / "moved", shift, tensors=open_weights(folder / "checkpoint.pt"))
    found = SAMAudioSeparator(str(moved), **QUICK)
    assert found.checkpoint.weights.name == "model.safetensors"
    for asked in MIXED[2:]:
        assert torch.equal(target(found, asked), target(separator, asked))


def test_the_mixture_is_left_alone(separator) -> None:
    asked = query()
    before = asked.mixture.samples.clone()
    target(separator, asked)
    assert torch.equal(asked.mixture.samples, before)


@pytest.mark.parametrize(
    "asked",
    [
        query(0.01),
        query(1 / 48_000),
        query(0.0001, rate=8000),
        query(0.25, rate=44_100),
        query(0.25, rate=16_000, channels=2),
        query(0.2, rate=96_000),
    ],
    ids=["below a frame", "one sample", "one sample at 8 kHz", "44.1 kHz", "stereo", "96 kHz"],
)
def test_unusual_mixtures_are_answered(separator, asked) -> None:
    target(separator, asked)


def test_silence_is_answered(separator) -> None:
    asked = Query(mixture=Audio(torch.zeros(1, 4800), 48_000), prompt=Prompt(text="a dog"))
    target(separator, asked)


@pytest.mark.parametrize(
    ("samples", "message"),
    [(torch.full((1, 4800), torch.nan), "finite samples"), (torch.zeros(1, 0), "with samples, found none")],
)
def test_impossible_mixtures_are_refused(separator, samples, message) -> None:
    with pytest.raises(UsageError, match=message):
        separator.separate([Query(mixture=Audio(samples, 48_000), prompt=Prompt(text="a"))], [0])


def test_spans_steer_and_overlap(separator) -> None:
    plain = target(separator, query(text="rain"))
    spanned = target(separator, query(text="rain", spans=(("+", 0.1, 0.2),)))
    negative = target(separator, query(text="rain", spans=(("-", 0.1, 0.2),)))
    both = target(separator, query(text="rain", spans=(("+", 0.1, 0.25), ("-", 0.15, 0.2))))
    found = [plain, spanned, negative, both]
    assert all(float((a - b).abs().max()) > 1e-4 for i, a in enumerate(found) for b in found[:i])


@pytest.mark.bits
def test_a_span_that_outlasts_the_clip_ends_with_it(separator) -> None:
    beyond = target(separator, query(0.3, text="rain", spans=(("+", 0.1, 99.0),)))
    within = target(separator, query(0.3, text="rain", spans=(("+", 0.1, 0.3),)))
    assert torch.equal(beyond, within)


def test_a_span_after_the_clip_is_refused(separator) -> None:
    with pytest.raises(UsageError, match=r"inside the clip of 0\.300 s"):
        target(separator, query(0.3, text="rain", spans=(("+", 0.5, 0.6),)))


@pytest.mark.bits
def test_the_message_is_the_seeds_or_given(folder) -> None:
    drawn = SAMAudioSeparator(str(folder), **QUICK)
    assert torch.equal(target(drawn, query()), target(drawn, query()))
    zero, other = (SAMAudioSeparator(str(folder), message=bits, **QUICK) for bits in (0, 0xBEEF))
    assert not torch.equal(target(zero, query()), target(other, query()))


@pytest.mark.parametrize("mode", ["one-shot", "multi-diffusion", "cross-fade"])
def test_long_forms_answer_at_full_length(folder, mode) -> None:
    separator = SAMAudioSeparator(str(folder), long_form=mode, window=0.4, overlap=0.2, **QUICK)
    found = target(separator, query(1.2))
    assert bool(found[0].abs().amax() > 0)


@pytest.mark.bits
def test_long_forms_differ_only_where_there_are_windows(folder) -> None:
    joint = SAMAudioSeparator(str(folder), long_form="multi-diffusion", window=0.4, overlap=0.2, **QUICK)
    plain = SAMAudioSeparator(str(folder), long_form="one-shot", **QUICK)
    assert torch.equal(target(joint, query(0.4)), target(plain, query(0.4)))
    assert not torch.allclose(target(joint, query(1.2)), target(plain, query(1.2)), atol=1e-4)


@pytest.fixture(scope="module")
def reference_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference's tiny checkpoint."""
    folder = tmp_path_factory.mktemp("reference")
    for name, file in (("config.json", "separator_config.json"), ("model.safetensors", "separator.safetensors")):
        shutil.copy(GOLDEN / file, folder / name)
    for name in ("pe_config.json", "t5_config.json"):
        shutil.copy(GOLDEN / name, folder / name)
    return folder


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("tag", ["default", "anchors"])
def test_upstream_parity_gives_the_references_waveforms(
    reference_folder, golden, golden_json, error, monkeypatch, tag, rows
) -> None:
    """From a stereo and a shorter mono clip to waveforms as long as their frames; only what was drawn is given."""
    tensors, meta = golden("separate_io"), golden_json("separate_meta")
    separator = SAMAudioSeparator(str(reference_folder), parity="upstream", rows=rows)
    model = separator._loaded()
    encoder = model.text_encoder
    tokens = tensors["text.input_ids"], tensors["text.attention_mask"]
    monkeypatch.setattr(encoder, "batch", lambda texts: encoder.encode(*tokens))
    drawn = tensors["in.noise"].split(1), tensors[f"{tag}.message"].split(2)
    monkeypatch.setattr(separator, "_draw", lambda model, given, seed: (drawn[0][seed], drawn[1][seed]))
    spans = meta["anchors"] if tag == "anchors" else [[], []]
    queries = [
        Query(
            mixture=Audio(tensors[f"in.audio.{item}"], 48_000),
            prompt=Prompt(text=meta["descriptions"][item], spans=tuple((s, a, b) for s, a, b in spans[item])),
        )
        for item in (0, 1)
    ]
    with torch.inference_mode():
        expected = model.codec.decode(tensors[f"{tag}.features"], message=tensors[f"{tag}.message"])[:, 0]
    for item, answer in enumerate(separator.separate(queries, [0, 1])):
        length = tensors[f"default.target.{item}"].shape[0]
        for row, found in enumerate((answer.target.samples, answer.residual.samples), 2 * item):
            assert found.shape == (queries[item].mixture.channels, length)
            for channel in found:
                assert error(channel, expected[row, :length]) < 1e-4


def test_upstream_parity_knows_no_long_form_of_its_own(folder, monkeypatch) -> None:
    monkeypatch.setattr(sam_audio, "_ONE_SHOT_SECONDS", 0.5)
    counts = {}
    for parity in ("exact", "upstream"):
        told: list[int] = []
        separator = SAMAudioSeparator(str(folder), parity=parity, window=0.4, overlap=0.2, **QUICK)
        separator.on_evaluation = lambda done, total, told=told: told.append(total)
        separator.separate([query(1.2)], [0])
        counts[parity] = told[0]
    assert counts == {"exact": 2 * 5, "upstream": 2}


def test_progress_counts_every_evaluation(folder) -> None:
    separator = SAMAudioSeparator(str(folder), long_form="multi-diffusion", window=0.4, overlap=0.2, **QUICK)
    told: list[tuple[int, int]] = []
    separator.on_evaluation = lambda done, total: told.append((done, total))
    separator.separate_candidates([query(1.2)], [[0, 1]])
    assert told == [(done, len(told)) for done in range(1, len(told) + 1)]
    assert len(told) == 2 * 2 * 5  # candidates, evaluations, windows


@pytest.mark.bits
def test_offload_and_bfloat16_change_little_or_nothing(folder) -> None:
    plain = target(SAMAudioSeparator(str(folder), **QUICK), query())
    offloaded = SAMAudioSeparator(str(folder), offload=True, **QUICK)
    assert torch.equal(target(offloaded, query()), plain)
    assert torch.equal(target(offloaded, query()), plain)
    coarse = target(SAMAudioSeparator(str(folder), dtype="bfloat16", **QUICK), query())
    assert not torch.equal(coarse, plain)
    assert float((coarse - plain).abs().mean()) < 0.1 * float(plain.abs().mean())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mode", ["one-shot", "multi-diffusion", "cross-fade"])
def test_a_gpu_gives_the_cpus_answers(folder, clip, mode) -> None:
    """Without TF32, rows in one batch or not; bfloat16 is as near as on a CPU."""
    options = {**QUICK, "long_form": mode, "window": 0.3, "overlap": 0.1}
    asked = [*MIXED, query(0.3, seed=4, video=clip[0], mask=clip[1])]
    here, there = (SAMAudioSeparator(str(folder), **{**options, "device": name}) for name in ("cpu", "cuda"))
    seeds = list(range(len(asked)))
    for expected, found in zip(here.separate(asked, seeds), there.separate(asked, seeds), strict=True):
        for name in ("target", "residual"):
            wanted, got = (getattr(answer, name).samples for answer in (expected, found))
            assert got.device.type == "cpu"
            assert float((got - wanted).abs().max()) < 1e-3 * float(wanted.abs().max())
    plain = target(there, query())
    coarse = target(SAMAudioSeparator(str(folder), **{**options, "device": "cuda", "dtype": "bfloat16"}), query())
    assert 0 < float((coarse - plain).abs().mean()) < 0.1 * float(plain.abs().mean())


def test_names_and_settings_identify_an_answer(folder) -> None:
    separator = SAMAudioSeparator(str(folder), step=0.25)
    assert separator.name == "sam-audio:tiny"
    assert separator.settings["step"] == 0.25
    assert len(separator.weights_sha256) == 64
    assert "device" not in separator.settings


@pytest.mark.parametrize(
    "options",
    [{"solver": "magic"}, {"step": 0}, {"long_form": "short"}, {"parity": "both"}, {"dtype": "int8"}, {"overlap": 20},
     {"message": 65_536}, {"device": "abacus"}, {"span_threshold": 1}, {"rows": -1}],
)  # fmt: skip
def test_impossible_options_are_refused(folder, options) -> None:
    with pytest.raises(UsageError):
        SAMAudioSeparator(str(folder), **options)


def test_a_missing_folder_is_told(tmp_path) -> None:
    with pytest.raises(Precondition, match="checkpoint folder"):
        SAMAudioSeparator(str(tmp_path / "nowhere"))


@pytest.fixture(scope="module")
def span_predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random PE-A-Frame for the latents of the tiny separator."""
    folder = tmp_path_factory.mktemp("spans")
    config = json.loads((GOLDEN / "peaframe_config.json").read_text(encoding="utf-8"))
    config["text_model"]["vocab_size"] = 384
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = SpanPredictor(SpanPredictorConfig.of_folder(folder))
    save_file(randomise(model, torch.Generator().manual_seed(0)), folder / "model.safetensors")
    write_tokenizer(folder)
    return folder


@pytest.mark.bits
def test_predicted_spans_reach_the_network(folder, span_predictor) -> None:
    """What is predicted has the effect of the same spans given; upstream it has none, as in the reference."""
    options = {**QUICK, "predict_spans": True, "span_predictor": str(span_predictor), "span_threshold": 0.5}
    asked, plain = query(1.0, text="rain"), SAMAudioSeparator(str(folder), **QUICK)
    predicted = SAMAudioSeparator(str(folder), **options)
    found = target(predicted, asked)
    assert float((found - target(plain, asked)).abs().max()) > 1e-4
    latents = plain._loaded().codec.encode(asked.mixture.samples[None]).transpose(1, 2)
    spans = SpanPredictor.from_pretrained(span_predictor).predict(latents, ["rain"], threshold=0.5)[0]
    given = tuple(("+", max(start - 0.02, 0.0), end - 0.02) for start, end in spans)
    torch.testing.assert_close(found, target(plain, query(1.0, text="rain", spans=given)), rtol=0, atol=1e-6)
    assert torch.equal(target(predicted, query(1.0, text="rain", spans=given)), found)  # the user's own spans win
    offloaded = SAMAudioSeparator(str(folder), offload=True, **options)
    assert torch.equal(target(offloaded, asked), found)
    assert offloaded._span_predictor is None
    upstream = [SAMAudioSeparator(str(folder), parity="upstream", **some) for some in (QUICK, options)]
    assert torch.equal(*(separator.separate([asked], [1])[0].target.samples for separator in upstream))


def test_a_missing_span_predictor_is_told_before_any_work(folder, tmp_path) -> None:
    options = {"predict_spans": True, "span_predictor": str(tmp_path)}
    with pytest.raises(Precondition, match=r"checkpoint folder with config\.json"):
        SAMAudioSeparator(str(folder), **options)
    SAMAudioSeparator(str(folder), parity="upstream", **options)  # where predicted spans have no effect


@pytest.mark.parametrize("pad_mode", ["longest", "max_length"])
def test_no_padding_of_a_text_is_attended_to(folder, pad_mode) -> None:
    encoder = SAMAudio.from_pretrained(folder).text_encoder
    encoder.config = replace(encoder.config, pad_mode=pad_mode, max_length=12)
    features, mask = encoder.batch(["a dog", "a dog barks at the moon"])
    assert mask.sum(dim=1).tolist() == [6, 12]  # bytes and an end, cut
    alone = encoder("a dog")
    assert alone.shape[1] == 6
    torch.testing.assert_close(alone[0], features[0, :6], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Half a second of video at 10 frames a second and its mask."""
    from sam_audio_bench.tasks.synthetic_video import draw_scene, write_clip

    folder = tmp_path_factory.mktemp("clip")
    levels = np.full((2, 5), 200, np.uint8)
    write_clip(draw_scene("clip", levels), folder / "clip.mp4", folder / "clip.npz")
    return str(folder / "clip.mp4"), str(folder / "clip.npz")


def test_a_masked_video_steers(separator, clip) -> None:
    video, mask = clip
    seen = target(separator, query(0.5, video=video, mask=mask))
    whole = target(separator, query(0.5, video=video))
    told = target(separator, query(0.5, video=video, mask=mask, text="a dog"))
    unseen = target(separator, query(0.5, text="a dog"))
    assert float((seen - whole).abs().max()) > 1e-5
    assert float((told - unseen).abs().max()) > 1e-5


def test_a_broken_video_is_refused(separator, tmp_path, clip) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(BenchError, match=r"broken\.mp4"):
        target(separator, query(0.5, video=str(tmp_path / "broken.mp4")))
    np.savez(tmp_path / "empty.npz", video_masklet=np.zeros((0, 4, 4), bool))
    with pytest.raises(BenchError, match=r"empty\.npz"):
        target(separator, query(0.5, video=clip[0], mask=str(tmp_path / "empty.npz")))


@pytest.mark.bits
def test_the_same_seed_writes_the_same_checkpoint(tmp_path, folder) -> None:
    first, again = open_weights(folder), open_weights(write_tiny_checkpoint(tmp_path / "again", seed=0))
    other = open_weights(write_tiny_checkpoint(tmp_path / "other", seed=1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    with pytest.raises(Precondition, match="without a checkpoint"):
        write_tiny_checkpoint(folder)


@pytest.fixture(scope="module")
def released(folder, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tiny checkpoint as official files are, without its text encoder, and that encoder in a folder of its own."""
    import transformers

    official, text = (tmp_path_factory.mktemp(name) for name in ("official", "t5"))
    tensors = open_weights(folder)
    torch.save({k: v for k, v in tensors.items() if not k.startswith("text_encoder.")}, official / "checkpoint.pt")
    for name in ("config.json", "pe_config.json"):
        (official / name).write_bytes((folder / name).read_bytes())
    encoder = transformers.T5EncoderModel(transformers.T5Config(**TEXT_CONFIG))
    load_strict(encoder, strip_prefix(tensors, "text_encoder.model."), source=folder)
    encoder.save_pretrained(text)
    write_tokenizer(text)
    return official, text


def test_the_text_encoder_may_lie_elsewhere(folder, released) -> None:
    official, text = released
    apart = SAMAudioSeparator(str(official), text_encoder=str(text), **QUICK)
    together = SAMAudioSeparator(str(folder), **QUICK)
    torch.testing.assert_close(target(apart, query()), target(together, query()), rtol=0, atol=1e-6)


@pytest.mark.bits
@pytest.mark.parametrize("shift", SHIFTS)
def test_features_of_a_text_do_not_depend_on_where_a_file_puts_a_tensor(folder, released, tmp_path, shift) -> None:
    official, text = released
    moved = misaligned_copy(text, tmp_path / "moved", shift)
    found, expected = (SAMAudio.from_pretrained(official, text_encoder=str(place)) for place in (moved, text))
    assert torch.equal(found.text_encoder("a dog barks"), expected.text_encoder("a dog barks"))


def test_a_missing_text_encoder_is_told(released, tmp_path) -> None:
    """In a process of its own, since transformers reads its environment when it is imported."""
    program = (
        "import sys, torch, sam_audio_bench as sab\n"
        "from sam_audio_bench.types import Audio, Query\n"
        "separator = sab.load_separator(f'sam-audio:{sys.argv[1]}')\n"
        "query = Query(mixture=Audio(torch.zeros(1, 4800), 48000), prompt=sab.Prompt(text='a dog'))\n"
        "try: separator.separate([query], [0])\n"
        "except sab.BenchError as error: print(type(error).__name__, error)\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", program, str(released[0])]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.startswith("Precondition expected the text encoder t5-tiny in a folder or on the Hugging Face hub")
    assert "text_encoder=DIR" in said
