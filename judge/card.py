"""Fills the marked parts of the model card, judge/README.md, with measured results: `python -m judge.card`."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from judge.criteria import format_bounds
from sam_audio_bench.files import atomic_write, load_json

__all__ = ["CARD", "REPORT", "fill_card"]

HERE = Path(__file__).parent
CARD, REPORT = HERE / "README.md", HERE / "report"


def fill_card(card: str, report: Path = REPORT) -> str:
    """Returns the card with its marked parts replaced by the content of ``bars.json`` and ``pool.json``.

    Args:
        card: text with lines ``<!-- NAME -->`` and ``<!-- /NAME -->`` around the parts "bars", "families" and "pool".
        report: folder of the results.
    """
    measured, pool = load_json(report / "bars.json"), load_json(report / "pool.json")
    parts = {
        "bars": _bars(measured["bars"]),
        "families": _families(measured["families"]),
        "pool": _pool(pool),
    }
    for name, text in parts.items():
        form = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not form.search(card):
            raise ValueError(f"expected <!-- {name} --> and <!-- /{name} --> in the card, found none")
        card = form.sub(lambda found, text=text: f"{found[1]}\n{text}\n\n{found[2]}", card)  # type: ignore[misc]
    return card


def _bars(bars: Sequence[Mapping[str, Any]]) -> str:
    rows = ["| on | what | measured | 95 % interval | n | demanded | |", "| --- | --- | --: | --- | --: | --- | --- |"]
    for bar in bars:
        value = "—" if bar["value"] is None else f"{bar['value']:.3f}"
        interval = "" if bar["low"] is None else f"[{bar['low']:.2f}, {bar['high']:.2f}]"
        wanted = format_bounds(bar["wanted"], bar["most"])
        verdict = {True: "met", False: "**missed**", None: ""}[bar["met"]]
        cells = (bar["part"], bar["what"], value, interval, str(bar["n"]), wanted, verdict)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _families(bars: Sequence[Mapping[str, Any]]) -> str:
    rows = ["| family | PCC of overall | answers |", "| --- | --: | --: |"]
    rows += [
        f"| {bar['part'].removeprefix('family ')} | {'—' if bar['value'] is None else format(bar['value'], '.3f')} | "
        f"{bar['n']} |"
        for bar in bars
    ]
    return "\n".join(rows)


def _pool(pool: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    rows = ["| part of the pool | clips | hours | recordings or voices | classes |", "| --- | --: | --: | --: | --: |"]
    for kind in ("domain", "licence"):
        rows += [
            f"| {name} | {one['clips']} | {one['hours']:.2f} | {one['groups']} | {one['classes']} |"
            for name, one in sorted(pool[kind].items())
        ]
    return "\n".join(rows)


def main() -> int:
    """Writes the card."""
    text = fill_card(CARD.read_text(encoding="utf-8"))
    with atomic_write(CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
