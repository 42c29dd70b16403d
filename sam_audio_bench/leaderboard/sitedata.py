"""``data.json``: everything that the pages show, as plain values for any use."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
from scipy.stats import rankdata

from sam_audio_bench import __version__
from sam_audio_bench.errors import StoreError
from sam_audio_bench.files import case_sensitive_name
from sam_audio_bench.leaderboard import log
from sam_audio_bench.leaderboard.board import Board, LeaderboardLine, round_value
from sam_audio_bench.leaderboard.evidence import find_evidence
from sam_audio_bench.leaderboard.item_lists import find_task_card
from sam_audio_bench.leaderboard.previews import ITEM, LISTEN, read_preview
from sam_audio_bench.leaderboard.records import BoardRule, to_builtins
from sam_audio_bench.leaderboard.sitetypes import (
    Agreement,
    ItemScores,
    LineData,
    MetricData,
    OverallTable,
    PreviewData,
    SiteData,
    TaskData,
)
from sam_audio_bench.leaderboard.slicing import task_slices
from sam_audio_bench.leaderboard.submission import estimate_file, separator_kind
from sam_audio_bench.plugins import find_card
from sam_audio_bench.run.results import model_label
from sam_audio_bench.stats.cost import machine

__all__ = ["build_site_data", "collect_item_scores"]


def build_site_data(root: Path, board: Board) -> SiteData:
    """Collects lines, tasks, metrics, cells, overall tables, reported numbers, agreement, slices, previews, and log."""
    return {
        "version": __version__,
        "lines": {line.id: _line(line, board) for line in sorted(board.lines, key=_sort_key)},
        "tasks": {label: _task(label, board) for label in board.tasks},
        "metrics": {name: _metric(name, board) for name in board.metrics},
        "cells": board.cells,
        "overall": [one for rule in board.rules if (one := _overall(rule, board))["rows"]],
        "reported": [{"id": name, **to_builtins(source)} for name, source in board.reported.items()],
        "agreement": _agreement(board),
        "slices": {label: task_slices(board, label) for label in board.tasks},
        "listen": _previews(root / "site" / LISTEN, board),
        "log": list(board.entries),
    }


def collect_item_scores(board: Board, task: str, metric: str) -> ItemScores:
    """Collects the scores of all items, the data of one comparison.

    Scores are not rounded, so that a comparison gives the same wins and ties as `sabench compare`.
    """
    groups = board.groups(task)
    found = {}
    for line in board.lines:
        values = line.values(task, metric)
        if values:
            found[line.id] = [values.get(item) for item in groups]
    return {"items": list(groups), "groups": list(groups.values()), "lines": found}


def _sort_key(line: LeaderboardLine) -> tuple[int, str]:
    """Returns the sort key of selection lists: separators first, then lines that are not ranked."""
    order = ("", "superseded", "withdrawn", "baseline", "oracle")
    return order.index(line.unranked_reason), line.id


def _line(line: LeaderboardLine, board: Board) -> LineData:
    header = line.submission.header
    separator, key = header.separator, (header.separator.name, header.separator.revision)
    entry = next(one for one in board.entries if one.event == "submitted" and one.key == key)
    factors = [task.real_time_factor for task in header.tasks if task.real_time_factor is not None]
    memory = [task.peak_memory_mib for task in header.tasks if task.peak_memory_mib is not None]
    on_device = [task.device_memory_mib for task in header.tasks if isinstance(task.device_memory_mib, int)]
    lags = [task.lag_ms for task in header.tasks if isinstance(task.lag_ms, int | float)]
    return {
        "name": line.name,
        "separator": separator.name,
        "revision": separator.revision,
        "kind": separator_kind(separator.name, separator.oracle),
        "why": line.unranked_reason,
        "picked_by": line.picked_by,
        "page": f"{case_sensitive_name(separator.name)}.html",
        "date": entry.date,
        "attempts": log.count_attempts(board.entries)[separator.name],
        "summary": separator.summary,
        "authors": separator.authors,
        "licence": separator.licence,
        "parameters": separator.parameters,
        "training_data": separator.training_data,
        "links": separator.links,
        "weights_sha256": separator.weights_sha256,
        "settings": separator.settings,
        "hardware": header.hardware,
        "real_time_factor": _significant(sum(factors) / len(factors)) if factors else None,
        "peak_memory_mib": max(memory, default=None),
        "device_memory_mib": max(on_device, default=None),
        "lag_ms": round_value(median(lags)) if lags else None,
        "machine": machine(header.hardware),
        "commands": sorted({" ".join(task.command) for task in header.tasks}),
        "seeds": sorted({task.seed for task in header.tasks}),
        "has_audio": header.has_audio,
        "tasks": list(line.submission.tasks),
    }


def _significant(value: float, digits: int = 3) -> float:
    return float(f"{value:.{digits}g}")


def _task(label: str, board: Board) -> TaskData:
    task = board.tasks[label]
    card = find_task_card(task.id)
    return {
        "id": task.id,
        "version": task.version,
        "split": task.split,
        "subset": task.subset,
        "page": f"{case_sensitive_name(label)}.html",
        "description": card.summary,
        "prompt": card.prompt,
        "items": len(board.groups(label)),
        "groups": len(set(board.groups(label).values())),
        "main": board.main_metric(label),
        "verdict": board.verdicts[label],
        "metrics": list(board.cells.get(label, {})),
    }


def _metric(name: str, board: Board) -> MetricData:
    record, card = board.metrics[name], find_card("metrics", name)
    return {
        "unit": record.unit,
        "higher_is_better": record.higher_is_better,
        "version": record.version,
        "parameters": dict(record.parameters),
        "weights_sha256": record.weights_sha256,
        "model": model_label(record),
        "summary": card.summary if card else "",
        "tolerance": card.tolerance if card else None,
        "listeners": find_evidence(name, record.weights_sha256),
    }


def _overall(rule: BoardRule, board: Board) -> OverallTable:
    verdict, rows = board.overall(rule)
    return {
        "id": rule.id, "title": rule.title, "metric": rule.metric, "split": rule.split, "subset": rule.subset,
        "parts": rule.parts, "rule": _rule(rule), "verdict": verdict, "rows": rows,
    }  # fmt: skip


def _rule(board: BoardRule) -> str:
    """Describes how the value of an overall table is computed."""
    parts = [f"{name} ({', '.join(tasks)})" for name, tasks in board.parts.items()]
    outer = f"the mean over {len(parts)} parts of " if len(parts) > 1 else ""
    return f"{board.metric}: {outer}the mean over tasks of the mean over items. {'; '.join(parts)}."


def _agreement(board: Board) -> list[Agreement]:
    """Computes the agreement of every two metrics: Spearman's ρ over the estimates of an item, averaged over items."""
    sums: dict[tuple[str, str], list[float]] = {}
    for task in board.tasks:
        names = list(board.cells.get(task, {}))
        for first, second in combinations(names, 2):
            sums.setdefault((first, second), []).extend(_within_items(board, task, first, second))
    return [
        {"metrics": list(pair), "rho": round_value(math.fsum(found) / len(found)), "items": len(found)}
        for pair, found in sums.items()
        if found
    ]


