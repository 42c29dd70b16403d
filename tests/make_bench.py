"""Makes a stand-in of the official data: the metadata in their schema, every set of the right size, small media.

    python tests/make_bench.py DIR [--seconds 10] [--delete 0.1] [--corrupt 0.05]
    SABENCH_DATA=DIR sabench eval --model hpss --task sfx,sfx-visual,instr-pro --split test

All 819 rows and all 36 sets are there, with recordings of all six sources under all four patterns of names. A few clips
are encoded (H.264 and AAC) and copied; what is heard and seen in them is synthetic, and says nothing about separators.
With --delete and --corrupt that share of the files is removed and damaged; what was done is printed as JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow
import soundfile
from pyarrow import parquet

COUNTS = {  # of the released data: prefix -> rows of text-only, span-only and text+span, and of visual-only
    "others": (117, 117),
    "speech-clean": (88, 0),
    "spk": (136, 185),
    "music-clean": (116, 0),
    "instr": (284, 284),
    "others-50": (50, 50),
    "speech-clean-50": (49, 0),
    "spk-50": (50, 50),
    "music-clean-50": (50, 0),
    "instr-50": (50, 49),
}
MASKS = 610
FRAME_RATE, SIZE = 10, 64
WHOLE = 3  # a whole recording is so many times as long as the clip that is cut from its middle
_KINDS = (  # column "task", rows, prefix, sources
    ("General stem separation", 117, "others", {"condensed_movies": 57, "audioset": 43, "vggsound": 17}),
    ("Speech cleaning", 88, "speech-clean", {"avspeech": 49, "condensed_movies": 39}),
    ("Speaker separation (unambiguous)", 136, "spk", {"condensed_movies": 136}),
    ("Speaker separation (ambiguous)", 78, "", {"condensed_movies": 78}),
    ("Music separation (no singing)", 90, "music-clean", {"audioset": 90}),
    ("Music separation (with singing)", 26, "music-clean", {"audioset": 25, "music_duets": 1}),
    ("Instrument stem separation", 284, "instr", {"music_avqa": 154, "music_duets": 130}),
)
_TEXTS = {
    "others": ("Car driving", "Dog barking", "Door slamming", "Thunder"),
    "speech-clean": ("Male speaking", "Female speaking"),
    "spk": ("Male speaking", "Female speaking", "Child speaking"),
    "music-clean": ("Music", "Background music"),
    "instr": ("Violin", "Acoustic guitar", "Piano", "Drum kit"),
}
_INFO = pyarrow.struct(
    [
        ("audio_aes_production_complexity", pyarrow.float64()),
        ("all_nodes", pyarrow.list_(pyarrow.string())),
        ("overlap_fraction", pyarrow.float64()),
        ("n_males", pyarrow.int64()),
        ("n_females", pyarrow.int64()),
        ("n_children", pyarrow.int64()),
        ("target_loudness", pyarrow.string()),
        ("target_onscreen_offscreen", pyarrow.string()),
        ("num_augmented_annotations", pyarrow.int64()),
    ]
)
SCHEMA = pyarrow.schema(
    [
        ("video_id", pyarrow.string()),
        ("source_dataset", pyarrow.string()),
        ("start_offset", pyarrow.float64()),
        ("end_offset", pyarrow.float64()),
        ("description", pyarrow.string()),
        ("description_freeform", pyarrow.string()),
        ("target_node", pyarrow.string()),
        ("task", pyarrow.string()),
        ("duration", pyarrow.float64()),
        ("spans", pyarrow.list_(pyarrow.list_(pyarrow.float64()))),
        ("mask_bytes", pyarrow.binary()),
        ("paper_eval_sets", pyarrow.list_(pyarrow.string())),
        ("other_sample_info", _INFO),
    ]
)
MUSDB_SCHEMA = pyarrow.schema(
    [
        ("id", pyarrow.string()),
        ("start_time", pyarrow.float64()),
        ("end_time", pyarrow.float64()),
        ("description", pyarrow.string()),
    ]
)
STEMS = ("drums", "bass", "vocals", "other")


@dataclass
class Made:
    """The folder, the rows of the metadata, and for each row the file that serves it, relative to the folder."""

    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def table(self) -> Path:
        return self.folder / "sam_audio_bench" / "data" / "test-00000-of-00001.parquet"

    @property
    def musdb_table(self) -> Path:
        return self.folder / "sam_audio_musdb18hq_test" / "data" / "test-00000-of-00001.parquet"

    def write_table(self, rows: Sequence[dict[str, Any]] | None = None) -> None:
        """The metadata anew, of other rows if they are given."""
        self.table.parent.mkdir(parents=True, exist_ok=True)
        self.table.unlink(missing_ok=True)  # which may be linked from elsewhere
        found = pyarrow.Table.from_pylist(self.rows if rows is None else list(rows), schema=SCHEMA)
        parquet.write_table(found, self.table)

    def zip_songs(self) -> Path:
        """Puts the songs into an archive, as Zenodo has them, and removes the folder."""
        songs = self.folder / "musdb18hq"
        path = self.folder / "musdb18hq.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted((songs / "test").rglob("*.wav")):
                archive.write(file, file.relative_to(songs).as_posix())
        shutil.rmtree(songs)
        return path


def make_bench(folder: Path, *, seconds: float = 10.0, tracks: int = 6) -> Made:
    """Writes the stand-in below ``folder``; the same arguments give the same rows."""
    made = Made(folder)
    base = folder / "base"
    base.mkdir(parents=True)
    clips, wholes = _encode_all(base, seconds)
    masks = [_mask(seconds, start) for start in (0.0, seconds)]  # of a cut clip, and of the middle of a whole recording
    for number, row in enumerate(_rows(seconds)):
        pattern, start, end = number % 4, row["start_offset"], row["end_offset"]
        whole = pattern == 0 or row["source_dataset"] == "avspeech"
        suffix = ".mp4" if row["mask_bytes"] else (".mp4", ".mkv", ".m4a", ".wav", ".flac")[number // 4 % 5]
        stem = row["video_id"] if whole else _stem(row["video_id"], pattern, start, end)
        name = f"sam_audio_bench/{row['source_dataset']}/{stem}{suffix}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile((wholes if whole else clips)[number % 2, suffix], folder / name)
        row["mask_bytes"] = masks[whole] if row["mask_bytes"] else None
        made.rows.append(row)
        made.files.append(name)
    shutil.rmtree(base)
    made.write_table()
    _make_musdb(made, seconds, tracks)
    return made


def _rows(seconds: float) -> Iterator[dict[str, Any]]:
    """819 rows in a mixed order; ``mask_bytes`` tells only whether there is a mask."""
    kinds = [(task, prefix, index) for task, count, prefix, _ in _KINDS for index in range(count)]
    generator = np.random.default_rng(0)
    sources: list[str] = []
    for *_, parts in _KINDS:
        sources += generator.permutation([name for name, count in parts.items() for _ in range(count)]).tolist()
    sets = [_sets(task, prefix, index) for task, prefix, index in kinds]
    shown = {number for number, names in enumerate(sets) if any(name.endswith("visual-only") for name in names)}
    hidden = (number for number in range(len(kinds)) if number not in shown)
    masked = shown | {number for number, _ in zip(hidden, range(MASKS - len(shown)), strict=False)}
    whole: dict[str, str] = {}  # source -> a recording that is there as a whole
    for place, number in enumerate(generator.permutation(len(kinds)).tolist()):
        task, prefix, index = kinds[number]
        source = sources[number]
        start = seconds if place % 4 == 0 or source == "avspeech" else float(10 * (index % 30))
        video = f"{number:08d}" if source == "music_avqa" else _video_id(generator)
        if place % 4 == 0 and number in masked:
            video = whole.setdefault(source, video) if place % 20 == 0 else video  # several questions about one
        duration = 0.6131 * seconds if source == "avspeech" else seconds
        texts = _TEXTS[prefix or "spk"]
        yield {
            "video_id": video,
            "source_dataset": source,
            "start_offset": start,
            "end_offset": start + duration,
            "description": texts[index % len(texts)],
            "description_freeform": f"number {index} of its kind",
            "target_node": f"Sounds of things/{texts[index % len(texts)]}",
            "task": task,
            "duration": duration,
            "spans": [[0.0, 0.4 * duration], [0.5 * duration, duration + 0.0078 * (index % 2)]],
            "mask_bytes": number in masked,
            "paper_eval_sets": sets[number],
            "other_sample_info": {"all_nodes": [texts[0]], "overlap_fraction": 0.25, "target_loudness": "loudest"},
        }


def _sets(task: str, prefix: str, index: int) -> list[str]:
    """The sets of a row: the first ones of a kind are in the small text sets, the last ones in the small visual one."""
    found = []
    onscreen = "spk" if task.startswith("Speaker") else prefix
    if prefix:
        within = index + 90 * (task == "Music separation (with singing)")
        for name in (prefix, f"{prefix}-50"):
            if within < COUNTS[name][0]:
                found += [f"{name}:{mode}" for mode in ("text-only", "span-only", "text+span")]
    position = index if task != "Speaker separation (unambiguous)" else index + 78
    if 0 <= position < COUNTS[onscreen][1]:
        found.append(f"{onscreen}-onscreen:visual-only")
        if position >= COUNTS[onscreen][1] - COUNTS[f"{onscreen}-50"][1]:
            found.append(f"{onscreen}-onscreen-50:visual-only")
    return found


def _video_id(generator: np.random.Generator) -> str:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return "".join(letters[index] for index in generator.integers(0, 64, 11))


def _stem(video: str, pattern: int, start: float, end: float) -> str:
    start_ms, end_ms = round(1000 * start), round(1000 * end)
    return {
        1: f"{video}_{start_ms}_{end_ms}",
        2: f"{video}_{int(start)}_{int(end)}",
        3: f"{video}.{start_ms:08d}_{end_ms:08d}",
    }[pattern]


def _encode_all(base: Path, seconds: float) -> tuple[dict[tuple[int, str], Path], dict[tuple[int, str], Path]]:
    """Two voices of cut clips and whole recordings in every format: (voice, suffix) -> file."""
    made: tuple[dict[tuple[int, str], Path], ...] = ({}, {})
    for long, files in enumerate(made):
        length = seconds * (WHOLE if long else 1)
        for voice, (rate, channels) in enumerate(((48_000, 1), (44_100, 2))):
            sound = signal(length, rate, channels, voice)
            for suffix in (".mp4", ".mkv", ".m4a", ".wav", ".flac"):
                path = base / f"{long}-{voice}{suffix}"
                if suffix in (".wav", ".flac"):
                    soundfile.write(path, sound.T, rate, subtype="PCM_16")
                else:
                    encode(path, sound, rate, frames(length) if suffix != ".m4a" else ())
                files[voice, suffix] = path
    return made[0], made[1]


def signal(seconds: float, rate: int, channels: int, voice: int) -> np.ndarray:
    """Tone bursts over noise, float32 ``[channels, time]``."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(voice).normal(0, 0.03, (channels, len(time)))
    bursts = 0.3 * np.sin(2 * np.pi * 330 * (voice + 1) * time) * (time % 0.5 < 0.3)
    return (bursts + noise).astype(np.float32)


