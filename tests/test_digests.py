"""Digests of files, values and code: equal content is equal, any change shows, what has no digest says so."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
import types
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam_audio_bench.code_digests import code_digest, script_digest, value_digest
from sam_audio_bench.digests import FileDigests, Unidentified, ValueDigester, file_digest, folder_digest
from sam_audio_bench.files import sha256
from sam_audio_bench.loaded_code import LoadedModule
from sam_audio_bench.parsed_code import ParsedModule

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(PLAIN)
def test_equal_values_have_equal_digests(value: Any) -> None:
    assert value_digest(value) == value_digest(value)
    assert value_digest([value]) != value_digest(value)


@given(st.lists(st.integers(), min_size=1), st.data())
def test_a_changed_entry_shows(values: list[int], data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(values) - 1))
    changed = [*values[:where], values[where] + 1, *values[where + 1 :]]
    assert value_digest(values) != value_digest(changed)
    assert value_digest(np.array(values, dtype=object)) != value_digest(np.array(changed, dtype=object))


def test_arrays_and_tensors_count_by_content() -> None:
    array = np.arange(6.0)
    assert value_digest(array) == value_digest(array.copy())
    for other in (array.reshape(2, 3), array.astype(np.float32), array + 1e-16 * (array == 5) + (array == 5) * 1e-9):
        assert value_digest(other) != value_digest(array)
    tensor = torch.arange(6.0)
    assert value_digest(tensor) == value_digest(tensor.clone()) == value_digest(tensor[::1])
    assert value_digest(tensor.bfloat16()) != value_digest(tensor)
    assert value_digest(torch.arange(12.0)[::2]) == value_digest(torch.arange(12.0)[::2].contiguous())


def test_networks_count_by_their_weights() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
    before = value_digest(network)
    assert value_digest(network) == before
    with torch.no_grad():
        network[0].bias[1] += 1e-3
    assert value_digest(network) != before


def test_sets_count_without_their_order() -> None:
    words = [f"word {number}" for number in range(50)]
    backwards = sorted(words, reverse=True)
    assert value_digest(set(words)) == value_digest(set(backwards))
    assert value_digest(frozenset({1, 2})) != value_digest(frozenset({1, 3}))


def test_values_that_hold_themselves() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    other: list[Any] = [1]
    other.append(other)
    assert value_digest(ring) == value_digest(other) != value_digest([1, [1]])


@dataclass
class Point:
    """A small object."""

    x: float
    y: float


class Plain:
    """Without a way of its own to be copied."""

    def __init__(self, gain: float) -> None:
        self.gain = gain


def test_objects_count_by_class_and_state() -> None:
    assert value_digest(Point(1, 2)) == value_digest(Point(1, 2)) != value_digest(Point(1, 3))
    assert value_digest(Plain(1)) != value_digest(Plain(2))
    assert (
        value_digest(np.random.default_rng(1))
        == value_digest(np.random.default_rng(1))
        != value_digest(np.random.default_rng(2))
    )
    assert value_digest(partial(math.pow, 2)) != value_digest(partial(math.pow, 3))
    assert value_digest(logging.getLogger("a")) != value_digest(logging.getLogger("b"))


@pytest.mark.parametrize(
    "make",
    [threading.Lock, lambda: (number for number in range(3)), lambda: open(os.devnull), lambda: memoryview(b"")],  # noqa: SIM115, PTH123
)
def test_what_has_no_digest_says_so(make: Callable[[], Any]) -> None:
    value = make()
    with pytest.raises(Unidentified, match="cannot be digested"):
        value_digest({"deep": [Plain(value)]})
    if hasattr(value, "close"):
        value.close()


def test_an_open_socket_has_no_digest() -> None:
    with socket.socket() as opened, pytest.raises(Unidentified, match="socket"):
        value_digest(Plain(opened))


def gain_by(factor: float) -> Callable[[float], float]:
    """A closure."""
    return lambda sample: sample * factor


def test_closures_defaults_and_instructions_count() -> None:
    assert value_digest(gain_by(2.0)) == value_digest(gain_by(2.0)) != value_digest(gain_by(3.0))
    weights = np.ones(3)
    held = gain_by(weights)  # type: ignore[arg-type]
    before = value_digest(held)
    weights[0] = 2
    assert value_digest(held) != before
    assert value_digest(lambda x, y=1: x) != value_digest(lambda x, y=2: x)
    assert value_digest(lambda x: x + 1) != value_digest(lambda x: x + 2)
    assert value_digest(lambda x: x in {1, 2}) != value_digest(lambda x: x in {1, 3})


def cell(text: str, name: str = "mine", **held: Any) -> Any:
    """A function as a notebook's cell makes it: no file, globals of its own."""
    space: dict[str, Any] = {"__name__": "__main__", "np": np, **held}
    exec(compile(text, "<cell>", "exec"), space)
    return space[name]


