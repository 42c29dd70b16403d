"""perceptual_* against listeners, beside other metrics on the same answers, and its speed beside theirs.

Run: python benchmarks/perceptual.py LISTENING [--published gensvs_eval_data.csv] [--figures], with the extras
`[speech]` and `[oracles]` (about six minutes). LISTENING holds the folders of `TESTS`, each with ratings.csv and
audio. Prints every bar with its interval and writes benchmarks/perceptual.md; --figures draws those of
docs/perceptual.md. PEASS is read from benchmarks/perceptual_peass.csv: python-peass 2.0.1.5 is GPL-3 and was run once,
in an environment of its own.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch
from edge_cases import museval_metrics
from perceptual_figures import draw_scatter, draw_sweeps
from scipy.optimize import nnls

import sam_audio_bench as sab
from sam_audio_bench.metrics.functional.perceptual import PerceptualReference, Ratings, perceptual
from sam_audio_bench.registry import load_metric
from sam_audio_bench.stats.correlation import correlate
from sam_audio_bench.stats.reliability import noise_ceiling
from sam_audio_bench.types import Audio, Item, Prompt, Query, Separation

HERE = Path(__file__).parent
OURS = Ratings._fields
OTHERS = (
    "si_sdr", "bss_sources_sdr", "bss_sources_sir", "bss_sources_sar",
    "bss_images_sdr", "bss_images_isr", "bss_images_sir", "bss_images_sar", "mrstft",
)  # fmt: skip
SPEECH = ("pesq_wb", "stoi", "estoi")
PUBLISHED = (
    "visqol", "emb_mse_clap_audio_df", "emb_mse_mert_df", "emb_mse_music2latent_df", "multi_res_loss", "singmos",
    "xls_r_sqa", "pam", "sir", "ops", "tps", "ips", "aps",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Test:
    """One listening test."""

    folder: str
    axes: tuple[str, ...]
    speech: bool
    without: str = ""  # the system that is the reference, or at another level than it
    mixture: bool = True  # False: there was none, and the reference stands in


TESTS = (
    Test(folder="gensvs60", axes=("DMOS",), speech=False),
    Test(folder="p835_reference", axes=("OVRL", "BAK", "SIG"), speech=True, without="c0"),
    Test(folder="codec_mushra", axes=("MUSHRA",), speech=True, without="Reference", mixture=False),
)

BARS = (  # test, our axis, the listeners', level, coefficient, least value
    ("gensvs60", "overall", "DMOS", "utterance", "pearson", 0.75),
    ("gensvs60", "overall", "DMOS", "utterance", "spearman", 0.70),
    ("gensvs60", "overall", "DMOS", "system", "pearson", 0.85),
    ("p835_reference", "overall", "OVRL", "utterance", "pearson", 0.85),
    ("p835_reference", "overall", "OVRL", "system", "pearson", 0.90),
    ("p835_reference", "precision", "BAK", "utterance", "pearson", 0.84),
    ("p835_reference", "precision", "BAK", "system", "pearson", 0.90),
    ("p835_reference", "faithfulness", "SIG", "utterance", "pearson", 0.80),
    ("p835_reference", "faithfulness", "SIG", "utterance", "spearman", 0.60),
    ("p835_reference", "faithfulness", "SIG", "system", "pearson", 0.90),
    ("codec_mushra", "overall", "MUSHRA", "utterance", "pearson", 0.60),
    ("codec_mushra", "overall", "MUSHRA", "system", "pearson", 0.90),
)


def answers(root: Path, test: Test) -> Iterator[tuple[dict[str, object], Item, Separation, torch.Tensor]]:
    """Mean ratings, item, answer and the gain-matched reference of every answer of a test, cut to one length."""
    table = pd.read_csv(root / test.folder / "ratings.csv")
    keys = ["item", "system", "mixture", "answer", "reference"]
    means = table.pivot_table(index=keys, columns="axis", values="score").reset_index()
    for row in means.to_dict("records"):
        sounds = []
        for key in ("reference", "mixture", "answer"):
            samples, rate = soundfile.read(root / test.folder / str(row[key]), dtype="float64", always_2d=True)
            sounds.append(torch.from_numpy(samples.T))
        length = min(sound.shape[1] for sound in sounds)
        reference, mixture, answer = (sound[:, :length] for sound in sounds)
        matched = reference * float((reference * mixture).sum() / reference.square().sum())
        rest = mixture - matched
        query = Query(mixture=Audio(mixture, rate), prompt=Prompt(text="speech" if test.speech else "vocals"))
        residual = Audio(rest, rate) if test.mixture else None
        item = Item(
            id=f"{row['item']}", group="", query=query, reference=Audio(matched, rate), residual_reference=residual
        )
        separation = Separation(target=Audio(answer, rate), residual=Audio(mixture - answer, rate))
        yield {str(key): value for key, value in row.items()}, item, separation, reference


def measured(root: Path, test: Test) -> pd.DataFrame:
    """One row an answer: the listeners' means and every metric."""
    rows = []
    names = [name for name in (*OTHERS, *(SPEECH if test.speech else ())) if test.mixture or not _needs_rest(name)]
    for row, item, answer, reference in answers(root, test):
        rate = answer.target.rate
        original = PerceptualReference(reference, item.query.mixture.samples, rate)
        found = original.extract_features(answer.target.samples)
        assert found is not None
        row |= found._asdict() | found.ratings()._asdict()
        for name in names:
            metric = load_metric(name)
            (scores,) = metric.score([item], [answer])
            score = scores[metric.columns.index(name)]
            row[name] = score.value if score is not None else None
        rows.append(row)
    return pd.DataFrame(rows)