def frames(seconds: float) -> list[np.ndarray]:
    """A white box that walks to the right, uint8 ``[height, width, 3]``; `_mask` follows it."""
    return [np.repeat(box[..., None], 3, axis=-1) for box in _boxes(0, round(seconds * FRAME_RATE))]


def _boxes(first: int, count: int) -> Iterator[np.ndarray]:
    for number in range(first, first + count):
        box = np.zeros((SIZE, SIZE), np.uint8)
        left = number % (SIZE - 16)
        box[24:40, left : left + 16] = 255
        yield box


def _mask(seconds: float, start: float) -> bytes:
    """The box of every frame from ``start`` on, as the released data keep masks."""
    content = io.BytesIO()
    boxes = [box > 0 for box in _boxes(round(start * FRAME_RATE), round(seconds * FRAME_RATE))]
    np.savez_compressed(content, video_masklet=np.stack(boxes))
    return content.getvalue()


def encode(
    path: Path,
    sound: np.ndarray | None,
    rate: int,
    pictures: Sequence[np.ndarray] = (),
    *,
    bit_rate: int = 48_000,
    **options: str,
) -> Path:
    """Writes H.264 and AAC; sound is float32 ``[channels, time]``, either may be left out."""
    with av.open(str(path), "w", options=options) as container:
        video = None
        if len(pictures):
            quick = {"crf": "28", "preset": "ultrafast", "threads": "1"}
            video = container.add_stream("libx264", rate=FRAME_RATE, options=quick)
            video.width, video.height, video.pix_fmt = pictures[0].shape[1], pictures[0].shape[0], "yuv420p"
        track = None
        if sound is not None:
            layout = "mono" if len(sound) == 1 else "stereo"
            track = container.add_stream("aac", rate=rate, layout=layout)
            track.bit_rate = bit_rate
        blocks = max(len(pictures), 1 if sound is None else -(-sound.shape[1] * FRAME_RATE // rate))
        for number in range(blocks):
            if video is not None and number < len(pictures):
                container.mux(video.encode(av.VideoFrame.from_ndarray(pictures[number], format="rgb24")))
            if track is not None and sound is not None:
                first, last = (at * rate // FRAME_RATE for at in (number, number + 1))
                block = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, first:last]), "fltp", layout)
                block.sample_rate, block.pts, block.time_base = rate, first, Fraction(1, rate)
                container.mux(track.encode(block))
        for stream in container.streams:
            container.mux(stream.encode(None))
    return path


