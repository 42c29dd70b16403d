"""What `validate` catches: the seven ways to cheat that anyone thinks of first, each done carefully."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from sam_audio_bench.files import load_json, sha256, write_json
from sam_audio_bench.leaderboard import safe_io
from sam_audio_bench.leaderboard.submission import HEADER, SCORES
from sam_audio_bench.leaderboard.validate import validate

Tamper = Callable[..., None]


def said(folder: Path, share: float | None = None) -> str:
    """All problems as one text."""
    report = validate(folder, share=share)
    assert report.ok == (not report.problems)
    return "\n".join(f"{problem.where}: {problem.what}" for problem in report.problems)


def worst(scores: pd.DataFrame, metric: str = "si_sdr_i") -> str:
    """The item that a cheat would like to be rid of."""
    own = scores[scores["metric"] == metric]
    return str(own.loc[own["value"].idxmin(), "item"])


def test_an_honest_leaderboard_passes_with_every_item_scored_again(board: Path) -> None:
    report = validate(board, share=1.0)
    assert report.problems == []
    assert report.submissions == 3
    assert {name: found["largest"] <= found["tolerance"] for name, found in report.rescored.items()} == dict.fromkeys(
        ("si_sdr", "si_sdr_i", "snr_i", "leak_db"), True
    )


def test_a_changed_file_of_scores(gate: Path, tamper: Tamper) -> None:
    before = load_json(gate / HEADER)
    tamper(lambda scores: scores.assign(value=scores["value"] + 1))
    write_json(gate / HEADER, before)
    assert f"{SCORES}: expected the SHA-256 that submission.json states" in said(gate)


def test_a_tampered_score_whose_aggregate_was_forgotten(gate: Path, tamper: Tamper) -> None:
    honest = load_json(gate / HEADER)["aggregates"]

    def better(scores: pd.DataFrame) -> pd.DataFrame:
        place = (scores["item"] == worst(scores)) & (scores["metric"] == "si_sdr_i")
        return scores.assign(value=scores["value"].where(~place, 20.0))

    tamper(better, lambda header: header.update(aggregates=honest))
    assert "aggregate of music@1-mini si_sdr_i: expected value" in said(gate)


def test_a_tampered_score_with_everything_adapted(board: Path, gate: Path, tamper: Tamper) -> None:
    """Only the audio can tell, or the mixture: a score less its improvement is the same for all."""

    def better(scores: pd.DataFrame) -> pd.DataFrame:
        place = (scores["item"] == worst(scores)) & (scores["metric"] == "si_sdr_i")
        return scores.assign(value=scores["value"].where(~place, 20.0))

    tamper(better)
    assert said(gate) == ""
    assert "expected the mixtures that mixture was given, found that si_sdr less si_sdr_i differs for 1 items" in said(
        board
    )
    assert "scored again, found 20: more than 1e-06 apart" in said(gate, share=1.0)


def test_a_swapped_audio_file(gate: Path, tamper: Tamper) -> None:
    (folder,) = (gate / "audio").iterdir()
    first, second = sorted(folder.glob("*.target.flac"))[:2]
    kept = first.read_bytes()
    shutil.copyfile(second, first)
    assert f"audio/music@1-mini/{first.name}: expected the SHA-256" in said(gate)

    def adapt(header: Any) -> None:
        header["answers"]["music@1-mini"][first.name] = sha256(first.read_bytes())

    tamper(header=adapt)
    assert said(gate) == ""
    assert "scored again, found" in said(gate, share=1.0)
    first.write_bytes(kept)
    assert f"audio/music@1-mini/{first.name}: expected the SHA-256" in said(gate)


def test_a_dropped_bad_item(gate: Path, tamper: Tamper) -> None:
    tamper(lambda scores: scores[scores["item"] != worst(scores)])
    assert "music@1-mini: si_sdr_i: expected 14 items, found 13; without " in said(gate)


def test_a_dropped_bad_score_of_one_metric(gate: Path, tamper: Tamper) -> None:
    tamper(lambda scores: scores[~((scores["item"] == worst(scores)) & (scores["metric"] == "snr_i"))])
    assert "music@1-mini: snr_i: expected 14 items, found 13" in said(gate)


def test_a_bad_item_that_is_called_undefined(gate: Path, tamper: Tamper) -> None:
    def undefined(scores: pd.DataFrame) -> pd.DataFrame:
        place = (scores["item"] == worst(scores)) & scores["metric"].isin(["si_sdr", "si_sdr_i", "snr_i"])
        return scores.assign(
            value=scores["value"].where(~place), status=scores["status"].where(~place, "silent_reference")
        )

    tamper(undefined)
    assert "expected silent references for absent targets, found others" in said(gate)


def test_a_duplicated_good_item(gate: Path, tamper: Tamper) -> None:
    def twice(scores: pd.DataFrame) -> pd.DataFrame:
        best = scores.loc[scores[scores["metric"] == "si_sdr_i"]["value"].idxmax(), "item"]
        return pd.concat([scores, scores[scores["item"] == best]], ignore_index=True)

    tamper(twice)
    assert "expected each score once, found 3 twice" in said(gate)


def test_a_good_item_under_another_name(gate: Path, tamper: Tamper) -> None:
    tamper(lambda scores: scores.assign(item=scores["item"].replace(worst(scores), "music-99")))
    assert "expected items of the task, found music-99" in said(gate)


def test_an_edited_item_list(gate: Path, tamper: Tamper) -> None:
    def shorter(header: Any) -> None:
        (task,) = header["tasks"]
        task.update(items=13, answered=13, ids_sha256=sha256(b"music-00"))

    tamper(lambda scores: scores[scores["item"] != worst(scores)], shorter)
    text = said(gate)
    assert "music@1-mini: items: expected 14, as in the task, found 13" in text
    assert "music@1-mini: ids_sha256: expected " in text


def test_scores_from_another_metric_version(gate: Path, tamper: Tamper) -> None:
    def other(header: Any) -> None:
        next(record for record in header["metrics"] if record["id"] == "si_sdr_i")["version"] = 2

    tamper(header=other)
    assert f"{HEADER}: si_sdr_i: expected version 1, found 2: score the kept audio again" in said(gate)


def test_scores_with_other_parameters_than_the_others(board: Path, tamper: Tamper) -> None:
    def other(header: Any) -> None:
        next(record for record in header["metrics"] if record["id"] == "si_sdr_i")["parameters"] = {"stereo": "mono"}

    tamper(header=other)
    assert "si_sdr_i: expected the parameters.stereo of mixture, found others" in said(board)


def test_rows_from_another_seed(gate: Path, tamper: Tamper) -> None:
    def lucky(scores: pd.DataFrame) -> pd.DataFrame:
        return scores.assign(seed=scores["seed"].where(scores["item"] != worst(scores), 7))

    tamper(lucky)
    assert "expected the seed stated in submission.json, found 7 in 3 rows" in said(gate)


def test_a_submission_changed_after_it_was_logged(board: Path, gate: Path) -> None:
    header = load_json(gate / HEADER)
    header["separator"]["licence"] = "proprietary"
    write_json(gate / HEADER, header)
    assert "log.jsonl: expected spectral-gate" in said(board)


def test_a_submission_taken_away(board: Path, gate: Path) -> None:
    shutil.rmtree(gate)
    assert "found none: withdrawing keeps the row" in said(board)


def test_a_picker_whose_bad_items_are_left_out(picked: Path, edit: Callable[..., None]) -> None:
    """The line of picked answers is ranked of its own, so that it needs every item, too."""
    assert said(picked, share=1.0) == ""

    def without(scores: pd.DataFrame) -> pd.DataFrame:
        chosen = scores[scores["picked_by"] == "activity"]
        return scores[~((scores["item"] == worst(chosen)) & (scores["picked_by"] == "activity"))]

    edit(picked, without)
    assert "picked by activity: si_sdr_i: expected 12 items, found 11; without " in said(picked)


def test_a_better_candidate_in_the_place_of_the_first(picked: Path, edit: Callable[..., None]) -> None:
    """Best of three by looking at the references, without a word about a picker."""

    def better(scores: pd.DataFrame) -> pd.DataFrame:
        place = (scores["item"] == worst(scores)) & scores["picked_by"].isna()
        return scores.assign(candidate=scores["candidate"].where(~place, 2))

    edit(picked, better)
    assert "expected the first candidate without a picker, found another for" in said(picked)


def test_a_second_answer_that_raises_the_mean(picked: Path, edit: Callable[..., None]) -> None:
    """Candidates of one item are averaged."""

    def twice(scores: pd.DataFrame) -> pd.DataFrame:
        chosen = scores[scores["picked_by"] == "activity"]
        more = chosen[chosen["item"] == worst(chosen)]
        more = more.assign(candidate=(more["candidate"] + 1) % 3, value=20.0)
        return pd.concat([scores, more], ignore_index=True)

    edit(picked, twice)
    text = said(picked)
    assert "expected each score once, found 2 twice" in text
    assert "expected scores of an estimate from one candidate, found several" in text


def test_an_answer_without_a_digest(gate: Path, tamper: Tamper) -> None:
    """It could be made up later, when somebody asks for the audio."""
    name = worst(safe_io.read_scores(gate / SCORES))
    (gate / "audio" / "music@1-mini" / f"{name}.target.flac").unlink()
    tamper(header=lambda header: header["answers"]["music@1-mini"].pop(f"{name}.target.flac"))
    assert (
        f"music@1-mini: answers: expected the SHA-256 of target and residual of every estimate, found none for {name}"
        in (said(gate))
    )


def test_a_bad_item_that_is_called_perfect(gate: Path, tamper: Tamper) -> None:
    """An improvement may be undefined where the mixture is perfect; only the audio tells that this one is not."""

    def perfect(scores: pd.DataFrame) -> pd.DataFrame:
        place = (scores["item"] == worst(scores)) & (scores["metric"] == "si_sdr_i")
        return scores.assign(value=scores["value"].where(~place), status=scores["status"].where(~place, "perfect"))

    tamper(perfect)
    assert "expected si_sdr_i with status ok, scored again, found perfect" in said(gate, share=1.0)


def test_a_bad_item_that_is_called_lost(board: Path, gate: Path, tamper: Tamper) -> None:
    """An answer that is there is scored; one that was never made cannot be told from a crash, and is counted."""
    name = worst(safe_io.read_scores(gate / SCORES))

    def lost(scores: pd.DataFrame) -> pd.DataFrame:
        place = scores["item"] == name
        return scores.assign(value=scores["value"].where(~place), status=scores["status"].where(~place, "error"))

    tamper(lost, lambda header: header["tasks"][0].update(answered=13))
    assert f"{name}: expected si_sdr_i with status ok, scored again, found error" in said(gate, share=1.0)


def test_answers_of_two_items_exchanged(gate: Path, tamper: Tamper) -> None:
    (folder,) = (gate / "audio").iterdir()
    first, second = (folder / f"music-0{number}.target.flac" for number in (0, 1))
    kept = first.read_bytes()
    shutil.copyfile(second, first)
    second.write_bytes(kept)

    def adapt(header: Any) -> None:
        header["answers"]["music@1-mini"] |= {path.name: sha256(path.read_bytes()) for path in (first, second)}

    tamper(header=adapt)
    assert said(gate) == ""
    text = said(gate, share=1.0)
    assert "music-00: expected si_sdr" in text
    assert "music-01: expected si_sdr" in text


def test_parameters_that_the_metric_does_not_have(gate: Path, tamper: Tamper) -> None:
    """Else a column would be skipped as one that cannot be computed here."""

    def other(header: Any) -> None:
        next(one for one in header["metrics"] if one["id"] == "si_sdr_i")["parameters"] = {"stereo": "nonsense"}

    tamper(header=other)
    assert "si_sdr_i: expected parameters of the metric in submission.json, found others" in said(gate, share=1.0)


def test_a_score_that_could_not_be_computed_is_still_none(gate: Path, tamper: Tamper) -> None:
    def broken(scores: pd.DataFrame) -> pd.DataFrame:
        place = (scores["item"] == worst(scores)) & (scores["metric"] == "si_sdr_i")
        return scores.assign(value=scores["value"].where(~place), status=scores["status"].where(~place, "error"))

    tamper(broken)
    assert said(gate) == ""
    assert "expected si_sdr_i with status ok, scored again, found error" in said(gate, share=1.0)
