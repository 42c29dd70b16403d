"""Names, options and paths that cannot be meant are told at once; `~` is the home folder everywhere."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import sam_audio_bench as sab
from sam_audio_bench import separators
from sam_audio_bench.cli import group
from sam_audio_bench.cli.lazy import HomePath
from sam_audio_bench.construction import resolve
from sam_audio_bench.errors import BenchError, UsageError, unknown_name
from sam_audio_bench.judge.training.recipe import read_recipe
from sam_audio_bench.metrics import CARDS
from sam_audio_bench.names import built_in_model, check_task
from sam_audio_bench.parameters import parameter_names
from sam_audio_bench.separators.pickers import PICKERS

MODELS = [*separators.CARDS, "sam-audio:x", "files:x", "cmd:x"]
TARGETS = {
    *(built_in_model(name).target for name in MODELS),  # type: ignore[union-attr]
    *(card.target for card in (*CARDS.values(), *PICKERS.values())),
}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_parameters_are_those_of_the_signature(target: str) -> None:
    assert parameter_names(target) == list(inspect.signature(resolve(target)).parameters)


TYPOS = {
    "--model hpsss": "unknown model 'hpsss': did you mean 'hpss'",
    "--model hpss(margn=2)": "found margn; did you mean margin?",
    "--model hpss --model-args margn=2": "found margn; did you mean margin?",
    "--model no_such_module:f": "No module named 'no_such_module'",
    "--model files:nowhere": "a folder of estimates at nowhere, found none",
    "--task sfxx": "unknown task 'sfxx': did you mean 'sfx'",
    "--task nowhere.csv": "a table of questions at nowhere.csv, found none",
    "--task stems:nowhere": "a folder with a folder a song, a file a stem at nowhere, found nothing",
    "--task my=nowhere.csv": "nowhere.csv, found none",
    "--metrics sdr": "unknown metric 'sdr': did you mean",
    "--metrics mrstft(lvel=1)": "found lvel; did you mean level?",
    "--metric-args lvel=1": "one of the metrics, found ['lvel']",
    "--picker clp": "--picker to be one of auto",
    "--picker clap(devic=1)": "found devic; did you mean device?",
    "--picker-args weights=1": "found weights",
    "--device cdua": "found 'cdua'; did you mean cuda?",
    "--device cuda:x": "found 'cuda:x'",
    "--seed 9223372036854775808": "--seed as a whole number of 64 bits",
    "--shard 5": "--shard I/N",
    "--limit 0": "--limit to be at least 1, found 0",
    "--fail-on-error nan": "--fail-on-error to be a count",
    "--timeout nan": "--timeout as seconds above 0",
}
OTHERS = {
    "evl": "unknown command 'evl': did you mean 'eval'",
    "data lst": "unknown command 'lst'",
    "data show sfxx i --out x.png": "unknown task 'sfxx'",
    "data status sfxx": "unknown task 'sfxx'",
    "data where sfxx": "unknown task 'sfxx'",
    "data validate nowhere.csv": "a table of questions at nowhere.csv, found none",
    "separate no.wav --model hpss --text a --out o": "an audio file at no.wav, found none",
    "separate no.wav --model hpsss --text a --out o": "unknown model 'hpsss'",
    "separate no.wav --model hpss --text a --out o --device cdua": "did you mean cuda?",
    "table nowhere": "a run folder (with run.json) in nowhere, found none",
    "score nowhere": "a run folder (with run.json) in nowhere, found none",
    "score nowhere --metrics snrr": "unknown metric 'snrr'",
    "merge nowhere --into b": "a run folder (with run.json) in nowhere, found none",
    "plot nowhere": "a run folder (with run.json) in nowhere, found none",
    "compare nowhere elsewhere": "a run folder (with run.json) in nowhere, found none",
    "cite nowhere": "a run folder (with run.json) in nowhere, found none",
    "judge score --mixture no.wav --target no.wav": "an audio file at no.wav, found none",
    "judge explain nowhere i": "a run folder (with run.json) in nowhere, found none",
    "judge evaluate --ratings no.csv": "a table of ratings or a folder of tar files at no.csv, found none",
    "judge export nowhere --out x": "the folder of a run at nowhere, found none",
    "judge listeners nowhere": "a listening test at nowhere, found none",
    "data mix nowhere --recipe none.toml --out made": "a recipe at none.toml, found none",
}
SCRIPT = """
import sys
from sam_audio_bench.cli import group
from sam_audio_bench.errors import BenchError
for line in sys.stdin.read().splitlines():
    try:
        group.main(line.split(), standalone_mode=False)
    except BenchError as error:
        print(error)
    print("torch" in sys.modules)
