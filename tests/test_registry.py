"""Names become objects; wrong names get near ones; third parties plug in through entry points."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

import sam_audio_bench as sab
from sam_audio_bench import construction, plugins, registry
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.metrics import CARDS
from sam_audio_bench.separators import CARDS as SEPARATORS
from sam_audio_bench.separators.catalogue import is_installed

PLUGIN = Path(__file__).parent / "plugin"


GATED = sorted(name for name in SEPARATORS if name.startswith("sam-audio-"))
FETCHED = ["demucs"]  # whose weights lie on a hub


@pytest.mark.parametrize("name", sorted(set(SEPARATORS) - {*GATED, *FETCHED}))
def test_every_listed_separator_loads_under_its_name(name: str) -> None:
    if not all(map(is_installed, SEPARATORS[name].modules)):
        pytest.skip(SEPARATORS[name].install)
    separator = sab.load_separator(name)
    assert separator.name == name
    assert isinstance(separator, sab.OracleSeparator) == SEPARATORS[name].oracle


def test_gated_separators_say_what_is_missing(tmp_path) -> None:
    """In a process of its own: huggingface_hub reads its environment when it is imported."""
    program = (
        "import sys, sam_audio_bench as sab\n"
        "for name in sys.argv[1:]:\n"
        "    try: sab.load_separator(name)\n"
        "    except sab.BenchError as error: print(error)\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", program, *GATED]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) == len(GATED) == 6
    assert all(f"facebook/{name} " in message for name, message in zip(GATED, said, strict=True))


@pytest.mark.parametrize("name", sorted(CARDS))
def test_every_listed_metric_loads_and_has_its_column(name: str) -> None:
    metric = sab.load_metric(name)
    assert name in metric.columns
    assert name in {card.id for card in metric.cards()}
    assert metric.requested == (name,)


@pytest.mark.parametrize(
    ("load", "name", "hint"),
    [
        (sab.load_separator, "mixtur", "did you mean 'mixture'"),
        (sab.load_separator, "no:such-thing", "unknown model"),
        (sab.load_metric, "sisdr", "did you mean 'si_sdr'"),
        (sab.load_task, "instruments", "did you mean 'instrument'"),
        (sab.load_task, "zzz", "unknown task 'zzz': See `sabench list tasks`"),
    ],
)
def test_unknown_names(load: object, name: str, hint: str) -> None:
    with pytest.raises((UsageError, Precondition), match=hint if "no:" not in name else "no Python object|none"):
        load(name)  # type: ignore[operator]


def test_a_group_is_not_one_task() -> None:
    with pytest.raises(UsageError, match="found the group 'instrument' of 2"):
        sab.load_task("instrument", split="mini")


def test_arguments_reach_the_constructor_and_the_name() -> None:
    separator = sab.load_separator("hpss", registry.parse_arguments("margin=2.5"))
    assert separator.name == "hpss+margin=2.5"
    with pytest.raises(UsageError, match=r"model arguments among \[.*\] for 'hpss'"):
        sab.load_separator("hpss", {"margine": 2.0})
    with pytest.raises(UsageError, match="no model arguments"):
        sab.load_separator(lambda mixture, rate, prompt: mixture, {"a": 1})


@pytest.mark.parametrize("text", ["a", "a=1,a=2", "=3", "a b=3"])
def test_arguments_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(UsageError, match="k=v"):
        registry.parse_arguments(text)


def test_a_metric_argument_that_no_metric_knows() -> None:
    with pytest.raises(UsageError, match=r"found \['backend'\]"):
        registry.load_metrics(["leak_db"], {"backend": "x"})


def test_module_attribute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_separator.py").write_text("def quiet(mixture, rate, prompt):\n    return mixture * 0.1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert sab.load_separator("my_separator:quiet").name == "quiet"
    for wrong in ("my_separator:loud", "no_such_module:quiet"):
        with pytest.raises(Precondition, match=r"expected .* to name a Python object"):
            sab.load_separator(wrong)


def test_what_is_installed_needs_no_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a checkout of a stranger's pull request, whose ``json.py`` would be found before Python's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])
    registry.load_metrics(["si_sdr", "snr", "mrstft", "leak_db"])
    sab.load_separator("hpss")
    registry.load_picker("activity")
    point = EntryPoint("base64", "base64:b64encode", "sam_audio_bench.separators")
    monkeypatch.setattr(construction, "entry_points", lambda **wanted: EntryPoints([point]).select(**wanted))
    assert construction.resolve(point.value) is base64.b64encode
    assert str(tmp_path) not in sys.path
    construction.resolve("base64:b64decode")  # a user has named it
    assert sys.path[0] == str(tmp_path)


def test_a_taken_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("hpss", "other:HPSS", "sam_audio_bench.separators")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    with pytest.raises(UsageError, match="found 'hpss', which is taken"):
        sab.load_separator("hpss")


def test_a_real_plugin_package(tmp_path: Path) -> None:
    """Installed into a folder of its own, without touching this environment."""
    source = shutil.copytree(PLUGIN, tmp_path / "plugin")  # building leaves files behind
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", str(tmp_path / "site"), str(source)], check=True, capture_output=True)
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    start = [sys.executable, "-c", "from sam_audio_bench.cli import main; main()"]
    options = ["eval", "--model", "attenuate", "--task", "clicks", "--split", "mini", "--metrics", "peak_db,si_sdr"]
    done = subprocess.run(
        [*start, *options, "--model-args", "gain=0.25", "--json"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert '"separator": "attenuate+gain=0.25"' in done.stdout
    assert '"metric": "peak_db"' in done.stdout
    assert '"value": -18.06' in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "raise OSError('boom')",
            r"its module broken cannot be imported \(OSError: boom\); `python -c",
        ),
        ("import not_there_at_all", r"its module broken cannot be imported \(ModuleNotFoundError"),
        ("from math import nothing", r"its module broken cannot be imported \(ImportError"),
        ("raise SystemExit(3)", r"its module broken cannot be imported \(SystemExit: 3\)"),
        ("def (", r"its module broken cannot be imported \(SyntaxError"),
        ("g = 1", r"expected 'broken:f' to name a Python object, found none"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken.py").write_text(text + "\n")
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    with pytest.raises(Precondition, match=message):
        sab.load_separator("broken:f")
    monkeypatch.delitem(sys.modules, "broken", raising=False)


class Fixed:
    """A separator whose name cannot be set."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    @property
    def name(self) -> str:
        """The same always."""
        return "fixed"

    def separate(self, queries: object, seeds: object) -> list[object]:
        """Nothing."""
        return []


class Nameless(Fixed):
    """A separator that does not say its name."""

    name = None  # type: ignore[assignment]


def test_names_of_separators() -> None:
    assert registry.build("separator", Fixed).identity.name == "fixed"
    with pytest.raises(UsageError, match=r"whose name can be set to 'fixed\+gain=2'"):
        registry.build("separator", Fixed, {"gain": 2})
    assert registry.build("separator", Nameless, {"gain": 2}).component.name == "Nameless+gain=2"
    with pytest.raises(UsageError, match="each option of hpss once, found margin"):
        registry.build("separator", "hpss(margin=2)", {"margin": 3})
