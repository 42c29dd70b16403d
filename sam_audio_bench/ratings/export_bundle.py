"""Files of a listening test for raters, tools and the experimenter."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from sam_audio_bench.ratings.axes import choose_axes
from sam_audio_bench.ratings.blind_key import KEY_SCHEMA, KEY_VERSION, Key, KeyOrigin, KeyTrial
from sam_audio_bench.ratings.composition import Composition
from sam_audio_bench.ratings.exports import assignments_csv, clip_lists, webmushra_yaml
from sam_audio_bench.ratings.listening_page import render_page
from sam_audio_bench.ratings.stimuli import ANCHOR, RatedItem
from sam_audio_bench.tasks.manifest_tables import format_spans

__all__ = ["build_key", "build_page", "write_p808", "write_text", "write_webmushra"]


def build_page(test: Composition) -> str:
    """HTML of the listening page."""
    options = test.options
    mixtures = {}
    for name, item in zip(test.mixtures, test.items, strict=True):
        prompt = {"text": item.prompt.text or "", "spans": [list(span) for span in item.prompt.spans]}
        mixtures[name] = {"file": f"audio/{name}.flac", **test.clips[name], **prompt}
    trials = {
        stimulus.name: {
            "file": f"audio/{stimulus.name}.flac",
            "mixture": test.mixtures[stimulus.item],
            **test.clips[stimulus.name],
        }
        for stimulus in sorted(test.stimuli, key=lambda stimulus: stimulus.name)
    }
    blocks = [list(block) for block in test.designs["trials"].blocks]
    data = {
        "test": test.digest,
        "mixtures": dict(sorted(mixtures.items())),
        "trials": trials,
        "blocks": blocks,
        "minutes": test.minutes,
    }
    axes = choose_axes(options.axes)
    return render_page(data, axes, title=options.name, consent=options.consent, beeps=bool(test.traps))


def write_webmushra(test: Composition, folder: Path) -> None:
    """Writes one YAML per rater."""
    url = test.options.audio_url.rstrip("/") + "/"
    pages = {}
    for place, name in enumerate(test.mixtures):
        own = [stimulus for stimulus in test.cells.values() if stimulus.item == place]
        reference = next((f"{url}{stimulus.name}.wav" for stimulus in own if stimulus.kind == "hidden_reference"), None)
        if reference is not None:
            stimuli = {stimulus.name: f"{url}{stimulus.name}.wav" for stimulus in own if stimulus.kind == "rating"}
            stimuli = dict(sorted(stimuli.items()))
            stimuli.update((ANCHOR, f"{url}{stimulus.name}.wav") for stimulus in own if stimulus.kind == "anchor")
            pages[name] = (name, _prompt_text(test.items[place]), reference, stimuli)
    for number, block in enumerate(test.designs["items"].blocks, 1):
        text = webmushra_yaml(test.options.name, f"{test.digest}-{number:03d}", [pages[name] for name in block])
        write_text(folder / f"rater-{number:03d}.yaml", text)


def _prompt_text(item: RatedItem) -> str:
    """A prompt as text, including its spans."""
    spans = [f"{'at' if sign == '+' else 'not at'} {start:g} to {end:g} s" for sign, start, end in item.prompt.spans]
    return ", ".join([*([item.prompt.text] if item.prompt.text else []), *spans])


def write_p808(test: Composition, folder: Path) -> None:
    """Writes the lists of clips and the assignments."""
    url = test.options.audio_url.rstrip("/") + "/"
    address = {stimulus.name: f"{url}{stimulus.name}.wav" for stimulus in test.stimuli}
    answers = {
        kind: {address[stimulus.name]: next(iter(stimulus.expected.values())) for stimulus in pool if stimulus.expected}
        for kind, pool in (("trap", test.traps), ("gold", test.golds))
    }
    rated = sorted(address[stimulus.name] for stimulus in test.cells.values())
    for name, text in clip_lists(rated, answers["trap"], answers["gold"]).items():
        write_text(folder / name, text)
    assignments = []
    for block in test.designs["trials"].blocks:
        clips = [address[name] for name in block]
        traps, golds = ([clip for clip in clips if clip in answers[kind]] for kind in ("trap", "gold"))
        assignments.append(([clip for clip in clips if clip not in traps and clip not in golds], traps, golds))
    write_text(folder / "batch.csv", assignments_csv(assignments, {**answers["trap"], **answers["gold"]}))


def build_key(test: Composition) -> Key:
    """Content of key.json: the meaning of the blind names, options and designs.

    Paths of sounds are relative to the key; checks that no chosen format uses are not written and have no path.
    """

    def about(item: RatedItem) -> KeyOrigin:
        return {"item": item.id, "group": item.group, "task": item.task, "domain": item.source.domain}

    trials: dict[str, KeyTrial] = {}
    for stimulus in sorted(test.stimuli, key=lambda stimulus: stimulus.name):
        trials[stimulus.name] = {
            **about(test.items[stimulus.item]),
            "system": stimulus.system,
            "kind": stimulus.kind,
            "expected": None if stimulus.expected is None else dict(stimulus.expected),
            "mixture": test.mixtures[stimulus.item],
            "audio": test.files.get(stimulus.name),
        }
    return {
        "schema": KEY_SCHEMA,
        "version": KEY_VERSION,
        "test": test.digest,
        "options": {**asdict(test.options), "axes": list(test.options.axes), "formats": list(test.options.formats)},
        "systems": list(test.systems),
        "designs": {
            name: {
                **asdict(design.sizes),
                **design.balance.to_json(),
                "blocks": [list(block) for block in design.blocks],
            }
            for name, design in test.designs.items()
        },
        "mixtures": {
            name: {
                **about(item),
                "text": item.prompt.text,
                "spans": format_spans(item.prompt.spans) or None,
                "audio": test.files[name],
            }
            for name, item in zip(test.mixtures, test.items, strict=True)
        },
        "trials": trials,
    }


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 with plain line ends; creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
