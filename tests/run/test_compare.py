"""Comparing two runs: pairing, errors, items that are left out, and the files of the worst estimates."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from click.testing import CliRunner

from sam_audio_bench.cli import group
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.identity import Identity
from sam_audio_bench.records import (
    ItemRecord,
    MetricRecord,
    ModelRecord,
    RunRecord,
    ScoreRow,
    StoredEstimate,
    TaskRecord,
)
from sam_audio_bench.run.compare import compare_runs
from sam_audio_bench.run.store import RunFolder
from sam_audio_bench.stats.paired import holm, paired_difference
from sam_audio_bench.types import Status

Scores = Mapping[str, Mapping[str, float | None]]  # metric -> item -> score

TASK = {"id": "small", "version": "1", "split": "test", "subset": "paper", "prompts": "given", "data_revision": "r",
        "source": "small", "items": 6, "ids_sha256": "0" * 64}  # fmt: skip
BASE = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0, "f": 6.0}
OTHER = {"a": 4.0, "b": 1.5, "c": 3.0, "d": 9.0, "e": 1.0, "f": 7.0}


def record(name: str, **changes: Any) -> dict[str, Any]:
    whole = {"id": name, "version": 1, "unit": "dB", "higher_is_better": True, "parameters": {}, "weights_sha256": None}
    return {**whole, **changes}


def run(
    path: Path,
    name: str,
    scores: Scores,
    *,
    task: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Mapping[str, Any]] | None = None,
    picked: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Path:
    """A finished run; two items per recording. ``picked``: the first metric of the estimates that a picker chose."""
    folder = RunFolder(path)
    known = {metric: record(metric, **(metrics or {}).get(metric, {})) for metric in scores}
    header = RunRecord(
        status="success", started="", model=ModelRecord(kind="separator", name=name),
        task=TaskRecord(**{**TASK, **(task or {})}), metrics=[MetricRecord(**one) for one in known.values()], seed=seed,
        align=None, stereo="joint", shard=None, command=[], config={}, git=None, packages={}, hardware={},
        candidates=4 if picked else 1, picker=Identity(kind="picker", name="clap") if picked else None,
    )  # fmt: skip
    with folder.writing():
        folder.write_header(header)
        for item in dict.fromkeys(item for own in scores.values() for item in own):
            first = StoredEstimate(target=f"{item}.target.0.flac", residual="")
            more = {"candidates": 4, "picked": 2, "picked_by": "clap", "kept": {"0": first}} if picked else {}
            folder.add_item(
                ItemRecord(
                    item=item, group=_group(item), fingerprint="", seed=seed, status=Status.OK,
                    target=f"{item}.target.flac", residual=f"{item}.residual.flac",
                    not_asked=list(scores), scored=dict.fromkeys(scores, ""), **more,
                )
            )  # fmt: skip
            (path / "audio" / f"{item}.target.flac").touch()
        rows = [(metric, item, value, None) for metric, own in scores.items() for item, value in own.items()]
        rows += [(next(iter(scores)), item, value, "clap") for item, value in (picked or {}).items()]
        folder.add_scores([_row(folder, name, *row, seed) for row in rows])
        folder.seal(list(BASE))
    return path


def _row(
    folder: RunFolder, name: str, metric: str, item: str, value: float | None, picker: str | None, seed: int
) -> ScoreRow:
    return ScoreRow(
        task=folder.header.task.id, item=item, group=_group(item), separator=name, seed=seed,
        candidate=2 if picker else 0, picked_by=picker, metric=metric, value=value,
        status=Status.SILENT_REFERENCE if value is None else Status.OK,
    )  # fmt: skip


def _group(item: str) -> str:
    return str((ord(item[0]) - ord("a")) // 2)


@pytest.fixture
def two(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Runs of the systems base and other, the second with changes."""

    def made(**changes: Any) -> tuple[Path, Path]:
        scores = changes.pop("scores", {"si_sdr": OTHER})
        return (
            run(tmp_path / "base" / "small", "base", {"si_sdr": BASE}),
            run(tmp_path / "other" / "small", "other", scores, **changes),
        )

    return made