"""


def evaluation(option: str) -> str:
    words = {"--model": "hpss", "--task": "sfx", "--split": "mini"}
    words.update(zip(option.split()[::2], option.split()[1::2], strict=True))
    return " ".join(["eval", *(word for pair in words.items() for word in pair)])


def test_typos_are_told_without_torch(tmp_path: Path) -> None:
    expected = {**{evaluation(option): message for option, message in TYPOS.items()}, **OTHERS}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input="\n".join(expected), capture_output=True, text=True, cwd=tmp_path,
        check=True,
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert said[1::2] == ["False"] * len(expected)
    for message, found in zip(expected.values(), said[::2], strict=True):
        assert message in found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 1.5}, "--limit to be a whole number, found 1.5"),
        ({"limit": True}, "--limit to be a whole number, found True"),
        ({"batch_size": "4"}, "--batch-size to be a whole number, found '4'"),
        ({"candidates": 2.0}, "--candidates to be a whole number, found 2.0"),
        ({"seed": 2**63}, "--seed as a whole number of 64 bits"),
    ],
)
def test_options_of_another_type_are_refused(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=re.escape(message)):
        sab.evaluate("hpss", "sfx", split="mini", output=tmp_path, **options)


@pytest.mark.parametrize("line", ["limit = 1.5", "limit = true", 'limit = "x"', "seed = 0.5", "timeout = true"])
def test_a_config_file_is_read_as_strictly_as_a_command_line(line: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(line)
    done = CliRunner().invoke(group, ["eval", "--model", "hpss", "--task", "sfx", "--config", f"{tmp_path}/run.toml"])
    assert done.exit_code == 2
    assert f"'{line.split()[-1].strip(chr(34))}' is not a valid" in done.output


def commands(below: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(below)
    for name in below.list_commands(context):
        command = below.get_command(context, name)
        assert command is not None
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


COMMANDS = dict(commands(group))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_path_knows_the_home_folder(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for parameter in COMMANDS[words].params:
        assert not isinstance(parameter.type, click.Path)
        if isinstance(parameter.type, HomePath):
            assert parameter.type.convert("~/x", parameter, None) == Path("/home/me/x")


def test_messages_name_only_commands_that_there_are() -> None:
    package = Path(sab.__file__).parent
    text = "\n".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    names = {" ".join(words) for words in COMMANDS} | {f"list {kind}" for kind in ("tasks", "models", "metrics")}
    groups = {" ".join(words) for words, command in COMMANDS.items() if isinstance(command, click.Group)}
    for first, second in re.findall(r"`sabench ([a-z-]+)(?: ([a-z-]+))?", text):
        assert first in names, first
        assert first not in groups or not second or f"{first} {second}" in names, f"{first} {second}"


@pytest.mark.parametrize(
    ("kind", "known", "expected"),
    [
        ("command", ["eval"], "unknown command 'zz': See `sabench --help`."),
        ("item", ["a", "b"], "unknown item 'zz': there are a, b"),
        ("item", list("abcdefg"), "unknown item 'zz': there are a, b, c, d, e and 2 more"),
        ("item", [], "unknown item 'zz': there are none"),
        ("item", ["zzz"], "unknown item 'zz': did you mean 'zzz'?"),
    ],
)
def test_what_an_unknown_name_is_told(kind: str, known: list[str], expected: str) -> None:
    assert str(unknown_name(kind, "zz", known)) == expected


def test_the_home_folder_in_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "judge.toml").write_text('name = "a"\ninit = "~/judge"\n[data]\ntrain = ["~/r.csv", "b~/r.csv"]\n')
    recipe = read_recipe(tmp_path / "judge.toml", ['data.cache="~/cache"'])
    assert recipe.data.train == ("/home/me/r.csv", "b~/r.csv")
    assert (recipe.init, recipe.data.cache) == ("/home/me/judge", "/home/me/cache")


def test_the_home_folder_in_every_way(small_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    (tmp_path / "run.toml").write_text('task = "~/small/small.csv"\nmetrics = "snr"\n')
    run = CliRunner(env={"SABENCH_OUTPUT": "~/a"}).invoke
    words = ["eval", "--config", "~/run.toml", "--model"]
    assert run(group, [*words, "silence"]).exit_code == 0
    assert run(group, [*words, "files:~/a/silence/small@1-file/audio", "--output=~/b"]).exit_code == 0
    missing = run(group, [*words, "cmd:~/copy {mixture} {target}"]).exception
    assert f"found no '{tmp_path}/copy'" in str(missing)
    program = tmp_path / "copy"
    program.write_text("#!/bin/sh\ncp $1 $2\n")
    program.chmod(0o755)
    assert run(group, [*words, "cmd:~/copy {mixture} {target}", "--limit", "1", "--output=~/a"]).exit_code == 0
    done = run(group, ["table", "~/a", "~/b/files-audio"])
    assert "files-audio" in done.output
    assert "cmd-copy" in done.output
    assert run(group, ["data", "validate", "~/small/small.csv"]).exit_code == 0
    sab.evaluate("silence", "songs=~/small/small.csv", metrics="snr", output="~/c", progress=False)
    assert (tmp_path / "c" / "silence" / "songs@1-file" / "run.json").is_file()


def test_a_file_that_is_no_table_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("[]")
    with pytest.raises(UsageError, match=r"expected a table of questions \(.csv, .*mine.json, found a file of another"):
        check_task(str(tmp_path / "mine.json"))
    for name in ("x" * 200, "a\0b"):
        with pytest.raises(UsageError, match="unknown task"):
            check_task(name)
