"""Items of the test split: what a separator is given, what is clamped, and what costs an item."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from make_bench import FRAME_RATE, Made, encode, signal
from numpy.typing import NDArray
from pyarrow import parquet

from sam_audio_bench import registry, video
from sam_audio_bench.errors import MediaError, Precondition
from sam_audio_bench.files import sha256
from sam_audio_bench.tasks import TASKS, TaskData
from sam_audio_bench.tasks.inspection import verify_files
from sam_audio_bench.tasks.load import load_task
from sam_audio_bench.tasks.lock import LockFile
from sam_audio_bench.tasks.official import clamp_spans, read_official


def load(name: str) -> TaskData:
    return load_task(name, "test")


def place(made: Made, subset: str, *, whole: bool | None = None) -> int:
    """The first row of a set, served by a whole recording or by a clip."""
    for index, row in enumerate(made.rows):
        if subset in row["paper_eval_sets"] and whole in (None, made.files[index].endswith(f"{row['video_id']}.mp4")):
            return index
    raise AssertionError(subset)


@pytest.mark.parametrize("name", TASKS)
def test_items_offer_what_the_task_asks_for(name: str, bench: Made):
    data, task = load(name), TASKS[name]
    item = data[data.ids[3]]
    prompt = item.query.prompt
    assert (prompt.text is not None) == (task.prompt in ("text", "text+span"))
    assert bool(prompt.spans) == (task.prompt in ("text+span", "span"))
    assert (prompt.video is not None) == (prompt.mask is not None) == (task.prompt == "visual")
    assert item.query.mixture.rate == 48_000
    assert item.query.mixture.channels == 1
    assert item.group == data.groups[item.id]
    assert (item.reference is not None) == ("reference" in data.provides) == (name == "instr-pro")
    assert set(data.texts) == (set(data.ids) if prompt.text else set())
    assert prompt.text is None or data.texts[item.id] == prompt.text
    assert ("speech" in data.provides) == name.startswith(("speech", "speaker"))


def test_a_song_has_the_stem_that_was_asked_for_and_the_rest(bench: Made):
    for item in load("instr-pro"):
        assert item.reference is not None
        assert item.residual_reference is not None
        together = item.reference.samples + item.residual_reference.samples
        assert (together - item.query.mixture.samples).abs().max() < 1e-6
        assert item.reference.samples.abs().max() > 0.01
    first, second = (load("instr-pro")[f"instr-pro-{number:04d}"] for number in (0, 1))
    assert (first.query.prompt.text, second.query.prompt.text) == ("bass", "drums")
    assert first.group == second.group == "musdb18hq/Band 0 - Song"
    assert not torch.equal(first.reference.samples, second.reference.samples)  # type: ignore[union-attr]


def test_descriptions_that_are_no_stems_leave_no_references(bench: Made, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sam_audio_bench.tasks.official.STEMS", ("drums", "vocals", "other"))
    data = load("instr-pro")
    assert data.provides == {"text"}
    assert data["instr-pro-0000"].reference is None


def test_spans_end_with_their_clip_and_that_is_recorded(bench: Made):
    index = place(bench, "others-50:text+span")
    bench.rows[index]["spans"] = [[-0.001, 0.25], [0.5, 1.0078]]
    bench.write_table()
    data = load("sfx-span")
    item = data[f"sfx-span-{index:04d}"]
    assert item.query.prompt.spans == (("+", 0.0, 0.25), ("+", 0.5, item.query.mixture.seconds))
    assert item.remarks == ("span -0.001:0.25 clamped to 0:0.25", "span 0.5:1.0078 clamped to 0.5:1")
    assert any("end after their clip, and are clamped" in note for note in data.notes)


@pytest.mark.parametrize("span", [(1.0, 2.0), (-2.0, -1.0), (-1.0, 0.0)])
def test_a_span_outside_the_clip_costs_the_item(span: tuple[float, float]):
    with pytest.raises(MediaError, match=r"expected spans within 1\.000 s of sound, found "):
        clamp_spans((span,), 1.0)


@pytest.mark.parametrize("whole", [True, False])
def test_masks_follow_the_object_in_whole_recordings_and_in_clips(whole: bool, bench: Made):
    index = place(bench, "others-onscreen-50:visual-only", whole=whole)
    prompt = load("sfx-visual")[f"sfx-visual-{index:04d}"].query.prompt
    shown = list(video.masked_frames(str(prompt.video), prompt.mask))
    hidden = list(video.masked_frames(str(prompt.video), prompt.mask, keep="background"))
    assert len(shown) == FRAME_RATE
    for kept, lost in zip(shown, hidden, strict=True):
        assert kept.float().mean() > 10  # the white box
        assert lost.float().mean() < kept.float().mean() / 5  # what is left are its blurred edges


def masklet(array: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.savez(content, video_masklet=array)
    return content.getvalue()


def with_mask(made: Made, content: bytes | None) -> str:
    """Gives one row of ``sfx-visual`` another mask; returns the item."""
    index = place(made, "others-onscreen-50:visual-only")
    made.rows[index]["mask_bytes"] = content
    made.write_table()
    return f"sfx-visual-{index:04d}"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (masklet(np.zeros((10, 64, 64), bool)), "expected an object in the mask .*, found one that is zero everywhere"),
        (masklet(np.array([{"a": 1}], object)), "arrays of objects are never unpickled"),
        (b"not a zip file", "expected an npz file with a mask"),
        (b"\x80\x04\x95 a bare pickle", "expected an npz file with a mask"),
        (masklet(np.ones((10, 64), bool)), r"expected a mask \[frames, height, width\]"),
        (None, "expected a mask in row [0-9]+ of .*, found none"),
        (b"", "expected a mask in row [0-9]+ of .*, found none"),
    ],
)
def test_a_mask_that_shows_nothing_costs_its_item_alone(content: bytes | None, says: str, bench: Made):
    broken = with_mask(bench, content)
    data = load("sfx-visual")
    with pytest.raises(MediaError, match=says):
        data[broken]
    assert data[next(name for name in data.ids if name != broken)].query.prompt.mask


def test_a_mask_of_another_frame_count_is_spread_over_the_clip(bench: Made):
    half = np.zeros((2, 32, 32), bool)
    half[0, :16], half[1, 16:] = True, True
    item = load("sfx-visual")[with_mask(bench, masklet(half))]
    prompt = item.query.prompt
    upper = [bool(frame[:, 34:].sum() == 0) for frame in video.masked_frames(str(prompt.video), prompt.mask)]
    assert upper == [True] * 3 + [False] * 7  # the nearest of two masks, at 0 and at a half


def test_a_video_without_pictures_costs_its_item(bench: Made):
    index = place(bench, "others-onscreen-50:visual-only")
    path = bench.folder / bench.files[index]
    path.unlink()
    encode(path, signal(3.0, 48_000, 1, 0), 48_000)
    with pytest.raises(MediaError, match="expected a video stream"):
        load("sfx-visual")[f"sfx-visual-{index:04d}"]


def test_offsets_beyond_the_end_cost_their_item(bench: Made):
    index = place(bench, "others-50:text-only", whole=True)
    bench.rows[index] |= {"start_offset": 5000.0, "end_offset": 5001.0}
    bench.write_table()
    with pytest.raises(MediaError, match="from 5000 s on, found zero samples") as caught:
        load("sfx")[f"sfx-{index:04d}"]
    assert caught.value.status == "length_mismatch"


def test_some_recordings_missing_is_a_note_and_all_missing_an_error(bench: Made):
    rows = [index for index, row in enumerate(bench.rows) if "others-50:text-only" in row["paper_eval_sets"]]
    for index in rows[:9]:
        (bench.folder / bench.files[index]).unlink()
    data = load("sfx")
    assert data.notes == ("recordings of 9 of 50 items are missing: `sabench data missing sfx`",)
    assert data.missing == {f"sfx-{index:04d}" for index in rows[:9]}
    for index in rows[9:]:
        (bench.folder / bench.files[index]).unlink(missing_ok=True)  # two questions may be about one recording
    with pytest.raises(
        Precondition, match=r"expected recordings of sfx, such as .*, found none; `sabench data missing"
    ):
        load("sfx")


def test_an_archive_counts_once_its_checksum_is_verified(bench: Made):
    path = bench.zip_songs()
    with pytest.raises(Precondition, match=r"expected the checksum of .*musdb18hq\.zip to be verified"):
        load("instr-pro")
    lock, tasks = LockFile.read(), [read_official("instr-pro")]
    (problem,) = verify_files(tasks, lock)
    assert "found " + sha256(path.read_bytes()) in problem
    lock.write()
    with pytest.raises(Precondition, match="unverified"):
        load("instr-pro")
    assert verify_files(tasks, lock, musdb_sha256=sha256(path.read_bytes())) == []
    lock.write()
    assert load("instr-pro")["instr-pro-0000"].reference is not None
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(Precondition, match="changed since"):
        load("instr-pro")


def test_absent_prompts_work_on_the_official_data(bench: Made):
    data = registry.load_task("instr-wild", split="test", prompts="absent")
    item = data[data.ids[0]]
    assert item.reference is not None
    assert not item.reference.samples.any()


def test_absent_prompts_follow_the_ontology(bench: Made):
    """A guitar is below Music, so music cannot be asked for as absent; by words alone it would be."""
    chosen = [index for index, row in enumerate(bench.rows) if "instr-50:text-only" in row["paper_eval_sets"]]
    for number, index in enumerate(chosen):
        text, node = [("Strings", "Music/Guitar"), ("A tune", "Music"), ("Dog", "Animal/Dog")][number % 3]
        info = {**bench.rows[index]["other_sample_info"], "all_nodes": ["guitar"] if number % 3 == 0 else [node]}
        bench.rows[index] |= {"description": text, "target_node": node, "other_sample_info": info}
    revision = load("instr-wild").revision
    bench.write_table()
    data = registry.load_task("instr-wild", split="test", prompts="absent")
    asked = {(bench.rows[int(name[11:15])]["description"], text) for name, text in data.texts.items()}
    assert asked == {("Strings", "Dog"), ("A tune", "Dog"), ("Dog", "Strings"), ("Dog", "A tune")}
    assert load("instr-wild").revision != revision
    for index in chosen:
        bench.rows[index]["other_sample_info"] = None  # back to words
    bench.write_table()
    data = registry.load_task("instr-wild", split="test", prompts="absent")
    assert ("Strings", "A tune") in {
        (bench.rows[int(name[11:15])]["description"], text) for name, text in data.texts.items()
    }


def test_the_free_description_is_the_paraphrase(bench: Made):
    data = registry.load_task("sfx-span", split="test", prompts="paraphrase")
    assert len(data) == 50
    (text,) = {data.texts[name] for name in data.ids[:1]}
    row = bench.rows[int(data.ids[0].removeprefix("sfx-span-")[:4])]
    assert text == row["description_freeform"]
    item = data[data.ids[0]]
    assert (item.query.prompt.text, bool(item.query.prompt.spans)) == (text, True)
    for row in bench.rows:
        row["description_freeform"] = row["description"].upper()  # nothing but the same words
    bench.write_table()
    with pytest.raises(Precondition, match="expected stored paraphrases"):
        registry.load_task("sfx-span", split="test", prompts="paraphrase")


def test_cut_videos_and_masks_lie_in_the_cache(
    bench: Made, private_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("SABENCH_CACHE", str(tmp_path / "cache"))
    index = place(bench, "others-onscreen-50:visual-only", whole=True)
    before = {path: path.stat().st_mtime_ns for path in bench.folder.rglob("*") if path.is_file()}
    prompt = load("sfx-visual")[f"sfx-visual-{index:04d}"].query.prompt
    assert Path(str(prompt.video)).is_relative_to(tmp_path / "cache")
    assert Path(str(prompt.mask)).is_relative_to(tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in bench.folder.rglob("*") if path.is_file()} == before


# --- what the metadata say beside the question


def test_attributes_are_what_the_metadata_say(bench: Made):
    data = load("sfx")
    number = place(bench, "others-50:text-only")
    row, found = bench.rows[number], data.attributes_of(f"sfx-{number:04d}")
    assert found["source_dataset"] == row["source_dataset"]
    assert found["target_node"] == row["target_node"]
    assert found["kind"] == "General stem separation"
    assert (found["overlap_fraction"], found["target_loudness"]) == (0.25, "loudest")
    assert "n_males" not in found, "null is not known"
    duration = row["duration"]
    assert found["target_share"] == pytest.approx(0.4 + (duration - 0.5 * duration) / duration, abs=1e-4)
    assert load("instr-pro").attributes_of("instr-pro-0002") == {"stem": "vocals"}


def test_they_are_in_no_digest_and_a_copy_without_them_is_the_same_data(bench: Made):
    before, item = load("sfx"), load("sfx").ids[0]
    content = before.content_sha256(item)
    told = {"target_loudness": "louder_than_most", "target_onscreen_offscreen": "offscreen", "n_males": 2}
    bench.write_table([{**row, "other_sample_info": told} for row in bench.rows])
    after = load("sfx")
    assert after.attributes_of(item)["target_loudness"] == "louder_than_most"
    assert after.attributes_of(item)["n_males"] == 2.0
    assert (after.record, after.content_sha256(item)) == (before.record, content)
    table = parquet.read_table(bench.table)
    parquet.write_table(table.drop_columns(["other_sample_info", "target_node", "task"]), bench.table)
    bare = load("sfx")
    assert set(bare.attributes_of(item)) == {"source_dataset", "target_share"}
    assert (bare.record, bare.content_sha256(item)) == (before.record, content)
