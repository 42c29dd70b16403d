"""SHA-256 of the code behind a third party's function, class or object.

If a module has a file, the digest covers its syntax tree, without comments and docstrings, and the trees of all the
user's own modules that it imports: editing ``net.py`` changes the digest, editing a comment does not. Differences
between the loaded module and its file (`loaded_code`: a function edited on disk since its import, a constant set by
hand) are included. Notebook functions, lambdas and closures are digested by their bytecode, constants, defaults,
closed-over values and the globals that they use; installed distributions by their version; the standard library and
this package by name.
"""

from __future__ import annotations

import builtins
import importlib.util
import re
import sys
import sysconfig
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sam_audio_bench.digests import Unidentified, ValueDigester, combined_digest, file_digest
from sam_audio_bench.errors import MediaError
from sam_audio_bench.loaded_code import LoadedModule, class_members, is_defined_in, resolved_path
from sam_audio_bench.parsed_code import ParsedModule, bytecode_digest, imported_names, iter_code_objects

__all__ = ["code_digest", "is_python_script", "script_digest", "value_digest"]

_PACKAGE = "sam_audio_bench"


def value_digest(value: Any) -> str:
    """Returns the digest of any value, including functions, classes and their instances; raises Unidentified."""
    try:
        return ValueDigester(code_digest, _is_own).digest(value)
    except RecursionError as error:
        raise Unidentified(f"a {type(value).__qualname__} cannot be digested (it is nested too deeply)") from error
    except (SyntaxError, MediaError) as error:  # a module's file was broken or removed after its import
        raise Unidentified(str(error)) from error


def _is_own(one: str | type) -> bool:
    return not (_class_origin(one) if isinstance(one, type) else _origin(one)).text


def code_digest(value: Any, digester: ValueDigester) -> str:
    """Returns the digest of a function, method, class or module; ``digester`` digests the values that it refers to."""
    if isinstance(value, types.ModuleType):
        return _module_digest(value, digester)
    if isinstance(value, types.MethodType):
        return combined_digest("method", digester.digest(value.__func__), digester.digest(value.__self__))
    if isinstance(value, types.BuiltinFunctionType):
        owner = value.__self__
        bound = "" if owner is None or isinstance(owner, types.ModuleType) else digester.digest(owner)
        return combined_digest("builtin", str(value.__module__), value.__qualname__, bound)
    return _class_digest(value, digester) if isinstance(value, type) else _function_digest(value, digester)


def script_digest(path: Path, name: str = "__main__") -> str:
    """Returns the digest of a Python script with the modules of its folder that it imports, or of another file's bytes.

    Args:
        path: of the script; a script without the suffix ``.py`` is recognized by its first line.
        name: module name under which it is run.
    """
    if path.suffix != ".py" and not is_python_script(path):
        return file_digest(path)
    try:
        return _source_digest(_Origin(name=name, file=path.resolve()))
    except (SyntaxError, ValueError):
        return file_digest(path)


def is_python_script(path: Path) -> bool:
    """Whether the first line of a file names Python as its interpreter."""
    try:
        with path.open("rb") as stream:
            return re.match(rb"#!.*python", stream.readline(1024)) is not None
    except OSError:
        return False


@dataclass(frozen=True)
class _Origin:
    """Origin of a module: identified by ``text``, else by its ``file``, else by its content in memory alone."""

    name: str
    text: str = ""
    file: Path | None = None


def _origin(name: str | None) -> _Origin:
    name = str(name or "")
    root = name.partition(".")[0]
    if root == _PACKAGE:
        return _Origin(name, text=_PACKAGE)
    file = getattr(sys.modules.get(name), "__file__", None)
    place = file or getattr(sys.modules.get(root), "__file__", None)
    path = resolved_path(place) if place else None
    if root in sys.stdlib_module_names and root != "__main__" and (path is None or _is_standard(path)):
        return _Origin(name, text=f"python {root}")
    if root == "__main__" or path is None:
        return _Origin(name)
    if _is_installed(path) and (version := _distribution_version(root)):
        return _Origin(name, text=f"{root} {version}")
    return _Origin(name, file=path if file else None)


