"""Formatting of numbers and texts: numbers can be read back, and untrusted texts are escaped."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_audio_bench.render.numbers import interval, number, with_interval
from sam_audio_bench.render.text import line_name, one_line, printable, unit_and_direction

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(finite, st.integers(0, 6))
def test_a_number_reads_back_to_its_decimals(value: float, digits: int) -> None:
    shown = number(value, digits).replace("−", "-")
    assert math.isclose(float(shown), value, rel_tol=1e-12, abs_tol=0.5 * 10**-digits * (1 + 1e-9))
    assert len(shown.partition(".")[2]) == digits


@given(finite)
def test_the_sign_is_a_true_minus_and_zero_has_none(value: float) -> None:
    shown = number(value)
    assert "-" not in shown
    assert shown.startswith("−") == (round(value, 2) < 0)


@pytest.mark.parametrize("ends", [(None, None), (None, 1.0), (1.0, None)])
def test_half_an_interval_is_none(ends: tuple[float | None, float | None]) -> None:
    assert interval(*ends) == "[—]"
    assert with_interval(0.5, *ends) == "0.50"


def test_an_undefined_value_is_a_dash() -> None:
    assert with_interval(None, None, None) == number(None) == "—"


@given(st.text())
def test_nothing_shown_acts_on_a_terminal(text: str) -> None:
    shown = printable(text)
    assert all(letter.isprintable() or letter == "\n" for letter in shown)
    assert shown.count("\n") == text.count("\n")
    assert one_line(text).isprintable()
    assert one_line(one_line(text)) == one_line(text)


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]), min_size=1))
def test_a_plain_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == one_line(text) == text


def test_names_that_differ_in_a_control_stay_different() -> None:
    assert one_line("hpss\x07") != one_line("hpss")
    assert one_line("a\u202eb") == r"a\u202eb"


@pytest.mark.parametrize(
    ("picked_by", "candidates", "name"),
    [(None, 8, "hpss"), ("", 8, "hpss"), ("clap", 1, "hpss (best by clap)"), ("clap", 8, "hpss (best of 8 by clap)")],
)
def test_a_line_is_named_by_its_picker(picked_by: str | None, candidates: int, name: str) -> None:
    assert line_name("hpss", picked_by, candidates) == name


def test_a_metric_without_a_direction_has_no_arrow() -> None:
    assert unit_and_direction("s", None) == "(s)"
    assert unit_and_direction("", None) == ""
