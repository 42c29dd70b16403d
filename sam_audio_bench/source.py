"""SHA-256 of the code behind a function, class or object of a third party.

Where a module's file is there, its syntax tree counts, without comments and docstrings, together with the trees of all
modules of one's own that it imports, so that an edited ``net.py`` counts and a changed comment does not. What was
changed in memory since (a function that an editor has changed on disk, a constant that was set by hand) counts too.
Functions of notebooks and scripts, lambdas and closures count by their instructions, constants, defaults, closed-over
values and the globals that they name. Installed distributions count by their version, the standard library and this
package by name.
"""

from __future__ import annotations

import ast
import dis
import functools
import importlib.util
import inspect
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sam_audio_bench.digests import Unidentified, ValueDigester, file_digest, joined

__all__ = ["code_digest", "digest", "script_digest"]

_PACKAGE = "sam_audio_bench"
_GENERATED = frozenset(
    {
        "__dict__",
        "__weakref__",
        "__doc__",
        "__module__",
        "__qualname__",
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__firstlineno__",
        "__static_attributes__",
        "__parameters__",
        "__orig_bases__",
        "__abstractmethods__",
        "_abc_impl",
        "__match_args__",
        "__dataclass_params__",
    }
)
_LITERALS = (int, float, complex, str, bytes, bool, tuple, frozenset, type(None))


def digest(value: Any) -> str:
    """Digest of any value, functions, classes and objects among them; raises Unidentified."""
    return ValueDigester(code_digest).digest(value)


def code_digest(value: Any, digester: ValueDigester) -> str:
    """Digest of a function, method, class or module; ``digester`` digests the values that it holds."""
    if isinstance(value, types.ModuleType):
        origin = _origin(value.__name__)
        return joined("module", origin.text or _tree(origin))
    if isinstance(value, types.MethodType):
        return joined("method", digester.digest(value.__func__), digester.digest(value.__self__))
    if isinstance(value, types.BuiltinFunctionType):
        owner = value.__self__
        bound = "" if owner is None or isinstance(owner, types.ModuleType) else digester.digest(owner)
        return joined("builtin", str(value.__module__), value.__qualname__, bound)
    origin = _origin(value.__module__)
    if origin.text:
        return joined("code", origin.text, value.__qualname__)
    return _class(value, origin, digester) if isinstance(value, type) else _function(value, origin, digester)


def script_digest(path: Path) -> str:
    """Digest of a Python script and of the modules beside it that it imports; of any other file, its content."""
    if path.suffix != ".py":
        return file_digest(path)
    try:
        return _tree(_Origin(name="__main__", file=path.resolve()))
    except (SyntaxError, ValueError):
        return file_digest(path)


@dataclass(frozen=True)
class _Origin:
    """Where a module comes from: ``text`` identifies it, or else its own ``file`` does, or only what is in memory."""

    name: str
    text: str = ""
    file: Path | None = None


def _origin(name: str | None) -> _Origin:
    root = (name or "").partition(".")[0]
    if root == _PACKAGE:
        return _Origin(str(name), text=_PACKAGE)
    if root in sys.stdlib_module_names and root != "__main__":
        return _Origin(str(name), text=f"python {root}")
    module = sys.modules.get(str(name))
    file = getattr(module, "__file__", None)
    if root == "__main__" or not file:
        return _Origin(str(name))
    path = Path(file).resolve()
    if _is_installed(path) and (version := _version(root)):
        return _Origin(str(name), text=f"{root} {version}")
    return _Origin(str(name), file=path)


@lru_cache
def _installed_folders() -> tuple[Path, ...]:
    """Folders of installed packages and of the standard library."""
    paths = [Path(path).resolve() for path in sysconfig.get_paths().values()]
    return tuple(
        path for path in paths if path.name in ("site-packages", "dist-packages") or path.name.startswith("python")
    )


def _is_installed(path: Path) -> bool:
    inside = any(part in ("site-packages", "dist-packages") for part in path.parts)
    return inside or any(folder in path.parents for folder in _installed_folders())


