"""Writes the output of `sabench data mix`: a table of questions with its sounds, or WebDataset archives.

    manifest.csv                     KEY.mixture.flac      in mix-00000.tar, mix-00001.tar, …, 100 mixtures each
    licences.csv                     KEY.source1.flac …
    recipe.json                      KEY.json
    mixtures/KEY/mixture.flac        licences.csv
    mixtures/KEY/source1.flac …      recipe.json
    mixtures/KEY/mixture.json

The description of a mixture, a JSON file, is written last. A mixture whose description has the same plan is kept, so
that an interrupted command resumes. The shard that completes the mixtures writes the tables over all of them.
"""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec
import torch
from msgspec import Struct

from sam_audio_bench import audio
from sam_audio_bench.digests import combined_digest
from sam_audio_bench.errors import StoreError, UsageError
from sam_audio_bench.files import dump_json, write_json
from sam_audio_bench.tasks.archives import ensure_same_plan, write_csv, write_tar
from sam_audio_bench.tasks.manifest_tables import COLUMNS
from sam_audio_bench.tasks.mixing import Signal
from sam_audio_bench.tasks.mixing_plan import MixPlan, Planner, format_key
from sam_audio_bench.tasks.mixing_pool import Clip
from sam_audio_bench.tasks.mixing_render import ATTRIBUTES, RenderedMixture, question_rows, render
from sam_audio_bench.types import Audio

__all__ = ["FORMATS", "PER_ARCHIVE", "VERSION", "Description", "Format", "MixReport", "write_mixtures"]

VERSION = 1
"""Raised whenever the same recipe gives other mixtures."""
PER_ARCHIVE = 100
"""Number of mixtures per archive."""
Format = Literal["folders", "webdataset"]
FORMATS: tuple[Format, ...] = ("folders", "webdataset")

_TABLES = ("manifest.csv", "licences.csv")
_LICENCES = ("clip", "label", "licence", "credit", "group", "sha256", "mixtures")


class Description(Struct, frozen=True, kw_only=True):
    """The description of a mixture, as its JSON file has it."""

    plan: MixPlan
    pool: str = ""  # digest of the metadata of all clips
    turned_down: float  # dB below the planned loudness
    questions: list[dict[str, str | int | float]]


@dataclass(kw_only=True)
class MixReport:
    """The result of a command."""

    mixtures: int = 0  # mixtures of this command or shard
    made: int = 0  # those of them that were made now, not kept
    turned_down: list[float] = field(default_factory=list)  # dB, of mixtures made softer than planned for headroom
    questions: int = 0  # questions about all mixtures; 0: some mixtures are missing
    missing: int = 0  # mixtures of other shards that do not exist yet
    foreign: int = 0  # mixtures that exist, but were made of another pool
    tables: list[Path] = field(default_factory=list)  # tables over all mixtures


def write_mixtures(
    planner: Planner, out: Path, *, form: Format = "folders", shard: tuple[int, int] = (1, 1),
    advance: Callable[[], None] = lambda: None,
) -> MixReport:  # fmt: skip
    """Makes the missing mixtures of a recipe or of a shard of it; all are planned before the first is made.

    Args:
        planner: has the clips and the recipe.
        out: the folder.
        form: one of `FORMATS`.
        shard: K and N: every N-th mixture, or archive, from the K-th, counting from 1.
        advance: called twice per mixture: when it is planned, and when it exists.

    Raises:
        UsageError: the recipe cannot be met. MediaError: clips cannot be used. StoreError: the folder was started with
            another recipe, or descriptions in it are damaged.
    """
    number, count = shard
    if not 1 <= number <= count:
        raise UsageError(f"expected --shard K/N with 1 <= K <= N, found {number}/{count}")
    recipe = planner.recipe
    size = 1 if form == "folders" else PER_ARCHIVE
    units = [range(start, min(start + size, recipe.count)) for start in range(0, recipe.count, size)]
    own = units[number - 1 :: count]
    plans = iter(planner.plan([index for unit in own for index in unit], advance=advance))
    plan = {"version": VERSION, "format": form, **msgspec.to_builtins(recipe)}
    ensure_same_plan(out / "recipe.json", plan, "this recipe and format")
    report = MixReport(mixtures=sum(map(len, own)))
    writer = _Folders(planner, out) if form == "folders" else _Archives(planner, out)
    for unit in own:
        planned, descriptions = [next(plans) for _ in unit], writer.read(unit)
        if [(one.plan, one.pool) for one in descriptions] != [(plan, writer.pool) for plan in planned]:
            for table in _TABLES:  # outdated by what is made now
                (out / table).unlink(missing_ok=True)
            descriptions = writer.write(unit, planned)
            report.made += len(planned)
        report.turned_down += [one.turned_down for one in descriptions if one.turned_down > 0]
        for _ in unit:
            advance()
    _finish(writer, units, report, form)
    return report


class _Writer:
    """Reads and writes the mixtures of a folder, in units of one mixture or archive."""

    def __init__(self, planner: Planner, out: Path) -> None:
        self.planner, self.out = planner, out
        self.clips = {clip.id: clip for clip in planner.clips}
        self.pool = combined_digest(
            *(repr(_metadata(clip)) for clip in sorted(planner.clips, key=lambda clip: clip.id))
        )

    def _describe(self, plan: MixPlan, rendered: RenderedMixture, folder: str) -> Description:
        rows = question_rows(plan, rendered, self.planner.recipe, folder)
        return Description(plan=plan, pool=self.pool, turned_down=round(rendered.turned_down, 3), questions=rows)

    def _write_sounds(self, rendered: RenderedMixture, folder: Path) -> Iterator[Path]:
        for name, samples in _named_signals(rendered):
            yield audio.write(folder / name, Audio(torch.from_numpy(samples)[None], self.planner.recipe.rate))

    def read(self, unit: Sequence[int]) -> list[Description]:
        """Reads the descriptions of the mixtures of a unit; returns none if one is missing or incomplete."""
        raise NotImplementedError

    def write(self, unit: Sequence[int], plans: Sequence[MixPlan]) -> list[Description]:
        """Makes and writes the mixtures of a unit."""
        raise NotImplementedError


