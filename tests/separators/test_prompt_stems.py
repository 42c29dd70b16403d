"""Which stems a prompt asks for, by the tables that come along and by anyone's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_audio_bench.errors import UsageError
from sam_audio_bench.separators.prompt_stems import GENERAL, SPEECH, read_stem_map

FOUR = ("drums", "bass", "other", "vocals")
SIX = (*FOUR, "guitar", "piano")


@pytest.mark.parametrize(
    ("text", "stems"),
    [
        ("vocals", "vocals"), ("The lead singer", "vocals"), ("male singing", "vocals"), ("a woman's voice", "vocals"),
        ("vocals of a song", "vocals"), ("Vocals with drums", "vocals"), ("singing over a guitar", "vocals"),
        ("drum kit", "drums"), ("snare drum roll", "drums"), ("bass drum", "drums"), ("tabla drums", "drums"),
        ("bass", "bass"), ("bass guitar", "bass"), ("electric bass line", "bass"),
        ("drums and bass", "drums bass"), ("vocals, drums & bass", "vocals drums bass"), ("drums and drums", "drums"),
        ("other instruments", "other"),
        ("music", "drums bass other"), ("accompaniment", "drums bass other"), ("backing track", "drums bass other"),
        ("", ""), (None, ""), ("a dog barking", ""), ("a dog barking while a man sings", ""), ("a song", ""),
        ("acoustic guitar", ""), ("piano", ""), ("bass clarinet", ""), ("no vocals", ""), ("without vocals", ""),
        ("everything but the vocals", ""), ("remove the drums", ""), ("vocals and a dog", ""), ("and", ""), ("the", ""),
        ("bassoon", ""), ("double-bass", ""), ("…", ""), ("drummer's dog, drums", "drums"),
    ],
)  # fmt: skip
def test_of_four_stems(text: str | None, stems: str) -> None:
    assert read_stem_map(GENERAL, "x").stems(text, FOUR) == tuple(stems.split())


@pytest.mark.parametrize(
    ("text", "stems"),
    [("acoustic guitar", "guitar"), ("piano and guitar", "piano guitar"), ("bass guitar", "bass"),
     ("electric piano", "piano"), ("instrumental", "drums bass other guitar piano")],
)  # fmt: skip
def test_of_six_stems(text: str, stems: str) -> None:
    assert read_stem_map(GENERAL, "x").stems(text, SIX) == tuple(stems.split())


WORDS = ["the", "a", "bass", "drum", "vocals", "and", ",", "with", "no", "&", "music", "’s"]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40) | st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join))
def test_any_text_names_stems_of_the_model_or_none(text: str) -> None:
    found = read_stem_map(GENERAL, "x").stems(text, FOUR)
    assert len(set(found)) == len(found)
    assert set(found) <= set(FOUR)
    assert read_stem_map(GENERAL, "x").stems(text.upper(), FOUR) == found or not text.isascii()


def test_of_other_stems() -> None:
    """A stem that the table does not know is called by its name; one that the model has goes before one it lacks."""
    table = read_stem_map(GENERAL, "x")
    known = ("speech", "music", "sound_effects")
    assert table.stems("a man speaking", known) == ("speech",)
    assert table.stems("Music", known) == ("music",)
    assert table.stems("sound effects", known) == ("sound_effects",)
    assert table.stems("singing", known) == ()


@pytest.mark.parametrize(
    "text",
    ["speech", "Person speaking", "a man speaking", "voice", "man giving a speech", "woman reading a sonnet",
     "woman speaking in a meeting", "man and woman talking", "two people talking", "a man", "the voice of a child",
     "speech with background noise", "male and female voices", "a conversation between friends", "clean speech"],
)  # fmt: skip
def test_speech(text: str) -> None:
    assert read_stem_map(SPEECH, "x").stems(text, ["speech"]) == ("speech",)


@pytest.mark.parametrize(
    "text",
    ["music", "noise", "background noise", "dog barking", "a man singing", "singing voice", "man playing guitar",
     "music behind a voice", "dog barking while a man speaks", "a man coughing", "crowd cheering", "no speech",
     "everything except speech", "rapping voice", "loudspeaker hum", "woman laughing", "car engine"],
)  # fmt: skip
def test_not_speech(text: str) -> None:
    assert read_stem_map(SPEECH, "x").stems(text, ["speech"]) == ()


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text(
        '[prompts]\n"Lead  guitar solo" = "lead"\nband = ["drums", "bass"]\n"a ghost" = "ghost"\n'
        '[targets.animals]\nstems = ["dog", "cat"]\nwords = ["bark*"]\nalone = ["pets", "small"]\n',
        encoding="utf-8",
    )
    table = read_stem_map(path, "x")
    known = ("lead", "drums", "bass", "dog", "cat")
    assert table.stems("lead guitar SOLO.", known) == ("lead",)
    assert table.stems("Band", known) == ("drums", "bass")
    assert table.stems("a ghost", known) == ()  # the model has no such stem
    assert table.stems("barking", known) == ("dog", "cat")
    assert table.stems("the small pets", known) == ("dog", "cat")
    assert table.stems("small cars", known) == ()
    assert table.stems("barking", ("dog",)) == ()  # a part of the target is another sound
    assert read_stem_map({"kick": "drums", "all": ["drums", "bass"]}, "x").stems("Kick", known) == ("drums",)
    assert read_stem_map(str(path), "x") == table


@pytest.mark.parametrize(
    ("given", "message"),
    [("[targets.a]\nwrds = ['x']", "wrds"), ("[targets.a]\nstems = ['x']", "no words of a"), ("x = 3", "found"),
     ("[prompts", "found"), ("[targets.a]\nwords = 'x'", "found"), (b"\xff", "found"), (3, "found int")],
)  # fmt: skip
def test_tables_that_cannot_be_read(given: Any, message: str, tmp_path: Path) -> None:
    if not isinstance(given, int):
        (tmp_path / "map.toml").write_bytes(given if isinstance(given, bytes) else given.encode())
        given = tmp_path / "map.toml"
    with pytest.raises(UsageError, match=message) as refused:
        read_stem_map(given, "mine")
    assert "the stem map of mine as TOML" in str(refused.value)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="FileNotFoundError"):
        read_stem_map(tmp_path / "none.toml", "mine")
