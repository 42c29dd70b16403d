"""Violations of the separator interface are reported before any work."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import sam_audio_bench as sab
from sam_audio_bench.cli import group
from sam_audio_bench.errors import BadSeparation, Precondition, UsageError
from sam_audio_bench.run.contract import prepare_separator
from sam_audio_bench.run.plan import make_plan
from sam_audio_bench.run.settings import Settings
from sam_audio_bench.types import Audio, Prompt, Separation


class Whole:
    """A minimal separator."""

    def separate(self, queries: Any, seeds: Any) -> Any:
        return [Separation(target=query.mixture, residual=query.mixture) for query in queries]


class OneByOne(Whole):
    """Yields its estimates."""

    def separate(self, queries: Any, seeds: Any) -> Iterator[Separation]:
        yield from super().separate(queries, seeds)


@pytest.mark.parametrize("spec", [Whole, Whole(), OneByOne])
def test_a_method_is_enough(spec: Any, small_task: Path, tmp_path: Path) -> None:
    results = sab.evaluate(spec, str(small_task), metrics="snr", output=tmp_path, limit=1, progress=False)
    name = spec.__name__ if isinstance(spec, type) else type(spec).__name__
    assert results.failures == 0
    assert (tmp_path / name / "small@1-file" / "run.json").is_file()


class Misspelt:
    """Has no method of the right name."""

    name = "misspelt"

    def seperate(self, queries: Any, seeds: Any) -> list[Any]:
        return []


class Seedless:
    """Takes no seeds."""

    def separate(self, queries: Any) -> list[Any]:
        return []


class Later:
    """Has an async method."""

    async def separate(self, queries: Any, seeds: Any) -> list[Any]:
        return []


class NoMethod:
    """Has an attribute instead of the method."""

    separate = 3


class Stored:
    """Has no fingerprints of its stored estimates."""

    def separate_named(self, ids: Any, queries: Any) -> list[Any]:
        return []


class BadName(Whole):
    """Has a name that cannot be a file name."""

    name = "half \udcff"


class Slots:
    """Cannot be given a name."""

    __slots__ = ()
    separate = Whole.separate


class Unwritable(Whole):
    """Has an unpaired surrogate, which JSON cannot encode."""

    settings = {"file": "\udcff"}  # noqa: RUF012


class Endless(Whole):
    """Has recursive settings."""

    settings: dict[str, Any] = {}  # noqa: RUF012


Endless.settings["itself"] = Endless.settings


def sized(size: Any) -> type:
    return type("Sized", (Whole,), {"batch_size": size})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Misspelt, r"expected Misspelt to have a method separate\(queries, seeds\), found none, but seperate"),
        (Seedless, r"a method separate\(queries, seeds\), found separate\(queries: .*too many positional"),
        (Later, "found one that is async"),
        (NoMethod, "to have a method separate.*, found 3"),
        (Stored, r"a method fingerprint\(identifier\), found none"),
        (BadName, r"the attribute name of BadName to be a text that can be written, found 'half \\udcff'"),
        (Slots, "expected a separator Slots whose name can be set to 'Slots'"),
        (Unwritable, "settings, revision and options of Unwritable that can be written as UTF-8"),
        (sized(0), "batch_size of Sized to be a whole number above 0, found 0"),
        (sized(-3), "found -3"),
        (sized(2.0), "found 2.0"),
        (sized("4"), "found '4'"),
        (sized(True), "found True"),
    ],
)
def test_a_broken_contract_is_named(kind: type, message: str, small_task: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        sab.evaluate(kind, str(small_task), metrics="snr", output=tmp_path / "runs", progress=False)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("settings", [{"w": torch.zeros(2)}, {"x": float("nan")}, {1: {2, 3}}, {"f": open}])
def test_any_settings_are_written(settings: Any, small_task: Path, tmp_path: Path) -> None:
    kind = type("Set", (Whole,), {"settings": settings})
    assert sab.evaluate(kind, str(small_task), metrics="snr", output=tmp_path, limit=1, progress=False).failures == 0


def test_numpy_integers_are_valid_batch_sizes() -> None:
    prepare_separator(sized(np.int64(2)))


def failing(action: str) -> str:
    return f"import os, sys\nclass A:\n    def __init__(self):\n        print('no weights')\n        {action}\n"


@pytest.mark.parametrize(
    ("action", "found"),
    [
        ("sys.exit(0)", "SystemExit: 0"),
        ("os._exit(0)", "SystemExit: 0"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("raise ValueError('y' * 10**6)", "characters"),
    ],
)
def test_a_constructor_that_fails(action: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "unmade", raising=False)
    Path("unmade.py").write_text(failing(action))
    done = CliRunner().invoke(group, ["eval", "--model", "unmade:A", "--task", "sfx", "--split", "mini"])
    assert isinstance(done.exception, Precondition)
    assert found in str(done.exception)
    assert len(str(done.exception)) < 3000
    assert "no weights" in done.stderr
    monkeypatch.delitem(sys.modules, "unmade", raising=False)


def test_recursive_settings_have_a_readable_error() -> None:
    with pytest.raises(Precondition, match=r"expected the separator .*Endless to be made, found RecursionError"):
        prepare_separator(Endless)


class Claiming(Whole):
    """Returns metadata besides its samples."""

    def __init__(self, case: str) -> None:
        self.case = case

    def separate(self, queries: Any, seeds: Any) -> Any:
        (query,) = queries
        sound = query.mixture
        claims: dict[str, Any] = {
            "nan": {"seconds": float("nan")}, "negative": {"seconds": -1.0}, "text": {"seconds": "1"},
            "names": {"picked_by": ("a",)}, "letters": {"picked_by": "\udcff"}, "lines": {"picked_by": "a\nb"},
            "rate": {"target": Audio(sound.samples, float(sound.rate))},
            "sparse": {"target": Audio(sound.samples.to_sparse(), sound.rate)},
            "meta": {"target": Audio(sound.samples.to("meta"), sound.rate)},
        }  # fmt: skip
        return [Separation(**{"target": sound, "residual": sound, **claims[self.case]})]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("nan", "seconds as a number from 0, found nan"),
        ("negative", "seconds as a number from 0, found -1.0"),
        ("text", "seconds as a number from 0, found '1'"),
        ("names", r"picked_by as a name .*, found \('a',\)"),
        ("letters", r"picked_by as a name .*, found '\\udcff'"),
        ("lines", "picked_by as a name"),
        ("rate", "the rate of the target as a whole number of Hz, found 8000.0"),
        ("sparse", "the target as a dense tensor, found torch.sparse_coo"),
        ("meta", "a Separation of dense float tensors, found one that raised NotImplementedError"),
    ],
)
def test_invalid_metadata_fails_the_estimate(case: str, message: str, small_task: Path, tmp_path: Path) -> None:
    results = sab.evaluate(Claiming(case), str(small_task), metrics="snr", output=tmp_path, limit=2, progress=False)
    assert results.failures == 2
    header = json.loads((tmp_path / "Claiming" / "small@1-file" / "run.json").read_text())
    assert header["status"] == "partial"
    for error in header["errors"]:
        with pytest.raises(BadSeparation, match=message):
            raise BadSeparation(error["message"])


@pytest.mark.parametrize("status", ["funny", "ok", "perfect", None, ["error"]])
def test_a_status_that_no_failure_has_is_an_error(status: Any, small_task: Path, tmp_path: Path) -> None:
    def odd(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        raise BadSeparation("odd", status=status)

    frame = sab.evaluate(odd, str(small_task), metrics="snr", output=tmp_path, limit=1, progress=False).to_frame()
    assert list(frame.query("separator == 'odd'")["status"]) == ["error"]


class MuteError(Exception):
    """Cannot be converted to text."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no \udcff.wav"), r"talker raised ValueError: no \udcff.wav"),
        (ValueError("\x1b[31m\0"), "talker raised ValueError: \x1b[31m\0"),
        (MuteError(), "talker raised MuteError: (its text cannot be made: RuntimeError)"),
        (ValueError("x" * 10**7), f"talker raised ValueError: {'x' * 2000} … (cut from 10,000,000 characters)"),
    ],
)
def test_any_message_is_kept(error: Exception, message: str, small_task: Path, tmp_path: Path) -> None:
    def talker(mixture: torch.Tensor, rate: int, prompt: Prompt) -> torch.Tensor:
        raise error

    sab.evaluate(talker, str(small_task), metrics="snr", output=tmp_path, limit=1, progress=False)
    header = json.loads((tmp_path / "talker" / "small@1-file" / "run.json").read_text())
    (found,) = header["errors"]
    assert found["message"][:1900] == message[:1900]
    assert len(found["message"]) < 2200


