"""Which texts the ontology of the official metadata rules out of a mixture, and which it does not."""

from __future__ import annotations

from pathlib import Path

from make_bench import SCHEMA, Made
from pyarrow import Table, parquet

from sam_audio_bench.tasks.annotations import BENCH, Annotation, find_table
from sam_audio_bench.tasks.vocabulary import SoundMetadata, find_audible_texts, find_paraphrases, read_sound_metadata

ROWS = {
    "car": ("a car", SoundMetadata(target="Vehicle/Car", nodes=("Vehicle/Car", "speech"))),
    "engine": ("an engine", SoundMetadata(target="Vehicle", nodes=("Vehicle",))),
    "man": ("a man", SoundMetadata(target="Voice/Speech/Male speech", nodes=("Voice/Speech/Male speech",))),
    "talk": ("talk", SoundMetadata(target="Voice/Speech", nodes=("Voice/Speech", "Vehicle/Car"))),
    "song": ("a song", SoundMetadata(target="Voice/Singing", nodes=("Voice/Singing",))),
    "odd": ("a hum", SoundMetadata(target="hum", nodes=("hum",))),
    "untold": ("rain", SoundMetadata(target="Water/Rain")),
}


def rows() -> tuple[dict[str, Annotation], list[SoundMetadata]]:
    described = [words for _, words in ROWS.values()]
    return {
        name: Annotation(row=index, source="s", recording=name, start=0.0, end=1.0, text=text)
        for index, (name, (text, _)) in enumerate(ROWS.items())
    }, described


def test_a_sound_is_heard_with_what_stands_above_and_below_it() -> None:
    heard = find_audible_texts(*rows())
    always = {"a hum"}  # has no place in the ontology, so that nothing can be ruled out
    assert heard["car"] == always | {"a car", "an engine", "talk", "a man"}
    assert heard["engine"] == always | {"an engine", "a car"}
    assert heard["man"] == always | {"a man", "talk"}
    assert heard["talk"] == always | {"talk", "a man", "a car", "an engine"}
    assert heard["song"] == always | {"a song"}  # a sibling of speech is another sound
    assert set(heard) == {"car", "engine", "man", "talk", "song"}  # of the others it is not told what is in them


def test_without_the_columns_nothing_is_known() -> None:
    assert find_audible_texts(rows()[0], ()) == find_paraphrases(rows()[0], ()) == {}


def test_columns_may_be_missing_or_hold_something_else(bench: Made, tmp_path: Path) -> None:
    described = read_sound_metadata(find_table(BENCH))
    assert described[5].freeform == bench.rows[5]["description_freeform"]
    assert described[5].nodes == tuple(bench.rows[5]["other_sample_info"]["all_nodes"])
    bench.table.unlink()
    table = Table.from_pylist(bench.rows, schema=SCHEMA).drop_columns(["other_sample_info", "description_freeform"])
    parquet.write_table(table, bench.table)
    described = read_sound_metadata(find_table(BENCH))
    assert described[5] == SoundMetadata(target=bench.rows[5]["target_node"])
    parquet.write_table(table.append_column("other_sample_info", [["text"] * len(table)]), bench.table)
    assert read_sound_metadata(find_table(BENCH))[5].nodes == ()
    parquet.write_table(table.drop_columns(["target_node"]), bench.table)
    assert read_sound_metadata(find_table(BENCH)) == ()
