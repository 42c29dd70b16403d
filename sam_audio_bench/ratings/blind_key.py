"""Resolves the blind names of a listening test in its ratings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TypedDict

import msgspec
import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.media import MEDIA_COLUMNS

__all__ = [
    "KEY_FIELDS",
    "KEY_SCHEMA",
    "KEY_VERSION",
    "Key",
    "KeyMixture",
    "KeyOrigin",
    "KeyTrial",
    "unblind_ratings",
    "unblind_table",
]

KEY_SCHEMA = "sabench-listening-key"
KEY_VERSION = 1
KEY_FIELDS = ("item", "group", "task", "domain", "system", "kind", "expected", *MEDIA_COLUMNS)
"""Fields of a trial in the key.

``expected`` is the expected rating by axis, or None. The mixture and the target are the loudness-matched files of the
test. A trap has neither, so that no judge is trained on beeps; tests show no video.
"""


class KeyOrigin(TypedDict):
    """Item and task that a sound is from."""

    item: str
    group: str
    task: str
    domain: str


class KeyTrial(KeyOrigin):
    """The stimulus of a trial; paths are relative to the key."""

    system: str | None
    kind: str  # as in the table of ratings
    expected: dict[str, int] | None
    mixture: str  # blind name
    audio: str | None  # None: no chosen format uses it


class PromptedRecording(TypedDict):
    """Prompt of a recording, and its path relative to the key."""

    text: str | None
    spans: str | None
    audio: str


class KeyMixture(KeyOrigin, PromptedRecording):
    """A recording with its origin and prompt."""


class Key(TypedDict):
    """Content of ``key.json``; trials and mixtures by their blind names."""

    schema: str
    version: int
    test: str  # digest
    options: dict[str, object]
    systems: list[str]
    designs: dict[str, dict[str, object]]
    mixtures: dict[str, KeyMixture]
    trials: dict[str, KeyTrial]


def unblind_ratings(ratings: Iterable[Mapping[str, object]], key: Key, folder: Path) -> list[dict[str, object]]:
    """Adds `KEY_FIELDS` to ratings of the listening page.

    Args:
        ratings: each with the blind name of its ``trial``.
        key: content of the ``key.json`` that was written with the page.
        folder: of that file.

    Returns:
        Copies of the ratings, in order.

    Raises:
        UsageError: not a key of this version, or an unknown trial, so that the key belongs to another test.
    """
    trials = _resolve_trials(key, folder)
    joined = []
    for rating in ratings:
        name = rating.get("trial")
        if name not in trials:
            raise UsageError(
                f"expected trials of the test {key.get('test')}, found {name!r}; give the key.json of the same plan"
            )
        joined.append({**rating, **trials[name]})
    return joined


def unblind_table(frame: pd.DataFrame, key: Key, folder: Path) -> pd.DataFrame:
    """Adds `KEY_FIELDS` to results of webMUSHRA or the P.808 toolkit for a planned test.

    Args:
        frame: one row per rating. For webMUSHRA, ``item`` is the blind name of a page and ``system`` that of a
            stimulus, or ``reference`` or ``anchor``; for P.808, ``item`` is the address of a clip, which ends in a
            blind name.
        key: content of ``key.json``.
        folder: of that file.

    Returns:
        A copy with `KEY_FIELDS`; ``expected`` is filled in if the tool does not state it, from the first axis of the
        key, as these tools ask one question.

    Raises:
        UsageError: not a key of this version, or an unknown stimulus.
    """
    trials = _resolve_trials(key, folder)
    on_pages = {(key["trials"][name]["mixture"], one["system"]): one for name, one in trials.items() if one["system"]}
    systems = frame["system"] if "system" in frame else pd.Series(None, index=frame.index, dtype="object")
    rows = []
    for item, system in zip(frame["item"].astype("str"), systems, strict=True):
        # The controls of a webMUSHRA page have no opaque name there.
        row = trials.get(system) or trials.get(PurePosixPath(item).stem) or on_pages.get((item, system))
        if row is None:
            raise UsageError(
                f"expected stimuli of the planned test, found {item!r}; give the key.json of the same plan"
            )
        rows.append(row)
    found = pd.DataFrame(rows, index=frame.index, columns=list(KEY_FIELDS))
    known = found["expected"].map(lambda ratings: next(iter(ratings.values())), na_action="ignore").astype("float64")
    found["expected"] = frame["expected"].fillna(known) if "expected" in frame else known
    return frame.drop(columns=[name for name in found if name in frame]).join(found)


class _KeyContent(TypedDict):
    """The parts of a key that are read."""

    mixtures: dict[str, PromptedRecording]
    trials: dict[str, KeyTrial]


def _validate_key(key: Key) -> _KeyContent:
    """Validates a key; raises UsageError for another file, another version or a damaged one."""
    schema, version = (key.get("schema"), key.get("version")) if isinstance(key, dict) else (None, None)
    if (schema, version) != (KEY_SCHEMA, KEY_VERSION):
        found = f"{schema} {version}" if schema else "another file"
        raise UsageError(f"expected the key.json of a listening test, {KEY_SCHEMA} {KEY_VERSION}, found {found}")
    try:
        whole = msgspec.convert(key, _KeyContent)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"expected the whole key.json of a test, found damage ({error}); plan the test again"
        ) from error
    if lost := {trial["mixture"] for trial in whole["trials"].values()} - set(whole["mixtures"]):
        raise UsageError(f"expected the mixtures of all trials in key.json, found no {min(lost)}; plan the test again")
    return whole


def _resolve_trials(key: Key, folder: Path) -> dict[str, dict[str, object]]:
    """Returns `KEY_FIELDS` of every trial by blind name, with absolute paths."""
    read, base = _validate_key(key), folder.resolve()
    trials = {}
    for name, trial in read["trials"].items():
        recording = read["mixtures"][trial["mixture"]]
        media = {"text": recording["text"], "spans": recording["spans"]}
        if trial["kind"] != "trap" and trial["audio"]:
            media |= {"mixture": str(base / recording["audio"]), "target": str(base / trial["audio"])}
        about = {**trial, **dict.fromkeys(MEDIA_COLUMNS), **media}
        trials[name] = {field: about[field] for field in KEY_FIELDS}
    return trials
