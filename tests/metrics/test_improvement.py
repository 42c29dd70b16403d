"""Improvements on request: the score of the answer minus that of the mixture, whatever the metric."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from metric_signals import answer, item, noise
from torch import Tensor

from sam_audio_bench.columns import build_metrics
from sam_audio_bench.errors import UsageError
from sam_audio_bench.metrics.catalogue import CARDS, improvement_card
from sam_audio_bench.registry import load_metric
from sam_audio_bench.types import Score, Status

TARGET, REST = 0.1 * noise(2, 2, 8000)
MIXTURE, SILENCE = TARGET + REST, torch.zeros_like(TARGET)
GIVEN = TARGET + 0.3 * REST
NAMES = ("mrstft", "bleedless", "fullness", "l1_freq", "aura_stft", "k_sdr", "perceptual_overall")


def score(name: str, given: Tensor, reference: Tensor = TARGET, stereo: str = "joint") -> Score:
    metric = load_metric(name, stereo=stereo)
    (row,) = metric.score([item(reference, None, MIXTURE)], [answer(given)])
    found = dict(zip(metric.columns, row, strict=True))[name]
    assert found is not None
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_minus_the_mixture(name: str) -> None:
    base, nothing = score(name, GIVEN), score(name, MIXTURE)
    assert base.value is not None
    assert nothing.value is not None
    assert score(f"{name}_i", GIVEN) == (base.value - nothing.value, Status.OK)
    assert score(f"{name}_i", MIXTURE) == (0.0, Status.OK)
    better = base.value > nothing.value
    assert better is CARDS[name].higher_is_better
    perfect = score(name, TARGET)
    assert perfect.value is not None
    assert score(f"{name}_i", TARGET) == (perfect.value - nothing.value, Status.OK)


@pytest.mark.parametrize("name", NAMES)
def test_statuses_are_those_of_the_metric(name: str) -> None:
    """A silent answer is never an improvement."""
    silent = score(f"{name}_i", SILENCE)
    assert silent.status is Status.SILENT_ESTIMATE
    assert silent.value is not None
    assert silent.value >= 0 if name == "mrstft" else silent.value < 0
    assert score(f"{name}_i", GIVEN, SILENCE) == (None, Status.SILENT_REFERENCE)
    assert score(f"{name}_i", SILENCE, SILENCE) == (None, Status.BOTH_SILENT)
    assert score(f"{name}_i", GIVEN * math.nan) == (None, Status.NON_FINITE)
    metric = load_metric(f"{name}_i")
    assert metric.score([item(None, None, MIXTURE)], [answer(GIVEN)]) == [(None,) * len(metric.columns)]


def test_where_the_mixture_has_no_score_its_status_stands() -> None:
    broken = MIXTURE * math.inf
    (row,) = load_metric("l1_freq_i").score([item(TARGET, None, broken)], [answer(GIVEN)])
    assert row == (Score(None, Status.NON_FINITE),)


def test_an_answer_in_mono_is_held_against_the_mixture_in_mono() -> None:
    mono = GIVEN.mean(0, keepdim=True)
    expected = (score("mrstft", mono, stereo="mono").value or 0) - (score("mrstft", MIXTURE, stereo="mono").value or 0)
    assert score("mrstft_i", mono, stereo="mono").value == pytest.approx(expected, rel=1e-9)


def test_rows_do_not_depend_on_what_stands_beside_them() -> None:
    items = [item(TARGET, None, MIXTURE), item(SILENCE, None, MIXTURE), item(REST, None, MIXTURE)]
    answers = [answer(GIVEN), answer(GIVEN), answer(SILENCE)]
    metric = load_metric("bleedless_i")
    together = metric.score(items, answers)
    assert together == [metric.score([one], [given])[0] for one, given in zip(items, answers, strict=True)]
    assert together[1] == (Score(None, Status.SILENT_REFERENCE),) * 2


def test_records_options_and_columns() -> None:
    """The unit, version, direction and options of the metric; of its columns those that were asked for."""
    loaded = build_metrics(["fullness_i", "mrstft_i(level=full_scale)", "mrstft"], policies={"stereo": "mean"})
    assert [one.columns for one in loaded] == [("fullness_i",), ("mrstft_i(level=full_scale)",), ("mrstft",)]
    assert loaded[0].metric.columns == ("bleedless_i", "fullness_i")
    record = loaded[1].records["mrstft_i"]
    assert (record.unit, record.version, record.higher_is_better) == ("", 1, False)
    assert record.parameters == {"stereo": "mean", "level": "full_scale"}
    assert [one.metric.in_blocks for one in loaded] == [True, True, True]
    with pytest.raises(UsageError, match="found lvel; did you mean level"):
        build_metrics(["mrstft_i(lvel=1)"])


def test_which_metrics_have_one() -> None:
    """All that look at the target alone, once: neither those with improvements of their own nor improvements again."""
    made = {name for name in CARDS if improvement_card(f"{name}_i") is not None}
    assert made >= {*NAMES, "pesq_wb", "stoi", "dnsmos_ovrl", "saj_overall", "clap", "imagebind", "aes_pq", "span_iou"}
    assert not made & {"si_sdr", "si_sdr_i", "leak_db", "reconstruction_db", "si_sdr_pit", "pit_swapped"}
    for name in made:
        card, base = improvement_card(f"{name}_i"), CARDS[name]
        assert card is not None
        low, high = card.limits
        assert low == -high
        assert (card.unit, card.needs, card.best) == (base.unit, base.needs, None)
        assert ("negative where it is better" in card.summary) is not base.higher_is_better
    for name in ("leak_db_i", "si_sdr_i_i", "si_sdr_pit_i", "nothing_i", "mrstft"):
        assert improvement_card(name) is None
    with pytest.raises(UsageError, match="unknown metric 'leak_db_i'"):
        build_metrics(["leak_db_i"])


def test_spellings_are_checked_without_torch() -> None:
    code = (
        "import sys\nfrom sam_audio_bench.columns import check_metrics\n"
        "check_metrics(['pesq_wb_i', 'mrstft_i(level=full_scale)'])\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
