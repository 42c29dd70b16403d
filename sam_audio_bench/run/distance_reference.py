"""The kinds of ``--reference`` of `sabench distance`; importing this module does not import torch."""

from __future__ import annotations

from pathlib import Path

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import exists, find_folders, is_url

__all__ = ["ITEM_REFERENCES", "reference_kind"]

ITEM_REFERENCES = ("references", "mixtures")
"""References that come from the items themselves."""


def reference_kind(reference: str) -> str:
    """Returns one of `ITEM_REFERENCES`, "run" or "folder"; raises UsageError if there is no such reference."""
    if reference in ITEM_REFERENCES:
        return reference
    if is_url(reference):
        return "run"
    path = Path(reference)
    if not path.is_dir():
        raise UsageError(
            f"expected --reference {' or '.join(ITEM_REFERENCES)}, a folder of sounds, or a run, found {reference!r}"
        )
    return "run" if exists(path / "run.json") or any(find_folders(path, "run.json")) else "folder"
