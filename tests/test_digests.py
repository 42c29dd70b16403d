"""Digests of files, values and code: equal content is equal, any change shows, what has no digest says so."""

from __future__ import annotations

import importlib
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
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

from sam_audio_bench.digests import FileDigests, Unidentified, file_digest, folder_digest
from sam_audio_bench.files import sha256
from sam_audio_bench.source import digest, script_digest

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(PLAIN)
def test_equal_values_have_equal_digests(value: Any) -> None:
    assert digest(value) == digest(value)
    assert digest([value]) != digest(value)


@given(st.lists(st.integers(), min_size=1), st.data())
def test_a_changed_entry_shows(values: list[int], data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(values) - 1))
    changed = [*values[:where], values[where] + 1, *values[where + 1 :]]
    assert digest(values) != digest(changed)
    assert digest(np.array(values, dtype=object)) != digest(np.array(changed, dtype=object))


def test_arrays_and_tensors_count_by_content() -> None:
    array = np.arange(6.0)
    assert digest(array) == digest(array.copy())
    for other in (array.reshape(2, 3), array.astype(np.float32), array + 1e-16 * (array == 5) + (array == 5) * 1e-9):
        assert digest(other) != digest(array)
    tensor = torch.arange(6.0)
    assert digest(tensor) == digest(tensor.clone()) == digest(tensor[::1])
    assert digest(tensor.bfloat16()) != digest(tensor)
    assert digest(torch.arange(12.0)[::2]) == digest(torch.arange(12.0)[::2].contiguous())


def test_networks_count_by_their_weights() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
    before = digest(network)
    assert digest(network) == before
    with torch.no_grad():
        network[0].bias[1] += 1e-3
    assert digest(network) != before


def test_sets_count_without_their_order() -> None:
    words = [f"word {number}" for number in range(50)]
    backwards = sorted(words, reverse=True)
    assert digest(set(words)) == digest(set(backwards))
    assert digest(frozenset({1, 2})) != digest(frozenset({1, 3}))


def test_values_that_hold_themselves() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    other: list[Any] = [1]
    other.append(other)
    assert digest(ring) == digest(other) != digest([1, [1]])


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
    assert digest(Point(1, 2)) == digest(Point(1, 2)) != digest(Point(1, 3))
    assert digest(Plain(1)) != digest(Plain(2))
    assert digest(np.random.default_rng(1)) == digest(np.random.default_rng(1)) != digest(np.random.default_rng(2))
    assert digest(partial(math.pow, 2)) != digest(partial(math.pow, 3))
    assert digest(logging.getLogger("a")) != digest(logging.getLogger("b"))


@pytest.mark.parametrize(
    "make",
    [threading.Lock, lambda: (number for number in range(3)), lambda: open(os.devnull), lambda: memoryview(b"")],  # noqa: SIM115, PTH123
)
def test_what_has_no_digest_says_so(make: Callable[[], Any]) -> None:
    value = make()
    with pytest.raises(Unidentified, match="cannot be digested"):
        digest({"deep": [Plain(value)]})
    if hasattr(value, "close"):
        value.close()


def test_an_open_socket_has_no_digest() -> None:
    with socket.socket() as opened, pytest.raises(Unidentified, match="socket"):
        digest(Plain(opened))


def gain_by(factor: float) -> Callable[[float], float]:
    """A closure."""
    return lambda sample: sample * factor


def test_closures_defaults_and_instructions_count() -> None:
    assert digest(gain_by(2.0)) == digest(gain_by(2.0)) != digest(gain_by(3.0))
    weights = np.ones(3)
    held = gain_by(weights)  # type: ignore[arg-type]
    before = digest(held)
    weights[0] = 2
    assert digest(held) != before
    assert digest(lambda x, y=1: x) != digest(lambda x, y=2: x)
    assert digest(lambda x: x + 1) != digest(lambda x: x + 2)
    assert digest(lambda x: x in {1, 2}) != digest(lambda x: x in {1, 3})


def cell(text: str, name: str = "mine", **held: Any) -> Any:
    """A function as a notebook's cell makes it: no file, globals of its own."""
    space: dict[str, Any] = {"__name__": "__main__", "np": np, **held}
    exec(compile(text, "<cell>", "exec"), space)
    return space[name]


CELL = "def mine(mixture, rate, prompt):\n    return np.multiply(mixture, GAIN) * 0.5\n"