def _needs_rest(name: str) -> bool:
    return name.endswith(("_sir", "_sar", "_isr", "images_sdr"))


def _damages(table: pd.DataFrame) -> pd.DataFrame:
    """What `overall` is made of, each from 0: unlike slow and fast patterns, leak, holes."""
    return table[["leak", "holes"]].assign(slow=1 - table.slow, fast=1 - table.fast)


def with_peass(table: pd.DataFrame, test: Test) -> pd.DataFrame:
    """The table with PEASS's scores where they were measured."""
    known = pd.read_csv(HERE / "perceptual_peass.csv")
    known = known[known.test == test.folder].drop(columns=["test", "cpu_seconds", "seconds"])
    return table.merge(known, how="left", on=["item", "system"])


def with_published(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with the columns that GenSVS published of the same answers."""
    known = pd.read_csv(path)
    known = known.assign(item=known.file_id, system=known.model_name)[["item", "system", *PUBLISHED]]
    names = {name: f"{name} (published)" for name in PUBLISHED}
    return table.merge(known.rename(columns=names), how="left", on=["item", "system"])


def against(table: pd.DataFrame, axis: str, metrics: list[str]) -> pd.DataFrame:
    """PCC and SRCC of each metric with one axis over items and systems, intervals by resampling items."""

    def cells(column: str) -> np.ndarray:
        return table.pivot(index="item", columns="system", values=column).to_numpy(float)

    known = {name: cells(name) for name in metrics if table[name].notna().sum() > 8 and table[name].nunique() > 1}
    rows = correlate(
        cells(axis),
        {name: np.clip(values, -100, 100) for name, values in known.items()},
        levels=("utterance", "system"),
        coefficients=("pearson", "spearman"),
        interval="cluster",
        resamples=2000,
    )
    return pd.DataFrame(
        {"metric": row.metric, "level": row.level, "coefficient": row.coefficient, "value": row.value,
         "low": row.low, "high": row.high, "n": row.n}
        for row in rows
    )  # fmt: skip


def ceiling(root: Path, test: Test, axis: str) -> float:
    """Root of the reliability of the mean ratings: what a perfect metric could reach."""
    table = pd.read_csv(root / test.folder / "ratings.csv")
    table = table[(table.axis == axis) & (table.system != test.without)]
    if table.votes.isna().any():
        raters = table.pivot_table(index=["item", "system"], columns="rater", values="score")
        return noise_ceiling(raters.to_numpy()).value or float("nan")
    error = float((table["std"] ** 2 / table.votes).mean())  # means and spreads are all that was published
    return float(np.sqrt(max(0.0, 1 - error / float(table.score.var()))))


def fitted(tables: dict[str, pd.DataFrame]) -> dict[str, float]:
    """PCC of `overall` with its four weights fitted by non-negative least squares, items and systems left out.

    The last entry fits on the tests that may be trained on and is compared on gensvs60.
    """
    axes = {"p835_reference": "OVRL", "codec_mushra": "MUSHRA"}

    def weights(parts: list[tuple[pd.DataFrame, str]]) -> np.ndarray:
        rows, wanted = [], []
        for part, axis in parts:
            scale = np.sqrt(len(part)) * part[axis].std()  # tests count alike
            damages = _damages(part)
            rows.append((damages - damages.mean()).to_numpy() / np.sqrt(len(part)))
            wanted.append(-(part[axis] - part[axis].mean()).to_numpy() / scale)
        return nnls(np.concatenate(rows), np.concatenate(wanted))[0]  # type: ignore[no-any-return]

    found = {}
    for test, axis in axes.items():
        table = tables[test]
        said = pd.Series(0.0, index=table.index)
        for (item, system), rows in table.groupby(["item", "system"]):
            kept = table[(table["item"] != item) & (table["system"] != system)]
            others = [(tables[other], name) for other, name in axes.items() if other != test]
            said[rows.index] = -(_damages(rows).to_numpy() @ weights([(kept, axis), *others]))
        found[f"{test}, item and system left out"] = float(np.corrcoef(said, table[axis])[0, 1])
    chosen = weights([(tables[test], axis) for test, axis in axes.items()])
    unseen = tables["gensvs60"]
    heard = -(_damages(unseen).to_numpy() @ chosen)
    found["gensvs60, fitted on the other two"] = float(np.corrcoef(heard, unseen.DMOS)[0, 1])
    return found


def speed() -> list[str]:
    """CPU seconds for 10 s in mono, ours beside PESQ and BSS-eval v4, measured in turns."""
    generator = torch.Generator().manual_seed(0)
    sounds = torch.randn(3, 1, 441_000, generator=generator) * torch.rand(1, 1, 441_000, generator=generator)
    reference, rest, noise = sounds
    estimate, mixture = reference + 0.1 * noise, reference + rest
    item = Item(
        id="a", group="", query=Query(mixture=Audio(mixture, 44_100), prompt=Prompt(text="speech")),
        reference=Audio(reference, 44_100), residual_reference=Audio(rest, 44_100),
    )  # fmt: skip
    answer = Separation(target=Audio(estimate, 44_100), residual=Audio(mixture - estimate, 44_100))
    candidates: dict[str, Callable[[], object]] = {
        "perceptual": lambda: perceptual(reference=reference, estimate=estimate, mixture=mixture, rate=44_100),
        "pesq_wb": lambda: load_metric("pesq_wb").score([item], [answer]),
    }
    both = np.stack([reference.numpy().T, rest.numpy().T])
    given = np.stack([estimate.numpy().T, (mixture - estimate).numpy().T])
    museval = museval_metrics()
    candidates["museval (BSS-eval v4)"] = lambda: museval.bss_eval(both, given, window=44_100, hop=44_100)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(4):
        for name, call in candidates.items():
            start = time.process_time()
            call()
            if turn:
                times[name].append(time.process_time() - start)
    ours = median(times["perceptual"])
    lines = [f"| {name} | {median(spent):.3f} | {median(spent) / ours:.3g} |" for name, spent in times.items()]
    known = pd.read_csv(HERE / "perceptual_peass.csv")
    peass = float((known.cpu_seconds / known.seconds).median() * 10)
    return [*lines, f"| python-peass (measured apart, 5 s, scaled to 10 s) | {peass:.1f} | {peass / ours:.3g} |"]


def on_mini() -> list[str]:
    """The embedded split: each axis against the judge's and the improvement of SI-SDR, over items and separators."""
    metrics = [*(f"{family}_{axis}" for family in ("perceptual", "saj") for axis in OURS), "si_sdr_i"]
    with tempfile.TemporaryDirectory() as folder:
        results = sab.evaluate(
            ["hpss", "repet-sim", "spectral-gate", "oracle-ibm", "oracle-irm", "oracle-mwf"],
            tasks=["sfx", "speech", "music", "instr-pro"], split="mini", metrics=metrics, output=folder, progress=False,
        )  # fmt: skip
        frame = results.to_frame()
    frame = frame[frame.value.notna()]
    cells = frame.pivot_table(index=["task", "item", "separator"], columns="metric", values="value").dropna()
    lines = [*_head("PCC", "saj, same axis", "si_sdr_i")]
    for axis in OURS:
        ours = cells[f"perceptual_{axis}"]
        pair = (ours.corr(cells[f"saj_{axis}"]), ours.corr(cells.si_sdr_i.clip(-100, 100)))
        lines.append(f"| perceptual_{axis} | {pair[0]:.2f} | {pair[1]:.2f} |")
    means = cells.groupby("separator").mean().sort_values("perceptual_overall", ascending=False)
    columns = ["perceptual_overall", "saj_overall", "si_sdr_i"]
    lines += ["", f"Means over {len(cells) // len(means)} items:", "", *_head("separator", *columns)]
    lines += [
        f"| {name} | {' | '.join(f'{row[column]:.2f}' for column in columns)} |" for name, row in means.iterrows()
    ]
    return lines


def report(root: Path, published: Path | None, tables: dict[str, pd.DataFrame]) -> str:
    """The whole page."""
    pages, checks = [], []
    for test in TESTS:
        table = tables[test.folder]
        names = [str(name) for name in table.columns]
        metrics = [*OURS, *[name for name in names if name in (*OTHERS, *SPEECH) or "(published)" in name]]
        metrics += [name for name in names if name.startswith("peass_")]
        for axis in test.axes:
            rows = against(table, axis, metrics)
            pages.append(_section(root, test, axis, rows))
            checks += [_bar(bar, rows) for bar in BARS if bar[0] == test.folder and bar[2] == axis]
    if published is not None:
        checks.append(_beside_visqol(tables["gensvs60"]))
    free = "\n".join(f"| {name} | {value:.2f} |" for name, value in fitted(tables).items())
    lines = [
        "# perceptual_*\n",
        "Written by `benchmarks/perceptual.py`. Real systems; intervals resample items.\n",
        "## Bars\n",
        *_head("test", "pair", "level", "coefficient", "value", "interval", "bar", ""),
        *checks,
        "\n## Weights of `overall` fitted instead\n",
        "Non-negative least squares of the four damages; PCC over items.\n",
        *_head("test", "PCC"),
        free,
        "\n## Speed\n",
        "CPU seconds for 10 s in mono at 44.1 kHz, one thread; ratio to ours.\n",
        *_head("", "seconds", "ratio"),
        *speed(),
        "\n## On mini, beside the judge\n",
        *on_mini(),
        "",
        *pages,
    ]
    return "\n".join(lines)


def _head(*names: str) -> tuple[str, str]:
    return f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"


def _bar(bar: tuple[str, str, str, str, str, float], rows: pd.DataFrame) -> str:
    test, ours, axis, level, coefficient, least = bar
    (row,) = rows[(rows.metric == ours) & (rows.level == level) & (rows.coefficient == coefficient)].to_dict("records")
    met = "met" if row["value"] >= least else "missed"
    cells = (test, f"{ours} × {axis}", level, coefficient, f"{row['value']:.3f}", _span(row), f"{least:.2f}", met)
    return f"| {' | '.join(cells)} |"


def _beside_visqol(table: pd.DataFrame) -> str:
    ours, theirs = (float(np.corrcoef(table[name], table.DMOS)[0, 1]) for name in ("overall", "visqol (published)"))
    met = "met" if ours >= theirs else "missed"
    return f"| gensvs60 | overall beside ViSQOL × DMOS | utterance | pearson | {ours:.3f} | | {theirs:.3f} | {met} |"


def _span(row: Mapping[Any, Any]) -> str:
    return "" if row["low"] is None or np.isnan(row["low"]) else f"[{row['low']:.2f}, {row['high']:.2f}]"


def _section(root: Path, test: Test, axis: str, rows: pd.DataFrame) -> str:
    top = f"## {test.folder} × {axis}\n\nWhat a perfect metric could reach: {ceiling(root, test, axis):.2f}.\n"
    lines = list(_head("metric", "n", "PCC, items", "SRCC, items", "PCC, systems", "SRCC, systems"))
    for name, part in rows.groupby("metric", sort=False):
        cell = {(row["level"], row["coefficient"]): row for row in part.to_dict("records")}
        cells = [
            f"{row['value']:.2f} {_span(row)}".strip() if row["value"] is not None else "–"
            for row in (cell[level, kind] for level in ("utterance", "system") for kind in ("pearson", "spearman"))
        ]
        n = int(cell["utterance", "pearson"]["n"])
        lines.append(f"| {'perceptual_' if name in OURS else ''}{name} | {n} | {' | '.join(cells)} |")
    return "\n".join([top, *lines, ""])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("listening", type=Path)
    parser.add_argument("--published", type=Path, help="gensvs_eval_data.csv of github.com/pablebe/gensvs_eval")
    parser.add_argument("--figures", type=Path, help="folder for the figures of docs/perceptual.md")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    tables = {}
    for test in TESTS:
        print(f"measuring {test.folder} …", flush=True)
        table = measured(options.listening, test)
        table = with_peass(table[table.system != test.without].reset_index(drop=True), test)
        published = options.published if test.folder == "gensvs60" else None
        tables[test.folder] = with_published(table, published) if published else table
    page = report(options.listening, options.published, tables)
    (HERE / "perceptual.md").write_text(page, encoding="utf-8")
    print(page)
    if options.figures:
        draw_scatter(options.figures, tables)
        draw_sweeps(options.figures)


if __name__ == "__main__":
    main()
