"""Every option of every registered component is part of its identity, and built-in code is vouched for by a version."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs

from sam_audio_bench import metrics, separators
from sam_audio_bench.columns import build_metrics
from sam_audio_bench.construction import resolve
from sam_audio_bench.digests import combined_digest
from sam_audio_bench.errors import BenchError, UsageError
from sam_audio_bench.identity import EXECUTION_OPTIONS, Difference, Identity, capture_arguments, to_json_value
from sam_audio_bench.nn.tiny import write_tiny_checkpoint
from sam_audio_bench.registry import build
from sam_audio_bench.separators.adapted import unwrap_adapted
from sam_audio_bench.separators.catalogue import is_installed
from sam_audio_bench.separators.pickers import PICKERS

GOLDEN = Path(__file__).parent / "golden" / "builtin_code.json"
PLUGIN = Path(__file__).parent / "plugin"
TEXTS = (
    "mono", "upstream", "full_scale", "mir_eval", "keep", "recall", "euler", "cross-fade", "bfloat16", "saj-mini",
    "cpu", "v2", "",
)  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What the spellings of separators that need something name: a checkpoint, a folder of estimates, a program."""
    folder = tmp_path_factory.mktemp("places")
    write_tiny_checkpoint(folder / "tiny")
    predictor = folder / "span-predictor"
    predictor.mkdir()
    shutil.copy(GOLDEN.with_name("peaframe.safetensors"), predictor / "model.safetensors")
    shutil.copy(GOLDEN.with_name("peaframe_config.json"), predictor / "config.json")
    (folder / "answers").mkdir()
    (folder / "answers" / "a.wav").write_bytes(b"")
    return {
        "sam-audio": f"sam-audio:{folder / 'tiny'}",
        "span_predictor": str(predictor),
        "files": f"files:{folder / 'answers'}",
        "cmd": "cmd:cp {mixture} {target}",
        "serve": "serve:cat",
    }


def other_values(default: Any, folder: Path) -> Iterator[Any]:
    """Values that differ from a default; a constructor takes at least one of them."""
    if isinstance(default, bool):
        yield not default
    elif isinstance(default, int | float):
        yield from (default + 1, default * 2, default / 2)
    else:
        yield from (30.0,) if default is None else ()
        for number, text in enumerate(TEXTS):
            if text != default:
                yield text
            if number == len(TEXTS) - 1:
                path = folder / "other.bin"
                path.write_bytes(b"other")
                yield str(path)
        yield from map(str, sorted(folder.glob("another*")))


def changed(kind: Any, name: str, parameter: inspect.Parameter, make: Any, folder: Path) -> str | None:
    """Fingerprint with another value of one option; None where no value is accepted."""
    for value in other_values(parameter.default, folder):
        try:
            return str(make({parameter.name: value}))
        except BenchError:
            continue
    return None


SEPARATORS = [name for name in separators.CARDS if not name.startswith("sam-audio-")] + [
    "sam-audio", "files", "cmd", "serve",
]  # fmt: skip


def written_demucs(folder: Path) -> str:
    """A folder with a small Demucs of random weights; beside it what other values name: models, a folder, a table."""
    hdemucs = importlib.import_module("demucs.hdemucs")
    options = {"sources": ["vocals", "other"], "channels": 4, "samplerate": 8000, "segment": 2}
    (folder / "models").mkdir()
    (folder / "another").mkdir()
    for path in ("models/htdemucs.th", f"models/{TEXTS[0]}.th", "another/htdemucs.th"):
        state = hdemucs.HDemucs(**options).state_dict()
        torch.save({"klass": hdemucs.HDemucs, "args": (), "kwargs": options, "state": state}, folder / path)
    (folder / "another.toml").write_text('[prompts]\n"a voice" = "vocals"\n', encoding="utf-8")
    return str(folder / "models")


