"""Simulates estimates with ratings for training and testing a judge: ``python -m judge.simulate --pool P --out O``.

Each set becomes a folder of tar shards in the layout of WebDataset. A mixture has the key ``<key>`` and the files
``<key>.mixture.flac``, ``<key>.<k>.target.flac`` for each estimate k (16 kHz, mono, 16 bits, or 24 if it is soft) and
``<key>.json`` with prompts and simulated ratings. The level of some estimates is changed after rating. Mixture i of a
set depends only on seed, set, i and the families that may be drawn.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from judge.degrade import RATE
from judge.families import (
    DENOISERS,
    ESTIMATES_PER_MIXTURE,
    FAULTS,
    TRAINING,
    check_families,
    draw_families,
    make_estimate,
)
from judge.labels import Truth, audible
from judge.mask_network import network_digest
from judge.queries import DrawnQuery, SourceChoice, StemIndex, active_spans, draw_query, span_overlap
from judge.stems import DOMAINS, Stem, load_pool, mini_pool
from judge.summary import summarise
from sam_audio_bench.errors import BenchError, Precondition, UsageError
from sam_audio_bench.files import dump_json, sha256, write_json
from sam_audio_bench.metrics.functional.perceptual import WORST
from sam_audio_bench.run.progress import Progress
from sam_audio_bench.tasks.archives import ensure_same_plan, write_tar
from sam_audio_bench.tasks.manifest_tables import format_spans
from sam_audio_bench.tasks.mixing import uniform_db

__all__ = ["SETS", "Set", "main", "simulate", "simulate_mixture"]

Signal = NDArray[np.float32]
Random = np.random.Generator

PER_SHARD = 100
"""Mixtures in a shard."""

_ABSENT = 0.35  # share of second prompts that name an absent sound, if there is also another source
_PEAK = 0.999
_SOFT = 2.0**-5  # peak below which a signal is stored in 24 bits
_GAINED = 0.3  # share of estimates whose level is changed
_GAINS = (-45.0, 20.0)  # dB
_FAINTEST = 10 ** (-48 / 20)  # minimum peak of an attenuated estimate, relative to that of the mixture
_WITH_SPANS = 0.25  # share of prompts with spans
_SPANS_ALONE = 0.4  # share of these without a text, if spans distinguish the sources
_APART = 0.5  # maximum overlap of the spans of two sources that they distinguish


@dataclass(frozen=True, slots=True)
class Set:
    """Settings of one set of mixtures; domains alternate.

    Attributes:
        mixtures: number of mixtures.
        targets, others: splits of the stems of targets and of other sources.
        held_out: whether held-out families are drawn, if ``families`` is None.
        domains: domains of the targets, in turn.
        families: shares of the families that may be drawn; None: those of `FAMILIES`.
        always: families that are applied to every mixture.
        counts: possible numbers of estimates for a mixture.
        noise: share of speech targets in noise scenes (`draw_query`); a quarter of it for other targets.
        alone: share of the other targets without a competing source; None: as `judge.queries.SOURCES`.
        other_prompts: share of estimates that are also rated for a second prompt, which names something else.
        lone_prompts: the same share for mixtures without another source that a prompt could name.
    """

    mixtures: int
    targets: str
    others: str
    held_out: bool
    domains: tuple[str, ...] = DOMAINS
    families: Mapping[str, float] | None = None
    always: tuple[str, ...] = ()
    counts: tuple[int, ...] = ESTIMATES_PER_MIXTURE
    noise: float = 0.0
    alone: float | None = None
    other_prompts: float = 0.5
    lone_prompts: float = 0.5


_TURNS = ("effects", "music", "speech", "effects", "music", "speech", "effects")
_FAULTY = ("speech", "music", "speech", "effects")
_learned = partial(Set, other_prompts=0.35, lone_prompts=0.15)

SETS: Mapping[str, Set] = MappingProxyType(
    {
        "valid": _learned(300, "valid", "valid", False, families=TRAINING, noise=0.3),
        "heldout-recordings": Set(300, "test", "test", held_out=False),
        "heldout-families": Set(240, "test", "test", held_out=True),
        "unseen": Set(160, "unseen", "test", held_out=False, domains=("music", "effects")),
        "unseen-families": Set(120, "unseen", "test", held_out=True, domains=("music", "effects")),
        "denoised": Set(100, "test", "test", True, ("speech",), DENOISERS, always=("perfect",), counts=(5,), noise=1.0),
        "train": _learned(5400, "train", "train", False, _TURNS, TRAINING, noise=0.3),
        "train-faults": _learned(1800, "train", "train", False, _FAULTY, FAULTS, noise=0.45, alone=0.6),
    }
)
"""By name; of effects there are the fewest recordings, so training has more mixtures of them. It asks for fewer sounds
that are not there than tests do: users rarely do, and a judge that expects it doubts what it merely does not know."""


@lru_cache(maxsize=2)
def _stems(pool: str) -> tuple[Stem, ...]:
    return mini_pool() if pool == "mini" else load_pool(Path(pool))


@lru_cache(maxsize=8)
def _casting(pool: str, name: str) -> SourceChoice:
    plan = SETS[name]
    targets, others = (
        StemIndex(stem for stem in _stems(pool) if stem.split == split) for split in (plan.targets, plan.others)
    )
    if missing := set(plan.domains) - set(targets.domains):
        raise Precondition(
            f"expected stems of split {plan.targets} for {', '.join(sorted(missing))}, found none in {pool}"
        )
    return SourceChoice(targets, others, augment=name.startswith("train"), noise=plan.noise, alone=plan.alone)


def simulate_mixture(
    pool: str, name: str, seed: int, index: int, without: Collection[str] = (), network: Path | None = None
) -> list[tuple[str, bytes]]:
    """Returns the files of one mixture, as (name, content), with the description last; see the module.

    Args:
        pool: folder of the stems, or "mini".
        name: one of `SETS`.
        seed: seed of the whole set.
        index: index of the mixture in the set.
        without: families to leave out.
        network: folder of a mask network, for one more family.
    """
    torch.set_num_threads(1)
    plan, random = SETS[name], np.random.default_rng([seed, zlib.crc32(name.encode()), index])
    drawn = draw_query(_casting(pool, name), plan.domains[index % len(plan.domains)], random)
    drawn = replace(drawn, scene=replace(drawn.scene, network=network))
    key = f"{name}-{index:06d}"
    families = draw_families(
        drawn.scene,
        random,
        held_out=plan.held_out,
        without=without,
        wanted=plan.families,
        always=plan.always,
        counts=plan.counts,
    )
    estimates = [make_estimate(family, drawn.scene, random) for family in families]
    record = {
        "key": key,
        "domain": drawn.stems[0].domain,
        "group": [stem.group for stem in (*drawn.stems, *drawn.voices)],
        "classes": [stem.label for stem in (*drawn.stems, *drawn.voices)],
        "seconds": len(drawn.scene.target) / RATE,
        "rows": _rows(plan, key, drawn, families, estimates, random),
    }
    files = [(f"{key}.mixture.flac", _flac(drawn.scene.mixture))]
    gained = [_change_level(signal, drawn.scene.mixture, random) for signal in estimates]
    files += [(f"{key}.{k}.target.flac", _flac(signal)) for k, signal in enumerate(gained)]
    return [*files, (f"{key}.json", dump_json(record).encode())]


def _change_level(signal: Signal, mixture: Signal, random: Random) -> Signal:
    """Changes the level of some estimates, on which ratings do not depend; none becomes as soft as silence."""
    if random.random() >= _GAINED:
        return signal
    peak, gain = float(np.abs(signal).max(initial=0)), uniform_db(random, *_GAINS)
    least = _FAINTEST * float(np.abs(mixture).max(initial=0)) / max(peak, 1e-9)
    return signal * np.float32(max(gain, min(least, 1.0)))


class _RatedPrompt(NamedTuple):
    """A prompt with the label of the sound that it names, its kind, and the ground truth for it."""

    text: str
    spans: str
    label: str
    kind: str  # "intended", "wrong" or "absent"
    truth: Truth | None  # None: the sound is absent


def _rows(
    plan: Set, key: str, drawn: DrawnQuery, families: list[str], estimates: list[Signal], random: Random
) -> list[dict[str, Any]]:
    """Returns ratings of every estimate for the intended prompt, and of some for a second prompt."""
    rows = []
    prompts = _prompts(drawn, random)
    share = plan.other_prompts if drawn.wrong else plan.lone_prompts
    for k, (family, signal) in enumerate(zip(families, estimates, strict=True)):
        others = _second_prompt(drawn, prompts, signal, random) if random.random() < share else ()
        for prompt in (prompts(0), *others):
            ratings = prompt.truth.rate(signal) if prompt.truth else WORST
            rows.append(
                {
                    "target": k,
                    "text": prompt.text,
                    "label": prompt.label,
                    "kind": prompt.kind,
                    "query": f"{key}/{prompt.text or prompt.spans}",
                    "system": family,
                    **({"spans": prompt.spans} if prompt.spans else {}),
                    "scores": ratings._asdict(),
                    "raters": 1,
                }
            )
    return rows


def _prompts(drawn: DrawnQuery, random: Random) -> Callable[[int], _RatedPrompt]:
    """Returns a function from the number of a source to its prompt, the same for all estimates; 0 is the target."""
    scene = drawn.scene
    stated = _draw_prompts(drawn, random)

    @cache
    def prompt(source: int) -> _RatedPrompt:
        label, (text, spans) = drawn.stems[source].label, stated[source]
        if source == 0:
            return _RatedPrompt(text, spans, label, "intended", Truth(scene.target, scene.interference))
        other = scene.others[source - 1]
        return _RatedPrompt(text, spans, label, "wrong", Truth(other, scene.mixture - other))

    return prompt


def _draw_prompts(drawn: DrawnQuery, random: Random) -> list[tuple[str, str]]:
    """Draws text and spans for each source: mostly text alone, sometimes both, or spans alone if they are clear."""
    scene = drawn.scene
    times = [active_spans(source) for source in (scene.target, *scene.others)]
    prompts = []
    for source, text in enumerate((scene.text, *drawn.wrong)):
        spans = ""
        if random.random() < _WITH_SPANS and times[source]:
            spans = format_spans(("+", start, end) for start, end in times[source])
            clear = all(span_overlap(times[source], time) < _APART for at, time in enumerate(times) if at != source)
            text = "" if clear and random.random() < _SPANS_ALONE else text
        prompts.append((text, spans))
    return prompts


def _second_prompt(
    drawn: DrawnQuery, prompts: Callable[[int], _RatedPrompt], signal: Signal, random: Random
) -> Iterator[_RatedPrompt]:
    """Yields a prompt for another source or for an absent sound, if there is one.

    The latter is left out for a silent estimate, which would be right.
    """
    if drawn.wrong and random.random() >= _ABSENT:
        yield prompts(int(random.integers(len(drawn.wrong))) + 1)
    elif drawn.absent and audible(signal, drawn.scene.mixture):
        text, label = drawn.absent
        yield _RatedPrompt(text, "", label, "absent", None)


def _flac(signal: Signal) -> bytes:
    """Encodes at `RATE`; an estimate that would clip is attenuated as a whole, a soft one is stored in more bits."""
    peak = float(np.abs(signal).max(initial=0))
    bits = "PCM_24" if peak < _SOFT else "PCM_16"
    with io.BytesIO() as file:
        soundfile.write(file, signal * min(1.0, _PEAK / max(peak, 1e-9)), RATE, format="FLAC", subtype=bits)
        return file.getvalue()


def simulate(
    pool: str,
    out: Path,
    name: str,
    *,
    mixtures: int | None = None,
    seed: int = 1,
    workers: int = 1,
    progress: bool | None = None,
    without: Collection[str] = (),
    network: Path | None = None,
) -> Path:
    """Makes the missing shards of one set and returns its folder; existing shards are kept.

    Args:
        pool: folder of the stems, or "mini".
        out: parent of the set's folder.
        name: one of `SETS`.
        mixtures: number of mixtures; None: that of the set.
        seed: determines all random numbers.
        workers: number of processes.
        progress: whether to show a progress bar; None: only on a terminal.
        without: families to leave out, for example for lack of a package.
        network: folder of a mask network (`judge.mask_network`), for one more family.
    """
    if name not in SETS:
        raise UsageError(f"expected sets among {', '.join(SETS)}, found {name!r}")
    folder, total = out / name, mixtures or SETS[name].mixtures
    make = partial(simulate_mixture, pool, name, seed, without=frozenset(without), network=network)
    _casting(pool, name)  # raises before any work, as does the next line
    check_families(held_out=SETS[name].held_out, without=without, wanted=SETS[name].families)
    plan: dict[str, Any] = {"set": name, "seed": seed, "stems": _digest(pool), "without": sorted(without)}
    plan["network"] = network_digest(network) if network else None
    ensure_same_plan(folder / "plan.json", plan, "this set, seed, stems and families")
    with Progress(total, show=progress) as bar, _mapper(workers) as each:
        count = bar.item_callback(name)
        for start in range(0, total, PER_SHARD):
            indices = range(start, min(start + PER_SHARD, total))
            path = folder / f"shard-{start // PER_SHARD:05d}.tar"
            if _complete(path, len(indices)):
                for _ in indices:
                    count(None)
                continue
            write_tar(path, chain.from_iterable(_count_each(each(make, indices), count)))
    write_json(folder / "summary.json", {"set": name, "seed": seed, "mixtures": total, **summarise(folder)})
    return folder


def _digest(pool: str) -> str:
    return sha256("\n".join(sorted(f"{stem.id} {stem.split}" for stem in _stems(pool))).encode())


def _complete(path: Path, mixtures: int) -> bool:
    """Returns whether a shard exists with all its mixtures; the last one of a smaller run has fewer."""
    if not path.exists():
        return False
    with tarfile.open(path) as tar:
        return sum(name.endswith(".json") for name in tar.getnames()) == mixtures


def _count_each(mixtures: Iterable[Any], count: Callable[[None], None]) -> Iterator[Any]:
    for mixture in mixtures:
        yield mixture
        count(None)


@contextmanager
def _mapper(workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yields ``map`` for this process or several ones; results are in the order of the arguments."""
    if workers <= 1:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        yield partial(executor.map, chunksize=4)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m judge.simulate", description=__doc__.splitlines()[0])
    parser.add_argument("--pool", default="judge/made/pool", help="folder of the stems (default: %(default)s)")
    parser.add_argument(
        "--stems", choices=["pool", "mini"], default="pool", help="mini: the embedded stems, for trials"
    )
    parser.add_argument("--out", type=Path, default=Path("judge/made/answers"), help="default: %(default)s")
    parser.add_argument("--sets", default=",".join(SETS), help="some of %(default)s")
    parser.add_argument("--mixtures", type=int, help="in each set (default: the set's own number)")
    parser.add_argument("--network", type=Path, help="folder of a mask network, for one more family of estimates")
    parser.add_argument("--without", default="", help="families to leave out, such as dtln,hush")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes; they change nothing but the time")
    options = parser.parse_args(arguments)
    pool = "mini" if options.stems == "mini" else options.pool
    common = {name: getattr(options, name) for name in ("mixtures", "seed", "workers", "network")}
    try:
        for name in options.sets.split(","):
            without = [family for family in options.without.split(",") if family]
            folder = simulate(pool, options.out, name, without=without, **common)
            print(folder)
    except BenchError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
