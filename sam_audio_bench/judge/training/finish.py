"""Finishes a run: best weights, calibration, exported judge, report."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sam_audio_bench.files import atomic_write, sha256
from sam_audio_bench.judge.scores import AXES
from sam_audio_bench.judge.training.calibration import apply_knots, coverage, fit_knots, fit_scales
from sam_audio_bench.judge.training.checkpoint import State
from sam_audio_bench.judge.training.export import write_judge
from sam_audio_bench.judge.training.measures import agreement_rows
from sam_audio_bench.judge.training.rating import RatedExamples, rate_feed
from sam_audio_bench.judge.training.recipe import Recipe
from sam_audio_bench.judge.training.report import JudgeReport, data_facts, package_versions, write_card, write_report
from sam_audio_bench.judge.training.setup import TrainingSetup

__all__ = ["finish"]


def finish(recipe: Recipe, folder: Path, setup: TrainingSetup, state: State) -> None:
    """Writes ``judge/``, ``predictions.parquet`` and ``report/`` of a run; repeating it changes nothing."""
    judge = setup.start.judge
    learning = {name: one for name, one in setup.model.named_parameters() if one.requires_grad}
    with torch.no_grad():
        for name, parameter in learning.items():
            parameter.copy_((state.best or state.average)[name])
    setup.model.eval()
    judge.calibrate(None)
    raw = rate_feed(setup.model, setup.held_out, recipe.optimizer.max_frames)
    inside = _cross_fitted(raw, recipe.calibration)
    _calibrate(setup, raw, recipe.calibration)
    rated = rate_feed(setup.model, setup.held_out, recipe.optimizer.max_frames)
    write_judge(folder / "judge", judge, tensors=setup.start.tensors, tokenizer=setup.start.tokenizer)
    with atomic_write(folder / "predictions.parquet") as temporary:
        rated.frame().to_parquet(temporary, index=False)
    best = next((look for look in state.looks if look["srcc_overall"] == state.best_score), {"step": float(state.step)})
    report = JudgeReport(
        name=recipe.name,
        rated=rated,
        agreement=agreement_rows(rated, resamples=500, seed=recipe.seed),
        coverage=inside,
        looks=state.looks,
        best=int(best["step"]),
        facts={
            "recipe": recipe.plain(),
            "data": {"trained on": data_facts(setup.training.examples), "held out": data_facts(rated.examples)},
            "parameters": sum(one.numel() for one in judge.parameters()),
            "parameters_trained": sum(one.numel() for one in learning.values()),
            "weights_sha256": sha256((folder / "judge" / "model.safetensors").read_bytes()),
            "packages": package_versions(),
        },
    )
    write_report(folder / "report", report)
    write_card(folder / "judge" / "README.md", report, rate=judge.processor.rate)


def _calibrate(setup: TrainingSetup, raw: RatedExamples, kind: str) -> None:
    """Calibrates scale and spread of a judge on its held-out ratings."""
    judge = setup.start.judge
    knots = fit_knots(raw.values, raw.scores, kind)
    judge.calibrate(None if knots is None else knots.to(judge.mean.device))
    if raw.spreads is not None and judge.spread_head is not None:
        scales = fit_scales(apply_knots(raw.values, knots), raw.spreads, raw.scores)
        with torch.no_grad():
            judge.spread_head.bias.add_(torch.as_tensor(np.log(scales)).to(judge.spread_head.bias))


def _cross_fitted(raw: RatedExamples, kind: str) -> dict[str, float | None]:
    """Coverage of the 80 % interval by axis, where scale and spread are fitted on the other half of the recordings."""
    if raw.spreads is None:
        return {}
    first = _half(raw)
    if first.all():
        return {}
    values, spreads = np.empty_like(raw.values), np.empty_like(raw.spreads)
    for here in (first, ~first):
        fitted = ~here
        knots = fit_knots(raw.values[fitted], raw.scores[fitted], kind)
        scales = fit_scales(apply_knots(raw.values[fitted], knots), raw.spreads[fitted], raw.scores[fitted])
        values[here] = apply_knots(raw.values[here], knots)
        spreads[here] = raw.spreads[here] * scales
    return dict(zip(AXES, coverage(values, spreads, raw.scores), strict=True))


def _half(raw: RatedExamples) -> NDArray[np.bool_]:
    """Mask of the rows of one half of the recordings, chosen by hashes of their names."""
    groups = raw.examples.rows["group"].astype(str)
    order = sorted(groups.unique(), key=lambda group: hashlib.sha256(group.encode()).digest())
    return groups.isin(order[::2]).to_numpy(bool)