class Placed(Whole):
    """Takes a device."""

    def __init__(self, device: str = "auto") -> None:
        self.device = device


def test_options_that_nothing_takes_are_reported(small_task: Path, tmp_path: Path) -> None:
    def plan(*models: Any, **options: Any) -> Any:
        return make_plan(models, [str(small_task)], metrics=("snr",), output=tmp_path, **options)

    assert plan("hpss", device="cuda:99", dtype="bfloat16").ignored == (
        "--device cuda:99 is ignored: no separator, metric or picker of this run takes it",
        "--dtype bfloat16 is ignored: no separator, metric or picker of this run takes it",
    )
    assert plan(Placed, "hpss", device="cpu").ignored == ("--device cpu is ignored by hpss, which does not take it",)
    assert plan(Placed, device="cpu").ignored == ()
    assert plan("hpss").ignored == ()
    sab.evaluate("hpss", str(small_task), metrics="snr", output=tmp_path, limit=1, device="cpu", progress=False)
    header = json.loads((tmp_path / "hpss" / "small@1-file" / "run.json").read_text())
    assert header["device"] == "auto"


@pytest.mark.parametrize(
    "options",
    [{"seed": 2**63}, {"seed": -(2**63) - 1}, {"seed": 1.5}, {"timeout": float("nan")}, {"timeout": float("inf")},
     {"timeout": 0}],
)  # fmt: skip
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"expected --{next(iter(options))} as"):
        Settings(**options)


