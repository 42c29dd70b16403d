"""Finds the checkpoint of a judge: the shipped one, the released one, or a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sam_audio_bench.errors import Precondition
from sam_audio_bench.judge.config import REPOSITORY, REVISION
from sam_audio_bench.nn.hub import WEIGHTS, Checkpoint, ModelSource, find_checkpoint
from sam_audio_bench.nn.peav import TOKENIZER

__all__ = ["DEFAULT", "SHIPPED", "find_judge", "judge_folder", "judge_source", "read_judge_name", "tokenizer_folder"]

DEFAULT = "saj-mini"
"""The default judge: small, and shipped with this package."""

SHIPPED = {DEFAULT: Path(__file__).parent / "weights" / DEFAULT}

_UNNAMED = "local"
_LONGEST_NAME = 40  # characters, for column heads

_RELEASED = (REPOSITORY, REPOSITORY.rpartition("/")[2])


def judge_folder(place: str | Path) -> Path:
    """Returns a judge's folder from the name of a shipped judge, its folder, or the folder of its training run."""
    folder = SHIPPED.get(str(place), Path(place))
    inside = folder / "judge"
    return inside if not (folder / "config.json").is_file() and (inside / "config.json").is_file() else folder


def read_judge_name(folder: Path) -> str:
    """Returns the title of a judge's model card; "local" if it has none.

    The name of the folder is not used: it would make the same judge in another folder a different one in tables.
    """
    try:
        first = (folder / "README.md").read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError):
        return _UNNAMED
    title = " ".join(first.removeprefix("#").split()) if first.startswith("# ") else ""
    return title.replace("/", "-")[:_LONGEST_NAME] or _UNNAMED


def find_judge(place: str | Path, revision: str | None = None) -> Checkpoint:
    """Returns the checkpoint of a shipped judge, of a judge in a folder, or of the released ``sam-audio-judge``.

    Args:
        place: a name in `SHIPPED`, a folder (see `judge_folder`), or the released name with or without its owner.
        revision: branch, tag or commit on the hub; None: `REVISION`.

    Raises:
        Precondition: the checkpoint does not exist.
    """
    repository = REPOSITORY if str(place) in _RELEASED else None
    if repository is not None:
        return find_checkpoint(place, repository=repository, revision=revision or REVISION, names=WEIGHTS)
    folder = judge_folder(place)
    if (folder / "recipe.json").is_file() and not (folder / "config.json").is_file():
        raise Precondition(
            f"expected a judge or a finished training run at {folder}, found a run without its judge; finish it with "
            "`sabench judge train --resume`"
        )
    found = find_checkpoint(folder, names=WEIGHTS)
    return replace(found, label=str(place) if str(place) in SHIPPED else read_judge_name(folder))


def judge_source(judge: str, path: str = "") -> ModelSource:
    """Returns the source of the weights of a metric's or picker's judge; nothing is downloaded.

    Args:
        judge: as ``place`` of `find_judge`; results show the name in its card. Empty: `DEFAULT`, or the released judge
            if ``path`` is given.
        path: a folder with the released judge, or with a subfolder of its name, that replaces the hub's cache.
    """
    judge = judge or (_RELEASED[1] if path else DEFAULT)
    released = judge in _RELEASED
    folder = judge_folder(path if released else judge) if path or not released else None
    return ModelSource(
        repository=REPOSITORY,
        revision=REVISION,
        path="" if folder is None else str(folder),
        weights=WEIGHTS,
        config_entries=(("finetune_transformer", None), *((("audio_codec", None),) if released else ())),
        label=judge if judge in SHIPPED else read_judge_name(folder) if folder is not None else _UNNAMED,
    )


def tokenizer_folder(folder: Path) -> Path | None:
    """Returns the folder of a judge's tokenizer: its own, or the shared one in the hub's cache; None without one."""
    if (folder / "tokenizer.json").is_file():
        return folder
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(TOKENIZER, "tokenizer.json")
    return Path(found).parent if isinstance(found, str) else None