@pytest.mark.parametrize("name", SEPARATORS)
def test_every_option_of_a_separator_counts(name: str, places: Mapping[str, str], tmp_path: Path) -> None:
    spec = places.get(name, name)
    if (card := separators.CARDS.get(name)) and not all(map(is_installed, card.modules)):
        pytest.skip(card.install)
    needed = {"span_predictor": places["span_predictor"]} if name == "sam-audio" else {}
    if name == "demucs":
        needed = {"folder": written_demucs(tmp_path)}

    def fingerprint(options: Mapping[str, Any]) -> str:
        identity = build("separator", spec, {**needed, **options}).identity
        assert identity.unknown is None
        return identity.fingerprint()

    kind = type(unwrap_adapted(build("separator", spec, needed if name == "demucs" else {}).component))
    before = fingerprint({})
    assert fingerprint({}) == before
    options = [one for one in inspect.signature(kind).parameters.values() if one.default is not one.empty]
    for option in options:
        found = changed(kind, name, option, fingerprint, tmp_path)
        assert found is not None, f"no other value of {option.name} was accepted"
        assert (found == before) is (option.name in EXECUTION_OPTIONS | getattr(kind, "where", frozenset())), (
            option.name
        )


@pytest.mark.parametrize("name", [*PICKERS])
def test_every_option_of_a_picker_counts(name: str, tmp_path: Path) -> None:
    def fingerprint(options: Mapping[str, Any]) -> str:
        return build("picker", name, options).identity.fingerprint()

    kind = resolve(PICKERS[name].target)
    before = fingerprint({})
    for option in inspect.signature(kind).parameters.values():
        found = changed(kind, name, option, fingerprint, tmp_path)
        assert found is not None, option.name
        assert (found == before) is (option.name in EXECUTION_OPTIONS), option.name


@pytest.mark.parametrize("target", dict.fromkeys(card.target for card in metrics.CARDS.values()))
def test_every_option_of_a_metric_counts(target: str, tmp_path: Path) -> None:
    names = [name for name, card in metrics.CARDS.items() if card.target == target]

    def fingerprint(options: Mapping[str, Any]) -> str:
        (one,) = build_metrics(names, options)
        assert len(set(one.columns)) == len(names)
        return json.dumps(one.fingerprints)

    before = fingerprint({})
    for option in inspect.signature(resolve(target)).parameters.values():
        found = changed(resolve(target), target, option, fingerprint, tmp_path)
        assert found is not None, option.name
        assert (found == before) is (option.name in EXECUTION_OPTIONS), option.name


def test_every_option_of_a_plugin_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(PLUGIN, tmp_path / "plugin")
    monkeypatch.syspath_prepend(tmp_path / "plugin")
    before = build("separator", "sabench_plugin:Attenuate").identity
    for gain in (0.25, 0.75):
        assert (
            build("separator", f"sabench_plugin:Attenuate(gain={gain})").identity.fingerprint() != before.fingerprint()
        )
    assert build("separator", "sabench_plugin:Attenuate(gain=0.5)").identity.code_sha256 == before.code_sha256
    (metric,) = build_metrics(["sabench_plugin:Peak"])
    text = (tmp_path / "plugin" / "sabench_plugin" / "__init__.py").read_text()
    (tmp_path / "plugin" / "sabench_plugin" / "__init__.py").write_text(text.replace("math.log10(", "1 + math.log10("))
    for loaded in [name for name in sys.modules if name.startswith("sabench_plugin")]:
        monkeypatch.delitem(sys.modules, loaded)
    assert build("separator", "sabench_plugin:Attenuate").identity.code_sha256 != before.code_sha256
    (edited,) = build_metrics(["sabench_plugin:Peak"])
    assert edited.fingerprints != metric.fingerprints


class Holding:
    """A separator that holds something."""

    name = "holding"

    def __init__(self, what: Any = None, weights: str = "", device: str = "cpu", **others: Any) -> None:
        self.what = what

    def separate(self, queries: Any, seeds: Any) -> list[Any]:
        """Nothing."""
        return []


def test_what_has_no_digest_is_unknown() -> None:
    with open(os.devnull) as held:  # noqa: PTH123
        for spec, arguments in ((Holding(held), {}), (Holding, {"what": held})):
            identity = build("separator", spec, arguments).identity
            assert "TextIOWrapper cannot be digested" in str(identity.unknown)
    assert build("separator", Holding(np.ones(3))).identity.unknown is None