def _metadata(clip: Clip) -> tuple[object, ...]:
    """Returns the fields of a clip on which all mixtures depend, even those without it."""
    return clip.id, clip.label, clip.text, clip.paraphrases, clip.licence, clip.group, clip.credit


def _named_signals(rendered: RenderedMixture) -> Iterator[tuple[str, Signal]]:
    yield "mixture", rendered.mixture
    for at, source in enumerate(rendered.sources, 1):
        yield f"source{at}", source


class _Folders(_Writer):
    """One folder per mixture."""

    def read(self, unit: Sequence[int]) -> list[Description]:
        found = []
        for index in unit:
            folder = self.out / "mixtures" / format_key(index)
            path = folder / "mixture.json"
            if not path.is_file():
                return []
            described = _decode(path.read_bytes(), path)
            names = ["mixture", *(f"source{at}" for at in range(1, len(described.plan.sources) + 1))]
            sounds = [folder / f"{name}.flac" for name in names]
            if not all(sound.is_file() and sound.stat().st_size for sound in sounds):
                return []
            found.append(described)
        return found

    def write(self, unit: Sequence[int], plans: Sequence[MixPlan]) -> list[Description]:
        found = []
        for plan in plans:
            folder = self.out / "mixtures" / plan.key
            folder.mkdir(parents=True, exist_ok=True)
            rendered = render(plan, self.clips, self.planner.reader)
            # it describes other sounds; without it, an interrupted mixture counts as missing
            (folder / "mixture.json").unlink(missing_ok=True)
            for _ in self._write_sounds(rendered, folder):
                continue
            found.append(self._describe(plan, rendered, f"mixtures/{plan.key}/"))
            write_json(folder / "mixture.json", msgspec.to_builtins(found[-1]))
        return found


class _Archives(_Writer):
    """Archives of `PER_ARCHIVE` mixtures."""

    def read(self, unit: Sequence[int]) -> list[Description]:
        path = self._path(unit)
        if not path.is_file():
            return []
        try:
            with tarfile.open(path) as tar:
                members = [entry for entry in tar if entry.name.endswith(".json")]
                contents = [file.read() for entry in members if (file := tar.extractfile(entry)) is not None]
        except (tarfile.TarError, OSError, EOFError) as error:
            raise StoreError(f"expected an archive at {path}, found a damaged one ({error}): remove it") from error
        return [_decode(content, path) for content in contents]

    def write(self, unit: Sequence[int], plans: Sequence[MixPlan]) -> list[Description]:
        found: list[Description] = []
        write_tar(self._path(unit), self._files(plans, found))
        return found

    def _path(self, unit: Sequence[int]) -> Path:
        return self.out / f"mix-{unit[0] // PER_ARCHIVE:05d}.tar"

    def _files(self, plans: Sequence[MixPlan], found: list[Description]) -> Iterator[tuple[str, bytes]]:
        with TemporaryDirectory() as temporary:
            for plan in plans:
                rendered = render(plan, self.clips, self.planner.reader)
                for path in self._write_sounds(rendered, Path(temporary)):
                    yield f"{plan.key}.{path.name}", path.read_bytes()
                found.append(self._describe(plan, rendered, ""))
                yield f"{plan.key}.json", dump_json(msgspec.to_builtins(found[-1])).encode()


def _decode(content: bytes, path: Path) -> Description:
    try:
        return msgspec.json.decode(content, type=Description)
    except msgspec.DecodeError as error:
        raise StoreError(f"expected the description of a mixture in {path}, found: {error}; remove it") from error


def _finish(writer: _Writer, units: Sequence[Sequence[int]], report: MixReport, form: Format) -> None:
    """Writes the tables over all mixtures if all exist, and completes the report."""
    everything = [writer.read(unit) for unit in units]
    foreign = [unit for unit, found in zip(units, everything, strict=True) if any(o.pool != writer.pool for o in found)]
    report.foreign = sum(map(len, foreign))
    everything = [[] if unit in foreign else found for unit, found in zip(units, everything, strict=True)]
    report.missing = sum(len(unit) for unit, found in zip(units, everything, strict=True) if not found)
    if report.missing:
        return
    descriptions = [one for found in everything for one in found]
    rows = [row for one in descriptions for row in one.questions]
    report.questions = len(rows)
    if form == "folders":
        report.tables.append(writer.out / _TABLES[0])
        write_csv(report.tables[-1], (*COLUMNS, *ATTRIBUTES), rows)
    report.tables.append(writer.out / _TABLES[1])
    write_csv(report.tables[-1], _LICENCES, _licence_rows(descriptions))


def _licence_rows(descriptions: Sequence[Description]) -> Iterator[Mapping[str, object]]:
    """Yields one row per clip that is used in any mixture."""
    used = [one for described in descriptions for one in described.plan.sources]
    count = Counter(one.clip for one in used)
    for one in sorted({one.clip: one for one in used}.values(), key=lambda one: one.clip):
        yield {name: count[one.clip] if name == "mixtures" else getattr(one, name) for name in _LICENCES}
