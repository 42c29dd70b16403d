"""Anyone's data: a CSV with one row a question.

    mixture,text,target
    street.wav,dog barking,street-dog.wav

Columns, in any order; only ``mixture`` and one of ``text`` and ``spans`` are required:

    mixture    audio or video file in the folder of the CSV
    text       what to extract
    spans      when it sounds (+) or does not (-), in seconds: ``+1.0:2.5 -3:4``
    target     the clean sound; a silent file says that the mixture does not have it
    residual   everything else; mixture minus target where it is left out
    group      the recording that the mixture was cut from; the mixture itself where it is left out
    id         name of the question; the mixture without its suffix where it is left out, with the prompt behind it
               where several questions are about one mixture

The file is checked when the task is loaded, sound only when an item is.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from sam_audio_bench import audio
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.files import sha256
from sam_audio_bench.tasks.data import TaskData
from sam_audio_bench.types import Audio, Item, Prompt, Query, Span

__all__ = ["COLUMNS", "manifest", "parse_spans"]

COLUMNS = ("mixture", "text", "spans", "target", "residual", "group", "id")
_FILES = ("mixture", "target", "residual")

_NUMBER = r"((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)"
_SPAN = re.compile(rf"([+-]){_NUMBER}:{_NUMBER}", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    number: int  # of its last line, as editors count
    name: str  # of the mixture, without suffix
    mixture: Path
    prompt: Prompt
    target: Path | None
    residual: Path | None
    group: str
    id: str


def manifest(path: Path) -> TaskData:
    """Loads the questions of a CSV file; the task bears its name.

    Whether the targets are voices, only the user knows, so metrics of speech may be asked for.

    Raises:
        UsageError: the file is absent, no UTF-8, or a row says something impossible; the message names the row.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")  # spreadsheets begin their UTF-8 with a byte order mark
    except OSError as error:
        raise UsageError(f"expected a CSV file with a column 'mixture' at {path}, found none ({error})") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"expected UTF-8 in {path}, found something else in row {line}: save it as UTF-8") from error
    rows = _by_id(path, _rows(path, text))
    offers: dict[str, list[object]] = {
        "reference": [row.target for row in rows.values()],
        "residual_reference": [row.residual or row.target for row in rows.values()],
        "text": [row.prompt.text for row in rows.values()],
        "spans": [row.prompt.spans for row in rows.values()],
    }
    return TaskData(
        task=path.stem,
        version="1",
        split="file",
        revision=sha256(content),
        groups={identifier: row.group for identifier, row in rows.items()},
        provides=frozenset({"speech", *(name for name, values in offers.items() if all(values))}),
        load=partial(_load, rows),
    )


def parse_spans(text: str) -> tuple[Span, ...]:
    """Reads signed spans in seconds, apart by spaces; raises UsageError for anything else.

    >>> parse_spans("+1.0:2.5 -3:4")
    (('+', 1.0, 2.5), ('-', 3.0, 4.0))
    """
    return tuple(_span(part) for part in text.split())


def _span(text: str) -> Span:
    if match := _SPAN.fullmatch(text):
        sign, start, end = match[1], float(match[2]), float(match[3])
        if start < end < math.inf:
            return sign, start, end
    raise UsageError(f"expected a span such as +1.0:2.5 or -3:4 (sign, start < end in seconds), found {text!r}")