def test_arguments_are_captured_with_their_defaults(tmp_path: Path) -> None:
    weights = tmp_path / "w.npy"
    np.save(weights, 1.0)
    captured = capture_arguments(Holding, (), {"weights": str(weights), "device": "cuda", "more": (1, 2.5)})
    assert captured["what"] is None
    assert captured["more"] == [1, 2.5]
    assert "device" not in captured
    assert captured["weights"]["file"] == "w.npy"
    other = tmp_path / "elsewhere"
    other.mkdir()
    weights.rename(other / "v.npy")
    again = capture_arguments(Holding, (), {"weights": str(other / "v.npy"), "more": (1, 2.5)})
    one, two = (Identity(kind="separator", name="x", options=options) for options in (captured, again))
    assert one.fingerprint() == two.fingerprint()
    np.save(other / "v.npy", 2.0)
    changed_file = capture_arguments(Holding, (), {"weights": str(other / "v.npy"), "more": (1, 2.5)})
    (difference,) = one.differences(Identity(kind="separator", name="x", options=changed_file))
    assert difference.field == "options.weights"
    assert "v.npy" in str(difference)


class Anyones(Holding):
    """A third party cannot leave an option out."""

    where = frozenset({"what"})


def test_only_built_ins_say_where_they_run() -> None:
    one, other = (build("separator", Anyones, {"what": value}).identity for value in (1, 2))
    assert one.fingerprint() != other.fingerprint()


def test_the_working_folder_is_no_argument() -> None:
    assert to_json_value(".") == "."
    assert to_json_value(str(Path.cwd())) == str(Path.cwd())


def test_differences_name_every_field() -> None:
    one = Identity(kind="separator", name="x", options={"a": 1, "b": {"c": 2}}, version="1")
    other = structs.replace(one, options={"a": 1, "b": {"c": 3}, "d": 4}, version="2")
    assert one.differences(one) == []
    assert one.differences(other) == [
        Difference("version", "1", "2"), Difference("options.b.c", "2", "3"), Difference("options.d", "None", "4"),
    ]  # fmt: skip


def test_a_built_in_is_known_by_its_version() -> None:
    identity = build("separator", "hpss").identity
    assert (identity.version, identity.code_sha256) == ("1", None)


PACKAGE = Path(metrics.__file__).parents[1]
COMPUTING = {"audio", "judge", "metrics", "nn", "separators", "video"}  # layers whose code changes numbers


def modules_behind(target: str) -> dict[str, Path]:
    """The modules that a built-in's class rests on: its own and those that they import, of the computing layers."""
    waiting, found = [target.partition(":")[0]], dict[str, Path]()
    while waiting:
        name = waiting.pop()
        path = PACKAGE.joinpath(*name.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name in found or not file.is_file():
            continue
        found[name] = file
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sam_audio_bench."):
                names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
                waiting += [one for one in names if one.split(".")[1] in COMPUTING and "catalogue" not in one]
    return found


def code_of(file: Path) -> str:
    """The syntax tree without docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.unparse(tree)


def built_in_code() -> dict[str, dict[str, str]]:
    """Version of every built-in component by its class, and the digest of the code behind it."""
    versions: dict[str, set[str]] = {}
    for card in (*separators.CARDS.values(), *metrics.CARDS.values(), *PICKERS.values()):
        versions.setdefault(card.target, set()).add(str(card.version))
    return {
        target: {
            "version": ", ".join(sorted(numbers)),
            "code": combined_digest(
                *(f"{name} {code_of(file)}" for name, file in sorted(modules_behind(target).items()))
            )[:16],
        }
        for target, numbers in sorted(versions.items())
    }


def test_built_in_code_changes_with_its_version() -> None:
    """A change of a built-in's code raises its version, or acknowledges here that no number changes.

    ``python tests/test_identity.py`` writes what is there; commit it together with the change.
    """
    known = json.loads(GOLDEN.read_text(encoding="utf-8"))
    found = built_in_code()
    changes = {name: (known.get(name), own) for name, own in found.items() if known.get(name) != own}
    assert not changes, f"raise the version of the card, or acknowledge: python tests/test_identity.py\n{changes}"
    assert set(known) == set(found)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="found margn; did you mean margin"):
        build("separator", "hpss(margn=2)")
    with pytest.raises(UsageError, match="found lvel; did you mean level"):
        build_metrics(["mrstft(lvel=full_scale)"])
    with pytest.raises(UsageError, match="found mesure; did you mean measure"):
        build("picker", "activity(mesure=recall)")


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(built_in_code(), indent=1) + "\n", encoding="utf-8")
