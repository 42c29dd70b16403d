"""Result files of webMUSHRA (Schoeffler et al., JORS 2018): MUSHRA pages and paired comparisons.

A stimulus called ``reference`` is the hidden reference and ``anchor…`` an anchor, as in webMUSHRA; times are in
milliseconds; the scale of MUSHRA is 0 to 100.
"""

from __future__ import annotations

import pandas as pd

from sam_audio_bench.errors import UsageError
from sam_audio_bench.ratings.formats.columns import ColumnChoice, ColumnRoles, ParsedFile, extra_columns
from sam_audio_bench.ratings.formats.source import Source, as_texts, parse_numbers
from sam_audio_bench.ratings.formats.votes import read_choices

__all__ = ["is_webmushra", "parse_webmushra"]

_MUSHRA = {"rating_stimulus", "rating_score", "trial_id"}
_PAIRS = {"choice_reference", "choice_non_reference", "choice_answer", "trial_id"}


def is_webmushra(source: Source, choice: ColumnChoice) -> bool:
    """Whether the columns are webMUSHRA's."""
    return source.table is not None and (set(source.columns) >= _MUSHRA or set(source.columns) >= _PAIRS)


def parse_webmushra(source: Source, choice: ColumnChoice) -> ParsedFile:
    """Reads one row per rated stimulus or vote; ``trial_id`` is the item, ``session_test_id`` the session."""
    frame = as_texts(source)
    if not is_webmushra(source, choice):
        raise UsageError(f"expected columns of webMUSHRA in {source.path}, found {', '.join(source.columns[:12])}")
    votes = set(source.columns) >= _PAIRS
    prefix = "choice" if votes else "rating"
    chosen = {
        "rater": _rater_column(frame),
        "item": "trial_id",
        "session": "session_test_id",
        **choice.roles,
    }
    roles = ColumnRoles(
        source, ColumnChoice(roles={role: name for role, name in chosen.items() if name in frame or name[0] == "="})
    )
    for role in ("rater", "item"):
        roles.need(role)
    tidy = roles.texts(frame, ("rater", "item", "session", "domain", "group"))
    if f"{prefix}_time" in frame:
        tidy["time"] = parse_numbers(frame[f"{prefix}_time"], f"{prefix}_time") / 1000
    used = [f"{prefix}_time", *roles.found.values()]
    if votes:
        first, second = frame["choice_reference"].str.strip(), frame["choice_non_reference"].str.strip()
        choice_ = frame["choice_answer"].str.strip().replace({"reference": "first", "non_reference": "second"})
        tidy = tidy.assign(first=first, second=second, choice=choice_)
        tidy["choice"] = read_choices(tidy, source)
        used += sorted(_PAIRS)
    else:
        stimulus = frame["rating_stimulus"].str.strip()
        score = parse_numbers(frame["rating_score"], "rating_score", choice.missing)
        tidy = tidy.assign(system=stimulus, score=score, axis="quality", kind=_kinds(stimulus))
        used += sorted(_MUSHRA)
    found = {
        **roles.found,
        **({"choice": "choice_answer"} if votes else {"system": "rating_stimulus", "score": "rating_score"}),
    }
    return ParsedFile(
        frame=tidy.join(extra_columns(frame, used)), columns=found, votes=votes, scale=None if votes else (0.0, 100.0)
    )


def _rater_column(frame: pd.DataFrame) -> str:
    """Returns the column of names, which planned tests have, else of the session: webMUSHRA requests no names."""
    if "rater" in frame and (frame["rater"].str.strip() != "").all():
        return "rater"
    return "session_uuid" if "session_uuid" in frame else "session_test_id"


def _kinds(stimulus: pd.Series) -> pd.Series:
    plain = stimulus.str.casefold()
    kinds = pd.Series("rating", index=stimulus.index, dtype="object")
    kinds[plain.isin(["reference", "hidden_reference"])] = "hidden_reference"
    kinds[plain.str.startswith("anchor")] = "anchor"
    return kinds
