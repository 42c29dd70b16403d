"""How far metrics agree with listeners, as the leaderboard shows it: gathered from what was measured, nothing typed.

    python -m benchmarks.listener_evidence

reads benchmarks/perceptual.md and, for the shipped judge, judge/report/bars.json, and writes
sam_audio_bench/leaderboard/listener_evidence.json. A test says when that is out of date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from sam_audio_bench.files import write_json
from sam_audio_bench.leaderboard.evidence import FILE
from sam_audio_bench.metrics.catalogue import CARDS

ROOT = Path(__file__).parents[1]
ASKED = {"BAK": "precision", "SIG": "faithfulness"}  # of listeners: which axis; anything else: overall
_SECTION = re.compile(r"^## (\w+) × (\w+)$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| (\w+) \| (\d+) \| (\S+) \[(\S+), (\S+)\] \| [^|]* \| (\S+) \[[^|]*\|", re.MULTILINE)
_BAR = re.compile(r"PCC of (\w+) × (\w+), (answers|systems)")


def axis(metric: str) -> str:
    """Which of the listeners' questions a metric answers; its last word, where that is one of them.

    >>> axis("perceptual_precision"), axis("si_sdr"), axis("saj_recall")
    ('precision', 'overall', 'recall')
    """
    last = metric.rpartition("_")[2]
    return last if last in ("precision", "faithfulness", "recall") else "overall"


def of_metrics() -> Iterator[dict[str, object]]:
    """Metrics without weights, beside the ratings that they answer."""
    page = (ROOT / "benchmarks" / "perceptual.md").read_text(encoding="utf-8")
    for test, asked, section in _SECTION.findall(page):
        for metric, n, pcc, low, high, systems in _ROW.findall(section):
            if metric in CARDS and axis(metric) == ASKED.get(asked, "overall"):
                sign = 1 if CARDS[metric].higher_is_better else -1  # 1 is agreement
                first, last = sorted((sign * float(low), sign * float(high)))
                yield {
                    "metric": metric, "weights_sha256": None, "test": test, "asked": asked, "n": int(n),
                    "pcc": sign * float(pcc), "low": first, "high": last, "systems_pcc": sign * float(systems),
                }  # fmt: skip


def of_judge() -> Iterator[dict[str, object]]:
    """The shipped judge."""
    report = json.loads((ROOT / "judge" / "report" / "bars.json").read_text(encoding="utf-8"))
    found: dict[tuple[str, str, str], dict[str, dict[str, float]]] = {}
    for bar in report["bars"]:
        if match := _BAR.match(bar["what"]) if bar["section"] == "Agrees with listeners" else None:
            found.setdefault((bar["part"], match[1], match[2]), {})[match[3]] = bar
    for (test, own, asked), bars in found.items():
        answers = bars["answers"]
        yield {
            "metric": f"saj_{own}", "weights_sha256": report["weights_sha256"], "test": test, "asked": asked,
            "n": answers["n"], **{name: round(answers[key], 2) for name, key in
                                  (("pcc", "value"), ("low", "low"), ("high", "high"))},
            "systems_pcc": round(bars["systems"]["value"], 2),
        }  # fmt: skip


def gathered() -> list[dict[str, object]]:
    """Everything, by metric."""
    return sorted(
        (*of_metrics(), *of_judge()), key=lambda one: (str(one["metric"]), str(one["test"]), str(one["asked"]))
    )


if __name__ == "__main__":
    write_json(FILE, gathered())
