"""Parameter names of built-in components, read from their source: a misspelt option is reported without torch."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path

__all__ = ["parameter_names"]

_PACKAGE = __name__.partition(".")[0]
_Definition = ast.ClassDef | ast.FunctionDef


def parameter_names(target: str) -> list[str]:
    """Returns the parameter names of ``module:name``, a class or function of this package, as `inspect.signature` does.

    For a class, base classes are followed to the one that defines ``__init__``, or fields of dataclasses are collected;
    classes of other packages are assumed to have no parameters.
    """
    module, _, name = target.partition(":")
    found = _find_definition(module, name)
    return [] if found is None else _definition_parameters(*found)


def _definition_parameters(module: str, defined: _Definition) -> list[str]:
    if isinstance(defined, ast.FunctionDef):
        return _function_parameters(defined)
    own = next((one for one in defined.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
    if own is not None:
        return _function_parameters(own)[1:]  # without self
    inherited: dict[str, None] = {}
    for base in defined.bases:
        found = _find_definition(module, base.id) if isinstance(base, ast.Name) else None
        inherited |= {} if found is None else dict.fromkeys(_definition_parameters(*found))
    is_dataclass = any("dataclass" in ast.unparse(one) for one in defined.decorator_list)
    return [*(inherited | (dict.fromkeys(_dataclass_fields(defined)) if is_dataclass else {}))]


def _function_parameters(function: ast.FunctionDef) -> list[str]:
    found = function.args
    return [one.arg for one in (*found.posonlyargs, *found.args, *found.kwonlyargs)]


def _dataclass_fields(defined: ast.ClassDef) -> list[str]:
    return [
        one.target.id
        for one in defined.body
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        and not ast.unparse(one.annotation).startswith("ClassVar")
        and "init=False" not in (ast.unparse(one.value) if one.value is not None else "")
    ]  # fmt: skip


def _find_definition(module: str, name: str) -> tuple[str, _Definition] | None:
    """Finds a class or function of this package, and the module that defines it."""
    if module.partition(".")[0] != _PACKAGE:
        return None
    for one in _parse_module(module).body:
        if isinstance(one, _Definition) and one.name == name:
            return module, one
        if isinstance(one, ast.ImportFrom) and one.module is not None:
            original = next((alias.name for alias in one.names if (alias.asname or alias.name) == name), None)
            if original is not None:
                return _find_definition(one.module, original)
    return None


@cache
def _parse_module(module: str) -> ast.Module:
    found = importlib.util.find_spec(module)
    assert found is not None, module
    return ast.parse(Path(str(found.origin)).read_text(encoding="utf-8"))
