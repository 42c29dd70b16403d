"""What streams and terminals get, whatever somebody has written into names and messages."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import sam_audio_bench as sab
from sam_audio_bench.cli import group
from sam_audio_bench.cli.output import echo, print_json, replace_unwritable
from sam_audio_bench.render.tables import render
from sam_audio_bench.stats.summary import SummaryRow
from sam_audio_bench.types import Audio, Query, Separation

HOSTILE = "\x1b]0;owned\x07\x9b2Jnet\u202e\r"
START = "from sam_audio_bench.cli import main; main()"


def row(separator: str, value: float = -1.5) -> SummaryRow:
    return SummaryRow(
        task="t", separator=separator, metric="si_sdr_i", value=value, ci_low=-2.0, ci_high=-1.0, n_ok=3, n=3,
        unit="dB", higher_is_better=True, oracle=False, capped=0,
    )  # fmt: skip


def stdout_in(encoding: str, monkeypatch: pytest.MonkeyPatch) -> io.TextIOWrapper:
    """Standard output of an encoding."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    monkeypatch.setattr(sys, "stdout", stream)
    replace_unwritable()
    return stream


def written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode(stream.encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "−1.5 ± é ↑ … — \\udcff 😀 ▾"),
        ("cp1252", "-1.5 ± é ^ … — \\udcff \\U0001f600 #"),
        ("latin-1", "-1.5 ± é ^ ... - \\udcff \\U0001f600 #"),
        ("ascii", "-1.5 +- \\xe9 ^ ... - \\udcff \\U0001f600 #"),
    ],
)
def test_a_stream_gets_replacements(encoding: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = stdout_in(encoding, monkeypatch)
    echo("−1.5 ± é ↑ … — \udcff 😀 ▾")
    assert written(stdout) == expected + "\n"


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_json_is_the_same_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = stdout_in(encoding, monkeypatch)
    value = {"name": HOSTILE, "é − 😀": "\udcff"}
    print_json(value)
    text = written(stdout)
    assert json.loads(text) == value
    assert not set(text) & set("\x1b\x07\x9b\u202e\r")
    assert ("é − 😀" in text) == (encoding == "utf-8")


@pytest.mark.parametrize("form", ["md", "tex", "html", "json", "csv"])
def test_tables_print_no_control(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    echo(render([row(HOSTILE)], form))
    assert not set(capsys.readouterr().out) & set("\x1b\x07\x9b\u202e\r")


@pytest.mark.parametrize("name", ['=cmd|"/c calc"!A1', "+1", "-net", "@sum", "\t=1", "\r=1", " =1", "＝1"])
def test_csv_holds_no_formula(name: str) -> None:
    (found,) = csv.DictReader(io.StringIO(render([row(name)], "csv"), newline=""))
    assert found["separator"] == f"'{name}".replace("\r", "\\r")
    assert float(found["value"]) == -1.5
    assert json.loads(render([row(name)], "json"))["rows"][0]["separator"] == name


def test_a_usage_error_prints_no_control() -> None:
    done = CliRunner().invoke(group, ["eval", "--split", HOSTILE, f"--{HOSTILE}"])
    assert done.exit_code == 2
    assert "\\x1b" in done.output
    assert not set(done.output) & set("\x1b\x07\x9b\u202e\r")


def test_a_path_that_is_no_text_is_refused_as_output_and_told_elsewhere(tmp_path: Path, small_task: Path) -> None:
    place = os.fsdecode(os.fsencode(tmp_path) + b"/o\xfd")
    with pytest.raises(sab.errors.UsageError, match=r"a folder whose path is valid UTF-8, found '.*\\udcfd'"):
        sab.evaluate("silence", str(small_task), output=place)
    command = [sys.executable, "-c", START, "table", place]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"sabench: expected a run folder (with run.json) in {tmp_path}/o\\udcfd, found none\n"


class Talks:
    """Its name and its errors are hostile."""

    def __init__(self) -> None:
        self.name = HOSTILE + "=1"
        self.calls = 0

    def separate(self, queries: list[Query], seeds: list[int]) -> list[Separation]:
        self.calls += 1
        if self.calls == 1:
            raise ValueError(HOSTILE + "\udcff")
        return [Separation(target=query.mixture, residual=silent(query.mixture)) for query in queries]


def silent(sound: Audio) -> Audio:
    return Audio(sound.samples * 0, sound.rate)


def test_a_run_of_hostile_names_leaves_valid_files_and_prints_no_control(
    small_task: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small_task.write_text(small_task.read_text().replace("item-0", "it\x9bem").replace("item-1", "it\u202eem"))
    results = sab.evaluate(Talks(), "small/small.csv", metrics="snr", output="o", progress=True)
    assert results.failures == 1
    for path in (tmp_path / "o").rglob("*.json*"):
        path.read_text(encoding="utf-8")
    results.print()
    for words in (["table", "o"], ["table", "o", "--format", "csv"], ["compare", "o/mixture", "o/mixture"]):
        assert not set(CliRunner().invoke(group, words).output) & set("\x07\x9b\u202e\r")
    out, err = capfd.readouterr()
    assert not set(out + err) & set("\x07\x9b\u202e")
    assert "owned" in err
    assert "\x1b]" not in out + err  # colours of our own aside


@pytest.mark.parametrize(("encoding", "words"), [("cp1252", ["--format", "md"]), ("ascii", [])])
def test_a_whole_command_prints_to_any_encoding(
    encoding: str, words: list[str], small_task: Path, tmp_path: Path
) -> None:
    sab.evaluate("silence", str(small_task), metrics="si_sdr_i", output=tmp_path / "o", progress=False)
    done = subprocess.run(
        [sys.executable, "-c", START, "table", str(tmp_path / "o"), *words], capture_output=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert "-100" in done.stdout.decode(encoding)


@pytest.mark.skipif(sys.platform == "win32", reason="no shell that closes streams")
def test_closed_standard_streams_stop_no_run(small_task: Path, tmp_path: Path) -> None:
    """Nor does a file of the run take their place, into which a library would then write."""
    text = "import os\ndef noisy(mixture, rate, prompt):\n    os.write(2, b'noise'), os.write(1, b'noise')\n"
    (tmp_path / "loud.py").write_text(f"{text}    return mixture\n")
    words = f"eval --model loud:noisy --task {small_task} --metrics snr --limit 2 --output o"
    command = f'{sys.executable} -c "{START}" {words} <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False).returncode == 0
    (found,) = (tmp_path / "o" / "noisy").iterdir()
    assert len([json.loads(line) for line in (found / "items.jsonl").read_text().splitlines()]) >= 2
    assert (found / "separator.log").read_text().count("noise") == 4
