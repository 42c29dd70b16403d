"""HTML of sounds and items for notebooks: self-contained players and waveforms.

All user-provided text is escaped. A sound is embedded as MP3 for listening, never for scoring; changes made for that
(length, level, channels) are stated beside it. Importing this module imports neither torch nor NumPy.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sam_audio_bench.types import Audio, Item, Prompt, Span

__all__ = [
    "COLOURS",
    "STYLE",
    "audio_html",
    "envelope",
    "escape_text",
    "item_html",
    "playable_samples",
    "player_html",
    "prompt_html",
    "row_html",
    "table_html",
]

STYLE = """<style>
.sabench-sound { max-width: 46em; margin: .5em 0; font-variant-numeric: tabular-nums; }
.sabench-sound audio { width: 100%; height: 2.25em; display: block; }
.sabench-sound svg { width: 100%; height: 5em; display: block; }
.sabench-sound p { margin: .25em 0; }
.sabench-sound small { opacity: .75; }
.sabench-sound .row { display: grid; grid-template-columns: 6em 1fr; align-items: center; gap: .5em; margin: .25em 0; }
</style>"""

_MOST_SECONDS = 30.0  # embedded in a player
_RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # Hz, supported by MP3
_LOSSY = 0.3  # libsndfile's compression level: about 85 kbit/s per channel at 48 kHz
_BINS = 600  # columns of a waveform
_HALF_HEIGHT = 40  # half the height of a waveform, in units of its view box

COLOURS = {"mixture": "#9a9a9a", "reference": "#0072b2", "+": "#009e73", "-": "#d55e00"}
"""Colours of sounds by name, and of spans by sign."""


def escape_text(text: object) -> str:
    """Escapes user-provided text for HTML, isolated so that it does not affect the text direction around it.

    >>> escape_text("<b>")
    '<bdi>&lt;b&gt;</bdi>'
    """
    return f"<bdi>{html.escape(str(text))}</bdi>"


def envelope(samples: NDArray[np.floating], bins: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Returns the minimum and maximum of ``[time]`` in at most ``bins`` equal intervals, two arrays ``[bins]``.

    >>> import numpy as np
    >>> [part.tolist() for part in envelope(np.array([0.0, 3.0, -1.0, 2.0]), 2)]
    [[0.0, -1.0], [3.0, 2.0]]
    """
    import numpy as np

    borders = np.linspace(0, len(samples), min(bins, len(samples)) + 1).astype(int)[:-1]
    return np.minimum.reduceat(samples, borders), np.maximum.reduceat(samples, borders)


def audio_html(sound: Audio) -> str:
    """Returns the HTML of a sound: waveform, player and size."""
    samples, remarks = playable_samples(sound, _MOST_SECONDS)
    size = f"{sound.channels} channel{'s' * (sound.channels != 1)}, {sound.seconds:.3f} s at {sound.rate} Hz"
    picture = _waveform_svg({"mixture": samples}, sound.rate, ()) if samples is not None else ""
    content = f"{picture}{_audio_element(samples, sound.rate)}<p>{size}{_remarks_html(remarks)}</p>"
    return f'{STYLE}<div class="sabench-sound">{content}</div>'


def item_html(item: Item) -> str:
    """Returns the HTML of an item: prompt, waveform with reference and spans, and a player per sound."""
    prompt, mixture = item.query.prompt, item.query.mixture
    sounds = {"mixture": mixture, "reference": item.reference, "residual": item.residual_reference}
    samples, _ = playable_samples(mixture, _MOST_SECONDS)
    drawn = {} if samples is None else {"mixture": samples}
    if item.reference is not None and item.reference.rate == mixture.rate:
        reference, _ = playable_samples(item.reference, _MOST_SECONDS)
        drawn |= {} if reference is None else {"reference": reference}
    parts = [STYLE, '<div class="sabench-sound">', f"<p><b>{escape_text(item.id)}</b> of {escape_text(item.group)}: "]
    parts += [prompt_html(prompt), "</p>", _waveform_svg(drawn, mixture.rate, prompt.spans) if drawn else ""]
    parts += [row_html(name, player_html(sound)) for name, sound in sounds.items() if sound is not None]
    parts += ["<p>no clean reference</p>"] if item.reference is None else []
    parts += [f"<p><small>{escape_text(remark)}</small></p>" for remark in item.remarks]
    return "".join([*parts, "</div>"])


def prompt_html(prompt: Prompt) -> str:
    """Returns the HTML of a prompt."""
    parts = [f"“{escape_text(prompt.text)}”"] if prompt.text else []
    parts += [f"{'+' if sign == '+' else '−'}{start:g}–{end:g} s" for sign, start, end in prompt.spans]
    parts += [f"video {escape_text(prompt.video)}"] if prompt.video else []
    parts += [f"mask {escape_text(prompt.mask)}"] if prompt.mask else []
    return ", ".join(parts)


def table_html(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = ()) -> str:
    """Returns the HTML of a small table; all texts are escaped.

    Args:
        title: above the table.
        heads: headers of the columns.
        rows: cells per row.
        notes: below the table.
    """
    parts = [f'<div class="sabench-sound"><p><b>{escape_text(title)}</b></p><table>']
    for kind, line in (("th", heads), *(("td", row) for row in rows)):
        cells = (f'<{kind} style="text-align: left">{escape_text(cell)}</{kind}>' for cell in line)
        parts.append(f"<tr>{''.join(cells)}</tr>")
    parts += ["</table>", *(f"<p><small>{escape_text(note)}</small></p>" for note in notes), "</div>"]
    return STYLE + "".join(parts)


