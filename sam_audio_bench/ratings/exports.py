"""The same test for webMUSHRA and for the P.808 toolkit.

webMUSHRA (Schoeffler et al., JORS 2018) rates all systems of an item on one page against the clean recording, so that
its raters get items, not single stimuli. The P.808 toolkit (Naderi and Cutler, Interspeech 2020) asks for the
quality of one clip at a time; its lists of clips, and the assignments that `batch` makes, name clips by address.
"""

from __future__ import annotations

import csv
import html
import io
import re
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_audio_bench.files import dump_json

__all__ = ["MushraPage", "assignments_csv", "clip_lists", "to_csv", "to_yaml", "webmushra_yaml", "write_wav16"]

MushraPage = tuple[str, str, str, Mapping[str, str]]
"""Blind name, prompt, address of the clean recording, stimuli by name."""

_PLAIN_KEY = re.compile(r"[A-Za-z_]\w*")


def write_wav16(path: Path, samples: NDArray[np.floating], rate: int) -> None:
    """Writes [channels, time] within ±1 as WAV with 16 bit, which every browser and toolkit can read."""
    steps = np.clip(np.rint(samples * 2**15), -(2**15), 2**15 - 1).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[0])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.ascontiguousarray(steps.T).tobytes())


def webmushra_yaml(name: str, test: str, pages: Sequence[MushraPage]) -> str:
    """YAML of a webMUSHRA test for one rater: a welcome, the pages in random order, a page for the rater's name.

    webMUSHRA adds the clean recording to the stimuli itself, as ``reference``.
    """
    trials = [
        {
            "type": "mushra",
            "id": page,
            "name": name,
            "content": f"Asked for: <b>{html.escape(prompt)}</b>. The reference is that sound alone.",
            "showWaveform": True,
            "enableLooping": True,
            "randomize": True,
            "showConditionNames": False,
            "reference": reference,
            "createAnchor35": False,
            "createAnchor70": False,
            "stimuli": dict(stimuli),
        }
        for page, prompt, reference, stimuli in pages
    ]
    welcome = (
        "Use headphones in a quiet room. Rate how near each sound is to the reference, which is hidden among them."
    )
    return to_yaml(
        {
            "testname": name,
            "testId": test,
            "bufferSize": 2048,
            "stopOnErrors": True,
            "showButtonPreviousPage": True,
            "remoteService": "service/write.php",
            "pages": [
                {"type": "generic", "id": "welcome", "name": name, "content": welcome},
                ["random", *trials],
                {
                    "type": "finish",
                    "name": "Thank you",
                    "content": "Please give your name or code and send the answers.",
                    "showResults": False,
                    "writeResults": True,
                    "questionnaire": [{"type": "text", "label": "Name or code", "name": "rater"}],
                },
            ],
        }
    )


def to_yaml(value: Any) -> str:
    """Block YAML of dictionaries, lists and scalars; scalars are JSON, which YAML 1.2 contains.

    >>> print(to_yaml({"pages": [{"id": "a: b"}]}), end="")
    pages:
        -
            id: "a: b"
    """
    return "".join(line + "\n" for line in _lines(value, ""))


def _lines(value: Any, indent: str) -> list[str]:
    if isinstance(value, dict):
        marks = [(key if _PLAIN_KEY.fullmatch(key) else dump_json(key)) + ":" for key in value]
        entries = list(value.values())
    else:
        marks, entries = ["-"] * len(value), list(value)
    lines = []
    for mark, entry in zip(marks, entries, strict=True):
        if isinstance(entry, dict | list) and entry:
            lines += [indent + mark, *_lines(entry, indent + "    ")]
        else:
            lines.append(f"{indent}{mark} {dump_json(entry)}")
    return lines


def clip_lists(rated: Sequence[str], traps: Mapping[str, int], golds: Mapping[str, int]) -> dict[str, str]:
    """CSV files from which the toolkit makes assignments: clips to rate, and traps and golds with answers.

    Args:
        rated: addresses.
        traps: right answers by address.
        golds: expected answers by address.

    Returns:
        Texts by file name.
    """
    files = {"rating_clips.csv": to_csv(["rating_clips"], [[clip] for clip in rated])}
    for kind, column, clips in (("trapping", "trapping", traps), ("gold", "gold_clips", golds)):
        if clips:
            files[f"{kind}_clips.csv"] = to_csv(
                [f"{kind}_clips", f"{column}_ans"], [[clip, answer] for clip, answer in clips.items()]
            )
    return files


def assignments_csv(
    assignments: Sequence[tuple[Sequence[str], Sequence[str], Sequence[str]]], answers: Mapping[str, int]
) -> str:
    """CSV with one assignment per row: ``Q0`` … the clips to rate, ``TP`` the trap, ``gold_clips`` the gold.

    Args:
        assignments: addresses of the clips to rate, traps and golds of each rater; the first trap and gold are used.
        answers: right answers of traps and golds by address.
    """
    longest = max(len(rated) for rated, _, _ in assignments)
    columns = [f"Q{number}" for number in range(longest)]
    kinds = [
        (place, names)
        for place, names in ((1, ["TP", "TP_ANS"]), (2, ["gold_clips", "gold_clips_ans"]))
        if all(assignment[place] for assignment in assignments)
    ]
    rows = []
    for assignment in assignments:
        rated = list(assignment[0])
        checks = [value for place, _ in kinds for value in (assignment[place][0], answers[assignment[place][0]])]
        rows.append([*rated, *[""] * (longest - len(rated)), *checks])
    return to_csv([*columns, *(name for _, names in kinds for name in names)], rows)


def to_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """CSV with a header."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()