def _rows(path: Path, text: str) -> list[_Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_header(path, reader.fieldnames or ())
        rows = []
        for cells in reader:
            try:
                rows.append(_row(path.parent, reader.reader.line_num, cells))
            except UsageError as error:
                raise UsageError(f"row {reader.reader.line_num} of {path}: {error}") from error
    except csv.Error as error:
        number = reader.reader.line_num
        raise UsageError(f"expected a CSV file at {path}, found a damaged row {number} ({error})") from error
    if not rows:
        raise UsageError(f"expected at least one row below the header of {path}, found none")
    return rows


def _check_header(path: Path, names: Iterable[str]) -> None:
    found = [name.strip() for name in names]
    where = f"row 1 of {path}"
    for name in found:  # other columns are the owner's affair, misspelt ones are not
        near = difflib.get_close_matches(name.lower(), sorted(set(COLUMNS) - set(found)), n=1, cutoff=0.8)
        if near and name not in COLUMNS:
            raise UsageError(f"{where}: unknown column {name!r}: did you mean {near[0]!r}?")
    if "mixture" not in found or not {"text", "spans"} & set(found):
        columns = ", ".join(found) or "none"
        raise UsageError(f"{where}: expected columns 'mixture' and 'text' or 'spans', found {columns}")
    if repeated := [name for name in COLUMNS if found.count(name) > 1]:
        raise UsageError(f"{where}: expected each column once, found {repeated[0]!r} more often")


def _row(folder: Path, number: int, cells: Mapping[str | None, str | list[str] | None]) -> _Row:
    if None in cells:
        raise UsageError("expected as many cells as the header has, found more: put text that has commas in quotes")
    values = {str(name).strip(): value.strip() for name, value in cells.items() if isinstance(value, str)}
    if not (mixture := values.get("mixture")):
        raise UsageError("expected the path of a mixture, found an empty cell")
    text, spans = values.get("text", ""), parse_spans(values.get("spans", ""))
    if not text and not spans:
        raise UsageError("expected a prompt, found neither a text nor a span")
    paths = {column: _inside(folder, values[column]) for column in _FILES if values.get(column)}
    return _Row(
        number=number,
        name=PurePath(mixture).with_suffix("").as_posix(),
        mixture=paths["mixture"],
        prompt=Prompt(text=text or None, spans=spans),
        target=paths.get("target"),
        residual=paths.get("residual"),
        group=values.get("group") or PurePath(mixture).as_posix(),
        id=values.get("id", ""),
    )


def _inside(folder: Path, name: str) -> Path:
    path = Path(name)
    if path.is_absolute() or path.drive or ".." in path.parts or not path.name:
        raise UsageError(f"expected a file inside the folder of the CSV, given relative to it, found {name!r}")
    return folder / path


def _by_id(path: Path, rows: Sequence[_Row]) -> dict[str, _Row]:
    asked = Counter(row.name for row in rows if not row.id)
    found: dict[str, _Row] = {}
    for row in rows:
        identifier = row.id or (row.name if asked[row.name] == 1 else f"{row.name}-{_slug(row.prompt)}")
        if identifier in found:
            raise UsageError(
                f"row {row.number} of {path}: expected an id of its own, found {identifier!r}, which row "
                f"{found[identifier].number} has: name the questions in a column 'id'"
            )
        found[identifier] = row
    return found


def _slug(prompt: Prompt) -> str:
    words = prompt.text or " ".join(f"{sign}{start:g}:{end:g}" for sign, start, end in prompt.spans)
    return re.sub(r"[^\w.]+", "-", words).strip("-")


def _load(rows: Mapping[str, _Row], identifier: str) -> Item:
    row = rows[identifier]
    mixture = audio.read(row.mixture)
    target = _like(mixture, row.mixture, row.target) if row.target else None
    residual = _like(mixture, row.mixture, row.residual) if row.residual else None
    if target and not residual:
        residual = Audio(mixture.samples - target.samples, mixture.rate)
    return Item(
        id=identifier,
        group=row.group,
        query=Query(mixture=mixture, prompt=row.prompt),
        reference=target,
        residual_reference=residual,
    )


def _like(mixture: Audio, named: Path, path: Path) -> Audio:
    found = audio.resample(audio.read(path), mixture.rate)
    if found.samples.shape != mixture.samples.shape:
        raise MediaError(
            f"expected {path} to be as long as {named} and to have its channels, {mixture.channels} x {mixture.length} "
            f"samples at {mixture.rate} Hz, found {found.channels} x {found.length}",
            status="length_mismatch" if found.channels == mixture.channels else "error",
        )
    return found