def player_html(sound: Audio, *, seconds: float = _MOST_SECONDS, mono: bool = False) -> str:
    """Returns the HTML of a player, or of the reason why there is none, with the changes made to the sound.

    Args:
        sound: any sound.
        seconds: duration that is embedded, from its beginning.
        mono: whether the channels are averaged.
    """
    samples, remarks = playable_samples(sound, seconds, mono=mono)
    return _audio_element(samples, sound.rate) + _remarks_html(remarks)


def playable_samples(
    sound: Audio, seconds: float, *, mono: bool = False
) -> tuple[NDArray[np.float32] | None, list[str]]:
    """Returns the samples ``[time, channels]`` of a player, within ±1, or None, and remarks on what was changed.

    Args:
        sound: any sound.
        seconds: duration that is kept, from its beginning.
        mono: whether the channels are averaged.

    Returns:
        The samples, None for an empty sound or one with samples that are not finite; and the remarks.
    """
    import numpy as np

    length = min(sound.length, round(seconds * sound.rate))
    if not length or not sound.channels:
        return None, ["no samples"]
    samples: NDArray[np.float32] = sound.samples[:, :length].detach().cpu().float().numpy().T
    if not np.isfinite(samples).all():
        return None, ["not playable: samples that are not finite"]
    remarks = [f"the first {seconds:g} of {sound.seconds:.3f} s"] if length < sound.length else []
    if (mono and sound.channels > 1) or sound.channels > 2:
        samples = samples.mean(axis=1, keepdims=True)
        remarks.append(f"mean of {sound.channels} channels")
    peak = float(np.abs(samples).max())
    if peak > 1:
        samples = samples / peak
        remarks.append(f"peak {peak:.2f}, played {20 * math.log10(peak):.1f} dB softer")
    return samples, [*remarks, "silent"] if peak == 0 else remarks


def _audio_element(samples: NDArray[np.float32] | None, rate: int) -> str:
    if samples is None:
        return ""
    from base64 import b64encode

    data = b64encode(_encode_mp3(samples, rate)).decode()
    return f'<audio controls preload="metadata" src="data:audio/mpeg;base64,{data}"></audio>'


def _encode_mp3(samples: NDArray[np.float32], rate: int) -> bytes:
    """Encodes MP3 at the next higher supported rate; equal samples give equal bytes."""
    import io

    import soundfile

    goal = next((known for known in _RATES if known >= rate), _RATES[-1])
    if goal != rate:
        from scipy.signal import resample_poly

        common = math.gcd(goal, rate)
        samples = resample_poly(samples, goal // common, rate // common, axis=0).clip(-1, 1)
    stream = io.BytesIO()
    soundfile.write(stream, samples, goal, format="MP3", subtype="MPEG_LAYER_III", compression_level=_LOSSY)
    return stream.getvalue()


def _waveform_svg(sounds: Mapping[str, NDArray[np.float32]], rate: int, spans: Iterable[Span]) -> str:
    """Draws overlaid waveforms of ``[time, channels]`` as SVG on one scale, by names of `COLOURS`, over the spans."""
    length = max(map(len, sounds.values()))
    top = max(float(abs(samples).max()) for samples in sounds.values()) or 1.0
    parts = [_span_rectangle(span, length / rate) for span in spans]
    for name, samples in sounds.items():
        low, high = envelope(samples.mean(axis=1), _BINS)
        outline = _envelope_path(low / top, high / top, len(samples) / length)
        parts.append(f'<path fill="{COLOURS[name]}" d="{outline}"><title>{name}</title></path>')
    label = f"waveform of {' and '.join(sounds)}" if len(sounds) > 1 else "waveform"
    size = f'viewBox="0 {-_HALF_HEIGHT} {_BINS} {2 * _HALF_HEIGHT}" preserveAspectRatio="none"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _envelope_path(low: NDArray[Any], high: NDArray[Any], share: float) -> str:
    """Returns the SVG path along the maxima and back along the minima, with a minimum thickness."""
    step = _BINS * share / len(high)
    forward = [f"{at * step:.1f} {min(-_HALF_HEIGHT * value, -0.4):.1f}" for at, value in enumerate(high.tolist())]
    back = [f"{at * step:.1f} {max(-_HALF_HEIGHT * value, 0.4):.1f}" for at, value in enumerate(low.tolist())]
    return f"M{'L'.join([*forward, *reversed(back)])}Z"


def _span_rectangle(span: Span, seconds: float) -> str:
    sign, start, end = span
    x, width = (_BINS * max(0.0, min(time / seconds, 1.0)) for time in (start, end))
    colour, name = COLOURS[sign], "present" if sign == "+" else "absent"
    style = f'fill="{colour}" fill-opacity=".25" stroke="{colour}"' + ' stroke-dasharray="4 3"' * (sign != "+")
    return (
        f'<rect x="{x:.1f}" y="{-_HALF_HEIGHT}" width="{width - x:.1f}" height="{2 * _HALF_HEIGHT}" {style}>'
        f"<title>{name} {start:g} to {end:g} s</title></rect>"
    )


def row_html(name: str, content: str) -> str:
    """Returns a row with a name and content that is already HTML."""
    return f'<div class="row"><span>{name}</span><span>{content}</span></div>'


def _remarks_html(remarks: Iterable[str]) -> str:
    text = "; ".join(remarks)
    return f" <small>{html.escape(text)}</small>" if text else ""