def test_differences_are_paired_over_recordings(two: Callable[..., tuple[Path, Path]]) -> None:
    found = compare_runs(*two())
    assert (found.name_a, found.name_b, found.notes) == ("base", "other", ())
    (row,) = found.rows
    groups = [str(at // 2) for at in range(6)]
    expected = paired_difference([*BASE.values()], [*OTHER.values()], groups)
    assert (row.difference, row.ci_low, row.ci_high, row.p) == (expected.value, expected.low, expected.high, expected.p)
    assert (row.a, row.b) == (3.5, 4.25)
    assert (row.wins, row.ties, row.losses, row.n_ok, row.n) == (3, 1, 2, 6, 6)
    assert row.verdict() == "not told apart"


def test_the_worst_items_come_first_with_their_audio(two: Callable[..., tuple[Path, Path]]) -> None:
    base, other = two()
    found = compare_runs(base, other)
    assert [(one.item, one.difference) for one in found.worst] == [("e", -4.0), ("b", -0.5)], (
        "where the second is worse"
    )
    assert found.worst[0].audio_a == base / "audio" / "e.target.flac"
    assert found.worst[0].audio_b == other / "audio" / "e.target.flac"
    assert [one.item for one in compare_runs(base, other, worst=1).worst] == ["e"]
    assert [one.item for one in compare_runs(other, base).worst] == ["d", "a", "f"]
    (other / "audio" / "e.target.flac").unlink()
    assert compare_runs(base, other).worst[0].audio_b is None


def test_lower_is_better_for_an_error(two: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    sides = [
        run(tmp_path / name, name, {"mrstft": own}, metrics={"mrstft": {"higher_is_better": False, "unit": ""}})
        for name, own in (("p", BASE), ("q", OTHER))
    ]
    found = compare_runs(*sides)
    assert (found.rows[0].wins, found.rows[0].losses) == (2, 3)
    assert [one.item for one in found.worst] == ["d", "a", "f"]


def test_holm_corrects_over_all_rows(tmp_path: Path) -> None:
    """Twelve recordings of one item each, by two metrics on two tasks."""
    items = {f"{chr(ord('a') + 2 * at)}": float(at) for at in range(12)}
    for system, gain in (("p", 0.0), ("q", 2.0)):
        for task in ("one", "two"):
            own = {"id": task, "items": 12}
            better = {item: value + gain * (1 + value / 10) for item, value in items.items()}
            level = {item: value + gain * (-1) ** at for at, (item, value) in enumerate(items.items())}
            scores = {"si_sdr": better, "mrstft": better, "si_sdr_i": level}
            run(tmp_path / system / task, system, scores, task=own, metrics={"mrstft": {"higher_is_better": False}})
    found = compare_runs(tmp_path / "p", tmp_path / "q")
    assert len(found.rows) == 6
    assert [row.p_holm for row in found.rows] == holm([row.p for row in found.rows])
    assert [row.verdict() for row in found.rows] == ["better", "worse", "not told apart"] * 2
    assert found.labels == {"one": "one@1-test, data r", "two": "two@1-test, data r"}
    assert {one.metric for one in found.worst} == {"si_sdr_i"}
    assert {one.metric for one in compare_runs(tmp_path / "p", tmp_path / "q", worst_by="mrstft").worst} == {"mrstft"}


def test_numbers_equal_those_of_scipy_and_statsmodels(tmp_path: Path) -> None:
    """From scores.parquet alone: p and its interval by `scipy.stats.permutation_test`, Holm by statsmodels."""
    multitest = pytest.importorskip("statsmodels.stats.multitest")

    def permuted(sums: np.ndarray) -> float:
        options = {"permutation_type": "samples", "vectorized": False, "n_resamples": np.inf}
        return float(scipy.stats.permutation_test((sums,), np.sum, **options).pvalue)

    drawn = np.random.default_rng(3)
    items = "abcdefghijklmnop"  # two per recording
    systems = {
        name: {
            metric: {item: float(drawn.normal(gain * better, 2)) for item in items}
            for metric, better in (("si_sdr", 1.0), ("snr", 0.4), ("leak_db", -0.8))
        }
        for name, gain in (("p", 0.0), ("q", 2.5))
    }
    lower = {"leak_db": {"higher_is_better": False}}
    paths = [run(tmp_path / name, name, own, metrics=lower) for name, own in systems.items()]
    found = compare_runs(*paths, resamples=20_000)
    tables = [
        pd.read_parquet(path / "scores.parquet").pivot_table("value", ["group", "item"], "metric") for path in paths
    ]
    wanted = []
    for row in found.rows:
        difference = (tables[1] - tables[0])[row.metric]
        assert row.difference == pytest.approx(difference.mean())
        sums = difference.groupby("group").sum().to_numpy()
        wanted.append(permuted(sums))
        assert row.p == pytest.approx(wanted[-1])
        for bound, beyond in ((row.ci_low, -1e-6), (row.ci_high, 1e-6)):
            assert bound is not None
            assert permuted(sums - 2 * (bound + beyond)) < 0.05 <= permuted(sums - 2 * (bound - beyond))
        sign = -1 if row.metric == "leak_db" else 1
        assert (row.wins, row.losses) == (int((sign * difference > 0).sum()), int((sign * difference < 0).sum()))
    assert [row.p_holm for row in found.rows] == pytest.approx(multitest.multipletests(wanted, method="holm")[1])


def test_only_common_items_count(two: Callable[..., tuple[Path, Path]]) -> None:
    """An item missing from one run is noted; an undefined score is counted; neither changes a mean."""
    mine: dict[str, float | None] = {**OTHER, "b": None, "g": 100.0}
    del mine["a"]
    found = compare_runs(*two(scores={"si_sdr": mine}))
    (row,) = found.rows
    assert (row.n_ok, row.n, row.missing_a, row.missing_b) == (4, 5, 0, 1)
    assert row.a == pytest.approx(sum(BASE[item] for item in "cdef") / 4)
    assert [note.partition(", in ")[0] for note in found.notes] == ["small: 1 items left out"] * 2


def test_infinite_scores_count_as_the_cap(two: Callable[..., tuple[Path, Path]]) -> None:
    (row,) = compare_runs(*two(scores={"si_sdr": {**OTHER, "a": math.inf}})).rows
    assert row.b == pytest.approx((100 + sum(OTHER.values()) - 4) / 6)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"task": {"version": "2"}}, "task small with the same version in both runs, found 1 in .*base.* and 2 in"),
        ({"task": {"split": "mini"}}, "the same split"),
        ({"task": {"data_revision": "s"}}, "the same data_revision"),
        ({"task": {"ids_sha256": "1" * 64}}, "the same ids_sha256"),
        ({"task": {"prompts": "absent"}}, "the same prompts"),
        ({"metrics": {"si_sdr": {"version": 2}}}, "metric si_sdr with the same version in both runs, found 1 in"),
        ({"metrics": {"si_sdr": {"parameters": {"stereo": "mono"}}}}, "the same parameters"),
        ({"metrics": {"si_sdr": {"weights_sha256": "f"}}}, "the same weights_sha256"),
        ({"task": {"id": "large"}}, "a task that both runs have, found small in .* and large in"),
        ({"scores": {"snr": OTHER}}, "a metric that both runs have, found si_sdr in .* and snr in"),
    ],
)
def test_the_difference_is_named_in_errors(
    two: Callable[..., tuple[Path, Path]], changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(UsageError, match=field):
        compare_runs(*two(**changes))


def test_other_errors(two: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    base, other = two(scores={"si_sdr": OTHER, "snr": OTHER})
    with pytest.raises(UsageError, match=r"one separator in .*, found base, other"):
        compare_runs(tmp_path, other)
    with pytest.raises(Precondition, match="expected a run folder"):
        compare_runs(base, tmp_path / "nothing")
    with pytest.raises(UsageError, match="metrics among si_sdr, which both runs have, found snr"):
        compare_runs(base, other, metrics=["snr"])
    with pytest.raises(UsageError, match="worst items by one of si_sdr, found 'snr'"):
        compare_runs(base, other, worst_by="snr")
    assert compare_runs(base, other).notes == (f"left out, in {other} alone: snr",)


def test_picked_candidates_are_compared_unless_first_is_set(tmp_path: Path) -> None:
    """A metric from the picker's own model is no evidence: it has no p."""
    base = run(tmp_path / "base", "base", {"clap": BASE})
    other = run(tmp_path / "other", "base", {"clap": OTHER}, picked=dict.fromkeys(BASE, 10.0))
    found = compare_runs(base, other)
    assert (found.name_a, found.name_b) == ("base", "base (best by clap)")
    assert (found.rows[0].b, found.rows[0].p, found.rows[0].own_judge, found.rows[0].verdict()) == (
        10.0,
        None,
        True,
        "",
    )
    first = compare_runs(base, other, first=True)
    assert (first.name_a, first.name_b) == (f"base in {base}", f"base in {other}")
    assert first.rows[0].b == pytest.approx(sum(OTHER.values()) / 6)
    assert first.rows[0].p is not None
    assert first.worst[0].audio_b is None, "the first candidate was not kept"


def test_seeds_are_averaged_before_items_are_paired(tmp_path: Path) -> None:
    base = run(tmp_path / "base", "base", {"si_sdr": BASE})
    for seed in (0, 1):
        own = {item: value + 2 * seed for item, value in BASE.items()}
        run(tmp_path / "other" / str(seed), "other", {"si_sdr": own}, seed=seed)
    (row,) = compare_runs(base, tmp_path / "other").rows
    assert (row.difference, row.n_ok, row.wins) == (1.0, 6, 6)


def test_the_command(two: Callable[..., tuple[Path, Path]]) -> None:
    base, other = map(str, two())
    shown = CliRunner().invoke(group, ["compare", base, other], prog_name="sabench").stdout
    assert "small@1-test" in shown
    assert "si_sdr (dB) ↑  3.50  4.25  0.75   0.750  0.750     not told apart  3-1-2             6/6" in shown
    assert "No interval: fewer than 6 recordings cannot show a difference at 5 %." in shown
    assert f"small  e     5.00  1.00  −4.00  {base}/audio/e.target.flac" in shown
    found = json.loads(CliRunner().invoke(group, ["compare", base, other, "--json"], prog_name="sabench").stdout)
    assert (found["a"], found["b"], found["notes"]) == ("base", "other", [])
    assert found["rows"][0]["verdict"] == "not told apart"
    assert found["worst"][0]["audio_b"] == f"{other}/audio/e.target.flac"
    code = (
        "import sys\nfrom sam_audio_bench.cli import main\ntry:\n    main(['compare', *sys.argv[1:]])\n"
        "except SystemExit:\n    sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, base, other], capture_output=True, check=False).returncode == 0