def _is_standard(path: Path) -> bool:
    folders = (resolved_path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    packages = {"site-packages", "dist-packages"}
    return packages.isdisjoint(path.parts) and any(folder in path.parents for folder in folders)


@lru_cache
def _installed_folders() -> tuple[Path, ...]:
    """Returns the folders of installed packages and of the standard library."""
    paths = [Path(path).resolve() for path in sysconfig.get_paths().values()]
    return tuple(
        path for path in paths if path.name in ("site-packages", "dist-packages") or path.name.startswith("python")
    )


def _is_installed(path: Path) -> bool:
    inside = any(part in ("site-packages", "dist-packages") for part in path.parts)
    return inside or any(folder in path.parents for folder in _installed_folders())


@lru_cache(maxsize=1024)
def _distribution_version(root: str) -> str | None:
    """Returns the version of the distribution that provides a top-level module, None if unknown."""
    try:
        return metadata.version(root)
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(root, ())
        return " ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names))) or None


def _source_digest(origin: _Origin, digester: ValueDigester | None = None) -> str:
    """Returns the digest of a module's file and of all the user's modules that it imports, also inside functions.

    With a digester, differences between loaded modules and their files are included; without one, the code is assumed
    to be run by another process.
    """
    assert origin.file is not None
    waiting, found = {(origin.name, origin.file)}, dict[tuple[str, Path], str]()
    beside: set[tuple[str, Path]] | None = None
    parts = origin.name.split(".")[:-1]
    for count in range(1, len(parts) + 1):  # importing a module also runs its parent packages
        name = ".".join(parts[:count])
        above = _ancestor_folder(origin.file, len(parts) - count + (origin.file.name == "__init__.py"))
        waiting |= {(name, above / "__init__.py")} if (above / "__init__.py").is_file() else set()
    while waiting:
        key = name, path = waiting.pop()
        found[key] = file_digest(path)
        if path.suffix not in ("", ".py"):
            continue
        source = ParsedModule.read(path, file_digest(path), _package_name(name, path))
        loaded = _loaded_module(name, path) if digester is not None else None
        changes = _module_changes(vars(loaded), path, digester) if loaded is not None and digester is not None else []
        found[key] = combined_digest(source.tree, *changes)
        wanted = {one for name in source.imports for one in _own_files(name, key, is_loaded=digester is not None)}
        if source.is_dynamic and digester is not None and beside is None:
            beside = _neighbouring_modules(origin)
        waiting |= wanted - found.keys()
    for name, path in (beside or set()) - found.keys():  # possibly imported: include their files alone
        found[name, path] = ParsedModule.read(path, file_digest(path), _package_name(name, path)).tree
    return combined_digest("source", *sorted(f"{name} {text}" for (name, _), text in found.items()))


def _ancestor_folder(file: Path, depth: int) -> Path:
    """Returns the folder of a file (depth 0) or one of its parents."""
    return file.parents[min(depth, len(file.parents) - 1)]


def _package_name(name: str, path: Path) -> str:
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def _loaded_module(name: str, path: Path) -> types.ModuleType | None:
    """Returns the loaded module of this name if it comes from ``path``."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    return module if file and name != "__main__" and resolved_path(file) == path else None


def _neighbouring_modules(origin: _Origin) -> set[tuple[str, Path]]:
    """Returns the loaded modules of a module's package or folder: those it may have imported by a computed name."""
    assert origin.file is not None
    folder, package = origin.file.parent, None
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        folder, package = folder.parent, folder
    found = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or name == "__main__" or not file.endswith(".py"):
            continue
        path = resolved_path(file)
        near = path.parent == folder if package is None else package in path.parents
        if near and not _is_third_party(name, path):
            found.add((name, path))
    return found


def _is_third_party(name: str, path: Path) -> bool:
    root = name.partition(".")[0]
    return root == _PACKAGE or _is_standard(path) or (_is_installed(path) and _distribution_version(root) is not None)


def _own_files(name: str, importer: tuple[str, Path], is_loaded: bool) -> set[tuple[str, Path]]:
    """Returns the files of a user's module: in its importer's folder, in memory, or elsewhere on the path."""
    root, path = name.partition(".")[0], importer[1]
    package = _package_name(*importer)
    folder = _ancestor_folder(path, package.count(".") + 1 if package else 0)
    found = {_find_module_file(folder, name)}
    file = getattr(sys.modules.get(name), "__file__", None)
    if is_loaded and file:
        found.add(resolved_path(file))
    elif is_loaded or found == {None}:
        found.add(_find_on_path(root, name))
    return {(name, one) for one in found if one is not None and one != path and not _is_third_party(name, one)}


def _find_module_file(folder: Path, name: str) -> Path | None:
    place = folder.joinpath(*name.split("."))
    return next((path.resolve() for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)


def _find_on_path(root: str, name: str) -> Path | None:
    """Finds a module's file on the module search path, without importing it."""
    try:
        spec = importlib.util.find_spec(root)
    except (ImportError, ValueError):
        return None
    places = [Path(place).resolve().parent for place in (spec.submodule_search_locations or ())] if spec else []
    if spec is not None and spec.origin and not places:
        places = [Path(spec.origin).resolve().parent]
    return next((path for place in places if (path := _find_module_file(place, name)) is not None), None)


def _loaded_state(namespace: Mapping[str, object], file: Path, digester: ValueDigester) -> LoadedModule:
    name = str(namespace.get("__name__"))
    source = ParsedModule.read(file, file_digest(file), _package_name(name, file))
    roots = {one.partition(".")[0] for one in (*source.imports, name)}
    return LoadedModule(
        namespace, file, source.bindings, digester,
        is_trusted=lambda module: bool(_origin(module).text) or module.partition(".")[0] in roots,
    )  # fmt: skip


def _module_changes(namespace: Mapping[str, object], file: Path, digester: ValueDigester) -> list[str]:
    """Returns a module's differences from its file, cached; empty while they are being computed."""
    if id(namespace) not in digester.changes:
        digester.changes[id(namespace)] = []
        digester.changes[id(namespace)] = _loaded_state(namespace, file, digester).changes()
    return digester.changes[id(namespace)]


def _replaced_module_changes(origin: _Origin, namespace: Mapping[str, object], digester: ValueDigester) -> list[str]:
    """Returns the differences of a module that has been replaced in `sys.modules`, else none."""
    loaded = sys.modules.get(origin.name)
    is_old = (
        origin.file is not None and origin.file.suffix == ".py" and getattr(loaded, "__dict__", None) is not namespace
    )
    return _module_changes(namespace, origin.file, digester) if is_old and origin.file is not None else []


def _module_digest(module: types.ModuleType, digester: ValueDigester) -> str:
    name, file = module.__name__, getattr(module, "__file__", None)
    origin = (
        _origin(name) if sys.modules.get(name) is module else _Origin(name, file=resolved_path(file) if file else None)
    )
    if origin.text:
        return combined_digest("module", name, origin.text)
    if origin.file is not None:
        return combined_digest(
            "module", name, _source_digest(origin, digester), *_replaced_module_changes(origin, vars(module), digester)
        )
    files = sorted(path for place in getattr(module, "__path__", ()) for path in Path(place).resolve().rglob("*.py"))
    if not files:
        raise Unidentified(f"the module {name} cannot be digested (it has no file)")
    trees = [_source_digest(_Origin(f"{name}.{path.stem}", file=path), digester) for path in files]
    return combined_digest("namespace", name, *trees)


def _function_digest(function: types.FunctionType, digester: ValueDigester) -> str:
    code, space = function.__code__, function.__globals__
    origin = _origin(space.get("__name__"))
    held = [_cell_content(cell) for cell in function.__closure__ or ()]
    attributes = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
    state = [function.__defaults__, function.__kwdefaults__, attributes, *held]
    if origin.text:
        return combined_digest("code", origin.text, origin.name, code.co_qualname, *map(digester.digest, held))
    parts = ["function", *map(digester.digest, state)]
    if not is_defined_in(function, origin.file):
        return combined_digest(
            *parts,
            bytecode_digest(code),
            *_global_digests(function, digester),
            *_imported_module_digests(function, digester),
        )
    assert origin.file is not None
    parts += [_source_digest(origin, digester), code.co_qualname, *_replaced_module_changes(origin, space, digester)]
    if "<locals>" in code.co_qualname or "<lambda>" in code.co_qualname:
        parts.append(bytecode_digest(code))
    return combined_digest(*parts, *_loaded_state(space, origin.file, digester).function_changes(function))


def _global_digests(function: types.FunctionType, digester: ValueDigester) -> list[str]:
    """Returns the digests of the globals that a function refers to."""
    names = {name for code in iter_code_objects(function.__code__) for name in code.co_names}
    found = []
    for name in sorted(names & function.__globals__.keys()):
        try:
            found.append(combined_digest(name, digester.digest(function.__globals__[name])))
        except Unidentified as error:
            raise Unidentified(f"its global {name!r} has no identity: {error}") from error
    return found


def _imported_module_digests(function: types.FunctionType, digester: ValueDigester) -> list[str]:
    """Returns the digests of the user's modules that a function imports when called."""
    here = ("", Path.cwd() / "here.py")
    files = {own for name in imported_names(function.__code__) for own in _own_files(name, here, is_loaded=True)}
    return sorted(_source_digest(_Origin(name, file=path), digester) for name, path in files)


def _cell_content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the cell is still empty
        return None


def _class_digest(kind: type, digester: ValueDigester) -> str:
    origin = _class_origin(kind)
    if origin.text:
        return combined_digest("code", origin.text, origin.name, kind.__qualname__)
    bases = digester.digest([base for base in kind.__bases__ if base is not object])
    functions = [one for one in class_members(kind).values() if isinstance(one, types.FunctionType)]
    own = [one for one in functions if one.__code__.co_qualname == f"{kind.__qualname__}.{one.__name__}"]
    if origin.file is None or any(
        not is_defined_in(one, origin.file) for one in own if one.__globals__.get("__name__") == origin.name
    ):
        return combined_digest("class", bases, digester.digest(class_members(kind)))
    parts = ["class", _source_digest(origin, digester), kind.__qualname__, bases]
    if "<locals>" in kind.__qualname__ or origin.file.suffix != ".py":
        return combined_digest(*parts, digester.digest(class_members(kind)))
    space = next((one.__globals__ for one in own), vars(sys.modules[origin.name]))
    return combined_digest(
        *parts,
        *_replaced_module_changes(origin, space, digester),
        *_loaded_state(space, origin.file, digester).class_changes(kind),
    )


def _class_origin(kind: type) -> _Origin:
    """Returns the origin of a class; one defined without a module name claims to be a built-in and is unknown."""
    is_made = bool(kind.__flags__ & 1 << 9)  # Py_TPFLAGS_HEAPTYPE: defined by Python code
    if kind.__module__ == "builtins" and is_made and not hasattr(builtins, kind.__qualname__.partition(".")[0]):
        return _Origin("builtins")
    return _origin(kind.__module__)
