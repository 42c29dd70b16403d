"""Parses the source of a module: syntax tree without comments, imports, bindings of names, and bytecode."""

from __future__ import annotations

import ast
import dis
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sam_audio_bench.digests import combined_digest

__all__ = [
    "Binding",
    "Import",
    "Literal",
    "ModuleBindings",
    "ParsedModule",
    "bytecode_digest",
    "evaluate_literal",
    "imported_names",
    "iter_code_objects",
]

_IMPORTERS = frozenset({"__import__", "import_module"})
_FINDERS = frozenset({"exec_module", "load_module", "pkgutil", "run_module", "run_path", "spec_from_file_location"})

_LITERAL_NODES = (
    ast.Constant, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp,
    ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context,
)  # fmt: skip
_MUTATING_METHODS = frozenset(
    [
        "add",
        "append",
        "clear",
        "discard",
        "extend",
        "insert",
        "pop",
        "popitem",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "update",
    ]
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def iter_code_objects(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yields a code object and all nested ones."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from iter_code_objects(constant)


@lru_cache(maxsize=4096)
def bytecode_digest(code: types.CodeType) -> str:
    """Returns the digest of a function's bytecode, independent of its position and its docstring."""
    parts = [
        str(part) for part in (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & 15)
    ]
    for step in dis.get_instructions(code):
        value = step.argval
        if isinstance(value, types.CodeType):
            value = bytecode_digest(value)
        elif isinstance(value, frozenset):
            value = sorted(map(repr, value))
        parts.append(f"{step.opname} {value!r}")
    return combined_digest("instructions", *parts, *code.co_varnames, *code.co_freevars)


def imported_names(code: types.CodeType) -> Iterator[str]:
    """Yields absolute names that a function imports; a name after ``from … import`` may or may not be a module."""
    for part in iter_code_objects(code):
        base = ""
        for step in dis.get_instructions(part):
            if step.opname == "IMPORT_NAME":
                base = str(step.argval)
                yield base
            elif step.opname == "IMPORT_FROM":
                yield f"{base}.{step.argval}"


@dataclass(frozen=True)
class Literal:
    """A literal value to which a name is bound."""

    value: Any


@dataclass(frozen=True)
class Import:
    """A module, or a name in a module, to which a name is bound by an import."""

    module: str
    name: str = ""


Binding = Literal | Import | ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | None
Scope = dict[str, list[Binding]]


def evaluate_literal(node: ast.expr | None) -> Literal | None:
    """Evaluates an expression without names and calls; None for any other one, or an empty container."""
    if node is None or not all(isinstance(part, _LITERAL_NODES) for part in ast.walk(node)):
        return None
    try:
        value = eval(compile(ast.Expression(node), "<constant>", "eval", dont_inherit=True), {"__builtins__": {}})
    except Exception:  # as importing the module would raise too
        return None
    return None if isinstance(value, list | dict | set) and not value else Literal(value)


class ModuleBindings:
    """Names that the source of a module binds, and the code objects to which it compiles."""

    def __init__(self, text: str, parsed: ast.Module, package: str) -> None:
        self.codes: dict[str, list[types.CodeType]] = {}
        for code in iter_code_objects(compile(text, "<file>", "exec", dont_inherit=True)):
            self.codes.setdefault(code.co_qualname, []).append(code)
        self.functions: dict[str, list[_Function]] = {}
        self.classes: dict[str, list[ast.ClassDef]] = {}
        self._index(parsed.body, "")
        self.package = package
        self.module_scope = self._scope(parsed.body)
        self.used_names = {name for codes in self.codes.values() for code in codes for name in code.co_names}
        self.has_star = any(
            alias.name == "*" for node in ast.walk(parsed) if isinstance(node, ast.ImportFrom) for alias in node.names
        )
        outermost = [node for name, nodes in self.functions.items() if "<locals>" not in name for node in nodes]
        rebound, self.rebound_attributes = _rebound_names(outermost, {name.rpartition(".")[2] for name in self.classes})
        self.module_scope |= {name: [None] for name in rebound}

    def _index(self, body: Iterable[ast.AST], prefix: str) -> None:
        """Indexes functions and classes by qualified name."""
        for node in body:
            if isinstance(node, _Function):
                self.functions.setdefault(prefix + node.name, []).append(node)
                self._index(node.body, f"{prefix}{node.name}.<locals>.")
            elif isinstance(node, ast.ClassDef):
                self.classes.setdefault(prefix + node.name, []).append(node)
                self._index(node.body, f"{prefix}{node.name}.")
            else:
                self._index(ast.iter_child_nodes(node), prefix)

    def class_scope(self, qualname: str) -> Scope:
        """Returns the names that the body of a class binds."""
        found: Scope = {}
        for node in self.classes[qualname]:
            hidden = f"_{node.name.lstrip('_')}"
            for name, bindings in self._scope(node.body).items():
                private = name.startswith("__") and not name.endswith("__")
                found.setdefault(hidden + name if private else name, []).extend(bindings)
        return found

    def _scope(self, body: Iterable[ast.AST]) -> Scope:
        found: Scope = {}
        for node in body:
            for name, binding in self._bindings(node):
                found.setdefault(name, []).append(binding)
        return found

    def _bindings(self, node: ast.AST) -> Iterator[tuple[str, Binding]]:
        if isinstance(node, _Function | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield (
                    alias.asname or alias.name.partition(".")[0],
                    Import(alias.name if alias.asname else alias.name.partition(".")[0]),
                )
        elif isinstance(node, ast.ImportFrom):
            above = self.package.split(".")[: len(self.package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*above, node.module or ""]))
            yield from ((alias.asname or alias.name, Import(base, alias.name)) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from _assignment_bindings(target, node.value)
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store | ast.Del):
                yield node.id, None
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            names = [getattr(node, field, None) for field in ("name", "rest")]  # except … as name, case {**rest}
            yield from ((name, None) for name in names if isinstance(name, str))
            for child in ast.iter_child_nodes(node):
                yield from self._bindings(child)


def _assignment_bindings(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, Binding]]:
    if isinstance(target, ast.Name):
        if value is not None:
            yield target.id, value if isinstance(value, ast.Lambda) else evaluate_literal(value)
    elif isinstance(target, ast.Tuple | ast.List):
        parts = value.elts if isinstance(value, ast.Tuple | ast.List) else []
        if len(parts) != len(target.elts) or any(isinstance(part, ast.Starred) for part in [*parts, *target.elts]):
            yield from ((node.id, None) for node in ast.walk(target) if isinstance(node, ast.Name))
        else:
            for one, part in zip(target.elts, parts, strict=True):
                yield from _assignment_bindings(one, part)


def _rebound_names(functions: Iterable[_Function], classes: set[str]) -> tuple[set[str], set[str]]:
    """Returns the module's names and the class attributes that functions of the file rebind or mutate."""
    names, attributes = set[str](), set[str]()
    for function in functions:
        nodes = list(ast.walk(function))
        stated = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
        local = {node.arg for node in nodes if isinstance(node, ast.arg)}
        local |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        names |= stated
        for held in _mutated_containers(nodes):
            if isinstance(held, ast.Name) and held.id not in local - stated:
                names.add(held.id)
            elif isinstance(held, ast.Attribute):
                attributes.add(held.attr)
        for node in nodes:
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and _is_class_reference(node.value, classes)
            ):
                attributes.add(node.attr)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr" and len(node.args) == 3:
                owner, name, _ = node.args
                attributes |= (
                    {ast.literal_eval(name)}
                    if _is_class_reference(owner, classes) and _is_string_constant(name)
                    else set()
                )
    return names, attributes


