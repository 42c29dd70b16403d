"""Anyone's CSV: what works, and what each mistake is answered with."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam_audio_bench import audio
from sam_audio_bench.errors import MediaError, UsageError
from sam_audio_bench.tasks.load import load_task
from sam_audio_bench.tasks.manifest import load_manifest, parse_spans
from sam_audio_bench.types import Audio

RATE = 16_000


def noise(seed: int, channels: int = 1, length: int = RATE) -> torch.Tensor:
    return torch.rand((channels, length), generator=torch.Generator().manual_seed(seed)) - 0.5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    audio.write_wav(tmp_path / "a.wav", Audio(noise(0), RATE))
    audio.write_wav(tmp_path / "t.wav", Audio(noise(1), RATE))
    return tmp_path


def table(folder: Path, text: str, name: str = "mine.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder / name


def test_a_strangers_file_is_a_task(folder: Path):
    path = table(folder, "mixture,text,target\na.wav,dog barking,t.wav\n")
    data = load_task(str(path))
    assert (data.label, data.ids, data.groups["a"]) == ("mine@1-file", ("a",), "a.wav")
    assert data.provides == {"speech", "reference", "residual_reference", "text"}
    item = data["a"]
    assert item.query.prompt.text == "dog barking"
    assert torch.equal(item.query.mixture.samples, noise(0))
    assert item.reference is not None
    assert item.residual_reference is not None
    assert torch.equal(item.reference.samples, noise(1))
    assert torch.equal(item.residual_reference.samples, noise(0) - noise(1))


def test_all_columns_in_any_order_and_unknown_ones(folder: Path):
    path = table(folder, "note, id ,spans,residual,mixture,group\nfine, q1 ,+0:0.5 -0.5:1,t.wav,a.wav,street\n")
    data = load_manifest(path)
    assert data.provides == {"speech", "residual_reference", "spans"}
    assert data.groups == {"q1": "street"}
    item = data["q1"]
    assert item.query.prompt.text is None
    assert item.query.prompt.spans == (("+", 0.0, 0.5), ("-", 0.5, 1.0))
    assert item.reference is None
    assert item.residual_reference is not None


def test_only_what_every_row_has_is_provided(folder: Path):
    data = load_manifest(table(folder, "mixture,text,spans,target\na.wav,dog,,t.wav\nt.wav,cat,+0:1,\n"))
    assert data.provides == {"speech", "text"}
    assert data["t"].reference is None


def test_questions_about_one_mixture_are_told_apart_by_their_prompt(folder: Path):
    data = load_manifest(table(folder, "mixture,text,spans\na.wav,dog barking,\na.wav,,+0:1\nt.wav,cat,\n"))
    assert data.ids == ("a-dog-barking", "a-0-1", "t")
    assert data.groups["a-dog-barking"] == data.groups["a-0-1"] == "a.wav"


def test_a_byte_order_mark_and_windows_lines_are_read(folder: Path):
    (folder / "mine.csv").write_bytes(b'\xef\xbb\xbfmixture,text\r\na.wav,"bark, bark"\r\n')
    assert load_manifest(folder / "mine.csv")["a"].query.prompt.text == "bark, bark"


def test_the_revision_is_the_files(folder: Path):
    one = load_manifest(table(folder, "mixture,text\na.wav,dog\n")).revision
    assert one != load_manifest(table(folder, "mixture,text\na.wav,cat\n")).revision
    assert one == load_manifest(table(folder, "mixture,text\na.wav,dog\n", "copy.csv")).revision


def test_nothing_is_decoded_before_an_item_is_asked_for(folder: Path):
    data = load_manifest(table(folder, "mixture,text\nnowhere.wav,dog\n"))
    assert data.ids == ("nowhere",)
    with pytest.raises(MediaError, match=r"nowhere\.wav") as caught:
        data["nowhere"]
    assert caught.value.status == "missing_media"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1 of .*expected columns 'mixture' and 'text' or 'spans' or 'video', found none"),
        (
            "mixture,target\na.wav,t.wav\n",
            "expected columns 'mixture' and 'text' or 'spans' or 'video', found mixture, target",
        ),
        ("file,text\na.wav,dog\n", "expected columns 'mixture'"),
        ("mixture,text,taget\na.wav,dog,t.wav\n", "unknown column 'taget': did you mean 'target'"),
        ("Mixture,text\na.wav,dog\n", "unknown column 'Mixture': did you mean 'mixture'"),
        ("mixture,text,text\na.wav,dog,cat\n", "each column once, found 'text'"),
        ("mixture,text\n", "at least one question, found none"),
        ("mixture,text\na.wav,dog\na.wav,  \n", "row 3 of .*found neither a text nor a span nor a video"),
        ("mixture,text\n,dog\n", "row 2 of .*path of a mixture, found an empty cell"),
        ("mixture,text\na.wav\n", "row 2 of .*found neither a text nor a span nor a video"),
        ("mixture,text\na.wav,dog, loudly\n", "row 2 of .*as many cells as the header"),
        ('mixture,text\na.wav,"dog\n', "damaged row 2"),
        ("mixture,text,id\na.wav,dog,x\nt.wav,cat,x\n", "row 3 of .*an id of its own, found 'x', which row 2 has"),
        ("mixture,text\na.wav,dog\na.wav,dog\n", "row 3 of .*found 'a-dog', which row 2 has"),
        ("mixture,text,spans\na.wav,dog,1:2\n", "row 2 of .*expected a span such as"),
        ("mixture,text\n../a.wav,dog\n", r"row 2 of .*inside the folder of the data.*'\.\./a\.wav'"),
        ("mixture,text\nsub/../../a.wav,dog\n", "row 2 of .*inside the folder of the data"),
        ("mixture,text\n/etc/passwd,dog\n", "row 2 of .*inside the folder of the data"),
        ("mixture,text\n.,dog\n", "row 2 of .*inside the folder of the data"),
        ("mixture,text,target\na.wav,dog,../t.wav\n", "row 2 of .*inside the folder of the data"),
        ("mixture,text,residual\na.wav,dog,/t.wav\n", "row 2 of .*inside the folder of the data"),
    ],
)
def test_a_mistake_names_its_row(folder: Path, text: str, message: str):
    with pytest.raises(UsageError, match=message):
        load_manifest(table(folder, text))


def test_another_encoding_names_its_row(folder: Path):
    (folder / "mine.csv").write_bytes("mixture,text\na.wav,dog\nt.wav,Hündin\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"row 3 of .*expected UTF-8"):
        load_manifest(folder / "mine.csv")


def test_an_absent_file_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"expected a table of questions .*none\.csv, found none"):
        load_manifest(tmp_path / "none.csv")
    with pytest.raises(UsageError, match=r"expected one of manifest\.csv.*or folders of stems"):
        load_manifest(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UsageError, match=r"expected a table of questions \(\.csv, \.jsonl, \.parquet\) or a folder"):
        load_manifest(tmp_path / "notes.txt")


def test_paths_outside_need_leave(folder: Path):
    inner = folder / "inner"
    inner.mkdir()
    path = table(inner, f"mixture,text,target\n../a.wav,dog,{folder / 't.wav'}\n")
    with pytest.raises(UsageError, match="--allow-outside"):
        load_task(str(path))
    data = load_task(str(path), allow_outside=True)
    assert data.allow_outside
    reference = data[data.ids[0]].reference
    assert reference is not None
    assert torch.equal(reference.samples, noise(1))
    with pytest.raises(UsageError, match=r"expected a path, found '.'"):
        load_manifest(table(inner, "mixture,text\n.,dog\n"), allow_outside=True)


def test_videos_masks_and_paraphrases(folder: Path):
    data = load_manifest(
        table(folder, "mixture,video,mask,text,paraphrases\na.wav,v.mp4,m.npz,dog,hound | a barker |\n")
    )
    assert data.provides == {"speech", "text", "video"}
    assert data.paraphrases == {"a": ("hound", "a barker")}
    prompt = data["a"].query.prompt
    assert (prompt.video, prompt.mask) == (str(folder / "v.mp4"), str(folder / "m.npz"))
    with pytest.raises(UsageError, match=r"expected the video that the mask m.npz belongs to"):
        load_manifest(table(folder, "mixture,text,mask\na.wav,dog,m.npz\n"))


def test_ten_thousand_rows_load_lazily_in_flat_memory(folder: Path):
    rows = "".join(f"a.wav,sound number {number},g{number % 100},q{number}\n" for number in range(10_000))
    path = table(folder, "mixture,text,group,id\n" + rows)
    tracemalloc.start()
    try:
        data = load_manifest(path)
        assert len(data) == 10_000
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
        data["q0"]
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for number in range(200):
            data[f"q{number}"]
        assert tracemalloc.get_traced_memory()[1] - before < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("rate", [8_000, 192_000])
def test_a_file_keeps_its_rate_and_channels(tmp_path: Path, subtype: str, rate: int):
    samples = noise(3, 2, 1000).numpy()
    soundfile.write(tmp_path / "a.wav", samples.T, rate, subtype=subtype)
    mixture = load_manifest(table(tmp_path, "mixture,text\na.wav,dog\n"))["a"].query.mixture
    assert (mixture.rate, mixture.samples.shape) == (rate, (2, 1000))
    assert float(np.abs(mixture.samples.numpy() - samples).max()) <= (2**-7 if subtype == "PCM_U8" else 2**-15)


def test_references_are_brought_to_the_rate_of_the_mixture(folder: Path):
    audio.write_wav(folder / "high.wav", Audio(noise(4, 1, 3 * RATE), 3 * RATE))
    item = load_manifest(table(folder, "mixture,text,target\na.wav,dog,high.wav\n"))["a"]
    assert item.reference is not None
    assert (item.reference.rate, item.reference.length) == (RATE, RATE)


@pytest.mark.parametrize("column", ["target", "residual"])
@pytest.mark.parametrize(("shape", "status"), [((1, RATE - 1), "length_mismatch"), ((2, RATE), "error")])
def test_a_reference_of_another_shape_names_both_files(folder: Path, column: str, shape: tuple[int, int], status: str):
    audio.write_wav(folder / "odd.wav", Audio(noise(5, *shape), RATE))
    data = load_manifest(table(folder, f"mixture,text,{column}\na.wav,dog,odd.wav\n"))
    with pytest.raises(MediaError, match=r"odd\.wav to be as long as .*a\.wav") as caught:
        data["a"]
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("samples", "status", "message"),
    [
        (np.zeros((0, 1), np.float32), "error", "zero samples"),
        (np.full((100, 1), np.nan, np.float32), "non_finite", "NaN or infinity"),
        (np.full((100, 1), np.inf, np.float32), "non_finite", "NaN or infinity"),
    ],
)
@pytest.mark.parametrize("column", ["mixture", "target"])
def test_unusable_sound_is_an_error_of_its_item(
    folder: Path, samples: np.ndarray, status: str, message: str, column: str
):
    soundfile.write(folder / "bad.wav", samples, RATE, subtype="FLOAT")
    row = "bad.wav,dog,t.wav" if column == "mixture" else "a.wav,dog,bad.wav"
    data = load_manifest(table(folder, f"mixture,text,target\n{row}\nt.wav,cat,t.wav\n"))
    with pytest.raises(MediaError, match=message) as caught:
        data[data.ids[0]]
    assert caught.value.status == status
    assert data["t"].id == "t"  # the others go on


def test_text_that_is_no_sound_is_an_error_of_its_item(folder: Path):
    (folder / "bad.wav").write_text("hello")
    with pytest.raises(MediaError, match=r"libsndfile can read at .*bad\.wav"):
        load_manifest(table(folder, "mixture,text\nbad.wav,dog\n"))["bad"]


seconds = st.floats(0, 1e6, allow_nan=False)
spans = st.tuples(st.sampled_from("+-"), seconds, seconds).filter(lambda span: span[1] < span[2])


@given(st.lists(spans))
def test_spans_survive_being_written_down(written: list[tuple[str, float, float]]):
    text = " ".join(f"{sign}{start!r}:{end!r}" for sign, start, end in written)
    assert parse_spans(text) == tuple(written)


@given(st.text("+-:. 0123456789e\tinfa", max_size=20))
def test_other_text_is_refused_or_means_possible_spans(text: str):
    try:
        found = parse_spans(text)
    except UsageError:
        return  # any other exception fails the test
    assert len(found) == len(text.split())
    assert all(sign in "+-" and 0 <= start < end < float("inf") for sign, start, end in found)


@pytest.mark.parametrize(
    "text", ["1:2", "+2:1", "+1:1", "+-1:2", "+1", "+1:", "+a:b", "+1:nan", "+1:1e999", "+1:2,-3:4"]
)
def test_impossible_spans_are_refused(text: str):
    with pytest.raises(UsageError, match="expected a span such as"):
        parse_spans(text)
