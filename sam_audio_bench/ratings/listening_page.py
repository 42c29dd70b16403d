"""The listening test as one static page that needs no network and works from ``file://``."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sam_audio_bench.files import dump_json
from sam_audio_bench.ratings.axes import Axis

__all__ = ["CONSENT", "render_page"]

CONSENT = (
    "I take part of my own free will and know that I can stop at any time. My answers, with the name or code that I "
    "give here, may be analysed, and may be published without it."
)

_FOLDER = Path(__file__).with_name("page")
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def render_page(data: Mapping[str, object], axes: Sequence[Axis], *, title: str, consent: str, beeps: bool) -> str:
    """HTML of the test.

    A content security policy allows the page's own script and style by their digests, and sound from the folder
    of the page: whatever a prompt contains, nothing else can run or be fetched.

    Args:
        data: of the script: ``test``, ``mixtures``, ``trials``, ``blocks`` and their ``minutes``, by blind
            name.
        axes: questions of each trial.
        title: heading of the page.
        consent: what raters agree to.
        beeps: whether to explain the traps.
    """
    script, style = _text("player.js") + _text("test.js"), _text("page.css")
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    policy = {
        "default-src": "'none'",
        "script-src": _digest(script),
        "style-src": _digest(style),
        "media-src": "'self' file:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return environment.get_template("page.html").render(
        axes=axes,
        beeps=beeps,
        consent=consent,
        data=Markup(dump_json(data).translate(_ESCAPES)),
        policy="; ".join(f"{name} {value}" for name, value in policy.items()),
        script=Markup(script),
        style=Markup(style),
        title=title,
    )


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Source expression of an inline element: Content Security Policy Level 3, 2.3.1."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