@lru_cache(maxsize=1024)
def _version(root: str) -> str | None:
    """Version of the distribution behind a top-level module; None where none is known."""
    try:
        return metadata.version(root)
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(root, ())
        return " ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names))) or None


def _tree(origin: _Origin) -> str:
    """Digest of a module's file and of every module of one's own that it imports, also inside functions."""
    assert origin.file is not None
    waiting, found = {origin.name: origin.file}, dict[str, str]()
    while waiting:
        name, path = waiting.popitem()
        if path.suffix != ".py":
            found[name] = file_digest(path)
            continue
        source = _Source.read(path, file_digest(path))
        found[name] = joined(source.tree, *_changes_in_memory(sys.modules.get(name), path, source))
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for wanted in source.imports(package):
            near = _own_file(wanted, path, package)
            if near is not None and wanted not in found and near != path:
                waiting[wanted] = near
    return joined("source", *(f"{name} {text}" for name, text in sorted(found.items())))


@dataclass(frozen=True)
class _Source:
    """A parsed file."""

    tree: str  # digest without comments and docstrings
    parsed: ast.Module
    text: str

    @staticmethod
    @lru_cache(maxsize=256)
    def read(path: Path, content: str) -> _Source:
        """Parses a file, once for each content."""
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        parsed = ast.parse(text)
        plain = ast.parse(text)
        for node in ast.walk(plain):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
                ast.get_docstring(node, clean=False) is not None
            ):
                node.body = node.body[1:]
        return _Source(joined(ast.dump(plain)), parsed, text)

    def imports(self, package: str) -> Iterator[str]:
        """Absolute names of what may be imported; a name behind ``from`` may be a module or not."""
        for node in ast.walk(self.parsed):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join(filter(None, [*above, node.module or ""]))
                names = [base, *(f"{base}.{alias.name}".strip(".") for alias in node.names)]
            elif isinstance(node, ast.Call) and node.args and "import" in ast.unparse(node.func):
                first = node.args[0]
                names = [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []
            else:
                continue
            for name in names:
                parts = name.split(".")
                yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1) if all(parts))


def _own_file(name: str, importer: Path, package: str) -> Path | None:
    """The file of a module that belongs to nobody else; None for the library's, installed ones and names of values."""
    root = name.partition(".")[0]
    if root == _PACKAGE or root in sys.stdlib_module_names:
        return None
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded:
        path: Path | None = Path(loaded).resolve()
    else:
        depth = len(package.split(".")) if package else 0
        folder = importer.parents[depth - 1 if importer.name == "__init__.py" else depth] if depth else importer.parent
        path = _find(folder, name) or _found_spec(root, name)
    return None if path is None or (_is_installed(path) and _version(root)) else path


