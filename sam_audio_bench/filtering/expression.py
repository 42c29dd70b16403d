"""Conditions on columns, such as ``clap > 0.35 and silence < 0.95``: parsed and checked, never executed as code.

A condition has columns, numbers, quoted texts, ``+ - * /``, comparisons, also chained ones, ``and``, ``or``, ``not``
and parentheses; a column whose name is not an identifier is written in backticks. Anything else is rejected.

Missing values make a condition undefined, which is neither true nor false (Kleene's logic): ``clap > 0.35`` is
undefined for an item without `clap`, and so is ``clap > 0.35 and silence < 0.95``, unless the item is silent, which
makes it false for any value of `clap`.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.errors import UsageError

__all__ = ["Column", "Condition", "Decision", "Threshold", "check_columns", "parse_condition"]

Column = NDArray[Any]
"""Values of a column, one per row: float64, NaN if undefined; or objects: texts, None if undefined."""
_Mask = NDArray[np.bool_]

_LONGEST, _SHOWN = 2000, 80  # characters of an expression, and of one in a message
_DEEPEST = 100
_BACKTICKED = re.compile(r"""("[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\\\n]*(?:\\.[^'\\\n]*)*')|`([^`\n]+)`""")  # not in texts
_PLACEHOLDER = "_column{}_{}_"
_COMPARISONS: Mapping[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class Decision(NamedTuple):
    """The rows for which a condition is true, and those for which it is false; it is undefined for the others."""

    true: _Mask
    false: _Mask

    @property
    def undefined(self) -> _Mask:
        """The rows for which the condition is undefined."""
        return ~(self.true | self.false)


class Threshold(NamedTuple):
    """A condition that compares one column with one number."""

    column: str
    sign: str  # of <, <=, >, >=
    value: float


@dataclass(frozen=True)
class Condition:
    """A checked expression.

    Args:
        text: the expression as it was written.
        node: its syntax tree, with only those kinds of nodes that `parse_condition` accepts.
        names: placeholder -> column, for columns in backticks.
    """

    text: str
    node: ast.expr
    names: Mapping[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the condition names, in the order of their first use."""
        found = [node for node in ast.walk(self.node) if isinstance(node, ast.Name)]
        found.sort(key=lambda node: (node.lineno, node.col_offset))
        return tuple(dict.fromkeys(self.names.get(node.id, node.id) for node in found))

    @property
    def parts(self) -> tuple[Condition, ...]:
        """The parts that must all be met: the operands of ``and`` at the top level."""
        if isinstance(self.node, ast.BoolOp) and isinstance(self.node.op, ast.And):
            inner = (Condition(self._shown(node), node, self.names) for node in self.node.values)
            return tuple(part for one in inner for part in one.parts)
        return (self,)

    @property
    def threshold(self) -> Threshold | None:
        """The column and number of a simple comparison; None for any other condition."""
        node = self.node
        if not isinstance(node, ast.Compare) or len(node.ops) != 1:
            return None
        sign, left, right = _COMPARISONS[type(node.ops[0])][0], node.left, node.comparators[0]
        if sign in _MIRRORED and _number(left) is not None and isinstance(right, ast.Name):
            left, right, sign = right, left, _MIRRORED[sign]
        value = _number(right)
        if sign not in _MIRRORED or value is None or not isinstance(left, ast.Name):
            return None
        return Threshold(self.names.get(left.id, left.id), sign, value)

    def decide(self, columns: Mapping[str, Column]) -> Decision:
        """Evaluates the condition for all rows at once.

        Args:
            columns: at least the columns of `columns`, all of one length.

        Raises:
            UsageError: there is a text in place of a number, or the other way round.
        """
        with np.errstate(all="ignore"):  # a division by zero is infinite or undefined
            return self._truth(self.node, columns)

    def _truth(self, node: ast.expr, columns: Mapping[str, Column]) -> Decision:
        match node:
            case ast.BoolOp(op=op, values=values):
                found = [self._truth(value, columns) for value in values]
                trues, falses = zip(*found, strict=True)
                if isinstance(op, ast.And):
                    return Decision(np.logical_and.reduce(trues), np.logical_or.reduce(falses))
                return Decision(np.logical_or.reduce(trues), np.logical_and.reduce(falses))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self._truth(operand, columns)
                return Decision(inner.false, inner.true)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [self._values(side, columns) for side in (left, *comparators)]
                found = [self._compare(op, *sides[at : at + 2]) for at, op in enumerate(ops)]
                trues, falses = zip(*found, strict=True)
                return Decision(np.logical_and.reduce(trues), np.logical_or.reduce(falses))
            case _:
                raise AssertionError(f"{ast.dump(node)} is no condition")  # `_check` rejects everything else

    def _compare(self, op: ast.cmpop, left: Column, right: Column) -> Decision:
        sign, compare = _COMPARISONS[type(op)]
        texts = [side.dtype == object for side in (left, right)]
        if any(texts) and not (all(texts) and sign in ("==", "!=")):
            found = _odd_cell(value for side in (left, right) for value in side if isinstance(value, str))
            raise UsageError(
                f"expected numbers on both sides of {sign}, or texts beside == or !=, found a number and a text or a "
                f"text beside {sign} in {self.text!r}: a cell is {found[:_SHOWN]!r}, and one that is not known is empty"
            )
        known = _known(left) & _known(right)
        holds = np.asarray(compare(left, right), dtype=bool)
        return Decision(holds & known, ~holds & known)

    def _values(self, node: ast.expr, columns: Mapping[str, Column]) -> Column:
        rows = len(next(iter(columns.values())))
        match node:
            case ast.Name(id=name):
                return columns[self.names.get(name, name)]
            case ast.Constant(value=str() as text):
                return np.full(rows, text, dtype=object)
            case ast.Constant(value=value):
                return np.full(rows, float(value))  # type: ignore[arg-type]  # `_check` rejects other types
            case ast.UnaryOp(op=op, operand=operand):
                inner = self._numbers(operand, columns)
                return -inner if isinstance(op, ast.USub) else inner
            case ast.BinOp(left=left, op=op, right=right):
                found: Column = _ARITHMETIC[type(op)](self._numbers(left, columns), self._numbers(right, columns))
                return found
            case _:
                raise AssertionError(f"{ast.dump(node)} has no value")

    def _numbers(self, node: ast.expr, columns: Mapping[str, Column]) -> Column:
        found = self._values(node, columns)
        if found.dtype == object:
            raise UsageError(f"expected numbers to reckon with, found the text {self._shown(node)} in {self.text!r}")
        return found

    def _shown(self, node: ast.expr) -> str:
        """Returns a part of the expression as text, with columns as they were written."""
        text = ast.unparse(node)
        for placeholder, name in self.names.items():
            text = text.replace(placeholder, f"`{name}`")
        return text


def _odd_cell(cells: Iterable[str]) -> str:
    """Returns the first text that is not a finite number, since it makes its column a text column; or the first."""
    found = list(cells)
    for cell in found:
        try:
            if math.isfinite(float(cell)):
                continue
        except ValueError:
            pass
        return cell
    return next(iter(found), "")


def _known(values: Column) -> _Mask:
    if values.dtype == object:
        return np.array([value is not None for value in values], dtype=bool)
    return ~np.isnan(values)


def parse_condition(text: str, *, option: str = "--keep") -> Condition:
    """Parses a condition; raises UsageError for anything else, in particular for code.

    >>> parse_condition("clap > 0.35 and -1 < saj_overall - `my score` / 2 <= 4").columns
    ('clap', 'saj_overall', 'my score')
    """
    if len(text) > _LONGEST:
        raise UsageError(f"expected {option} of at most {_LONGEST} letters, found {len(text)}")
    names: dict[str, str] = {}
    mark = ""  # makes placeholders that are not the name of any column
    while f"_column{mark}" in text:
        mark += "_"
    shown = repr(text[:_SHOWN]) + ("…" if len(text) > _SHOWN else "")

    def replaced(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[1]
        placeholder = _PLACEHOLDER.format(mark, len(names))
        names[placeholder] = match[2]
        return placeholder

    plain = _BACKTICKED.sub(replaced, text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as "invalid decimal literal": what is wrong is rejected
            node = ast.parse(plain.strip(), mode="eval").body
        _check_depth(node)
        _check(node)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        if isinstance(error, UsageError):
            raise UsageError(f"{error} in {option} {shown}: an expression is read, and never run") from error
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or "it is nested too deeply"
        raise UsageError(f"expected a condition such as 'clap > 0.35' in {option}, found {shown} ({reason})") from error
    return Condition(text.strip(), node, names)


def _check_depth(node: ast.AST) -> None:
    """Raises UsageError for deeper nesting than any condition needs, regardless of Python's recursion limit."""
    level, depth = [node], 0
    while level:
        level, depth = [child for one in level for child in ast.iter_child_nodes(one)], depth + 1
    if depth > _DEEPEST:
        raise UsageError(f"expected at most {_DEEPEST} levels of parentheses and signs, found {depth}")


def _check(node: ast.expr) -> None:
    """Raises UsageError unless a node is a condition of this language."""
    match node:
        case ast.BoolOp(values=values):
            for value in values:
                _check(value)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            _check(operand)
        case ast.Compare(left=left, ops=ops, comparators=comparators) if {*map(type, ops)} <= {*_COMPARISONS}:
            for side in (left, *comparators):
                _check_value(side, compared=True)
        case _:
            raise UsageError(f"expected a condition (a comparison, and, or, not), found {_cut(node)}")


def _check_value(node: ast.expr, compared: bool) -> None:
    """Raises UsageError unless a node is a value of this language; texts may only be compared."""
    match node:
        case ast.Constant(value=str()) if compared:
            found: tuple[ast.expr, ...] = ()
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            float(number)  # raises OverflowError for integers beyond the range of floats
            found = ()
        case ast.Name():
            found = ()
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            found = (operand,)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            found = (left, right)
        case _:
            raise UsageError(f"expected columns, numbers and + - * /, found {_cut(node)}")
    for inner in found:
        _check_value(inner, compared=False)


def _cut(node: ast.expr) -> str:
    return repr(ast.unparse(node)[:_SHOWN])


def _number(node: ast.expr) -> float | None:
    """Returns the value of a number with or without sign, or None for other nodes."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _number(operand)
            return None if inner is None else -inner
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _number(operand)
    return None


def check_columns(names: Sequence[str], known: Collection[str], option: str = "--keep") -> None:
    """Raises UsageError for the first unknown column; the message lists similar names and all columns."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise UsageError(
                f"expected columns of these labels in {option}, found {name!r}: {hint}there are {', '.join(known)}"
            )
