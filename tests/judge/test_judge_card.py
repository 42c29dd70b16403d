"""The model card shows what was measured, of the weights that are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from judge.card import CARD, REPORT, fill_card
from sam_audio_bench.files import load_json
from sam_audio_bench.judge.checkpoints import DEFAULT, find_judge


def test_the_card_is_up_to_date() -> None:
    text = CARD.read_text(encoding="utf-8")
    assert fill_card(text) == text, "run `python -m judge.card`"
    assert text.count("**missed**") == sum(bar["met"] is False for bar in load_json(REPORT / "bars.json")["bars"])


def test_the_report_is_of_the_shipped_weights() -> None:
    assert load_json(REPORT / "bars.json")["weights_sha256"] == find_judge(DEFAULT).sha256()


def test_a_card_without_room_for_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected <!-- bars --> and <!-- /bars --> in the card"):
        fill_card("# nothing")


def test_the_shipped_judge_is_small() -> None:
    assert sum(path.stat().st_size for path in find_judge(DEFAULT).folder.iterdir()) < 12 * 2**20
