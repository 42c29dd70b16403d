"""Writes a judge in the official layout: ``config.json``, ``model.safetensors``, tokenizer and model card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from sam_audio_bench.errors import Precondition, StoreError
from sam_audio_bench.files import atomic_write, write_json
from sam_audio_bench.judge.config import JudgeConfig
from sam_audio_bench.judge.network import JudgeNetwork
from sam_audio_bench.judge.training_mixtures import FILE as TRAINED_ON
from sam_audio_bench.nn.checkpoint import open_weights

__all__ = ["FILES", "export", "write_judge"]

FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "README.md",
    TRAINED_ON,
)
"""Files of an exported judge, if it has them."""


def write_judge(folder: Path, judge: JudgeNetwork, *, tensors: Mapping[str, Tensor], tokenizer: Path | None) -> Path:
    """Writes a judge so that `SAJ.from_pretrained` restores it bit for bit.

    Args:
        folder: destination.
        judge: judge whose weights are written under the parameter names of the layout.
        tensors: of the checkpoint that it started from; used for layers that were converted for speed.
        tokenizer: folder of its tokenizer.
    """
    own = {name: value.detach().cpu().contiguous() for name, value in judge.state_dict().items() if value is not None}
    original = {name: value for name, value in tensors.items() if name.startswith("audio_codec.")}
    found = {name: value for name, value in own.items() if not (original and name.startswith("audio_codec."))}
    try:
        write_json(folder / "config.json", config_options(judge.config))
        with atomic_write(folder / "model.safetensors") as temporary:
            save_file({name: value.clone() for name, value in {**original, **found}.items()}, temporary)
        for name in FILES[2:5]:
            if tokenizer is not None and (tokenizer / name).is_file():
                shutil.copyfile(tokenizer / name, folder / name)
    except OSError as error:
        raise Precondition(f"expected a folder that can be written at {folder}, found: {error}") from error
    return folder


def config_options(config: JudgeConfig) -> dict[str, object]:
    """Returns the content of ``config.json`` of a judge."""
    options = asdict(config)
    if options["small"] is None:
        del options["small"]
        return options
    return {name: options[name] for name in ("small", "finetune_transformer", "bottleneck_dim")}


def _to_half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts weights to float16, except for the scale of ratings."""
    exact = ("mean", "std", "calibration")
    return {
        name: value.half() if value.dtype == torch.float32 and name not in exact else value.clone()
        for name, value in tensors.items()
    }


def export(run: Path, folder: Path, *, half: bool = False) -> Path:
    """Copies the judge of a finished run.

    Args:
        run: folder of the run, or the judge's folder in it.
        folder: created if needed; must not contain a judge.
        half: whether to store weights in float16, which halves the file and hardly changes ratings.

    Raises:
        Precondition: the run has no judge yet, or the folder already has one.
        StoreError: the written judge differs when read back.
    """
    from sam_audio_bench.judge.model import SAJ

    source = run / "judge" if (run / "judge" / "config.json").is_file() else run
    if not (source / "model.safetensors").is_file():
        raise Precondition(
            f"expected a finished run at {run}, found no judge in it; finish it with `sabench judge train --resume`"
        )
    if (folder / "config.json").exists():
        raise Precondition(f"expected a folder without a judge at {folder}, found config.json in it; name another")
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (source / name).is_file():
            with atomic_write(folder / name) as temporary:
                shutil.copyfile(source / name, temporary)
    if half:
        with atomic_write(folder / "model.safetensors") as temporary:
            save_file(_to_half(open_weights(source)), temporary)
        SAJ.from_pretrained(folder)
        return folder
    ours, theirs = (SAJ.from_pretrained(place).state_dict() for place in (source, folder))
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[name], theirs[name]) for name in ours):
        raise StoreError(
            f"expected {folder} to be read back as it was written, found other weights; the disk may be full"
        )
    return folder
