"""Finishes a run: selects the best weights, calibrates, exports the judge and writes the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sam_audio_bench.errors import MediaError
from sam_audio_bench.files import atomic_write, sha256
from sam_audio_bench.judge.checkpoints import find_judge
from sam_audio_bench.judge.network import JudgeNetwork
from sam_audio_bench.judge.training.calibration import (
    MIN_MIXTURES,
    Calibration,
    fit_calibration,
    fit_cautious_calibration,
)
from sam_audio_bench.judge.training.checkpoint import State
from sam_audio_bench.judge.training.examples import Examples
from sam_audio_bench.judge.training.export import write_judge
from sam_audio_bench.judge.training.measures import agreement_rows
from sam_audio_bench.judge.training.rating import rate_dataset
from sam_audio_bench.judge.training.recipe import Recipe
from sam_audio_bench.judge.training.report import JudgeReport, data_facts, package_versions, write_card, write_report
from sam_audio_bench.judge.training.setup import TrainingSetup
from sam_audio_bench.judge.training_mixtures import FILE, TrainingMixtures

__all__ = ["finish"]


def finish(recipe: Recipe, folder: Path, setup: TrainingSetup, state: State) -> None:
    """Writes ``judge/``, ``predictions.parquet`` and ``report/`` of a run; repeating it changes nothing."""
    judge = setup.start.judge
    trainable = {name: one for name, one in setup.model.named_parameters() if one.requires_grad}
    weights = state.best or state.average
    _set_weights(trainable, weights)
    setup.model.eval()
    judge.calibrate(None)
    found = _fit(recipe, setup, trainable, weights)
    _apply_calibration(judge, found)
    rated = rate_dataset(setup.model, setup.held_out, recipe.optimizer.max_frames)
    write_judge(folder / "judge", judge, tensors=setup.start.tensors, tokenizer=setup.start.tokenizer)
    _write_trained_on(folder / "judge", recipe, setup.training.examples)
    with atomic_write(folder / "predictions.parquet") as temporary:
        rated.frame().to_parquet(temporary, index=False)
    best = next((look for look in state.looks if look["srcc_overall"] == state.best_score), {"step": float(state.step)})
    report = JudgeReport(
        name=recipe.name,
        rated=rated,
        agreement=agreement_rows(rated, resamples=500, seed=recipe.seed),
        coverage=found.coverage,
        calibration=found.note,
        looks=state.looks,
        best=int(best["step"]),
        facts={
            "recipe": recipe.plain(),
            "data": {"trained on": data_facts(setup.training.examples), "held out": data_facts(rated.examples)},
            "dropped": _count_dropped(setup),
            "parameters": sum(one.numel() for one in judge.parameters()),
            "parameters_trained": sum(one.numel() for one in trainable.values()),
            "weights_sha256": sha256((folder / "judge" / "model.safetensors").read_bytes()),
            "packages": package_versions(),
        },
    )
    write_report(folder / "report", report)
    write_card(folder / "judge" / "README.md", report, rate=judge.processor.rate)


def _fit(
    recipe: Recipe, setup: TrainingSetup, trainable: Mapping[str, nn.Parameter], weights: Mapping[str, Tensor]
) -> Calibration:
    """Fits scale and spread on the held-out rows; if these are few, also uses training rows and the initial judge."""
    most = recipe.optimizer.max_frames
    held = rate_dataset(setup.model, setup.held_out, most, bounded=False)
    rows = held.examples.rows
    groups, mixtures = list(rows["group"].astype(str)), int(rows["mixture"].nunique())
    if mixtures >= MIN_MIXTURES and len(set(groups)) > 1:
        strata = list(rows["domain"].astype(str) + " " + rows["system"].astype(str))
        unfamiliar = _without_classes(setup, most) if setup.start.fresh else None
        return fit_calibration(held.values, held.spreads, held.scores, groups, recipe.calibration, strata, unfamiliar)
    learned = rate_dataset(setup.model, setup.training, most, bounded=False)
    before = _initial_ratings(setup, trainable, most)
    _set_weights(trainable, weights)
    knots = setup.start.tensors.get("calibration") if recipe.calibration != "none" and not setup.start.fresh else None
    scores = np.concatenate([held.scores, learned.scores])
    return fit_cautious_calibration(
        before if before is not None else np.broadcast_to(_training_mean(setup), scores.shape),
        np.concatenate([held.values, learned.values]),
        None if held.spreads is None or learned.spreads is None else np.concatenate([held.spreads, learned.spreads]),
        scores,
        np.arange(len(scores)) < len(held.values),
        mixtures=mixtures,
        knots=None if knots is None else knots.float(),
    )


def _without_classes(setup: TrainingSetup, most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Rates the held-out rows without knowledge of classes; None without known classes or a predicted spread."""
    ear = setup.start.judge.ear
    if ear is None or not len(ear.prototypes.texts):
        return None
    rated = rate_dataset(setup.model, setup.held_out, most, bounded=False, text_trust=0.0)
    return None if rated.spreads is None else (rated.values, rated.spreads)


def _training_mean(setup: TrainingSetup) -> NDArray[np.float64]:
    """Returns the mean of the training ratings by axis, which is what a new judge predicts before training."""
    found: NDArray[np.float64] = setup.start.judge.mean.detach().double().cpu().numpy()
    return found


def _initial_ratings(
    setup: TrainingSetup, trainable: Mapping[str, nn.Parameter], most: int
) -> NDArray[np.float64] | None:
    """Rates held-out rows and training rows by the initial judge; returns None if its weights were random."""
    judge, tensors = setup.start.judge, setup.start.tensors
    if setup.start.fresh:
        return None
    named = {name: tensors.get(name.removeprefix("judge.")) for name in trainable}
    initial = {name: torch.zeros_like(trainable[name]) if one is None else one for name, one in named.items()}
    _set_weights(trainable, initial)
    knots = tensors.get("calibration")
    judge.calibrate(None if knots is None else knots.float().to(judge.mean.device))
    found = [
        rate_dataset(setup.model, dataset, most, bounded=False).values for dataset in (setup.held_out, setup.training)
    ]
    judge.calibrate(None)
    return np.concatenate(found)


def _set_weights(trainable: Mapping[str, nn.Parameter], weights: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(weights[name])


def _apply_calibration(judge: JudgeNetwork, found: Calibration) -> None:
    """Applies a calibration of scale and spread to a judge."""
    judge.calibrate(None if found.knots is None else found.knots.to(judge.mean.device))
    if found.scales is not None and judge.spread_head is not None:
        with torch.no_grad():
            judge.spread_head.bias.add_(torch.as_tensor(np.log(found.scales)).to(judge.spread_head.bias))


def _write_trained_on(folder: Path, recipe: Recipe, examples: Examples) -> None:
    """Records in a judge's folder which mixtures it and its initial judge were trained on."""
    earlier = TrainingMixtures.of_folder(find_judge(recipe.init).folder) if recipe.init else TrainingMixtures()
    clips = [examples.clips[place] for place in sorted(set(examples.rows["mixture"]))]
    try:
        earlier.extended(clip.read_audio() for clip in clips).write(folder)
    except MediaError:  # training needs only cached features, so that the clips may be missing
        (folder / FILE).unlink(missing_ok=True)


def _count_dropped(setup: TrainingSetup) -> dict[str, int]:
    """Returns the numbers of rows that were left out, by reason."""
    sides = (setup.training.examples.dropped, setup.held_out.examples.dropped)
    return dict(sum(map(Counter, sides), Counter()))
