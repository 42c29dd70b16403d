"""Finds the checkpoint of a judge: the shipped one, the released one, or a folder."""

from __future__ import annotations

from pathlib import Path

from sam_audio_bench.judge.config import REPOSITORY, REVISION
from sam_audio_bench.nn.hub import WEIGHTS, Checkpoint, Source, find_checkpoint
from sam_audio_bench.nn.peav import TOKENIZER

__all__ = ["DEFAULT", "SHIPPED", "find_judge", "judge_source", "tokenizer_folder"]

DEFAULT = "saj-mini"
"""The default judge: small, and shipped with this package."""

SHIPPED = {DEFAULT: Path(__file__).parent / "weights" / DEFAULT}

_RELEASED = (REPOSITORY, REPOSITORY.rpartition("/")[2])


def find_judge(place: str | Path, revision: str | None = None) -> Checkpoint:
    """The checkpoint of a shipped judge, of a judge in a folder, or of the released ``sam-audio-judge``.

    Args:
        place: a name of `SHIPPED`, a folder, or the released name with or without its owner.
        revision: branch, tag or commit on the hub; None: `REVISION`.

    Raises:
        Precondition: there is no such checkpoint.
    """
    repository = REPOSITORY if str(place) in _RELEASED else None
    return find_checkpoint(
        SHIPPED.get(str(place), place), repository=repository, revision=revision or REVISION, names=WEIGHTS
    )


def judge_source(judge: str, path: str = "") -> Source:
    """The weights of a metric's or picker's judge; nothing is downloaded.

    Args:
        judge: as ``place`` of `find_judge`; empty: `DEFAULT`, or the released judge where ``path`` is given.
        path: a folder with the released judge, or with a subfolder of its name, to be used instead of the hub's cache.
    """
    judge = judge or (_RELEASED[1] if path else DEFAULT)
    released = judge in _RELEASED
    return Source(
        repository=REPOSITORY,
        revision=REVISION,
        path=path if released else str(SHIPPED.get(judge, judge)),
        weights=WEIGHTS,
        marks=(("finetune_transformer", None), *((("audio_codec", None),) if released else ())),
        label=judge if judge in SHIPPED else "local",
    )


def tokenizer_folder(folder: Path) -> Path | None:
    """The folder of a judge's tokenizer: its own, or that in the hub's cache, which many judges share."""
    if (folder / "tokenizer.json").is_file():
        return folder
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(TOKENIZER, "tokenizer.json")
    return Path(found).parent if isinstance(found, str) else None
