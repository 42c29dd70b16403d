"""``sabench data spans``: spans from the activity of references, with figures and agreement."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import click

from sam_audio_bench.cli.lazy import HomeText
from sam_audio_bench.cli.output import echo, print_json, print_records

if TYPE_CHECKING:
    from sam_audio_bench.tasks.span_table import FoundSpans, SpanRule

__all__ = ["spans"]


@click.command()
@click.argument("path", type=HomeText())
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The CSV to write, beside the data.")
@click.option("--rule", type=click.Choice(["relative", "absolute"]), default="relative", show_default=True,
              help="Below the loudest window, as span_iou; or below full scale, without short sounds.")  # fmt: skip
@click.option("--threshold", type=float, help="dB at or below which a window is silent.  [default: -40]")
@click.option("--window", type=float, help="Seconds of a window, and of the shortest silence.  [default: 0.25]")
@click.option("--shortest", type=float, help="Seconds of the shortest sound.  [default: 0; absolute: 0.25]")
@click.option("--figures", type=click.Path(path_type=Path), help="Folder for a figure of every item.")
@click.option("--allow-outside", is_flag=True, help="Accept files outside the folder of the data.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def spans(path: str, out: Path, rule: str, threshold: float | None, window: float | None, shortest: float | None,
          figures: Path | None, allow_outside: bool, as_json: bool) -> None:  # fmt: skip
    """Find where targets sound, and write the questions of PATH with these spans as a table.

    PATH is a table of questions with a column target, or a folder with one. Existing spans are compared with the spans
    that are found, and replaced by them. Exits with 1 if a question had to be left out.
    """
    from sam_audio_bench.names import check_table

    check_table(path)
    from sam_audio_bench.tasks.manifest import read_questions
    from sam_audio_bench.tasks.manifest_rows import questions_to_task
    from sam_audio_bench.tasks.span_table import RULES, check_table_path, find_spans, write_spans

    usual = RULES[rule]
    chosen = replace(
        usual,
        threshold=usual.threshold if threshold is None else threshold,
        window=usual.window if window is None else window,
        shortest=usual.shortest if shortest is None else shortest,
    )
    table = read_questions(path, allow_outside=allow_outside)
    questions_to_task(table)  # raises for invalid rows
    check_table_path(table, out)
    found: list[FoundSpans] = []
    for one in find_spans(table, chosen):
        if figures is not None and one.target is not None:
            _save(one, chosen, figures)
        found.append(replace(one, target=None))
    count = write_spans(table, found, out)
    if as_json:
        print_json({"table": str(out), "items": count, "rule": asdict(chosen), "agreement": _agreement(found),
                    "found": [_record(one) for one in found]})  # fmt: skip
    else:
        print_records(map(_record, found), ("item", "spans", "iou", "recall", "precision", "problem"))
        _print_summary(found, count, out)
    sys.exit(1 if count < len(found) else 0)


def _record(one: FoundSpans) -> dict[str, Any]:
    from sam_audio_bench.tasks.manifest_tables import format_spans

    overlap = {} if one.overlap is None else {name: round(value, 4) for name, value in one.overlap._asdict().items()}
    return {"item": one.item, "spans": format_spans(one.spans), **overlap, "problem": one.problem or None}


def _agreement(found: Sequence[FoundSpans]) -> dict[str, float] | None:
    known = [one.overlap for one in found if one.overlap is not None]
    if not known:
        return None
    names = ("iou", "recall", "precision")
    return {"items": len(known), **{name: fmean(getattr(one, name) for one in known) for name in names}}


def _print_summary(found: Sequence[FoundSpans], count: int, out: Path) -> None:
    silent = sum(not one.spans and not one.problem for one in found)
    echo(f"\n{count} of {len(found)} questions in {out}" + (f", {silent} of them without a sound" if silent else ""))
    if agreement := _agreement(found):
        means = ", ".join(f"{name} {agreement[name]:.3f}" for name in ("iou", "recall", "precision"))
        echo(f"Agreement with the spans that were given, mean over {agreement['items']:.0f} items: {means}")


def _save(one: FoundSpans, rule: SpanRule, folder: Path) -> None:
    from sam_audio_bench.cli.data.span_figure import draw_activity
    from sam_audio_bench.files import folder_name

    folder.mkdir(parents=True, exist_ok=True)
    draw_activity(one, rule, folder_name(folder, one.item)).save(folder)