CELL = "def mine(mixture, rate, prompt):\n    return np.multiply(mixture, GAIN) * 0.5\n"


def test_cells_count_by_what_they_do() -> None:
    before = value_digest(cell(CELL, GAIN=1.0))
    assert (
        value_digest(cell("# a comment\n\n" + CELL.replace(":\n", ":\n    '''What it does.'''\n"), GAIN=1.0)) == before
    )
    assert value_digest(cell(CELL, GAIN=2.0)) != before
    assert value_digest(cell(CELL.replace("0.5", "0.1"), GAIN=1.0)) != before
    assert value_digest(cell(CELL.replace("multiply", "add"), GAIN=1.0)) != before
    assert value_digest(cell(CELL, GAIN=np.ones(3))) != value_digest(cell(CELL, GAIN=np.zeros(3)))
    helper = "def other(x):\n    return x * {}\ndef mine(mixture, rate, prompt):\n    return other(mixture)\n"
    assert value_digest(cell(helper.format(1))) != value_digest(cell(helper.format(2)))
    kind = "class mine:\n    gain = {}\n    def separate(self, queries, seeds):\n        return queries\n"
    assert (
        value_digest(cell(kind.format(1))) == value_digest(cell(kind.format(1))) != value_digest(cell(kind.format(2)))
    )