def _within_items(board: Board, task: str, first: str, second: str) -> list[float]:
    signs = [1 if board.metrics[name].higher_is_better else -1 for name in (first, second)]
    own = [(line.values(task, first), line.values(task, second)) for line in board.lines]
    found = []
    for item in board.groups(task):
        pairs = [(a[item] * signs[0], b[item] * signs[1]) for a, b in own if item in a and item in b]
        columns = [rankdata(column) for column in zip(*pairs, strict=True)]
        if len(pairs) > 2 and all(np.ptp(column) > 0 for column in columns):
            found.append(float(np.corrcoef(*columns)[0, 1]))
    return found


def _previews(folder: Path, board: Board) -> dict[str, list[PreviewData]]:
    """Reads task -> previews, with the paths of their files below the site; raises StoreError."""
    found: dict[str, list[PreviewData]] = {}
    for label in board.tasks:
        order = {item: place for place, item in enumerate(board.groups(label))}
        known = [(path, read_preview(path)) for path in (folder / case_sensitive_name(label)).glob(f"*/{ITEM}")]
        if unknown := [(path, one.item) for path, one in known if one.item not in order]:
            raise StoreError(f"expected {unknown[0][0]} to be of an item of {label}, found {unknown[0][1]}")
        for path, preview in sorted(known, key=lambda pair: order[pair[1].item]):
            digests = {line.id: _digest(line, label, preview.item) for line in board.lines}
            found.setdefault(label, []).append(
                {
                    "item": preview.item,
                    "text": preview.text,
                    "spans": preview.spans,
                    "seconds": preview.seconds,
                    "frames": preview.frames,
                    "credits": preview.credits,
                    "answers": {line: preview.answers[one] for line, one in digests.items() if one in preview.answers},
                    "folder": f"{LISTEN}/{case_sensitive_name(label)}/{path.parent.name}",
                    "has_reference": (path.parent / "reference.ogg").exists(),
                    "has_rest": (path.parent / "rest.ogg").exists(),
                    "loudness": preview.loudness or {},
                }
            )
    return found


def _digest(line: LeaderboardLine, label: str, item: str) -> str:
    """Returns the SHA-256 of a line's estimate of an item; "" without an estimate."""
    answers = line.submission.header.answers.get(label, {})
    return answers.get(estimate_file(answers, item, "target", line.picked_by) or "", "")
