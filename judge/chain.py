"""Makes saj-mini, from packages to weights: ``python -m judge.chain [STAGE …]``.

Every stage is a command with inputs and products. ``judge/made/chain.json`` records the digests of both, and a stage is
run again if they have changed since its last run. An interrupted stage resumes; none takes longer than 30 minutes on
two cores. Without names, all stages run in order.

The audio encoder and the word vectors are those of the shipped judge. ``--anew`` makes them again by distillation, from
YAMNet and MiniLM, which takes another two hours.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from safetensors.torch import save_file

from judge.simulate import SETS
from sam_audio_bench.errors import Precondition
from sam_audio_bench.files import load_json, sha256, write_json
from sam_audio_bench.judge.checkpoints import SHIPPED
from sam_audio_bench.judge.training.trainable_model import load_part

__all__ = ["STAGES", "Stage", "digest", "is_done", "main", "run"]

ROOT = Path(__file__).resolve().parents[1]
MADE = ROOT / "judge" / "made"
RECIPE = "judge/recipes/saj-mini.toml"

_PYTHON = (sys.executable, "-W", "ignore", "-m")
_RUN = ("judge.train", "--config", RECIPE, "--out", "judge/made/saj-mini")
_PAIR = ("torch.distributed.run", "--nproc-per-node", "2", "-m")  # two processes share the clips to encode


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the pipeline.

    Attributes:
        name: name on the command line.
        commands: commands that are run in order.
        inputs: files or folders that the stage depends on, relative to the repository.
        products: files or folders that the stage makes.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    inputs: tuple[str, ...]
    products: tuple[str, ...]


def _simulated(name: str) -> Stage:
    command = (*_PYTHON, "judge.simulate", "--network", "judge/made/mask-network", "--workers", "2", "--sets", name)
    inputs = ("judge/made/pool/stems.parquet", "judge/made/mask-network", "judge/simulate.py", "judge/queries.py",
              "judge/families.py", "judge/estimators.py", "judge/benign_changes.py",
              "sam_audio_bench/separators/suppressors.py", "sam_audio_bench/tasks/mixing.py",
              "sam_audio_bench/tasks/archives.py",
              "judge/degrade.py", "judge/labels.py", "sam_audio_bench/metrics/functional/perceptual.py",
              "sam_audio_bench/metrics/functional/hearing.py")  # fmt: skip
    return Stage(f"answers-{name}", (command,), inputs, (f"judge/made/answers/{name}",))


_ANSWERS = tuple(f"judge/made/answers/{name}" for name in ("train", "train-faults", "valid"))
_PARTS = ("judge/made/listener", "judge/made/words", "judge/made/prototypes")
_ENCODING = ("sam_audio_bench/judge/front_end.py", "sam_audio_bench/judge/spectral_features.py",
             "sam_audio_bench/judge/audio_encoder.py")  # fmt: skip
_RATING = (*_ENCODING, "sam_audio_bench/judge/small_encoder.py", "sam_audio_bench/judge/prompt_features.py")

STAGES = (
    Stage(
        "pool",
        ((*_PYTHON, "judge.sources"),),
        ("judge/sources", "judge/sources.toml", "judge/effects.toml", "judge/instruments.toml"),
        ("judge/made/pool/stems.parquet",),
    ),
    Stage("parts", (), ("sam_audio_bench/judge/weights/saj-mini/config.json",), _PARTS[:2]),
    Stage(
        "prototypes",
        ((*_PYTHON, "judge.prototypes", "--pool", "judge/made/pool"),),
        ("judge/made/pool/stems.parquet", *_PARTS[:2], "judge/prototypes.py"),
        _PARTS[2:],
    ),
    Stage(
        "mask-network",
        ((*_PYTHON, "judge.mask_network"),),
        ("judge/made/pool/stems.parquet", "judge/mask_network.py"),
        ("judge/made/mask-network/weights.safetensors",),
    ),
    *(_simulated(name) for name in SETS),
    Stage(
        "features", ((*_PYTHON, *_PAIR, *_RUN, "--device", "cpu", "--hear-only"),), (*_ANSWERS, *_PARTS, *_ENCODING), ()
    ),
    Stage(
        "train",
        ((*_PYTHON, *_RUN, "--resume"),),
        (*_ANSWERS, *_PARTS, *_RATING, RECIPE),
        ("judge/made/saj-mini/judge",),
    ),
)
"""The stages in order; each depends on those before it."""

_ANEW = (
    (*_PYTHON, "judge.vectors", "--pool", "judge/made/pool"),
    (*_PYTHON, "judge.distill", "clips", "--pool", "judge/made/pool"),
    (*_PYTHON, "judge.distill", "train", "--pool", "judge/made/pool"),
)


def digest(place: Path) -> str:
    """Returns the SHA-256 of a file, or of names and contents of a folder's files; empty if there is none."""
    if place.is_file():
        return sha256(place.read_bytes())
    found = [path for path in sorted(place.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return sha256("\n".join(f"{path.relative_to(place)} {digest(path)}" for path in found).encode()) if found else ""


def is_done(stage: Stage, noted: dict[str, dict[str, str]]) -> bool:
    """Returns whether a stage was run with the current inputs and its products are unchanged."""
    if stage.name not in noted:
        return False
    there = {place: digest(ROOT / place) for place in (*stage.inputs, *stage.products)}
    return there == noted[stage.name] and all(there[place] for place in stage.products)


def run(stage: Stage, *, anew: bool) -> None:
    """Runs the commands of a stage; raises Precondition if one fails."""
    commands = stage.commands
    if stage.name == "parts":
        commands = _ANEW if anew else ()
        if not anew:
            _take_parts()
    if stage.name == "train" and not (MADE / "saj-mini" / "checkpoint.pt").exists():
        shutil.rmtree(MADE / "saj-mini" / "judge", ignore_errors=True)
    for command in commands:
        code = subprocess.run(command, cwd=ROOT).returncode
        if code:
            raise Precondition(f"expected stage {stage.name} to succeed, found exit status {code}; see above")


def _take_parts() -> None:
    """Writes audio encoder and word vectors of the shipped judge to separate folders."""
    for name in ("listener", "words"):
        part = load_part(name, "saj-mini")
        (MADE / name).mkdir(parents=True, exist_ok=True)
        save_file(part.tensors, MADE / name / "model.safetensors")
        write_json(MADE / name / "config.json", part.config)
    shutil.copyfile(SHIPPED["saj-mini"] / "tokenizer.json", MADE / "words" / "tokenizer.json")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice([stage.name for stage in STAGES]))
@click.option("--anew", is_flag=True, help="Make listener and word vectors anew.")
def main(names: Sequence[str], anew: bool) -> None:
    """Make saj-mini: run all stages, or the named ones, that are not up to date."""
    path = MADE / "chain.json"
    for stage in STAGES:
        if names and stage.name not in names:
            continue
        noted = load_json(path) if path.is_file() else {}
        if is_done(stage, noted):
            click.echo(f"{stage.name}: done")
            continue
        began = time.monotonic()
        click.echo(f"{stage.name}: begun")
        try:
            run(stage, anew=anew)
        except Precondition as error:
            raise click.ClickException(str(error)) from None
        noted[stage.name] = {place: digest(ROOT / place) for place in (*stage.inputs, *stage.products)}
        write_json(path, noted)
        click.echo(f"{stage.name}: done in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