def test_a_global_without_a_digest_is_named() -> None:
    with pytest.raises(Unidentified, match="its global 'GAIN' has no identity"):
        value_digest(cell(CELL, GAIN=threading.Lock()))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Writes modules into a folder of their own and imports one afresh."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names: set[str] = set()

    def forget() -> None:
        roots = {name.partition(".")[0] for name in names}
        for loaded in [known for known in sys.modules if known.partition(".")[0] in roots]:
            del sys.modules[loaded]
        importlib.invalidate_caches()

    def write(name: str = "", again: bool = True, **texts: str) -> Any:
        for one, text in texts.items():
            path = tmp_path / (one.replace("/", os.sep) + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            names.add(one.partition("/")[0])
        if again:
            forget()
        return importlib.import_module(name or next(iter(names)))

    yield write
    forget()


MINE = '"""Doc."""\nimport net\n\ndef f(x):\n    """Doc."""\n    return net.gain(x)\n'
NET = "FACTOR = 2\n\ndef gain(x):\n    return x * FACTOR\n"


def test_modules_that_are_imported_count_and_comments_do_not(module: Callable[..., Any]) -> None:
    before = value_digest(module("mine", mine=MINE, net=NET).f)
    commented = MINE.replace("import net", "# why\nimport net").replace("Doc", "Docstring")
    assert value_digest(module("mine", mine=commented).f) == before
    assert value_digest(module("mine", net=NET.replace("FACTOR = 2", "FACTOR = 3")).f) != before
    assert value_digest(module("mine", net=NET).f) == before
    assert value_digest(module("mine", stranger="x = 1\n").f) == before
    assert value_digest(module("mine", mine=MINE.replace("net.gain(x)", "net.gain(x) + 1")).f) != before


@pytest.mark.parametrize(
    "line",
    ["from net import gain", "import net as other\n    gain = other.gain", "from importlib import import_module\n"
     "    gain = import_module('net').gain"],
)  # fmt: skip
def test_imports_inside_functions_count(module: Callable[..., Any], line: str) -> None:
    text = f"def f(x):\n    {line}\n    return gain(x)\n"
    before = value_digest(module("mine", mine=text, net=NET).f)
    assert value_digest(module("mine", net=NET.replace("x * FACTOR", "x / FACTOR")).f) != before


def test_packages_and_relative_imports(module: Callable[..., Any]) -> None:
    model = "from . import net\n\ndef f(x):\n    return net.gain(x)\n"
    texts = {"kit/__init__": "from .model import f\n", "kit/model": model, "kit/net": NET}
    before = value_digest(module("kit", **texts).f)
    assert value_digest(module("kit").f) == before
    assert value_digest(module("kit", **{"kit/net": NET.replace("2", "4")}).f) != before


def test_what_was_changed_in_memory_counts(module: Callable[..., Any]) -> None:
    """A file that was edited after its import, a constant that was set by hand."""
    mine = module("mine", mine=MINE, net=NET)
    before = value_digest(mine.f)
    mine.net.FACTOR = 5
    by_hand = value_digest(mine.f)
    assert by_hand != before
    mine.net.FACTOR = 2
    assert value_digest(mine.f) == before
    module("mine", again=False, net=NET.replace("x * FACTOR", "x / FACTOR"))
    edited = value_digest(mine.f)  # the old function runs, the new file is there: neither the one nor the other
    fresh = value_digest(module("mine", net=NET.replace("x * FACTOR", "x / FACTOR")).f)
    assert len({before, edited, fresh}) == 3


def test_scripts_count_with_the_modules_beside_them(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text("import net\nprint(net.gain(1))  # half\n")
    (tmp_path / "net.py").write_text(NET)
    before = script_digest(tmp_path / "half.py")
    (tmp_path / "half.py").write_text("import net\nprint(net.gain(1))\n")
    assert script_digest(tmp_path / "half.py") == before
    (tmp_path / "net.py").write_text(NET.replace("2", "3"))
    assert script_digest(tmp_path / "half.py") != before
    (tmp_path / "tool.sh").write_text("echo 1\n")
    assert script_digest(tmp_path / "tool.sh") == sha256(b"echo 1\n")


def test_digests_are_the_same_in_another_process() -> None:
    program = (
        "import numpy as np; from sam_audio_bench.code_digests import value_digest\n"
        "f = lambda x: x in {'a', 'b'} and np.sin(x)\n"
        "print(value_digest([f, {'x', 'y'}, np.arange(3)]))"
    )
    said = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                       env={**os.environ, "PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


def test_files_are_read_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, known = tmp_path / "a.bin", tmp_path / "known.sqlite"
    path.write_bytes(b"one")
    time.sleep(0.15)  # what has just changed may change again unseen, and is not remembered
    first = FileDigests(known)
    assert first.digest(path) == sha256(b"one")
    first.flush()
    later = FileDigests(known)
    monkeypatch.setattr("sam_audio_bench.digests._hash_file", lambda path: pytest.fail("read again"))
    assert later.digest(path) == sha256(b"one")
    monkeypatch.undo()
    stamps = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))  # same size, same time of change
    assert later.digest(path) == sha256(b"two")


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    known = FileDigests(tmp_path / "file" / "known.sqlite")
    assert known.digest(path) == sha256(b"one")
    known.flush()
    assert known.digest(path) == sha256(b"one")


def test_folders_count_by_content(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "a.bin").write_bytes(b"a")
    assert folder_digest(one) == folder_digest(other)
    (other / ".hidden").write_text("x")
    assert folder_digest(one) == folder_digest(other)
    (other / "deep" / "a.bin").rename(other / "deep" / "b.bin")
    assert folder_digest(one) != folder_digest(other)
    assert file_digest(one / "deep" / "a.bin") == sha256(b"a")


KIT = (
    "import net\nCFG = {'g': 0.5}\nG = 1 / 2\nCACHE = {}\nCOUNT = 0\n\ndef helper():\n    return 0.5\n\n"
    "def f(x, k=2):\n    global COUNT\n    COUNT += 1\n    CACHE[COUNT] = x\n"
    "    return x * CFG['g'] * helper() * A.g\n\n"
    "class Base:\n    def scale(self):\n        return 1.0\n\n"
    "class A(Base):\n    g = 0.5\n    table = {'a': 1}\n\n    def gain(self):\n        return self.scale() * self.g\n\n"
    "    @property\n    def level(self):\n        return 1\n"
)


@pytest.mark.parametrize(
    "change",
    [
        lambda kit: kit.CFG.update(g=0.1),
        lambda kit: setattr(kit, "G", 0.1),
        lambda kit: setattr(kit, "helper", lambda: 0.1),
        lambda kit: setattr(kit, "sum", lambda values: 0.1),  # in the place of a built-in
        lambda kit: setattr(kit.A, "g", 0.1),
        lambda kit: kit.A.table.update(a=2),
        lambda kit: setattr(kit.A, "gain", lambda self: 0.1),
        lambda kit: setattr(kit.A, "other", 3),
        lambda kit: setattr(kit.Base, "scale", lambda self: 0.1),
        lambda kit: setattr(kit.A, "level", 2),
        lambda kit: setattr(kit.f, "__defaults__", (3,)),
        lambda kit: setattr(kit.net, "gain", lambda x: 0.1),
    ],
)  # fmt: skip
def test_what_was_set_by_hand_counts(module: Callable[..., Any], change: Callable[[Any], Any]) -> None:
    kit = module("kit", kit=KIT.replace("G = 1 / 2", "G = 1 / 2\nTOTAL = lambda: sum([1])"), net=NET)
    before = [value_digest(kit.f), value_digest(kit.A())]
    change(kit)
    after = [value_digest(kit.f), value_digest(kit.A())]
    assert all(one != other for one, other in zip(before, after, strict=True))
    fresh = module("kit")
    assert [value_digest(fresh.f), value_digest(fresh.A())] == before


def test_caches_and_counters_change_no_digest(module: Callable[..., Any]) -> None:
    kit = module("kit", kit=KIT, net=NET)
    before = value_digest(kit.f)
    kit.f(1.0)
    assert kit.CACHE
    assert value_digest(kit.f) == before


def test_files_of_many_modules_are_found_once(module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Transformers alone loads thousands of modules, each of which may be what a computed name imports."""
    kit = module("kit", kit=f"import importlib\nload = importlib.import_module\n{KIT}", net=NET)
    for number in range(6000):
        other = types.ModuleType(f"other{number}")
        other.__file__ = f"{os.sep}elsewhere{os.sep}other{number}.py"
        monkeypatch.setitem(sys.modules, other.__name__, other)
    before = value_digest(kit.f)
    found: list[Path] = []
    resolve = Path.resolve
    monkeypatch.setattr(Path, "resolve", lambda path, strict=False: found.append(path) or resolve(path, strict))
    assert value_digest(kit.f) == before
    assert not [path for path in found if path.parent.name == "elsewhere"]


def test_a_changed_value_without_a_digest_is_said(module: Callable[..., Any]) -> None:
    kit = module("kit", kit=KIT, net=NET)
    kit.CFG["lock"] = threading.Lock()
    with pytest.raises(Unidentified, match="lock"):
        value_digest(kit.f)


@pytest.mark.parametrize("way", ["reloaded", "imported again", "edited"])
@pytest.mark.parametrize(
    "edit", [("helper():\n    return 0.5", "helper():\n    return 0.1"), ("k=2", "k=3"), ("1.0", "2.0")]
)
def test_objects_of_an_earlier_import(module: Callable[..., Any], way: str, edit: tuple[str, str]) -> None:
    """What runs is the old code, whatever the file says by now."""
    kit = module("kit", kit=KIT, net=NET)
    held = [kit.f, kit.A()]
    before = [value_digest(one) for one in held]
    text = KIT.replace(*edit)
    new = module("kit", again=way == "imported again", kit=text)
    if way == "reloaded":
        new = importlib.reload(kit)
    fresh = [value_digest(module("kit").f), value_digest(new.A())] if way == "imported again" else None
    after = [value_digest(one) for one in held]
    if way != "reloaded" or "k=" in edit[0]:
        assert after[0] != before[0]
    if way != "reloaded" or "1.0" in edit[0]:
        assert after[1] != before[1]
    if fresh:
        assert after[0] != fresh[0]
        assert after[1] != fresh[1]


def test_a_file_that_was_broken_or_removed_since_its_import(module: Callable[..., Any]) -> None:
    mine = module("mine", mine=MINE, net=NET)
    module("mine", again=False, mine="def f(:\n")
    with pytest.raises(Unidentified, match="invalid syntax"):
        value_digest(mine.f)
    Path(mine.__file__).unlink()
    with pytest.raises(Unidentified, match="found: "):
        value_digest(mine.f)


def test_removed_functions_count_by_what_they_do(module: Callable[..., Any]) -> None:
    text = "LEVEL = {}\n\ndef old(x):\n    return x * LEVEL\n"
    found = []
    for level in (1, 2):
        mine = module("mine", mine=text.format(level))
        held = mine.old
        module("mine", again=False, mine="X = 1\n")
        found.append(value_digest(held))
    assert found[0] != found[1]


DECORATED = (
    "import functools\nfrom contextlib import contextmanager\n\ndef twice(f):\n    @functools.wraps(f)\n"
    "    def inner(*args):\n        return 2 * f(*args)\n    return inner\n\n"
    "@functools.lru_cache\ndef helper(x):\n    return 0.5\n\n@twice\ndef other(x):\n    return 0.25\n\n"
    "@contextmanager\ndef held():\n    yield 1\n\ndef f(x):\n    return helper(x) * other(x)\n\n"
    "class A:\n    @property\n    def g(self):\n        return 1\n\n    @g.setter\n    def g(self, value):\n"
    "        self.h = value\n\n    @staticmethod\n    def s():\n        return 1\n\n    @classmethod\n"
    "    def c(cls):\n        return 1\n"
)


def test_decorated_functions(module: Callable[..., Any]) -> None:
    mine = module("mine", mine=DECORATED)
    before = value_digest(mine.f)
    mine.f(1)
    assert value_digest(mine.f) == before
    for old, new in (("0.5", "0.75"), ("0.25", "0.3"), ("self.h", "self.k"), ("yield 1", "yield 2")):
        mine = module("mine", mine=DECORATED)
        kept = mine.f
        text = DECORATED.replace(old, new)
        module("mine", again=False, mine=text)
        assert value_digest(kept) not in (before, value_digest(module("mine").f))
    mine = module("mine", mine=DECORATED)
    for name, value in (
        ("other", lambda x: 0.1),
        ("helper", lambda x: 0.1),
        ("helper", functools.cache(lambda x: 0.1)),
    ):
        mine = module("mine", mine=DECORATED)
        setattr(mine, name, value)
        assert value_digest(mine.f) != before


def test_nothing_in_memory_deviates_where_nothing_was_changed(module: Callable[..., Any]) -> None:
    """Of what Python and decorators make themselves."""
    text = DECORATED + (
        "from dataclasses import dataclass\nfrom enum import Enum\nfrom typing import *\n"
        "from abc import ABC, abstractmethod\nT = TypeVar('T')\nX, Y = 1, [2]\nfor Z in range(3):\n    W = Z\n"
        "@dataclass\nclass D:\n    x: int = 0\n    y: float = 1.5\n"
        "@dataclass(frozen=True, slots=True, order=True)\nclass S:\n    x: int = 0\n"
        "class E(Enum):\n    A = 1\n    B = 'b'\n    def m(self):\n        return 1\n"
        "class N(NamedTuple):\n    x: int = 1\n"
        "class P(Protocol):\n    level: int = 3\n    def m(self) -> int: ...\n"
        "class G(Generic[T], ABC):\n    __slots__ = ('a',)\n    __hidden = 3\n"
        "    @abstractmethod\n    def m(self): ...\n"
        "    def __init_subclass__(cls): ...\n    h = lambda self: 3\n"
    )
    mine = module("mine", mine=text)
    parsed = ParsedModule.read(Path(mine.__file__), sha256(text.encode()), "")
    digester = ValueDigester(code_digest, lambda module: module == "mine")
    memory = LoadedModule(vars(mine), Path(mine.__file__), parsed.bindings, digester, lambda module: True)
    assert memory.changes() == []
    mine.E.m = lambda self: 2
    mine.D.y = 2.0
    assert len(memory.changes()) == 2


def loaded_from(path: Path, name: str) -> Any:
    """A module from a file, under any name."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_two_files_of_one_name(module: Callable[..., Any], tmp_path: Path) -> None:
    text = "FACTOR = {}\n\ndef f(x):\n    return x * FACTOR\n\nclass A:\n    def g(self):\n        return FACTOR\n"
    mine = module("mine", mine=text.format(2))
    before = [value_digest(mine.f), value_digest(mine.A())]
    found = []
    for factor in (3, 4):
        path = tmp_path / str(factor) / "mine.py"
        path.parent.mkdir()
        path.write_text(text.format(factor))
        other = loaded_from(path, "mine")
        found.append([value_digest(other.f), value_digest(other.A())])
    assert len({one[0] for one in (before, *found)}) == len({one[1] for one in (before, *found)}) == 3


def test_own_modules_named_like_the_standard_library(module: Callable[..., Any], tmp_path: Path) -> None:
    sys.modules.pop("chunk", None)
    text = "import chunk\n\ndef f(x):\n    return chunk.gain(x)\n"
    before = value_digest(module("mine", mine=text, chunk=NET).f)
    assert value_digest(module("mine", chunk=NET.replace("2", "3")).f) != before
    own = value_digest(module("chunk").gain)
    assert value_digest(module("chunk", chunk=NET).gain) != own
    script = tmp_path / "half.py"
    script.write_text("import profile\nprint(profile.gain(1))\n")
    (tmp_path / "profile.py").write_text(NET)
    one = script_digest(script)
    (tmp_path / "profile.py").write_text(NET.replace("2", "3"))
    assert script_digest(script) != one


def test_namespace_packages(module: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "spread").mkdir(parents=True)
    monkeypatch.syspath_prepend(elsewhere)
    text = "def f(x):\n    from spread import net\n    return net.gain(x)\n"
    found, values = [], []
    for factor in ("2", "3"):
        (elsewhere / "spread" / "net.py").write_text(NET.replace("2", factor))
        found.append(value_digest(module("mine", mine=text).f))
        values.append(value_digest(importlib.import_module("spread")))
        sys.modules.pop("spread")
    assert found[0] != found[1]
    assert values[0] != values[1]
    with pytest.raises(Unidentified, match="the module made cannot be digested"):
        value_digest(types.ModuleType("made"))


@pytest.mark.parametrize(
    "line", ["import_module('nt_' + KIND)", "importlib.__import__(f'nt_{KIND}')", "load('nt_' + KIND)"]
)
def test_modules_that_were_imported_by_a_name_made_up(module: Callable[..., Any], line: str) -> None:
    text = (
        "import importlib\nfrom importlib import import_module\nload = import_module\nKIND = 'a'\n\n"
        f"def f(x):\n    return {line}.gain(x)\n"
    )
    found = []
    for factor in ("2", "3"):
        mine = module("mine", mine=text, nt_a=NET.replace("2", factor))
        assert mine.f(1) == int(factor)
        found.append(value_digest(mine.f))
    assert found[0] != found[1]


def test_imports_of_cells_count(module: Callable[..., Any]) -> None:
    found = []
    for factor in ("2", "3"):
        module("net", net=NET.replace("2", factor))
        found.append(value_digest(cell("def mine(x, rate, prompt):\n    from net import gain\n    return gain(x)\n")))
    assert found[0] != found[1]


def test_wrapped_functions_count() -> None:
    text = "import functools\n@functools.{}\ndef mine(x):\n    return x * {}\n"
    for name in ("cache", "lru_cache(maxsize=3)"):
        assert value_digest(cell(text.format(name, 1))) == value_digest(cell(text.format(name, 1)))
        assert value_digest(cell(text.format(name, 1))) != value_digest(cell(text.format(name, 2)))
    text = "import torch\n@torch.no_grad()\ndef mine(x):\n    return x * {}\n"
    assert (
        value_digest(cell(text.format(1))) == value_digest(cell(text.format(1))) != value_digest(cell(text.format(2)))
    )
    text = "import functools\n@functools.wraps(np.sum)\ndef mine(x):\n    return x * {}\n"
    assert (
        value_digest(cell(text.format(1))) == value_digest(cell(text.format(1))) != value_digest(cell(text.format(2)))
    )


class Named:
    """Says to copying that it is only a name."""

    def __init__(self, gain: float) -> None:
        self.gain = gain

    def __reduce__(self) -> str:
        return "Named"


class Silent(Plain):
    """Leaves its gain out of its state."""

    def __getstate__(self) -> None:
        return None


class Slotted:
    """Keeps its gain in a slot, and leaves it out of its state."""

    __slots__ = ("gain",)

    def __init__(self, gain: float) -> None:
        self.gain = gain

    def __reduce__(self) -> tuple[Any, ...]:
        return Slotted, (0.0,)


class Slim:
    """A name, and nothing else."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "Slim"


def test_names_are_not_enough() -> None:
    assert value_digest(Named(1)) == value_digest(Named(1)) != value_digest(Named(2))
    assert value_digest(Slotted(1)) == value_digest(Slotted(1)) != value_digest(Slotted(2))
    assert value_digest(Silent(1)) == value_digest(Silent(1)) != value_digest(Silent(2))
    with pytest.raises(Unidentified, match="it is only a name"):
        value_digest(Slim())
    with pytest.raises(Unidentified, match="it is only a name"):
        value_digest(np.frompyfunc(lambda x: x, 1, 1))
    assert value_digest(np.sin) == value_digest(np.sin) != value_digest(np.cos)


def test_enumerations_mappings_and_defaults() -> None:
    text = "import enum\nclass Mode(enum.Enum):\n    A = {}\nGIVEN = Mode.A\ndef mine(x):\n    return GIVEN.value * x\n"
    assert (
        value_digest(cell(text.format(1))) == value_digest(cell(text.format(1))) != value_digest(cell(text.format(2)))
    )
    assert value_digest(types.MappingProxyType({"a": 1})) != value_digest(types.MappingProxyType({"a": 2}))
    assert value_digest(defaultdict(list, a=1)) != value_digest(defaultdict(dict, a=1))
    text = "from dataclasses import dataclass\n@dataclass\nclass C:\n    g: float = {}\nmine = C()\n"
    text += "def use(x):\n    return x * mine.g\n"
    one, same, other = (cell(text.format(gain), "use") for gain in (1, 1, 2))
    assert value_digest(one) == value_digest(same) != value_digest(other)
    unnamed = []
    for gain in (1, 2):
        space: dict[str, Any] = {}
        exec(f"class A:\n    def g(self):\n        return {gain}\n", space)
        unnamed.append(value_digest(space["A"]()))
    assert unnamed[0] != unnamed[1]


def test_what_is_nested_too_deeply_has_no_digest() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Unidentified, match="nested too deeply"):
        value_digest(deep)
    while deep:  # or its end would be nested too deeply as well
        deep = deep.pop()


def test_texts_that_name_files_count_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "w.npy"
    values = [
        Plain(str(path)),  # type: ignore[arg-type]
        partial(print, str(path)),
        cell(CELL, GAIN=str(path)),
        {"deep": ["~/w.npy"]},
        path,
        Path("~/w.npy"),
    ]
    absent = [value_digest(value) for value in values]
    path.write_bytes(b"one")
    before = [value_digest(value) for value in values]
    path.write_bytes(b"other")
    after = [value_digest(value) for value in values]
    assert all(len(set(three)) == 3 for three in zip(absent, before, after, strict=True))
    for text in ("", "\0", "a\nb", "~nobody/x", "x" * 5000, "\ud800"):
        assert value_digest(text) == value_digest(text)


def test_linked_folders_count(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a.bin").write_bytes(b"a")
    (tmp_path / "given" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(tmp_path / "given")
    before = folder_digest(tmp_path / "given")
    (tmp_path / "far" / "a.bin").write_bytes(b"b")
    assert folder_digest(tmp_path / "given") != before
