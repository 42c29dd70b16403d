"""What the opaque names of a listening test stand for, joined to its answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from sam_audio_bench.errors import UsageError

__all__ = ["KEY_FIELDS", "KEY_SCHEMA", "KEY_VERSION", "join_key", "join_table"]

KEY_SCHEMA = "sabench-listening-key"
KEY_VERSION = 1
KEY_FIELDS = ("item", "group", "task", "domain", "system", "kind", "expected")
"""What the key says of a trial; ``expected`` is the right answer by axis, or None where there is none."""


def join_key(answers: Iterable[Mapping[str, Any]], key: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Adds `KEY_FIELDS` to answers of the listening page.

    Args:
        answers: each with the opaque name of its ``trial``.
        key: content of the ``key.json`` that was written with the page.

    Returns:
        Copies of the answers, in their order.

    Raises:
        UsageError: no key of this version, or a trial that it does not know: the key of another test.
    """
    trials = _checked(key)["trials"]
    joined = []
    for answer in answers:
        name = answer.get("trial")
        if name not in trials:
            raise UsageError(
                f"expected trials of the test {key.get('test')}, found {name!r}; give the key.json of the same plan"
            )
        joined.append({**answer, **{field: trials[name][field] for field in KEY_FIELDS}})
    return joined


def join_table(frame: pd.DataFrame, key: Mapping[str, Any]) -> pd.DataFrame:
    """Names items and systems in answers that webMUSHRA or the P.808 toolkit gave to a planned test.

    Args:
        frame: one row an answer. Of webMUSHRA, ``item`` is the opaque name of a page and ``system`` that of a stimulus,
            or ``reference`` or ``anchor``; of P.808, ``item`` is the address of a clip, whose name is opaque.
        key: content of ``key.json``.

    Returns:
        A copy with the columns item, group, task, domain, system and kind of the key; ``expected`` is filled where the
        tool does not say it, from the axis that the key names first, as these tools ask one question.

    Raises:
        UsageError: no key of this version, or a stimulus that it does not know.
    """
    trials, pages = _checked(key)["trials"], key["mixtures"]
    systems = frame["system"] if "system" in frame else pd.Series(None, index=frame.index, dtype="object")
    rows = [_named(str(item), system, trials, pages) for item, system in zip(frame["item"], systems, strict=True)]
    found = pd.DataFrame(rows, index=frame.index, columns=list(KEY_FIELDS))
    known = found["expected"].map(lambda answers: next(iter(answers.values())), na_action="ignore").astype("float64")
    found["expected"] = frame["expected"].fillna(known) if "expected" in frame else known
    if "kind" in frame:  # webMUSHRA's controls are known by their names alone
        found["kind"] = found["kind"].fillna(frame["kind"])
    return frame.drop(columns=[name for name in found if name in frame]).join(found)


def _named(item: str, system: Any, trials: Mapping[str, Any], pages: Mapping[str, Any]) -> dict[str, Any]:
    stem = PurePosixPath(item).stem
    for name in (system, stem):
        if isinstance(name, str) and name in trials:
            return dict(trials[name])
    if item in pages:  # a control, which has no opaque name there
        return {**pages[item], "system": system}
    raise UsageError(f"expected stimuli of the planned test, found {item!r}; give the key.json of the same plan")


def _checked(key: Mapping[str, Any]) -> Mapping[str, Any]:
    schema, version = (key.get("schema"), key.get("version")) if isinstance(key, dict) else (None, None)
    if (schema, version) != (KEY_SCHEMA, KEY_VERSION):
        found = f"{schema} {version}" if schema else "another file"
        raise UsageError(f"expected the key.json of a listening test, {KEY_SCHEMA} {KEY_VERSION}, found {found}")
    return key
