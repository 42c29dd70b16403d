"""`saj_*`: the judge as a metric of a run, and ``sabench judge score``."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from sam_audio_bench.audio import read, write_wav
from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError, UsageError
from sam_audio_bench.judge import SAJ
from sam_audio_bench.judge.checkpoints import find_judge, read_judge_name
from sam_audio_bench.judge.metric import SAMAudioJudge
from sam_audio_bench.judge.training_mixtures import TrainingMixtures
from sam_audio_bench.metrics.base import Row
from sam_audio_bench.registry import load_metric
from sam_audio_bench.types import Audio, Item, Prompt, Query, Separation, Status

COLUMNS = ("saj_overall", "saj_recall", "saj_precision", "saj_faithfulness")
Noise = Callable[..., Audio]


@pytest.fixture(scope="module")
def metric(tiny_folder: Path) -> SAMAudioJudge:
    return SAMAudioJudge(path=str(tiny_folder), device="cpu")


def question(mixture: Audio, text: str | None = "a dog") -> Item:
    spans = () if text else (("+", 0.0, 0.1),)
    return Item(id="a", group="a", query=Query(mixture=mixture, prompt=Prompt(text=text, spans=spans)))


def estimate(target: Audio) -> Separation:
    return Separation(target=target, residual=target)


def ask(metric: SAMAudioJudge, mixture: Audio, target: Audio) -> Row:
    return metric.score([question(mixture)], [estimate(target)])[0]


def values(row: Row) -> list[float]:
    assert all(score is not None and score.status is Status.OK for score in row)
    return [score.value for score in row if score is not None and score.value is not None]


def statuses(row: Row) -> set[Status]:
    return {score.status for score in row if score is not None and score.value is None}


def test_values_are_the_judges(metric: SAMAudioJudge, tiny: SAJ, noise: Noise) -> None:
    mixture, target = noise(0.3, rate=44_100, channels=2), noise(0.3, 1, rate=44_100, channels=2)
    expected = tiny.score(mixture, [target], "a dog").values[0].tolist()
    assert values(ask(metric, mixture, target)) == pytest.approx(expected, abs=1e-6)
    assert metric.columns == COLUMNS


def test_an_absent_sound_has_no_rating(metric: SAMAudioJudge, noise: Noise) -> None:
    """Silence is right there, and would be rated lowest; a broken estimate is broken all the same."""
    item = replace(question(noise(0.4)), reference=Audio(torch.zeros(1, noise(0.4).length), noise(0.4).rate))
    silence = Audio(torch.zeros_like(noise(0.4).samples), noise(0.4).rate)
    for target in (silence, noise(0.4, 1)):
        assert statuses(metric.score([item], [estimate(target)])[0]) == {Status.SILENT_REFERENCE}
    assert statuses(metric.score([item], [estimate(noise(0.3))])[0]) == {Status.LENGTH_MISMATCH}
    present = replace(item, reference=noise(0.4, 2))
    assert values(metric.score([present], [estimate(noise(0.4, 1))])[0])


def test_registered(tiny_folder: Path) -> None:
    found = load_metric("saj_recall", path=str(tiny_folder.parent))  # the folder that several models share
    assert isinstance(found, SAMAudioJudge)
    assert found.missing() is None


def test_batch_and_order_change_nothing(metric: SAMAudioJudge, noise: Noise) -> None:
    mixtures = [noise(seconds, seed) for seed, seconds in enumerate((0.3, 0.5, 0.3))]
    items = [question(mixture, text) for mixture, text in zip(mixtures, ("dog", "rain and horn", "dog"), strict=True)]
    estimates = [estimate(Audio(mixture.samples * 0.5, mixture.rate)) for mixture in mixtures]
    together = metric.score(items, estimates)
    assert together == [metric.score([item], [one])[0] for item, one in zip(items, estimates, strict=True)]
    assert together == metric.score(items[::-1], estimates[::-1])[::-1]


@pytest.mark.parametrize("judge", ["tiny", "small"])
def test_one_call_rates_other_lengths_texts_and_spans(judge: str, request: pytest.FixtureRequest, noise: Noise) -> None:
    """What a GPU is given, here on the CPU: no item hears the padding of another."""
    single, batched = (SAMAudioJudge(judge=str(request.getfixturevalue(f"{judge}_folder")), device="cpu") for _ in "ab")
    batched.batch_size = 4
    asked = [(0.3, "dog", ()), (0.5, "rain and a woman", (("+", 0.1, 0.3), ("-", 0.3, 0.4))), (0.5, "a guitar", ())]
    items = [
        Item(id="a", group="a", query=Query(mixture=noise(seconds, seed), prompt=Prompt(text=text, spans=spans)))
        for seed, (seconds, text, spans) in enumerate(asked)
    ]
    estimates = [estimate(noise(seconds, seed + 9)) for seed, (seconds, _, _) in enumerate(asked)]
    for one, other in zip(single.score(items, estimates), batched.score(items, estimates), strict=True):
        assert values(other) == pytest.approx(values(one), abs=1e-5)
    assert SAMAudioJudge(parity="upstream", device="cpu").batch_size == 1


def test_candidates_share_the_mixture(metric: SAMAudioJudge, noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    item, estimates = question(noise(0.4)), [estimate(noise(0.4, seed)) for seed in (1, 2, 3)]
    alone = [metric.score([question(item.query.mixture)], [one])[0] for one in estimates]
    heard = []
    network = metric._network
    prepare = network.prepare_query
    monkeypatch.setattr(network, "prepare_query", lambda *given, **told: heard.append(1) or prepare(*given, **told))
    assert [metric.score([item], [one])[0] for one in estimates] == alone
    assert len(heard) == 1


def test_what_is_undefined(metric: SAMAudioJudge, noise: Noise) -> None:
    mixture = noise(0.4)
    silence = Audio(torch.zeros(1, mixture.length), mixture.rate)
    assert len(values(ask(metric, mixture, silence))) == 4  # a missed sound is an estimate
    assert statuses(ask(metric, silence, mixture)) == {Status.SILENT_REFERENCE}  # nothing to separate
    assert statuses(ask(metric, noise(0.29), noise(0.29, 1))) == {Status.TOO_SHORT}
    assert statuses(ask(metric, silence, silence)) == {Status.BOTH_SILENT}
    assert statuses(ask(metric, mixture, noise(0.3))) == {Status.LENGTH_MISMATCH}
    assert statuses(ask(metric, mixture, Audio(mixture.samples, 24_000))) == {Status.LENGTH_MISMATCH}
    damaged = Audio(mixture.samples * float("inf"), mixture.rate)
    assert statuses(ask(metric, mixture, damaged)) == {Status.NON_FINITE}
    assert statuses(ask(metric, damaged, mixture)) == {Status.NON_FINITE}
    assert metric.score([question(mixture, None)], [estimate(mixture)]) == [(None,) * 4]


@pytest.mark.parametrize("text", ["собака", "no dog", "the zxq"])
def test_a_prompt_that_says_nothing_has_no_rating(
    small_folder: Path, tiny_folder: Path, noise: Noise, text: str
) -> None:
    ours, released = (SAMAudioJudge(judge=str(place), device="cpu") for place in (small_folder, tiny_folder))
    items, estimates = [question(noise(0.4), text), question(noise(0.4), "a dog zxq")], [estimate(noise(0.4, 1))] * 2
    found = ours.score(items, estimates)
    assert statuses(found[0]) == {Status.NOT_UNDERSTOOD}
    assert len(values(found[1])) == 4  # one word is enough
    assert len(values(released.score(items[:1], estimates[:1])[0])) == 4  # its text encoder reads anything


def test_what_it_was_trained_on_is_said_once(small_folder: Path, tmp_path: Path, noise: Noise) -> None:
    folder = Path(shutil.copytree(small_folder, tmp_path / "run" / "judge"))
    (folder / "README.md").write_text("# our judge\n\ntext")
    TrainingMixtures().extended([noise(0.4), noise(0.4, 5)]).write(folder)
    metric = SAMAudioJudge(judge=str(tmp_path / "run"), device="cpu")  # the run stands for its judge
    assert metric.options["model"] == "our judge"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.score([question(noise(0.4, 2))], [estimate(noise(0.4, 1))])
        with pytest.raises(UserWarning, match="our judge was trained on 2 mixtures, that of a among them"):
            metric.score([question(noise(0.4))], [estimate(noise(0.4, 1))])
        metric.score([question(noise(0.4))], [estimate(noise(0.4, 1))])


def test_digests_of_mixtures(tmp_path: Path, noise: Noise) -> None:
    known = TrainingMixtures().extended([noise(0.4), noise(0.4)])
    known.write(tmp_path)
    found = TrainingMixtures.of_folder(tmp_path)
    assert (found, len(found)) == (known, 1)
    write_wav(tmp_path / "a.wav", noise(0.4))
    assert read(tmp_path / "a.wav") in found
    assert noise(0.4, 1) not in found
    assert noise(0.4) not in TrainingMixtures.of_folder(tmp_path / "none")
    (tmp_path / "trained_on.npy").write_bytes(b"no digests")
    with pytest.raises(BenchError, match="expected digests of mixtures"):
        TrainingMixtures.of_folder(tmp_path)


def test_names_and_places_of_judges(small_folder: Path, tmp_path: Path) -> None:
    assert find_judge(small_folder).model == read_judge_name(small_folder) == "local"
    assert find_judge("saj-mini").model == "saj-mini"
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(
        BenchError, match=r"found a run without its judge; finish it with `sabench judge train --resume`"
    ):
        find_judge(tmp_path)
    folder = Path(shutil.copytree(small_folder, tmp_path / "judge"))
    (folder / "README.md").write_text(f"# a/{'b' * 90}\n")
    found = find_judge(tmp_path)
    assert (found.folder, found.model) == (folder, f"a-{'b' * 38}")


def test_damaged_weights_give_no_number(tiny_folder: Path, noise: Noise) -> None:
    metric = SAMAudioJudge(path=str(tiny_folder), device="cpu")
    mixture = noise(0.3)
    values(ask(metric, mixture, mixture))
    metric._network.head.weight.fill_(float("nan"))
    assert statuses(ask(metric, mixture, mixture)) == {Status.NON_FINITE}


def test_channels(tiny_folder: Path, metric: SAMAudioJudge, noise: Noise) -> None:
    mixture, target = noise(0.4, channels=2), noise(0.4, 1, channels=2)
    each = SAMAudioJudge(path=str(tiny_folder), device="cpu", stereo="mean")
    mono = [
        values(ask(metric, Audio(mixture.samples[i : i + 1], 48_000), Audio(target.samples[i : i + 1], 48_000)))
        for i in (0, 1)
    ]
    expected = [(left + right) / 2 for left, right in zip(*mono, strict=True)]
    assert values(ask(each, mixture, target)) == pytest.approx(expected, abs=1e-9)
    cancelled = Audio(torch.cat([mixture.samples[:1], -mixture.samples[:1]]), 48_000)
    assert statuses(ask(metric, cancelled, cancelled)) == {Status.BOTH_SILENT}
    assert len(values(ask(each, cancelled, cancelled))) == 4


def test_parameters(tiny_folder: Path, metric: SAMAudioJudge) -> None:
    digest = hashlib.sha256((tiny_folder / "model.safetensors").read_bytes()).hexdigest()
    used = metric.options
    assert (used["weights_sha256"], used["parity"], used["model"]) == (digest, "exact", "local")
    with pytest.raises(UsageError, match="parity to be one of exact, upstream"):
        SAMAudioJudge(parity="neither")


def test_missing(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    released = SAMAudioJudge(judge="sam-audio-judge", device="cpu")
    assert "hf download facebook/sam-audio-judge --revision sam_audio" in str(released.missing())
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny_folder / name).read_bytes())
    metric = SAMAudioJudge(path=str(tmp_path), device="cpu")
    assert "hf download answerdotai/ModernBERT-large tokenizer.json" in str(metric.missing())
    snapshot = tmp_path / "hub" / "models--answerdotai--ModernBERT-large" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (snapshot / name).write_bytes((tiny_folder / name).read_bytes())
    assert metric.missing() is None
    mixture = Audio(torch.ones(1, 14_400), 48_000)
    assert len(values(ask(metric, mixture, mixture))) == 4
    config = json.loads((tiny_folder / "config.json").read_text())
    config["dac_vae_encoder"] = config.pop("audio_codec")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "another kind of model" in str(SAMAudioJudge(path=str(tmp_path), device="cpu").missing())


@pytest.fixture
def files(tmp_path: Path, noise: Noise) -> list[str]:
    for seed, name in enumerate(("mixture", "target")):
        write_wav(tmp_path / f"{name}.wav", noise(0.3, seed, rate=44_100, channels=2))
    return ["--mixture", str(tmp_path / "mixture.wav"), "--target", str(tmp_path / "target.wav")]


def command(*words: str) -> Result:
    result = CliRunner().invoke(group, ["judge", "score", *words])
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_command_prints_json(tiny_folder: Path, tiny: SAJ, files: list[str], noise: Noise) -> None:
    found = json.loads(command("--judge", str(tiny_folder), *files, "--text", "dog", "--json").stdout)
    clips = [noise(0.3, seed, rate=44_100, channels=2) for seed in (0, 1)]
    expected = tiny.score(clips[0], clips[1:], "dog").values[0].tolist()
    assert list(found) == ["overall", "recall", "precision", "faithfulness", "spread", "understood", "remark"]
    assert [found[name] for name in list(found)[:4]] == pytest.approx(expected, abs=1e-5)
    assert found["spread"] is None


def test_command_prints_frames(tiny_folder: Path, files: list[str]) -> None:
    words = ("--judge", str(tiny_folder), *files, "--text", "dog", "--frames")
    found = json.loads(command(*words, "--json").stdout)
    assert found["frame_seconds"] == 0.04
    assert {name: len(column) for name, column in found["frames"].items()} == dict.fromkeys(list(found)[:4], 8)
    for name, column in found["frames"].items():
        assert sum(column) / len(column) == pytest.approx(found[name], abs=1e-5)
    lines = command(*words).stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["overall", "recall", "precision", "faithfulness"]
    assert lines[5].split() == ["seconds", "overall", "recall", "precision", "faithfulness"]
    assert [line.split()[0] for line in lines[6:]] == [f"{0.04 * frame:.2f}" for frame in range(8)]


def test_command_says_that_spans_have_no_effect(tiny_folder: Path, files: list[str]) -> None:
    words = ("--judge", str(tiny_folder), *files, "--text", "dog", "--json")
    plain, told = command(*words), command(*words, "--span", "+0.1:0.2", "--span", "-0.2:0.3")
    assert "was not trained on spans" in told.stderr
    assert "spans" not in plain.stderr
    assert told.stdout == plain.stdout


def test_command_takes_spans_alone(tiny_folder: Path, small_folder: Path, files: list[str]) -> None:
    found = json.loads(command("--judge", str(small_folder), *files, "--span", "+0.1:0.2", "--json").stdout)
    assert found["understood"] is True
    assert "mistakes many other sounds for it; add a text" in found["remark"]
    assert 1 <= found["overall"] <= 5
    with pytest.raises(BenchError, match="does not read spans"):
        command("--judge", str(tiny_folder), *files, "--span", "+0.1:0.2")


def test_command_refuses(tiny_folder: Path, files: list[str], tmp_path: Path, noise: Noise) -> None:
    judge = ("--judge", str(tiny_folder))
    with pytest.raises(BenchError, match="--text that is not empty, or a --span"):
        command(*judge, *files, "--text", " ")
    with pytest.raises(BenchError, match="expected a span such as"):
        command(*judge, *files, "--text", "dog", "--span", "0.1:0.2")
    with pytest.raises(BenchError, match="checkpoint folder"):
        command("--judge", str(tmp_path / "nowhere"), *files, "--text", "dog")
    write_wav(tmp_path / "long.wav", noise(2))
    with pytest.raises(
        BenchError, match=r"as long as its mixture, 0\.300 s .*, found 2\.000 s .*; resample, cut or pad it"
    ):
        command(*judge, *files[:-1], str(tmp_path / "long.wav"), "--text", "dog")
    write_wav(tmp_path / "short.wav", noise(0.1))
    write_wav(tmp_path / "silence.wav", Audio(torch.zeros(1, 14_400), 48_000))
    for name, message in (
        ("short", r"at least 0\.3 s, found 0\.1 s"),
        ("silence", "a mixture with sound, found silence"),
    ):
        place = str(tmp_path / f"{name}.wav")
        with pytest.raises(BenchError, match=message):
            command(*judge, "--mixture", place, "--target", place, "--text", "dog")


def test_command_takes_another_rate(tiny_folder: Path, files: list[str], tmp_path: Path, noise: Noise) -> None:
    write_wav(tmp_path / "other.wav", noise(0.3, rate=48_000))
    found = command("--judge", str(tiny_folder), *files[:-1], str(tmp_path / "other.wav"), "--text", "dog")
    assert found.stdout.startswith("overall")


def test_command_marks_what_was_not_understood(small_folder: Path, files: list[str]) -> None:
    words = ("--judge", str(small_folder), *files, "--text")
    plain, odd = command(*words, "dog"), command(*words, "собака")
    assert "?" not in plain.stdout
    assert all(line.endswith(" ?") for line in odd.stdout.splitlines())
    assert "no word of 'собака' is known" in odd.stderr
    told = json.loads(command(*words, "no dog", "--json").stdout)
    assert not told["understood"]
    assert "negation ('no') is not understood" in told["remark"]


def test_command_says_what_it_was_trained_on(small_folder: Path, files: list[str], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_folder, tmp_path / "judge"))
    TrainingMixtures().extended([read(files[1])]).write(folder)
    assert "was trained on" in command("--judge", str(folder), *files, "--text", "dog").stderr


def test_long_clips_are_rated_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rating is the mean of those of the windows in which the mixture sounds, each with its part of the spans."""
    metric = SAMAudioJudge(device="cpu")
    generator = torch.Generator().manual_seed(0)
    mixture, target = (0.1 * torch.randn(2, 32_000, generator=generator) for _ in range(2))
    mixture[:, 8_000:16_000] = 0
    whole = Item(
        id="a",
        group="a",
        query=Query(
            mixture=Audio(mixture, 16_000), prompt=Prompt(text="a dog", spans=(("+", 0.25, 1.1), ("-", 1.75, 1.9)))
        ),
    )
    spans = {0: ("+", 0.25, 0.5), 2: ("+", 0.0, 0.1), 3: ("-", 0.25, 0.4)}
    rated = []
    for number, span in spans.items():
        part = slice(8_000 * number, 8_000 * (number + 1))
        query = Query(mixture=Audio(mixture[:, part], 16_000), prompt=Prompt(text="a dog", spans=(span,)))
        rated.append(values(metric.score([replace(whole, query=query)], [estimate(Audio(target[:, part], 16_000))])[0]))
    monkeypatch.setattr("sam_audio_bench.judge.metric.LONGEST", 0.5)
    found = values(metric.score([whole], [estimate(Audio(target, 16_000))])[0])
    assert found == pytest.approx([sum(axis) / 3 for axis in zip(*rated, strict=True)], abs=1e-6)
    short = metric.score([whole], [estimate(Audio(target[:, :-1], 16_000))])[0]
    assert statuses(short) == {Status.LENGTH_MISMATCH}
