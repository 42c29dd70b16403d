"""Names that look like another one do not come onto a leaderboard, and are found where they are on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import safe_name
from sam_audio_bench.leaderboard.name_checks import look_alikes, name_fault
from sam_audio_bench.leaderboard.submission import submission_folder
from sam_audio_bench.leaderboard.submit import submit
from sam_audio_bench.leaderboard.validate import check_submission, validate
from sam_audio_bench.run.evaluate import evaluate
from sam_audio_bench.separators import CARDS

FOUND = {
    "hp\u200bss": "ZERO WIDTH SPACE",
    "hp\u2060ss": "WORD JOINER",
    "\ufeffhpss": "ZERO WIDTH NO-BREAK SPACE",
    "hp\u00adss": "SOFT HYPHEN",
    "hpss\U000e0061": "TAG LATIN SMALL LETTER A",
    "hpss\u202e": "RIGHT-TO-LEFT OVERRIDE",
    "hpss\u3164": "HANGUL FILLER",
    "hpss\u2800": "BRAILLE PATTERN BLANK",
    "hpss\ufe0f": "VARIATION SELECTOR-16",
    "hpss\U000e0101": "VARIATION SELECTOR-18",
    "hp\u034fss": "COMBINING GRAPHEME JOINER",
    "hpss\u0378": "U\\+0378 without a name",
    "hpss\u00a0x": "NO-BREAK SPACE",
    "hpss\u3000x": "IDEOGRAPHIC SPACE",
    "hpss ": "blanks around it",
    " hpss": "blanks around it",
    "hp  ss": "two in a row",
    "h\u0440ss": "Cyrillic and Latin",
    "\u0397pss": "Greek and Latin",
    "\u0455\u0441\u043e\u0440": "all look Latin",
    "\uff48\uff50\uff53\uff53": "which reads 'hpss'",
    "\U0001d421pss": "which reads 'hpss'",
    "hp\ua731s": "LATIN LETTER SMALL CAPITAL S",
    "l\u0131ve": "write 'i'",
    "a\u2010b": "write '-'",
    "a\u2212b": "write '-'",
    "net\u0662": "Arabic and Latin",
    "\u0967\u0968": "write '1'",
    "h\u0335pss": "COMBINING SHORT STROKE OVERLAY",
}


@pytest.mark.parametrize("name", FOUND, ids=ascii)
def test_names_that_hide_something(name: str) -> None:
    fault = name_fault(name)
    assert fault is not None
    assert FOUND[name].replace("\\", "") in fault
    assert fault.isprintable()


@pytest.mark.parametrize(
    "name",
    [
        *CARDS,
        "my net-2.1_b (fast)",
        "Größe",
        "naïve",
        "Æther",
        "модель",
        "音源分離モデル v2",
        "한국어",
        "模型",
        "עברית",
        "नमस्ते",
    ],
)
def test_names_that_are_what_they_look(name: str) -> None:
    assert name_fault(name) is None


def test_pairs_that_look_alike() -> None:
    assert list(look_alikes(["rnodel", "model", "mOdel", "m0del", "net", "Net", "HPSS", "other"])) == [
        ("model", "rnodel"), ("m0del", "mOdel"), ("Net", "net"), ("HPSS", "hpss"),
    ]  # fmt: skip
    assert list(look_alikes([*CARDS, "net-1", "net-2"])) == []


@pytest.fixture(scope="module")
def named_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A run of a separator with any name on one task; only the name differs."""

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def separate(self, queries: Any, seeds: Any) -> Any:
            from sam_audio_bench.types import Separation

            return [Separation(target=query.mixture, residual=query.mixture) for query in queries]

    folder = tmp_path_factory.mktemp("named")

    def run(name: str) -> Path:
        place = folder / safe_name(name)
        evaluate(Named(name), ["instr-wild"], split="mini", metrics=("si_sdr",), output=place, progress=False)
        return place

    return run


def test_submit_refuses_them(named_run: Callable[[str], Path], tmp_path: Path) -> None:
    card = tmp_path / "card.toml"
    card.write_text('summary = "s"\nauthors = ["A"]\nlicence = "MIT"\ntraining_data = []\n')
    submit([named_run("model")], tmp_path / "board", card=card)
    for name, message in (("h\u0440ss", "one script"), ("rnodel", "'model' is known"), ("HPSS", "'hpss' is known")):
        with pytest.raises(UsageError, match=message):
            submit([named_run(name)], tmp_path / "board", card=card)
    with pytest.raises(UsageError, match=r"revision of .*: .*ZERO WIDTH SPACE.*--revision"):
        submit([named_run("model")], tmp_path / "board", card=card, revision="1\u200b")
    assert validate(tmp_path / "board").ok


def test_validation_finds_them(gate: Path, tamper: Callable[..., None]) -> None:
    def rename(header: Any) -> None:
        header["separator"]["name"] = "spectral\u2010gate"
        header["separator"]["revision"] = "1 "

    tamper(rows=lambda scores: scores.assign(separator="spectral\u2010gate"), header=rename)
    moved = submission_folder(gate.parents[1], "spectral\u2010gate", "1 ")
    moved.parent.mkdir()
    gate.rename(moved)
    problems, _ = check_submission(moved)
    assert [(one.where.rpartition(" ")[2], one.what[:30]) for one in problems] == [
        ("name", "expected letters that look lik"), ("revision", "expected a name without blanks"),
    ]  # fmt: skip


def test_a_leaderboard_with_two_names_that_look_alike(board: Path, gate: Path) -> None:
    from sam_audio_bench.leaderboard.consistency import leaderboard_problems
    from sam_audio_bench.leaderboard.submission import Submission

    first = Submission.read(gate)
    shutil.copytree(gate, gate.parents[1] / "other" / gate.name)
    header = structs.replace(first.header, separator=structs.replace(first.header.separator, name="spectraI-gate"))
    found = dict(leaderboard_problems(board, [first, Submission(gate.parents[1] / "other" / gate.name, header)], set()))
    assert "looks like 'spectral-gate'" in found["spectraI-gate"]
