"""Finds differences between a loaded module, class or function and its source file.

A file may have been edited since its import, or a name rebound by hand. Functions are compared by bytecode and literal
defaults, classes by their members, other names if they are bound to literals, lambdas or imports. Names that functions
of the file rebind (``global``, ``cls.x = …``, ``TABLE[key] = …``) are caches or registries and are left out, as are
containers that are initially empty.
"""

from __future__ import annotations

import ast
import enum
import functools
import sys
import types
from abc import ABCMeta
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sam_audio_bench.digests import Unidentified, ValueDigester, combined_digest
from sam_audio_bench.parsed_code import (
    Binding,
    Import,
    Literal,
    ModuleBindings,
    bytecode_digest,
    evaluate_literal,
    iter_code_objects,
)

__all__ = ["LoadedModule", "class_members", "is_defined_in", "resolved_path"]

_GENERATED = frozenset(  # members of a class that do not affect its behaviour
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


@cache  # without a bound: each digest asks for all loaded modules in turn, of which a full cache would keep none
def resolved_path(name: str) -> Path:
    """Returns the absolute path of a module's file with links resolved."""
    return Path(name).resolve()


def is_defined_in(function: types.FunctionType, file: Path | None) -> bool:
    """Whether a function was compiled from ``file``, and not from another one of the same module name."""
    return file is not None and resolved_path(function.__code__.co_filename) == file


def unwrap_descriptor(member: Any) -> Any:
    """Returns the function, or the accessors, behind a descriptor; any other member is returned itself."""
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    if isinstance(member, property):
        return (member.fget, member.fset, member.fdel)
    if isinstance(member, functools.cached_property):
        return member.func
    return member


@dataclass(frozen=True)
class LoadedModule:
    """Compares a loaded module with its file.

    Args:
        namespace: of the module.
        file: of the module, resolved.
        bindings: names that the file binds.
        digester: digests values that differ from the file; raises Unidentified if it cannot.
        is_trusted: whether a decorator's module, given by name, is installed or imported by the file.
    """

    namespace: Mapping[str, object]
    file: Path
    bindings: ModuleBindings
    digester: ValueDigester
    is_trusted: Callable[[str], bool]

    def changes(self) -> list[str]:
        """Returns digests of all values of the module that differ from its file; empty if there are none."""
        found = []
        for name, value in sorted(self.namespace.items()):
            if name.startswith("__") and name.endswith("__"):
                continue
            if name in self.bindings.module_scope:
                found += self._compared(name, name, self.bindings.module_scope[name], value)
            elif self._hides_built_in(name, value):
                found.append(self._value_change(name, value))
        return found

    def class_changes(self, kind: type) -> list[str]:
        """Returns digests of all differences of a class, whether or not it is still in its module."""
        if kind.__qualname__ not in self.bindings.classes:
            return [combined_digest("class", kind.__qualname__, self.digester.digest(class_members(kind)))]
        scope, found = self.bindings.class_scope(kind.__qualname__), []
        is_plain = type(kind) in (type, ABCMeta)
        for name, member in sorted(vars(kind).items()):
            if name in _GENERATED or name in self.bindings.rebound_attributes:
                continue
            if name in scope:
                found += self._compared(name, f"{kind.__qualname__}.{name}", scope[name], member)
            elif self._is_set_by_hand(kind, name, member, is_plain):
                found.append(self._value_change(name, unwrap_descriptor(member)))
        return found

    def function_changes(self, function: types.FunctionType) -> list[str]:
        """Returns digests of a function that differs in bytecode or literal defaults, with globals not in the file."""
        code = function.__code__
        nodes: list[Any] = [*self.bindings.functions.get(code.co_qualname, [])]
        if self._is_written(code) and (not nodes or any(self._has_defaults(function, node.args) for node in nodes)):
            return []
        missing = sorted(
            {name for part in iter_code_objects(code) for name in part.co_names} & function.__globals__.keys()
        )
        values = {name: function.__globals__[name] for name in missing if name not in self.bindings.module_scope}
        values = {name: value for name, value in values.items() if not (name.startswith("__") and name.endswith("__"))}
        state = [function.__defaults__, function.__kwdefaults__, values]
        return [combined_digest("function", code.co_qualname, bytecode_digest(code), *map(self.digester.digest, state))]

    def _hides_built_in(self, name: str, value: Any) -> bool:
        """Whether a global that the file uses but does not bind was set by hand, and hides a built-in."""
        is_used = name in self.bindings.used_names and not self.bindings.has_star
        return is_used and not isinstance(value, types.ModuleType)

    def _is_set_by_hand(self, kind: type, name: str, member: Any, is_plain: bool) -> bool:
        """Whether a member that is not in the class body was set by hand, and not generated by the standard library."""
        function = unwrap_descriptor(member)
        if isinstance(function, types.FunctionType):
            maker = str(function.__globals__.get("__name__")).partition(".")[0]
            is_made = maker in sys.stdlib_module_names - {"__main__"} or maker == f"namedtuple_{kind.__name__}"
            is_filled = "__dataclass_fields__" in vars(kind) and name.startswith("__")
            is_filled = is_filled and function.__code__.co_filename == "<string>"
            return not (is_filled or (is_made and name.startswith("_")))
        is_made = issubclass(kind, tuple) and name.startswith("_field")
        return is_plain and not is_made and not name.startswith("__") and not hasattr(type(member), "__get__")

    def _value_change(self, name: str, value: Any) -> str:
        return combined_digest("name", name, self.digester.digest(value))

    def _compared(self, name: str, qualname: str, bindings: list[Binding], value: Any) -> list[str]:
        """Returns digests of a value that differs from all bindings of its name in the file."""
        if None in bindings or isinstance(value, enum.Enum):
            return []
        if any(self._is_bound(qualname, binding, value) for binding in bindings):
            return self.class_changes(value) if isinstance(value, type) and self._is_own(value, qualname) else []
        if any(getattr(binding, "decorator_list", None) for binding in bindings) and not isinstance(
            unwrap_descriptor(value), tuple
        ):
            return self._decorated(name, qualname, unwrap_descriptor(value))
        own = [one for one in self._functions(unwrap_descriptor(value)) if self._is_own(one, qualname)]
        return [change for one in own for change in self.function_changes(one)] or [
            self._value_change(name, unwrap_descriptor(value))
        ]

    def _is_bound(self, qualname: str, binding: Binding, value: Any) -> bool:
        if isinstance(binding, Literal):
            described = hasattr(type(value), "__get__") and not isinstance(value, types.FunctionType)
            return described or self.digester.digest(value) == self.digester.digest(binding.value)
        if isinstance(binding, Import):
            return self._is_imported(binding, value)
        if isinstance(binding, ast.Lambda):
            return isinstance(value, types.FunctionType) and self._is_lambda(binding, value)
        if isinstance(binding, ast.ClassDef):
            return self._is_own(value, qualname)
        assert binding is not None
        functions = self._functions(unwrap_descriptor(value))
        unchanged = (self._is_own(one, qualname) and not self.function_changes(one) for one in functions)
        return bool(functions) and all(unchanged)

    def _functions(self, value: Any) -> list[types.FunctionType]:
        parts = [part for part in value if part is not None] if isinstance(value, tuple) else [value]
        return parts if all(isinstance(part, types.FunctionType) for part in parts) else []

    def _is_own(self, value: Any, qualname: str) -> bool:
        if isinstance(value, types.FunctionType):
            return value.__code__.co_qualname == qualname and is_defined_in(value, self.file)
        own = isinstance(value, type) and value.__module__ == self.namespace.get("__name__")
        return own and value.__qualname__ == qualname

    def _is_lambda(self, node: ast.Lambda, function: types.FunctionType) -> bool:
        same = [
            code
            for codes in self.bindings.codes.values()
            for code in codes
            if code.co_name == "<lambda>" and code.co_firstlineno == node.lineno
        ]
        alike = any(bytecode_digest(code) == bytecode_digest(function.__code__) for code in same)
        return alike and self._has_defaults(function, node.args)

    def _is_written(self, code: types.CodeType) -> bool:
        same = self.bindings.codes.get(code.co_qualname, [])
        return any(bytecode_digest(one) == bytecode_digest(code) for one in same)

    def _has_defaults(self, function: types.FunctionType, arguments: ast.arguments) -> bool:
        """Whether the defaults of a function equal those in the file, as far as these are literals."""
        found, named = function.__defaults__ or (), function.__kwdefaults__ or {}
        if len(found) != len(arguments.defaults):
            return False
        pairs = list(zip(arguments.defaults, found, strict=True))
        for argument, node in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            if (node is None) != (argument.arg not in named):
                return False
            if node is not None:
                pairs.append((node, named[argument.arg]))
        literals = [(literal.value, value) for node, value in pairs if (literal := evaluate_literal(node)) is not None]
        return all(self.digester.digest(one) == self.digester.digest(other) for one, other in literals)

    def _is_imported(self, binding: Import, value: Any) -> bool:
        """Whether a value is, or equals, what its import statement would bind now."""
        module = sys.modules.get(binding.module)
        if module is None or module is value:
            return True
        expected = vars(module).get(binding.name, sys.modules.get(f"{binding.module}.{binding.name}"))
        expected = expected if binding.name else module
        if expected is None or expected is value:
            return True
        return self.digester.digest(expected) == self.digester.digest(value)

    def _decorated(self, name: str, qualname: str, value: Any) -> list[str]:
        """Returns digests of the differences of a decorated function from the file."""
        own = self._wrapped(value, qualname, 4)
        found = self.function_changes(own) if own is not None else []
        maker = value.__globals__.get("__name__") if isinstance(value, types.FunctionType) else type(value).__module__
        is_trusted = self.is_trusted(str(maker))
        if own is not None and (own is value or is_trusted):
            return found
        try:
            return [*found, self._value_change(name, value)]
        except Unidentified:
            if own is None and not is_trusted:
                raise
            return found  # the rest was made by a library

    def _wrapped(self, value: Any, qualname: str, depth: int) -> types.FunctionType | None:
        """Returns the function of the file that a wrapper function or object contains, else None."""
        if isinstance(value, types.FunctionType) and self._is_own(value, qualname):
            return value
        cells = getattr(value, "__closure__", None) or ()
        held = [cell.cell_contents for cell in cells if not _is_empty(cell)]
        held += [getattr(value, name, None) for name in ("__wrapped__", "__func__", "func", "fget")]
        held += list(getattr(value, "__dict__", {}).values())
        parts = (
            self._wrapped(one, qualname, depth - 1)
            for one in held
            if depth and not isinstance(one, type | types.ModuleType)
        )
        return next((one for one in parts if one is not None), None)


def _is_empty(cell: types.CellType) -> bool:
    return cell == types.CellType()


def class_members(kind: type) -> dict[str, object]:
    """Returns the members of a class without those that Python generates."""
    slots = types.MemberDescriptorType | types.GetSetDescriptorType | types.WrapperDescriptorType
    members = {name: unwrap_descriptor(value) for name, value in vars(kind).items() if name not in _GENERATED}
    return {name: value for name, value in members.items() if not isinstance(value, slots)}
