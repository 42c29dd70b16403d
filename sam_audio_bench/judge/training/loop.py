"""Training loop: steps, evaluations on held-out data, checkpoints, and the final judge.

Random numbers of a step depend only on seed and step, so that an interrupted run resumes to the same weights. Processes
are those of accelerate: each processes its share of the batches of a step, and gradients are averaged.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam_audio_bench.devices import find_device
from sam_audio_bench.errors import Precondition, StoreError, UsageError
from sam_audio_bench.files import write_json
from sam_audio_bench.judge.training.batches import plan_epoch
from sam_audio_bench.judge.training.checkpoint import NAME, State, read_state, write_state
from sam_audio_bench.judge.training.dataset import RatingDataset
from sam_audio_bench.judge.training.finish import finish
from sam_audio_bench.judge.training.losses import Losses, compute_losses
from sam_audio_bench.judge.training.measures import held_out_metrics
from sam_audio_bench.judge.training.optimizer import WeightEMA, learning_rate, parameter_groups
from sam_audio_bench.judge.training.rating import rate_dataset
from sam_audio_bench.judge.training.recipe import Recipe
from sam_audio_bench.judge.training.setup import ProcessContext, TrainingSetup, prepare_training
from sam_audio_bench.judge.training.trainable_model import Batch, TrainableModel
from sam_audio_bench.run.progress import Progress

__all__ = ["train"]


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    encode_only: bool = False,
    show: bool | None = None,
) -> Path | None:
    """Trains a judge and writes it with its report into the run's folder.

    Args:
        recipe: configuration of the run.
        folder: folder of the run, which receives ``judge/``, ``report/``, ``predictions.parquet`` and ``tensorboard/``.
        resume: whether to resume from the folder's checkpoint, if there is one.
        device: "cpu", or "auto" (chosen by accelerate).
        encode_only: whether to stop when all features are cached.
        show: whether to show a progress bar; None: only in a terminal.

    Returns:
        The judge's folder; None with ``encode_only``, and in all processes except the main one.

    Raises:
        Precondition: accelerate or TensorBoard is not installed, or something that the recipe names is missing.
        UsageError: the folder has a checkpoint and ``resume`` is false, or data are inconsistent.
        StoreError: the checkpoint cannot be resumed.
    """
    if (folder / NAME).exists() and not resume:
        raise UsageError(
            f"expected a new folder, found a checkpoint in {folder}; continue with --resume, or name another"
        )
    accelerator = _accelerator(recipe, device)
    place = ProcessContext(
        device=accelerator.device, rank=accelerator.process_index, ranks=accelerator.num_processes,
        wait=accelerator.wait_for_everyone,
    )  # fmt: skip
    show = show if accelerator.is_main_process else False
    with Progress(1, show=show) as progress:
        ready = prepare_training(recipe, folder, place, progress.step_callback("encoding"), encode_only=encode_only)
        if encode_only:
            return None
        if accelerator.is_main_process:
            write_json(folder / "recipe.json", recipe.plain())
        run = _Run(recipe, folder, ready, accelerator)
        run.steps(progress.step_callback("training"))
        run.check_agreement()
        if accelerator.is_main_process:
            finish(recipe, folder, ready, run.state)
        accelerator.wait_for_everyone()
    return folder / "judge" if accelerator.is_main_process else None


class _Run:
    """Runs the steps of a recipe from the last checkpoint to the end."""

    def __init__(self, recipe: Recipe, folder: Path, ready: TrainingSetup, accelerator: Any) -> None:
        self.recipe, self.folder, self.ready, self.accelerator = recipe, folder, ready, accelerator
        self.unwrapped: TrainableModel = ready.model
        trainable = {name: one for name, one in self.unwrapped.named_parameters() if one.requires_grad}
        optimizer = torch.optim.AdamW(
            parameter_groups(trainable, recipe.optimizer), lr=recipe.optimizer.learning_rate,
            betas=recipe.optimizer.betas,
        )  # fmt: skip
        self.average = WeightEMA(trainable, recipe.optimizer.ema)
        self.state = read_state(folder, ready.fingerprint) or State(fingerprint=ready.fingerprint)
        if self.state.step:
            with torch.no_grad():
                for name, parameter in trainable.items():
                    parameter.copy_(self.state.weights[name])
            optimizer.load_state_dict(self.state.optimizer)
            self.average.load(self.state.average)
        self.trainable = trainable
        self.model, self.optimizer = accelerator.prepare(self.unwrapped, optimizer)
        self.writer = _writer(folder, self.state.step) if accelerator.is_main_process else None

    def steps(self, progress: Callable[[int, int], None]) -> None:
        """Trains until the last epoch or until early stopping."""
        recipe, state = self.recipe, self.state
        while state.epoch < recipe.optimizer.epochs and not self._stops_early():
            batches = self._batches(state.epoch)
            share = recipe.optimizer.accumulate * self.accelerator.num_processes
            count = math.ceil(len(batches) / share)
            while state.batch < count:
                own = [batches[at % len(batches)] for at in self._batch_indices(state.batch * share, share)]
                fraction = (state.epoch + state.batch / count) / recipe.optimizer.epochs
                self._step(own, fraction)
                state.batch += 1
                state.step += 1
                last = state.batch == count
                if last:
                    state.epoch, state.batch = state.epoch + 1, 0
                progress(round(1000 * (state.epoch + state.batch / count)), 1000 * recipe.optimizer.epochs)
                evaluated = state.step % recipe.stop.every == 0 if recipe.stop.every else last
                if evaluated:
                    self._evaluate()
                if evaluated or state.step % recipe.stop.checkpoint == 0:
                    self._save()
                if last or self._stops_early():
                    break
        if self.writer is not None:
            self.writer.close()

    def check_agreement(self) -> None:
        """Raises StoreError if processes have different weights, which communication faults can cause."""
        if self.accelerator.num_processes == 1:
            return
        from accelerate.utils import gather_object

        digest = hashlib.sha256(b"".join(one.numpy().tobytes() for one in self.average.tensors().values())).hexdigest()
        found = gather_object([digest])
        if len(set(found)) > 1:
            raise StoreError(
                f"expected equal weights in all {len(found)} processes, found {len(set(found))} kinds; train "
                "again, with NCCL_DEBUG=INFO to see why"
            )

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """Returns the batches of an epoch for all processes."""
        dataset, optimizer = self.ready.training, self.recipe.optimizer
        return plan_epoch(
            dataset.mixtures, dataset.frames, seed=self.recipe.seed, epoch=epoch, max_frames=optimizer.max_frames,
            together=optimizer.ratings_per_mixture,
        )  # fmt: skip

    def _batch_indices(self, first: int, share: int) -> range:
        """Returns the indices of this process's batches in a step."""
        return range(first + self.accelerator.process_index, first + share, self.accelerator.num_processes)

    def _step(self, batches: list[NDArray[np.int64]], fraction: float) -> None:
        """Makes one step of the optimiser over this process's batches."""
        recipe, dataset = self.recipe, self.ready.training
        self.unwrapped.train()
        rate = learning_rate(recipe.optimizer, fraction)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        parts: list[Losses] = []
        for number, rows in enumerate(batches):
            seed = [recipe.seed, self.state.step, number, self.accelerator.process_index]
            generator = np.random.default_rng(seed)
            torch.manual_seed(int(generator.integers(2**62)))
            batch = _augmented_batch(dataset, rows, recipe, generator)
            last = number == len(batches) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                with self.accelerator.autocast():
                    rated = self.model(batch)
                found = compute_losses(pool_frames(rated, batch), dataset.targets(rows), recipe.loss)
                self.accelerator.backward(found.total / len(batches))
            parts.append(found)
        norm = self.accelerator.clip_grad_norm_(list(self.trainable.values()), recipe.optimizer.clip)
        if not bool(torch.isfinite(norm)):
            raise UsageError(
                f"expected finite gradients, found {float(norm)} at step {self.state.step}; lower "
                "optimizer.learning_rate"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(self.trainable, self.state.step)
        self._log_losses(parts, rate, float(norm))

    def _log_losses(self, parts: list[Losses], rate: float, norm: float) -> None:
        if self.writer is None:
            return
        for name in ("total", "huber", "ranking", "spread"):
            value = sum(float(getattr(one, name).detach()) for one in parts) / len(parts)
            self.writer.add_scalar(f"loss/{name}", value, self.state.step)
        self.writer.add_scalar("optimizer/learning_rate", rate, self.state.step)
        self.writer.add_scalar("optimizer/gradient_norm", norm, self.state.step)

    def _evaluate(self) -> None:
        """Evaluates the averaged weights on the held-out rows in the main process; all processes get the result."""
        found: list[dict[str, float]] = [{}]
        if self.accelerator.is_main_process:
            with self.average.swapped_in(self.trainable):
                held = rate_dataset(self.unwrapped, self.ready.held_out, self.recipe.optimizer.max_frames)
            found[0] = {"step": float(self.state.step), "epoch": float(self.state.epoch), **held_out_metrics(held)}
            if self.writer is not None:
                for name, value in found[0].items():
                    self.writer.add_scalar(f"held_out/{name}", value, self.state.step)
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast_object_list

            broadcast_object_list(found)
        state, numbers = self.state, found[0]
        state.looks.append(numbers)
        score = numbers["srcc_overall"]
        if state.best_score is None or score > state.best_score:
            state.best_score, state.stale, state.best = score, 0, self.average.tensors()
        else:
            state.stale += 1

    def _save(self) -> None:
        """Writes the checkpoint; all processes have the same state."""
        if not self.accelerator.is_main_process:
            return
        state = self.state
        state.weights = {name: one.detach().cpu().clone() for name, one in self.trainable.items()}
        state.average = self.average.tensors()
        state.optimizer = self.optimizer.state_dict()
        write_state(self.folder, state)

    def _stops_early(self) -> bool:
        patience = self.recipe.stop.patience
        return bool(patience) and self.state.stale >= patience


def pool_frames(rated: Tensor, batch: Batch) -> Tensor:
    """Averages over real frames, float32: ``[B, F, n] -> [B, n]``."""
    if batch.keep is None:
        return rated.float().mean(dim=1)
    keep = batch.keep[..., None]
    return (rated.float() * keep).sum(dim=1) / keep.sum(dim=1)


def _augmented_batch(
    dataset: RatingDataset, rows: NDArray[np.int64], recipe: Recipe, generator: np.random.Generator
) -> Batch:
    """Returns a batch with augmentation: text dropout, and pitch jitter for a small judge.

    For some mixtures the class of the prompt has no effect, only its events, as for texts without a known class; for
    half as many it has a reduced effect, as for texts that are only similar to a known class. Pitch jitter shifts all
    voices of a mixture by the same interval.
    """
    mixtures, places = np.unique(dataset.mixtures[rows], return_inverse=True)
    drawn, share = generator.random(len(mixtures)), recipe.text_dropout
    trust = np.where(drawn < share, 0.0, np.where(drawn < 1.5 * share, generator.random(len(mixtures)), 1.0))[places]
    batch = dataset.batch(rows)
    batch = replace(batch, text_trust=torch.as_tensor(trust[:, None], dtype=torch.float32, device=dataset.device))
    if dataset.judge.ear is None or not recipe.pitch_jitter:
        return batch
    higher = (recipe.pitch_jitter * generator.standard_normal(len(mixtures)))[places]
    octaves = torch.as_tensor(higher, dtype=torch.float32, device=dataset.device)
    return replace(batch, estimates=dataset.judge.ear.shift_pitch(batch.estimates, octaves))


def _accelerator(recipe: Recipe, device: str) -> Any:
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise Precondition(
            "expected accelerate, which training requires, found none; pip install 'sam-audio-bench[train]'"
        ) from error
    precision = recipe.optimizer.precision
    on_gpu = find_device(device).type == "cuda"
    if precision == "auto":
        precision = "bf16" if on_gpu and torch.cuda.is_bf16_supported() else "float32"
    return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no", cpu=device == "cpu")


def _writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise Precondition(
            "expected tensorboard, which logs the scalars, found none; pip install 'sam-audio-bench[train]'"
        ) from error
    kind: Any = SummaryWriter
    return kind(str(folder / "tensorboard"), purge_step=step or None)
