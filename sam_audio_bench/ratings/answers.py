"""Resolves the blind names of a listening test in its answers."""

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
    "join_key",
    "join_table",
]

KEY_SCHEMA = "sabench-listening-key"
KEY_VERSION = 1
KEY_FIELDS = ("item", "group", "task", "domain", "system", "kind", "expected", *MEDIA_COLUMNS)
"""Fields that the key holds for a trial.

``expected`` is the right answer by axis, or None where there is none. The mixture and the target are the
loudness-matched files of the test. A trap has neither, so that no judge is trained on beeps; tests show no video.
"""


class KeyOrigin(TypedDict):
    """Which item of which task a sound is from."""

    item: str
    group: str
    task: str
    domain: str


class KeyTrial(KeyOrigin):
    """What is rated in a trial, and paths relative to the key."""

    system: str | None
    kind: str  # as in the column of ratings
    expected: dict[str, int] | None
    mixture: str  # blind name
    audio: str | None  # None: no chosen format uses it


class AskedRecording(TypedDict):
    """What is asked of a recording, and its path relative to the key."""

    text: str | None
    spans: str | None
    audio: str


class KeyMixture(KeyOrigin, AskedRecording):
    """A recording and what is asked of it."""


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


def join_key(answers: Iterable[Mapping[str, object]], key: Key, folder: Path) -> list[dict[str, object]]:
    """Adds `KEY_FIELDS` to answers of the listening page.

    Args:
        answers: each with the blind name of its ``trial``.
        key: content of the ``key.json`` that was written with the page.
        folder: where that file lies.

    Returns:
        Copies of the answers, in their order.

    Raises:
        UsageError: no key of this version, or an unknown trial, which means that the key belongs to another test.
    """
    trials = _trials(key, folder)
    joined = []
    for answer in answers:
        name = answer.get("trial")
        if name not in trials:
            raise UsageError(
                f"expected trials of the test {key.get('test')}, found {name!r}; give the key.json of the same plan"
            )
        joined.append({**answer, **trials[name]})
    return joined


def join_table(frame: pd.DataFrame, key: Key, folder: Path) -> pd.DataFrame:
    """Names items and systems in answers that webMUSHRA or the P.808 toolkit gave to a planned test.

    Args:
        frame: one row per answer. Of webMUSHRA, ``item`` is the blind name of a page and ``system`` that of a stimulus,
            or ``reference`` or ``anchor``; of P.808, ``item`` is the address of a clip, which ends in a blind name.
        key: content of ``key.json``.
        folder: where that file lies.

    Returns:
        A copy with `KEY_FIELDS`; ``expected`` is filled in if the tool does not state it, from the first axis of the
        key, as these tools ask one question.

    Raises:
        UsageError: no key of this version, or a stimulus that it does not know.
    """
    trials = _trials(key, folder)
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
    known = found["expected"].map(lambda answers: next(iter(answers.values())), na_action="ignore").astype("float64")
    found["expected"] = frame["expected"].fillna(known) if "expected" in frame else known
    return frame.drop(columns=[name for name in found if name in frame]).join(found)


class _Read(TypedDict):
    """What is read of a key."""

    mixtures: dict[str, AskedRecording]
    trials: dict[str, KeyTrial]


def _checked(key: Key) -> _Read:
    """A key as far as it is read; raises UsageError for another file, another version or a damaged one."""
    schema, version = (key.get("schema"), key.get("version")) if isinstance(key, dict) else (None, None)
    if (schema, version) != (KEY_SCHEMA, KEY_VERSION):
        found = f"{schema} {version}" if schema else "another file"
        raise UsageError(f"expected the key.json of a listening test, {KEY_SCHEMA} {KEY_VERSION}, found {found}")
    try:
        whole = msgspec.convert(key, _Read)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"expected the whole key.json of a test, found damage ({error}); plan the test again"
        ) from error
    if lost := {trial["mixture"] for trial in whole["trials"].values()} - set(whole["mixtures"]):
        raise UsageError(f"expected the mixtures of all trials in key.json, found no {min(lost)}; plan the test again")
    return whole


def _trials(key: Key, folder: Path) -> dict[str, dict[str, object]]:
    """`KEY_FIELDS` of every trial by blind name; paths are absolute."""
    read, base = _checked(key), folder.resolve()
    trials = {}
    for name, trial in read["trials"].items():
        recording = read["mixtures"][trial["mixture"]]
        media = {"text": recording["text"], "spans": recording["spans"]}
        if trial["kind"] != "trap" and trial["audio"]:
            media |= {"mixture": str(base / recording["audio"]), "target": str(base / trial["audio"])}
        about = {**trial, **dict.fromkeys(MEDIA_COLUMNS), **media}
        trials[name] = {field: about[field] for field in KEY_FIELDS}
    return trials