def _make_musdb(made: Made, seconds: float, tracks: int) -> None:
    """Songs in stems, and excerpts of them."""
    rows = []
    for number in range(tracks):
        name = f"Band {number} - Song"
        folder = made.folder / "musdb18hq" / "test" / name
        folder.mkdir(parents=True)
        stems = {
            stem: (0.4 * signal(seconds + 0.5, 44_100, 2, 4 * number + voice) * 2**15).astype(np.int16)
            for voice, stem in enumerate(STEMS)
        }
        for stem, samples in {**stems, "mixture": sum(stems.values(), np.int16(0))}.items():
            soundfile.write(folder / f"{stem}.wav", samples.T, 44_100, subtype="PCM_16")
        for caption in ("bass", "drums", "vocals"):
            rows.append({"id": name, "start_time": 0.25, "end_time": 0.25 + seconds, "description": caption})
    made.musdb_table.parent.mkdir(parents=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=MUSDB_SCHEMA), made.musdb_table)


def damage(made: Made, *, delete: float = 0.1, corrupt: float = 0.05, seed: int = 0) -> tuple[set[str], set[str]]:
    """Removes a share of the recordings and overwrites parts of others; returns the names of both."""
    names = sorted(set(made.files))
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    gone, broken = round(delete * len(names)), round(corrupt * len(names))
    deleted = {names[index] for index in order[:gone]}
    damaged = {names[index] for index in order[gone : gone + broken]}
    for name in deleted:
        (made.folder / name).unlink()
    for number, name in enumerate(sorted(damaged)):
        path = made.folder / name
        content = path.read_bytes()
        path.unlink()
        path.write_bytes((content[: len(content) // 2], bytes(64) + content[64:], b"")[number % 3])
    return deleted, damaged


def main() -> None:
    """The command of the module's head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip")
    parser.add_argument("--delete", type=float, default=0.0, help="share of the recordings to remove")
    parser.add_argument("--corrupt", type=float, default=0.0, help="share of the recordings to damage")
    chosen = parser.parse_args()
    made = make_bench(chosen.folder, seconds=chosen.seconds)
    deleted, damaged = damage(made, delete=chosen.delete, corrupt=chosen.corrupt)
    print(json.dumps({"data": str(made.folder), "deleted": sorted(deleted), "corrupted": sorted(damaged)}, indent=1))


if __name__ == "__main__":
    main()
