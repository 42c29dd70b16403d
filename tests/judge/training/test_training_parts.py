"""Losses, rates, averages, calibration, parts that learn: against formulas, oracles and properties."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.optimize import isotonic_regression

from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.judge import SAJ
from sam_audio_bench.judge.training.calibration import (
    apply_knots,
    assign_folds,
    coverage,
    fit_calibration,
    fit_cautious_calibration,
    fit_knots,
    fit_scales,
)
from sam_audio_bench.judge.training.checkpoint import NAME, State, read_state, write_state
from sam_audio_bench.judge.training.losses import (
    Targets,
    compute_losses,
    laplace_nll,
    pairwise_ranking_loss,
    weighted_huber_loss,
)
from sam_audio_bench.judge.training.optimizer import WeightEMA, learning_rate, parameter_groups
from sam_audio_bench.judge.training.recipe import Loss, Optimizer, recipe_of
from sam_audio_bench.judge.training.trainable_model import TrainableModel, load_initial_judge, select_trainable_parts

NAN = float("nan")


def truth(scores: Any, mixtures: Any = (0, 0, 1), weights: Any = (1.0, 1.0, 1.0), gap: float = 0.3) -> Targets:
    return Targets(
        scores=torch.tensor(scores), weights=torch.tensor(weights), mixtures=torch.tensor(mixtures), gap=gap
    )  # fmt: skip


def test_huber_by_hand() -> None:
    values = torch.tensor([[0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]])
    scores = torch.tensor([[0.5, NAN, NAN, NAN], [1.0, 1.0, NAN, NAN]])
    axes, weights = torch.tensor([1.0, 2.0, 1.0, 1.0]), torch.tensor([1.0, 3.0])
    # 0.5²/2 = 0.125 (weight 1); 1 · (2 − 0.5) = 1.5 (weight 3); 0.5 (weight 3 · 2)
    expected = (1 * 0.125 + 3 * 1.5 + 6 * 0.5) / (1 + 3 + 6)
    assert float(weighted_huber_loss(values, scores, weights, axes, delta=1.0)) == pytest.approx(expected)
    assert float(weighted_huber_loss(values, torch.full_like(scores, NAN), weights, axes, delta=1.0)) == 0


def test_unrated_axes_have_no_gradient() -> None:
    values = torch.zeros(1, 8, requires_grad=True)
    scores = [[1.0, NAN, NAN, NAN]]
    compute_losses(values, truth(scores, mixtures=(0,), weights=(1.0,)), Loss()).total.backward()
    assert values.grad is not None
    there = values.grad[0] != 0
    assert there.tolist() == [True, False, False, False, True, False, False, False]


def test_the_spread_does_not_move_the_mean() -> None:
    values = torch.randn(3, 8, requires_grad=True)
    found = compute_losses(values, truth(torch.randn(3, 4).tolist()), Loss(spread=1.0))
    found.spread.backward()
    assert values.grad is not None
    assert not values.grad[:, :4].any()
    assert values.grad[:, 4:].any()


def test_ranking_counts_clear_pairs_of_one_query() -> None:
    scores = [[2.0] * 4, [0.0] * 4, [-5.0] * 4]
    found = pairwise_ranking_loss(torch.tensor([0.0, 1.0, 9.0]), truth(scores), temperature=0.5)
    assert float(found) == pytest.approx(math.log1p(math.exp(2.0)))
    assert float(pairwise_ranking_loss(torch.zeros(3), truth(scores, gap=2.5), temperature=1.0)) == 0
    assert float(pairwise_ranking_loss(torch.zeros(3), truth([[NAN] * 4] * 3), temperature=1.0)) == 0


def test_the_likelihood_is_best_at_the_true_spread() -> None:
    generator = np.random.default_rng(0)
    errors = torch.tensor(generator.laplace(scale=0.7 / 2**0.5, size=(20_000, 1)).repeat(4, 1), dtype=torch.float32)
    spreads = torch.linspace(0.4, 1.2, 17)
    found = [
        float(laplace_nll(torch.zeros_like(errors), s.log().expand_as(errors), errors, torch.ones(len(errors))))
        for s in spreads
    ]
    assert abs(float(spreads[int(np.argmin(found))]) - 0.7) < 0.051


def test_learning_rate() -> None:
    recipe = Optimizer(learning_rate=2.0e-3, final_rate=0.1, warmup=0.2)
    assert learning_rate(recipe, 0.0) > 0
    assert learning_rate(recipe, 0.1) == pytest.approx(1e-3)
    assert learning_rate(recipe, 0.2) == pytest.approx(2e-3)
    assert learning_rate(recipe, 0.6) == pytest.approx((2e-3 + 2e-4) / 2)
    assert learning_rate(recipe, 1.0) == pytest.approx(2e-4)


def test_the_average_follows_and_steps_aside() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    average = WeightEMA({"w": weight}, 0.5)
    with torch.no_grad():
        weight.fill_(1.0)
    average.update({"w": weight}, 100)
    assert average.tensors()["w"].tolist() == [0.5, 0.5]
    with average.swapped_in({"w": weight}):
        assert weight.tolist() == [0.5, 0.5]
    assert weight.tolist() == [1.0, 1.0]


def test_vectors_do_not_decay(recipe: dict[str, Any]) -> None:
    judge = load_initial_judge(recipe_of(recipe)).judge
    select_trainable_parts(judge, ["all"])
    model = TrainableModel(judge, trains_backbone=False)
    learning = {name: one for name, one in model.named_parameters() if one.requires_grad}
    groups = parameter_groups(learning, Optimizer(weight_decay=0.1))
    names = {id(one): name for name, one in learning.items()}
    still = {names[id(one)] for group in groups if not group["weight_decay"] for one in group["params"]}
    assert {"judge.ear.evidence.1.bias", "judge.spread_head.bias"} <= still
    assert "judge.finetune_transformer.embeddings.cls_token" in still
    assert "judge.head.weight" not in still
    assert sum(len(group["params"]) for group in groups) == len(learning)


@pytest.mark.parametrize(
    ("names", "learns", "rests"),
    [
        (["fusion"], "cat_audio_proj.weight", "head.weight"),
        (["head"], "finetune_transformer.norm.weight", "text_proj1.weight"),
        (["backbone"], "transformer.norm.weight", "head.weight"),
        (["all"], "data_proj.weight", "text_model.embeddings.tok_embeddings.weight"),
    ],
)  # fmt: skip
def test_parts_of_a_released_judge(tiny_folder: Path, names: list[str], learns: str, rests: str) -> None:
    judge = SAJ.from_pretrained(tiny_folder)
    trains_backbone = select_trainable_parts(judge, names)
    found = dict(judge.named_parameters())
    assert found[learns].requires_grad
    assert not found[rests].requires_grad
    assert not any(one.requires_grad for name, one in found.items() if name.startswith("audio_codec"))
    assert trains_backbone == ("backbone" in names or "all" in names)


def test_parts_of_a_small_judge(small_folder: Path) -> None:
    judge = SAJ.from_pretrained(small_folder)
    assert not select_trainable_parts(judge, ["all"])
    learning = {name for name, one in judge.named_parameters() if one.requires_grad}
    assert {name.split(".")[1] for name in learning if name.startswith("ear.")} == {"evidence"}
    with pytest.raises(UsageError, match="its audio encoder is trained beforehand"):
        select_trainable_parts(judge, ["backbone"])


@pytest.mark.bits
def test_a_start_draws_what_the_seed_says(recipe: dict[str, Any], tiny_folder: Path) -> None:
    first, again, other = (
        load_initial_judge(recipe_of({**recipe, "seed": seed})).judge.state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])
    assert torch.equal(first["ear.words.table"], other["ear.words.table"])
    options = {"init": str(tiny_folder), "data": {"train": "x"}}
    kept = load_initial_judge(recipe_of(options)).judge.state_dict()
    reset = load_initial_judge(recipe_of({**options, "reset": ["head"]}))
    assert reset.fresh
    assert not torch.equal(kept["head.weight"], reset.judge.state_dict()["head.weight"])
    assert torch.equal(kept["cat_audio_proj.weight"], reset.judge.state_dict()["cat_audio_proj.weight"])


def test_a_start_needs_its_parts(recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Precondition, match="small judge's words, or"):
        load_initial_judge(recipe_of({**recipe, "words": str(tmp_path)}))
    for judge in ({"bottleneck_dim": 3}, {"small": 3}):
        with pytest.raises(UsageError, match=r"expected \[judge.small\] in the recipe"):
            load_initial_judge(recipe_of({**recipe, "judge": judge}))


def test_the_line_is_monotone_and_fits_better() -> None:
    generator = np.random.default_rng(1)
    values = generator.uniform(1.5, 4, (1000, 4))
    scores = np.clip(1 + 4 / (1 + np.exp(-3 * (values - 3))) + generator.normal(0, 0.3, (1000, 4)), 1, 5)
    knots = fit_knots(values, scores, "least_squares")
    found = apply_knots(values, knots)
    for axis in range(4):
        order = np.argsort(values[:, axis])
        assert (np.diff(found[order, axis]) > 0).all()
        best = isotonic_regression(scores[order, axis]).x
        floor = np.mean((best - scores[order, axis]) ** 2)
        error = np.mean((found[:, axis] - scores[:, axis]) ** 2)
        assert floor < error < 1.1 * floor + 0.01
    spread = apply_knots(values, fit_knots(values, scores, "quantiles"))
    np.testing.assert_allclose(np.sort(spread, axis=0).std(axis=0), scores.std(axis=0), rtol=0.05)
    assert fit_knots(values, scores, "none") is None


def test_the_judge_maps_as_calibration_says(tiny_folder: Path) -> None:
    generator = np.random.default_rng(2)
    values, scores = generator.uniform(1, 5, (300, 4)), generator.uniform(1, 5, (300, 4))
    scores[5, 2] = NAN
    knots = fit_knots(values, scores, "least_squares")
    judge = SAJ.from_pretrained(tiny_folder)
    judge.calibrate(knots)
    seen = np.concatenate([values, [[0.2] * 4, [6.0] * 4]])
    normal = (torch.tensor(seen, dtype=torch.float32) - judge.mean) / judge.std
    found = judge.pool(normal[:, None], torch.ones(len(seen), 1, dtype=torch.bool)).values
    np.testing.assert_allclose(found.numpy(), apply_knots(seen, knots), atol=1e-4)


def test_few_or_equal_ratings_still_make_a_line() -> None:
    for values, scores in ((np.ones((2, 4)), np.full((2, 4), 3.0)), (np.full((1, 4), 2.0), np.full((1, 4), NAN))):
        knots = fit_knots(values, scores, "least_squares")
        assert knots is not None
        assert torch.isfinite(knots).all()
        assert (knots[:, 1:] > knots[:, :-1]).all()


def test_intervals_hold_what_they_should() -> None:
    generator = np.random.default_rng(3)
    spreads = generator.uniform(0.2, 1.0, (5000, 4))
    errors = generator.normal(size=(5000, 4)) * spreads * [1, 2, 0.5, 3]
    scales = fit_scales(np.zeros((5000, 4)), spreads, errors)
    np.testing.assert_allclose(scales, [1, 2, 0.5, 3], rtol=0.06)
    for nominal in (0.5, 0.8, 0.9):
        np.testing.assert_allclose(coverage(np.zeros((5000, 4)), spreads * scales, errors, nominal), nominal, atol=0.02)


def test_intervals_are_as_wide_as_most_sorts_of_estimates_need() -> None:
    generator = np.random.default_rng(4)
    need = np.repeat([1.0, 1.0, 1.0, 2.0, 2.0, 4.0, 9.0], [400, 400, 400, 400, 400, 400, 5])
    strata = np.repeat(list("abcdefg"), [400, 400, 400, 400, 400, 400, 5])
    errors, zero = need[:, None] * generator.normal(size=(len(need), 4)), np.zeros((len(need), 4))
    np.testing.assert_allclose(fit_scales(zero, zero + 1, errors, strata), 2, rtol=0.15)  # g has too few to count
    few = need < 2
    np.testing.assert_allclose(fit_scales(zero[few], zero[few] + 1, errors[few], strata[few]), 1, rtol=0.1)
    np.testing.assert_array_equal(
        fit_scales(zero, zero + 1, errors), fit_scales(zero, zero + 1, errors, ["a"] * len(need))
    )


def test_an_interval_knows_by_how_much_training_helped() -> None:
    held, wide = [], []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        scores = generator.uniform(1, 5, (200, 4))
        before = scores + generator.normal(0, 1.5, scores.shape)
        after = scores + generator.normal(0, 0.4, scores.shape)
        held_out = np.arange(200) < 55
        found = fit_cautious_calibration(
            before, after, np.full_like(scores, 0.3), scores, held_out, mixtures=11, knots=None
        )
        assert found.scales is not None
        new = generator.normal(0, 0.4, (500, 4))
        held.append(coverage(new, 0.3 * found.scales * np.ones_like(new), np.zeros_like(new)))
        wide.append(found.scales)
    assert 0.8 < np.mean(held) < 0.95
    assert np.mean(wide) < 0.5 * 1.5 / 0.3  # what the errors before training ask for


def drawn(generator: np.random.Generator, mixtures: int, error: float, bias: float = 0.2) -> tuple[np.ndarray, ...]:
    """Scores, ratings whose errors are partly common to the five estimates of a mixture, and names of recordings."""
    scores = generator.uniform(1, 5, (mixtures * 5, 4))
    common = np.repeat(generator.normal(0, error * 0.8, (mixtures, 4)), 5, axis=0)
    values = 3 + 0.7 * (scores - 3) + bias + common + generator.normal(0, error * 0.6, scores.shape)
    return scores, values, np.repeat([f"r{place}" for place in range(mixtures)], 5)


def test_folds_keep_recordings_whole() -> None:
    groups = [f"g{place % 17}" for place in range(100)]
    folds = assign_folds(groups)
    assert set(folds) == {0, 1, 2, 3, 4}
    assert all(len({fold for fold, name in zip(folds, groups, strict=True) if name == one}) == 1 for one in groups)
    assert assign_folds(["a", "b"]).tolist() in ([0, 1], [1, 0])


def test_cross_fitted_intervals_hold_on_new_recordings() -> None:
    held = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        scores, values, groups = drawn(generator, 30, 0.6)
        found = fit_calibration(values, np.full_like(values, 0.2), scores, groups, "least_squares")
        assert found.scales is not None
        assert set(found.coverage) == {"overall", "recall", "precision", "faithfulness"}
        scores, values, _ = drawn(generator, 200, 0.6)
        held.append(coverage(apply_knots(values, found.knots), 0.2 * np.ones_like(values) * found.scales, scores))
    assert 0.76 < np.mean(held) < 0.84
    assert np.min(np.mean(held, axis=1)) > 0.7


def test_intervals_allow_for_classes_that_are_not_known() -> None:
    """Ratings of the same rows with three times the error where the class is withheld."""
    scores, values, groups = drawn(np.random.default_rng(3), 60, 0.3)
    _, worse, _ = drawn(np.random.default_rng(3), 60, 0.9)
    spreads = np.full_like(values, 0.2)
    sorts = [f"sort {place % 5}" for place in range(len(values))]
    alone = fit_calibration(values, spreads, scores, groups, "least_squares", sorts)
    same = fit_calibration(values, spreads, scores, groups, "least_squares", sorts, (values, spreads))
    wider = fit_calibration(values, spreads, scores, groups, "least_squares", sorts, (worse, spreads))
    assert alone.scales is not None
    assert same.scales is not None
    assert wider.scales is not None
    np.testing.assert_allclose(same.scales, alone.scales, rtol=0.1)
    assert (wider.scales > 1.5 * alone.scales).all()
    assert wider.knots is not None
    assert alone.knots is not None
    assert torch.equal(wider.knots, alone.knots)  # the scale of ratings is that of known classes
    assert all(wider.coverage[axis] > share for axis, share in alone.coverage.items())


def test_intervals_hold_after_training_on_few_ratings() -> None:
    """A judge that knows its training rows by heart and is too sure; three mixtures are held out."""
    honest, former = [], []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        scores, before, _ = drawn(generator, 40, 0.7)
        held = np.arange(len(scores)) < 15
        unseen = (
            scores + np.repeat(generator.normal(0, 0.45, (40, 4)), 5, axis=0) + generator.normal(0, 0.3, scores.shape)
        )
        after = np.where(held[:, None], unseen, scores + generator.normal(0, 0.1, scores.shape))
        spreads = np.where(held[:, None], 0.25, 0.12) * np.ones_like(scores)
        found = fit_cautious_calibration(before, after, spreads, scores, held, mixtures=3, knots=None)
        assert found.coverage == {}
        assert "Fewer than 20 mixtures" in found.note
        assert found.scales is not None
        new = generator.uniform(1, 5, (500, 4))
        rated = new + np.hypot(0.45, 0.3) * generator.normal(size=new.shape)
        honest.append(coverage(rated, 0.25 * np.ones_like(new) * found.scales, new))
        knots = fit_knots(after[held], scores[held], "least_squares")
        scales = fit_scales(apply_knots(after[held], knots), spreads[held], scores[held])
        former.append(coverage(apply_knots(rated, knots), 0.25 * np.ones_like(new) * scales, new))
    assert 0.8 <= np.mean(honest) < 0.97
    assert np.quantile(honest, 0.05) > 0.78
    assert np.quantile(former, 0.05) < 0.72  # what three mixtures give


def test_the_initial_scale_stays_where_it_fits() -> None:
    generator = np.random.default_rng(0)
    scores, values, _ = drawn(generator, 10, 0.2, bias=0.0)
    scores[:, 3] = NAN
    line = torch.tensor([[[1.0] * 4, [5.0] * 4], [[0.2] * 4, [5.8] * 4]])  # undoes the shrinking of `drawn`
    held = np.arange(50) < 10
    for ratings, kept in ((values, True), (np.nan_to_num(scores, nan=3.0), False)):
        found = fit_cautious_calibration(
            values, ratings, np.full_like(values, 0.3), scores, held, mixtures=2, knots=line
        )
        assert (found.knots is not None) == kept
        assert ("the initial judge's" in found.note) == kept
        assert found.scales is not None
        assert found.scales[3] == 1  # nobody rated that axis
        assert np.isfinite(found.scales).all()
    assert fit_cautious_calibration(values, values, None, scores, held, mixtures=2, knots=line).scales is None


def test_checkpoints(tmp_path: Path) -> None:
    assert read_state(tmp_path, "a") is None
    state = State(fingerprint="a", step=3, weights={"w": torch.ones(2)}, looks=[{"srcc_overall": 0.5}], best_score=0.5)
    write_state(tmp_path, state)
    found = read_state(tmp_path, "a")
    assert found is not None
    assert (found.step, found.looks, found.weights["w"].tolist()) == (3, state.looks, [1.0, 1.0])
    with pytest.raises(StoreError, match="found one of others"):
        read_state(tmp_path, "b")
    content = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match="found a damaged one"):
        read_state(tmp_path, "a")


def test_a_start_takes_parts_of_a_judge_in_half_precision(
    recipe: dict[str, Any], small_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_folder, tmp_path / "judge")
    tensors = load_file(small_folder / "model.safetensors")
    halved = {name: one.half() if one.dtype == torch.float32 else one for name, one in tensors.items()}
    save_file(halved, tmp_path / "judge" / "model.safetensors")
    place = str(tmp_path / "judge")
    judge = load_initial_judge(recipe_of({**recipe, "listener": place, "words": place})).judge
    found = judge.state_dict()
    for name in ("ear.listener.embed.weight", "ear.words.names"):
        torch.testing.assert_close(found[name].float(), halved[name].float(), rtol=0, atol=0)
    silence = torch.zeros(1, 1, 4 * 640)
    assert {one.dtype for one in judge.encode_pair(silence, silence)} == {torch.float32}
    assert judge.processor.tokens(["dog"])[0].tolist() == [[1]]
