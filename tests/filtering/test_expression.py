"""Conditions are read, never run; undefined values decide nothing."""

from __future__ import annotations

import ast
import itertools
import math
import operator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_audio_bench.errors import UsageError
from sam_audio_bench.filtering.expression import Threshold, check_columns, parse_condition
from sam_audio_bench.filtering.presets import PRESETS

NAN = float("nan")
SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne}
COLUMNS = {
    "a": np.array([1.0, 2.0, 3.0, NAN]),
    "b": np.array([0.0, NAN, 5.0, 1.0]),
    "my score": np.array([1.0, 1.0, 1.0, 1.0]),
    "kind": np.array(["dog", "cat", None, "dog"], dtype=object),
}


def decided(text: str) -> list[bool | None]:
    true, false = parse_condition(text).decide(COLUMNS)
    assert not (true & false).any()
    return [True if yes else False if no else None for yes, no in zip(true, false, strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a > 1", [False, True, True, None]),
        ("1 < a <= 2", [False, True, False, None]),
        ("not a > 1", [True, False, False, None]),
        ("a > 1 and b > 1", [False, None, True, False]),
        ("a > 1 or b >= 0", [True, True, True, True]),
        ("a - b * 2 == 1 + 0", [True, None, False, None]),
        ("a / b > 1", [True, None, False, None]),  # one by zero is infinite
        ("b / b > 0", [None, None, True, True]),  # zero by zero is undefined
        ("-a < -(1 + 1)", [False, False, True, None]),
        ("`my score` == 1", [True] * 4),
        ("kind == 'dog' and a < 9", [True, False, None, None]),
        ("kind != 'dog'", [False, True, None, False]),
        ("1 < 2", [True] * 4),
    ],
)
def test_values(text: str, expected: list[bool | None]) -> None:
    assert decided(text) == expected


def test_logic_is_kleenes() -> None:
    """Over all of true, false, undefined: what is decided holds whatever the undefined ones would be."""
    values = np.array(list(itertools.product([0.0, 1.0, NAN], repeat=2)))
    columns = {"p": values[:, 0], "q": values[:, 1]}
    for text in ("p > 0.5 and q > 0.5", "p > 0.5 or q > 0.5", "not (p > 0.5 or not q > 0.5)"):
        condition = parse_condition(text)
        true, false = condition.decide(columns)
        for row, pair in enumerate(values):
            worlds = itertools.product(*([value] if value == value else [0.0, 1.0] for value in pair))
            found = {bool(condition.decide({"p": np.array([p]), "q": np.array([q])}).true[0]) for p, q in worlds}
            assert (true[row], false[row]) == (found == {True}, found == {False})


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch ran')", "a.b > 1", "a[0] > 1", "f(a) > 1", "a > 1 if b else 0", "[a] > 1", "a",
        "lambda: 1", "a is b", "a in b", "(a := 1) > 0", "a > True", "a > None", "a > 1j", "a > 'x' + 'y'", "'x'", "1",
        "a ** 9 > 1", "a % 2 > 1", "f'{a}' == kind", "a > 1; b", "a = 1", "", "a > 1 and", "a > (b > 1)", "not a",
        "(" * 500, "-" * 1500 + "a > 1", "+".join("a" * 900) + " > 1", "a > " + "9" * 400, "a > 1\0", "a" * 3000,
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"^expected ") as caught:
        parse_condition(text)
    assert len(str(caught.value)) < 300
    assert not any(tmp_path.iterdir())


@given(st.text(max_size=60) | st.text(alphabet="ab()<>=+-*/'`andornot .1", max_size=60))
def test_any_text_is_a_condition_or_a_usage_error(text: str) -> None:
    try:
        condition = parse_condition(text)
    except UsageError:
        return
    allowed = (ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare, ast.Name, ast.Constant, ast.expr_context, ast.operator,
               ast.boolop, ast.unaryop, ast.cmpop)  # fmt: skip
    assert all(isinstance(node, allowed) for node in ast.walk(condition.node))


@given(
    st.lists(st.floats(-9, 9) | st.just(NAN), min_size=1, max_size=6),
    st.sampled_from([*SIGNS]), st.integers(-9, 9),
)  # fmt: skip
def test_comparisons_are_those_of_python(values: list[float], sign: str, number: int) -> None:
    true, false = parse_condition(f"x {sign} {number}").decide({"x": np.array(values)})
    known = [not math.isnan(value) for value in values]
    assert true.tolist() == [there and SIGNS[sign](value, number) for there, value in zip(known, values, strict=True)]
    assert (true | false).tolist() == known


def test_texts_and_numbers_do_not_mix() -> None:
    for text in ("kind > 1", "kind < 'dog'", "a == 'dog'", "kind + 1 > 2", "-kind > 1"):
        with pytest.raises(UsageError, match="expected numbers"):
            parse_condition(text).decide(COLUMNS)


def test_parts_columns_and_thresholds() -> None:
    condition = parse_condition("clap > 0.35 and (`my score` <= -1 and 2 > b) and (a > 1 or b > 1)")
    assert condition.columns == ("clap", "my score", "b", "a")
    assert [part.text for part in condition.parts] == ["clap > 0.35", "`my score` <= -1", "2 > b", "a > 1 or b > 1"]
    assert [part.threshold for part in condition.parts] == [
        Threshold("clap", ">", 0.35), Threshold("my score", "<=", -1.0), Threshold("b", "<", 2.0), None,
    ]  # fmt: skip


def test_unknown_columns_are_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"found 'clp': did you mean clap[?] there are clap, silence$"):
        check_columns(["clap", "clp"], ["clap", "silence"])


def test_presets_are_conditions_with_the_published_numbers() -> None:
    text = PRESETS["sam-audio"].text(videos=False)
    assert [(part.column, part.sign, part.value) for one in parse_condition(text).parts if (part := one.threshold)] == [
        ("clap", ">", 0.35), ("clap_residual", "<", 0.0), ("aes_pc", "<", 2.5), ("silence", "<", 0.95),
    ]  # fmt: skip
    videos = parse_condition(PRESETS["sam-audio"].text(videos=True))
    assert {"mask_coverage", "imagebind", "video"} <= {*videos.columns}
    columns = {name: np.array([1.0, 1.0]) for name in videos.columns} | {
        "clap_residual": np.array([-1.0, -1.0]), "silence": np.array([0.0, 0.0]), "video": np.array([0.0, 1.0]),
        "imagebind": np.array([NAN, 0.1]),
    }  # fmt: skip
    assert videos.decide(columns).true.tolist() == [True, False]
    parse_condition(PRESETS["offline"].text(videos=True))