@pytest.mark.parametrize("allowed", ["nan", "inf", "1e999", "-1", "1.5", "some"])
def test_an_allowance_out_of_range(allowed: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        group, ["eval", "--model", "hpss", "--task", "sfx", "--split", "mini", "--fail-on-error", allowed,
                "--output", str(tmp_path / "runs")],
    )  # fmt: skip
    assert isinstance(done.exception, UsageError)
    assert "--fail-on-error to be a count or a fraction below 1" in str(done.exception)
    assert not (tmp_path / "runs").exists()


def test_a_corrupted_estimate_is_made_again(small_task: Path, tmp_path: Path) -> None:
    """Size and time are unchanged, so that only the content differs; it is read if scores are missing."""

    def run(metric: str) -> sab.Results:
        return sab.evaluate("hpss", str(small_task), metrics=metric, output=tmp_path, progress=False)

    run("snr")
    path = tmp_path / "hpss" / "small@1-file" / "audio" / "item-2.target.flac"
    stat, sound = path.stat(), bytearray(path.read_bytes())
    sound[-9] ^= 1
    path.write_bytes(sound)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run("si_sdr").failures == 0
    assert path.read_bytes() != sound


def test_a_folder_at_the_path_of_an_estimate_fails_that_item(small_task: Path, tmp_path: Path) -> None:
    run = partial(sab.evaluate, "hpss", str(small_task), output=tmp_path, progress=False)
    run(metrics="snr")
    path = tmp_path / "hpss" / "small@1-file" / "audio" / "item-2.target.flac"
    path.unlink()
    path.mkdir()
    assert run(metrics=["snr", "si_sdr"]).failures == 1
    (error,) = json.loads((path.parents[1] / "run.json").read_text())["errors"]
    assert error["message"] == f"expected no folder at {path}, found one; remove it, and run this again"
    path.rmdir()
    assert run(metrics=["snr", "si_sdr"]).failures == 0
