"""The authors and licences of the mini split's stems.

``mini_data/ATTRIBUTION.md`` is this text; a test compares them. To write it again:

    python -c "from sam_audio_bench.tasks.attribution import *; PATH.write_text(attribution(), encoding='utf-8')"
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sam_audio_bench.tasks.recipes import FOLDER, load_stems

__all__ = ["LICENCES", "PATH", "attribution"]

PATH = FOLDER / "ATTRIBUTION.md"

LICENCES: Mapping[str, str] = MappingProxyType(
    {
        "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
        "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
        "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
        "Public Domain": "https://creativecommons.org/publicdomain/mark/1.0/",
    }
)
"""Licence -> URL of its text; the MIT licence is quoted in full."""

_HEAD = """# Attribution

The mini split consists of the recordings below. Every one was changed: cut, down-mixed to mono and resampled to 24 kHz.
Each keeps the licence of its own row; the licence of the package does not cover them.

Licences:

{licences}
* MIT: the text at the end

Where they come from:

* Joseph Sardin, BigSoundBank: <https://bigsoundbank.com>
* OpenSFX, the sounds of OpenTTD: <https://www.openttd.org>; titles and authors stand in the rows
* Sonic Pi: <https://sonic-pi.net>; the originals are on <https://freesound.org>
* LibriVox: <https://librivox.org>
* John F. Kennedy, inaugural address, 1961: a work of the government of the United States
* AMI Meeting Corpus: <https://groups.inf.ed.ac.uk/ami/corpus/>; the package does not name it, the speakers' codes do
* Kevin MacLeod, "Vibe Ace": <https://incompetech.com>
* FluidR3Mono, a SoundFont by Frank Wen and Michael Cowgill, with which one tune was rendered in fourteen parts

| stem | label | source | licence | credit |
|---|---|---|---|---|
"""

_MIT = """
## Licence of FluidR3Mono (MIT)

Mono version Copyright (c) 2014-2017 Michael Cowgill<br>
Temple Blocks instrument Copyright (c) 2002 Ethan Winer<br>
Drumline Percussion Copyright (c) 2016 Michael Schorsch<br>
Original stereo version, Fluid (R3) GM SoundFont, Copyright (c) 2000-2002, 2008 Frank Wen

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def attribution() -> str:
    """Returns the attribution in Markdown: licences, sources, and one row per stem."""
    rows = (
        f"| {stem.id} | {stem.label} | {stem.source} | {stem.licence} | {stem.credit.replace('|', '/')} |\n"
        for stem in load_stems().values()
    )
    licences = "\n".join(f"* {name}: <{place}>" for name, place in LICENCES.items())
    return _HEAD.replace("{licences}", licences) + "".join(rows) + _MIT
