"""Batch results of the P.808 toolkit (Naderi and Cutler, Interspeech 2020): one row per assignment of a crowd worker.

Question k has its vote in ``Answer.Qk`` (P.835: ``Answer.Qk_sig`` …), its clip in ``Answer.Qk_url`` or ``Input.Qk``,
and plays in ``Answer.audio_n_finish_Qk``. The clip named by ``Input.TP`` is a trap whose right answer is
``Input.TP_ANS``; the one named by ``Input.gold_clip`` (or ``gold_clips``) has the expected answer ``…_ANS``. Case is
ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.formats.columns import ColumnChoice, ParsedFile, extra_columns
from sam_audio_bench.ratings.formats.source import Source, as_texts, parse_numbers

__all__ = ["is_p808", "parse_p808"]

_VOTE = re.compile(r"answer\.(q\d+)(?:_(?!url)(\w+))?")
_QUESTION_COLUMN = re.compile(r"(answer|input)\..*q\d+.*")
_ASSIGNMENT_COLUMNS = ("workerid", "assignmentid")
_TRAPS = ("input.tp",)
_GOLDS = ("input.gold_clip", "input.gold_clips", "input.gold_question")


def is_p808(source: Source, choice: ColumnChoice) -> bool:
    """Whether columns come from a batch of assignments."""
    names = [name.casefold() for name in source.columns]
    return "workerid" in names and any(_VOTE.fullmatch(name) for name in names)


def parse_p808(source: Source, choice: ColumnChoice) -> ParsedFile:
    """One row per vote; the address of the clip is the item unless ``--pattern`` splits it; other columns are kept.

    Raises:
        UsageError: no column of votes, workers or clips, or a vote that is no number.
    """
    table = as_texts(source)
    frame = table.rename(columns=str.casefold)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise UsageError(f"expected each column once in any case in {source.path}, found {twice!r} twice")
    original = dict(zip(frame.columns, source.columns, strict=True))
    votes = {name: match for name in frame.columns if (match := _VOTE.fullmatch(name))}
    if not votes or "workerid" not in frame:
        raise UsageError(f"expected WorkerId and Answer.Q1 … in {source.path}, found {', '.join(source.columns)}")
    others = extra_columns(
        table,
        [original[name] for name in map(str, frame) if name in _ASSIGNMENT_COLUMNS or _QUESTION_COLUMN.fullmatch(name)],
    )
    parts = [_question(frame, name, match[1], match[2], original, choice).join(others) for name, match in votes.items()]
    tidy = pd.concat(parts, ignore_index=True)
    tidy = tidy[tidy["item"].notna() & tidy["score"].notna()].reset_index(drop=True)
    found = {"rater": "WorkerId", "session": "AssignmentId", "item": "clip addresses", "score": "Answer.Q…"}
    return ParsedFile(frame=tidy, columns=found, scale=(1.0, 5.0))


def _question(
    frame: pd.DataFrame, name: str, question: str, axis: str | None, original: Mapping[str, str], choice: ColumnChoice
) -> pd.DataFrame:
    clip = next((c for c in (f"answer.{question}_url", f"input.{question}") if c in frame), None)
    if clip is None:
        raise UsageError(
            f"expected the clip of {original[name]} in Answer.{question}_url or Input.{question}, found none"
        )
    items = frame[clip].str.strip()
    tidy = pd.DataFrame(
        {
            "rater": frame["workerid"],
            "item": items.where(items != "", None),
            "axis": axis or "quality",
            "score": parse_numbers(frame[name], f"column {original[name]}", choice.missing),
            "trial": question,
            "kind": "rating",
            "expected": float("nan"),
        }
    )
    if "assignmentid" in frame:
        tidy["session"] = frame["assignmentid"]
    plays = f"answer.audio_n_finish_{question}"
    if plays in frame:
        tidy["played"] = parse_numbers(frame[plays], f"column {original[plays]}").fillna(0) > 0
    for kind, columns in (("trap", _TRAPS), ("gold", _GOLDS)):
        _mark_controls(tidy, frame, kind, columns)
    return tidy


def _mark_controls(tidy: pd.DataFrame, frame: pd.DataFrame, kind: str, columns: tuple[str, ...]) -> None:
    """Marks the question whose clip is the trap or the gold of its assignment."""
    for column in columns:
        answer = f"{column}_ans"
        if column in frame and answer in frame:
            known = frame[column].str.strip()
            pairs = zip(known, tidy["item"].fillna(""), strict=True)
            here = pd.Series([bool(clip) and clip in item for clip, item in pairs], index=tidy.index)
            tidy.loc[here, "kind"] = kind
            tidy.loc[here, "expected"] = parse_numbers(frame[answer], f"column {answer}")[here]