def _mutated_containers(nodes: Iterable[ast.AST]) -> Iterator[ast.expr]:
    """Yields the containers that code mutates in place."""
    for node in nodes:
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node.value
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MUTATING_METHODS
        ):
            yield node.func.value


def _is_string_constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_class_reference(node: ast.expr, classes: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id == "cls" or node.id in classes
    if isinstance(node, ast.Attribute):
        return node.attr == "__class__"
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "type"


@dataclass(frozen=True)
class ParsedModule:
    """A parsed source file of a module."""

    tree: str  # digest of the syntax tree, without comments and docstrings
    imports: frozenset[str]  # absolute names that may be imported; those after ``from … import`` may not be modules
    is_dynamic: bool  # whether it imports by a name that is not a literal
    bindings: ModuleBindings

    @staticmethod
    @lru_cache(maxsize=256)
    def read(path: Path, content: str, package: str) -> ParsedModule:
        """Parses a file, cached by ``content``, the file's digest; raises SyntaxError or ValueError."""
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        parsed, plain = ast.parse(text), ast.parse(text)
        for node in ast.walk(plain):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
                ast.get_docstring(node, clean=False) is not None
            ):
                node.body = node.body[1:]
        names = {
            ".".join(parts[:count])
            for name in _imported_modules(parsed, package)
            for parts in [name.split(".")]
            for count in range(1, len(parts) + 1)
            if all(parts)
        }
        return ParsedModule(
            combined_digest(ast.dump(plain)),
            frozenset(names),
            _is_dynamic(parsed),
            ModuleBindings(text, parsed, package),
        )


def _imported_modules(parsed: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute_name("." * node.level + (node.module or ""), package)
            yield from (base, *(f"{base}.{alias.name}".strip(".") for alias in node.names))
        elif isinstance(node, ast.Call) and (name := _literal_import(node)):
            yield _absolute_name(name, package)


def _absolute_name(name: str, package: str) -> str:
    level = len(name) - len(name.lstrip("."))
    above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
    return ".".join(filter(None, [*above, name.lstrip(".")]))


def _literal_import(call: ast.Call) -> str:
    """Returns the name in ``import_module("name")``; "" for any other call."""
    first = call.args[0] if call.args and "import" in ast.unparse(call.func) else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def _is_dynamic(parsed: ast.Module) -> bool:
    """Whether a module imports by a name that is not a literal, or by a function that finds modules."""
    called = [node.func for node in ast.walk(parsed) if isinstance(node, ast.Call) and _literal_import(node)]
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.partition(".")[0] for alias in node.names if alias.asname or alias.name in _FINDERS}
        else:
            names = {str(getattr(node, field, "")) for field in ("id", "attr")}
        if names & (_FINDERS | _IMPORTERS) and not any(node is function for function in called):
            return True
    return False