def _find(folder: Path, name: str) -> Path | None:
    place = folder.joinpath(*name.split("."))
    return next((path.resolve() for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)


def _found_spec(root: str, name: str) -> Path | None:
    """A module elsewhere on the path of modules; nothing is imported."""
    try:
        spec = importlib.util.find_spec(root)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        return None
    top = Path(spec.origin).resolve()
    return top if name == root else _find(top.parents[1], name) if top.name == "__init__.py" else None


def _changes_in_memory(module: types.ModuleType | None, path: Path, source: _Source) -> list[str]:
    """What a loaded module holds otherwise than its file says: changed functions, and constants set by hand."""
    if module is None or module.__name__ == "__main__":
        return []
    written = {code.co_qualname: code for code in _nested(compile(source.text, str(path), "exec"))}
    found = []
    for function in _functions(module):
        code, same = function.__code__, written.get(function.__code__.co_qualname)
        if Path(code.co_filename).name == path.name and code != same:
            live = _instructions(code)
            if same is None or live != _instructions(same):
                found.append(joined("function", code.co_qualname, live))
    for name, value in _constants(source.parsed).items():
        live_value = vars(module).get(name, value)
        if isinstance(live_value, _LITERALS) and repr(live_value) != repr(value):
            found.append(joined("constant", name, repr(live_value)))
    return found


def _functions(module: types.ModuleType) -> Iterator[types.FunctionType]:
    """Functions that a module defines, and methods of its classes."""
    for value in list(vars(module).values()):
        entries = list(vars(value).values()) if isinstance(value, type) else [value]
        if getattr(value, "__module__", None) == module.__name__:
            for entry in entries:
                plain = inspect.unwrap(getattr(entry, "__func__", entry)) if callable(entry) else None
                if isinstance(plain, types.FunctionType) and plain.__module__ == module.__name__:
                    yield plain


def _constants(tree: ast.Module) -> dict[str, Any]:
    """Names that a module binds once, to a literal that nothing can change but a hand."""
    bound: dict[str, list[ast.expr | None]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            for name in node.names:
                bound.setdefault(name, []).append(None)
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    bound.setdefault(target.id, []).append(statement.value)
    found = {}
    for name, values in bound.items():
        try:
            value = ast.literal_eval(values[0]) if len(values) == 1 and values[0] is not None else []
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(value, _LITERALS):
            found[name] = value
    return found


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


@lru_cache(maxsize=4096)
def _instructions(code: types.CodeType) -> str:
    """Digest of what a function does, wherever it stands; its docstring is loaded by no instruction."""
    parts = [
        str(part) for part in (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & 15)
    ]
    for step in dis.get_instructions(code):
        value = step.argval
        if isinstance(value, types.CodeType):
            value = _instructions(value)
        elif isinstance(value, frozenset):
            value = sorted(map(repr, value))
        parts.append(f"{step.opname} {value!r}")
    return joined("instructions", *parts, *code.co_varnames, *code.co_freevars)


def _function(function: types.FunctionType, origin: _Origin, digester: ValueDigester) -> str:
    code = function.__code__
    in_file = origin.file is not None and Path(code.co_filename).name == origin.file.name
    held = [_cell(cell) for cell in function.__closure__ or ()]
    attributes = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
    state = [function.__defaults__, function.__kwdefaults__, attributes, *held]
    parts = ["function", *map(digester.digest, state)]
    if in_file:
        parts += [_tree(origin), code.co_qualname]
    if not in_file or "<locals>" in code.co_qualname or "<lambda>" in code.co_qualname:
        parts.append(_instructions(code))
    if not in_file:
        parts += _globals(function, digester)
    return joined(*parts)


def _globals(function: types.FunctionType, digester: ValueDigester) -> list[str]:
    """Digests of the global values that a function names."""
    names = {name for code in _nested(function.__code__) for name in code.co_names}
    found = []
    for name in sorted(names & function.__globals__.keys()):
        try:
            found.append(joined(name, digester.digest(function.__globals__[name])))
        except Unidentified as error:
            raise Unidentified(f"its global {name!r} has no identity: {error}") from error
    return found


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _class(kind: type, origin: _Origin, digester: ValueDigester) -> str:
    if origin.file is not None and "<locals>" not in kind.__qualname__:
        return joined("class", _tree(origin), kind.__qualname__)
    members = {name: _plain(value) for name, value in vars(kind).items() if name not in _GENERATED}
    bases = [base for base in kind.__bases__ if base is not object]
    text = _tree(origin) if origin.file is not None else ""
    return joined("class", text, digester.digest(bases), digester.digest(_without_slots(members)))


def _plain(member: Any) -> Any:
    """What a descriptor of a class stands for."""
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    if isinstance(member, property):
        return (member.fget, member.fset, member.fdel)
    if isinstance(member, functools.cached_property):
        return member.func
    return member


def _without_slots(members: Mapping[str, Any]) -> dict[str, Any]:
    slots = types.MemberDescriptorType | types.GetSetDescriptorType | types.WrapperDescriptorType
    return {name: value for name, value in members.items() if not isinstance(value, slots)}