def test_cells_count_by_what_they_do() -> None:
    before = digest(cell(CELL, GAIN=1.0))
    assert digest(cell("# a comment\n\n" + CELL.replace(":\n", ":\n    '''What it does.'''\n"), GAIN=1.0)) == before
    assert digest(cell(CELL, GAIN=2.0)) != before
    assert digest(cell(CELL.replace("0.5", "0.1"), GAIN=1.0)) != before
    assert digest(cell(CELL.replace("multiply", "add"), GAIN=1.0)) != before
    assert digest(cell(CELL, GAIN=np.ones(3))) != digest(cell(CELL, GAIN=np.zeros(3)))
    helper = "def other(x):\n    return x * {}\ndef mine(mixture, rate, prompt):\n    return other(mixture)\n"
    assert digest(cell(helper.format(1))) != digest(cell(helper.format(2)))
    kind = "class mine:\n    gain = {}\n    def separate(self, queries, seeds):\n        return queries\n"
    assert digest(cell(kind.format(1))) == digest(cell(kind.format(1))) != digest(cell(kind.format(2)))


def test_a_global_without_a_digest_is_named() -> None:
    with pytest.raises(Unidentified, match="its global 'GAIN' has no identity"):
        digest(cell(CELL, GAIN=threading.Lock()))


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
    before = digest(module("mine", mine=MINE, net=NET).f)
    commented = MINE.replace("import net", "# why\nimport net").replace("Doc", "Docstring")
    assert digest(module("mine", mine=commented).f) == before
    assert digest(module("mine", net=NET.replace("FACTOR = 2", "FACTOR = 3")).f) != before
    assert digest(module("mine", net=NET).f) == before
    assert digest(module("mine", stranger="x = 1\n").f) == before
    assert digest(module("mine", mine=MINE.replace("net.gain(x)", "net.gain(x) + 1")).f) != before


@pytest.mark.parametrize(
    "line",
    ["from net import gain", "import net as other\n    gain = other.gain", "from importlib import import_module\n"
     "    gain = import_module('net').gain"],
)  # fmt: skip
def test_imports_inside_functions_count(module: Callable[..., Any], line: str) -> None:
    text = f"def f(x):\n    {line}\n    return gain(x)\n"
    before = digest(module("mine", mine=text, net=NET).f)
    assert digest(module("mine", net=NET.replace("x * FACTOR", "x / FACTOR")).f) != before


def test_packages_and_relative_imports(module: Callable[..., Any]) -> None:
    model = "from . import net\n\ndef f(x):\n    return net.gain(x)\n"
    texts = {"kit/__init__": "from .model import f\n", "kit/model": model, "kit/net": NET}
    before = digest(module("kit", **texts).f)
    assert digest(module("kit").f) == before
    assert digest(module("kit", **{"kit/net": NET.replace("2", "4")}).f) != before


def test_what_was_changed_in_memory_counts(module: Callable[..., Any]) -> None:
    """A file that was edited after its import, a constant that was set by hand."""
    mine = module("mine", mine=MINE, net=NET)
    before = digest(mine.f)
    mine.net.FACTOR = 5
    by_hand = digest(mine.f)
    assert by_hand != before
    mine.net.FACTOR = 2
    assert digest(mine.f) == before
    module("mine", again=False, net=NET.replace("x * FACTOR", "x / FACTOR"))
    edited = digest(mine.f)  # the old function runs, the new file is there: neither the one nor the other
    fresh = digest(module("mine", net=NET.replace("x * FACTOR", "x / FACTOR")).f)
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
        "import numpy as np; from sam_audio_bench.source import digest\n"
        "f = lambda x: x in {'a', 'b'} and np.sin(x)\n"
        "print(digest([f, {'x', 'y'}, np.arange(3)]))"
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
    assert first.of(path) == sha256(b"one")
    first.flush()
    later = FileDigests(known)
    monkeypatch.setattr("sam_audio_bench.digests._hash_file", lambda path: pytest.fail("read again"))
    assert later.of(path) == sha256(b"one")
    monkeypatch.undo()
    stamps = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))  # same size, same time of change
    assert later.of(path) == sha256(b"two")


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    known = FileDigests(tmp_path / "file" / "known.sqlite")
    assert known.of(path) == sha256(b"one")
    known.flush()
    assert known.of(path) == sha256(b"one")


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
