"""Keywords of a prompt, and a gain from its spans, for separators without a learned text encoder."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor

from sam_audio_bench.types import Span

__all__ = ["ACCOMPANIMENT", "PERCUSSIVE", "RAMP_SECONDS", "VOICE", "first_mention", "span_gain"]

RAMP_SECONDS = 0.01
"""Length of the raised-cosine fades before the start and after the end of a span."""


def _compile_words(*stems: str) -> re.Pattern[str]:
    """Compiles a pattern that matches any of the words; ``*`` at the end of a stem matches any ending."""
    either = "|".join(stems).replace("*", r"\w*")
    return re.compile(rf"\b(?:{either})\b", re.IGNORECASE)


PERCUSSIVE = _compile_words(
    *("drum*", "percussi*", "snare*", "cymbal*", "hi-?hat*", "tom-?tom*", "tabla*", "conga*", "bongo*", "djembe*"),
    *("tambourine*", "maraca*", "shaker*", "castanet*", "beat", "beats", "beatbox*", "clap", "claps", "clapping"),
    *("applau*", "door*", "knock*", "hammer*", "jackhammer*", "clatter*", "rattl*", "crash*", "smash*", "shatter*"),
    *("footstep*", "hoof*", "hooves", "gallop*", "bang*", "thud*", "slam*", "tap", "taps", "tapping", "click*"),
    *("crackl*", "typing", "typewriter*", "gunshot*", "gunfire", "explosion*", "firework*", "chop*", "falling"),
)
"""Words for sounds made of short broadband events."""

VOICE = _compile_words(
    *("voice*", "vocal*", "speech*", "speak*", "talk*", "say", "says", "saying", "sing", "sings", "singing", "singer*"),
    *("rap", "rapper*", "rapping", "narrat*", "conversation*", "announc*", "read", "reads", "reading", "shout*"),
    *("whisper*", "laugh*", "man", "men", "woman", "women", "male", "female", "person", "people", "child", "children"),
    *("boy*", "girl*", "choir*"),
)
"""Words for people, whose sounds repeat least in a recording."""

ACCOMPANIMENT = _compile_words(
    *("music*", "background*", "accompani*", "instrumental*", "song*", "band", "orchestra*", "melod*", "loop*"),
    *("ambien*", "noise*", "hum", "humming", "engine*"),
)
"""Words for sounds that continue or repeat while something else happens."""


def first_mention(text: str | None, *tables: re.Pattern[str]) -> int | None:
    """Returns the index of the table that matches earliest in the text; None without a text or a match.

    The earliest counts, because a noun phrase begins with the target: "vocals of a song", "music behind a voice".

    >>> first_mention("music behind a voice", VOICE, ACCOMPANIMENT), first_mention("an owl", VOICE)
    (1, None)
    """
    found = [(match.start(), index) for index, table in enumerate(tables) if (match := table.search(text or ""))]
    return min(found)[1] if found else None


def span_gain(spans: Iterable[Span], length: int, rate: int) -> Tensor:
    """Returns a gain ``[length]``: 1 inside ``+`` spans (everywhere if there are none), 0 inside ``-`` spans.

    Edges are raised cosines of ``RAMP_SECONDS`` outside the spans.
    """
    seconds = torch.arange(length, dtype=torch.float64) / rate
    present, absent = torch.zeros_like(seconds), torch.zeros_like(seconds)
    has_present = False
    for sign, start, end in spans:
        distance = torch.maximum(start - seconds, seconds - end).clamp(0, RAMP_SECONDS)
        inside = 0.5 + 0.5 * torch.cos(torch.pi * distance / RAMP_SECONDS)
        if sign == "+":
            has_present, present = True, torch.maximum(present, inside)
        else:
            absent = torch.maximum(absent, inside)
    return (present if has_present else 1.0) * (1 - absent)
