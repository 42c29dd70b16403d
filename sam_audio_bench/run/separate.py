"""Separation of a single file by a prompt, without a benchmark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from sam_audio_bench import audio, registry
from sam_audio_bench.devices import find_device
from sam_audio_bench.errors import BadSeparation, BenchError, MediaError, Precondition, describe_error
from sam_audio_bench.files import safe_name
from sam_audio_bench.records import ESTIMATE_PARTS
from sam_audio_bench.run.contract import prepare_separator
from sam_audio_bench.run.isolation import Isolation, releasing_processes
from sam_audio_bench.run.output_log import LOG_NAME, append_text, capture_text
from sam_audio_bench.run.progress import Progress, print_note
from sam_audio_bench.run.separation import CandidateSet, Reranking, separate_items
from sam_audio_bench.run.settings import check_candidates, check_seed
from sam_audio_bench.separators.pickers import AUTO, default_picker
from sam_audio_bench.types import AnySeparator, Item, NamedSeparator, OracleSeparator, Prompt, Query, Span

__all__ = ["SeparatedFile", "separate_file"]


class SeparatedFile(TypedDict):
    """The files written for one mixture, and how the estimate was chosen, as ``--json`` prints it."""

    target: str
    residual: str
    seconds: float
    picker: str | None
    picked: int
    scores: list[float | None]  # of the candidates by the picker; None: a failed candidate


def separate_file(
    file: Path,
    out: Path,
    model: str | AnySeparator,
    *,
    text: str | None = None,
    spans: Sequence[Span] = (),
    video: Path | None = None,
    mask: Path | None = None,
    seed: int = 0,
    candidates: int = 1,
    picker: str = AUTO,
    keep_candidates: bool = False,
    model_args: Mapping[str, Any] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    progress: bool | None = None,
) -> SeparatedFile:
    """Separates one file and writes ``target`` and ``residual`` to ``out``, as FLAC or float WAV.

    Args:
        file: audio, or a video whose sound is used.
        out: folder, created if it does not exist.
        model: as ``--model`` takes it.
        text: text prompt.
        spans: span prompt.
        video: video prompt.
        mask: mask of the video.
        seed: of the estimate.
        candidates: number of estimates, of which ``picker`` chooses one.
        picker: a name in `PICKERS`, or "auto".
        keep_candidates: also write all candidates, as ``target.0`` and so on.
        model_args: options of the separator.
        device: "auto", "cpu", "cuda" ….
        dtype: "auto", "float32" or "bfloat16".
        progress: show a bar; None: if standard error is a terminal.

    Raises:
        BenchError: an invalid file, prompt or option, or the separator's own error.
    """
    check_candidates(candidates, picker, keep_candidates)
    check_seed(seed)
    find_device(device)
    places = [None if path is None else str(path) for path in (video, mask)]
    prompt = Prompt(text=text, spans=tuple(spans), video=places[0], mask=places[1])
    query = Query(mixture=audio.round_trip(audio.read(file)), prompt=prompt)
    offered = {name: value for name, value in (("device", device), ("dtype", dtype)) if value != AUTO}
    prepared = prepare_separator(model, model_args or {}, offered=offered)
    separator = prepared.separator
    for name in offered.keys() - prepared.accepted_options:
        print_note(f"--{name} {offered[name]} is ignored: {separator.name} does not take it")
    if isinstance(separator, OracleSeparator | NamedSeparator):
        raise Precondition(f"expected a separator that needs the mixture alone, found {separator.name}")
    reranking = _reranking(prompt, candidates, picker, keep_candidates)
    item = Item(id=file.name, group=file.name, query=query)
    with Progress(1, show=progress) as bar, capture_text() as printed, releasing_processes([(separator, None)]):
        if hasattr(separator, "on_evaluation"):
            separator.on_evaluation = bar.step_callback(separator.name)
        found = separate_items(
            separator, [item], reranking, task="separate", seed=seed, align=None, stereo="joint",
            isolation=Isolation(prepared.constructor_state),
        )[0]  # fmt: skip
    output = prepared.construction_output + printed.text
    if isinstance(found, CandidateSet):
        return _write_estimates(found, out, output, keep=keep_candidates)
    if output:  # it may explain the error
        print_note(output.rstrip())
    raise found if isinstance(found, BenchError) else BadSeparation(f"{separator.name} raised {describe_error(found)}")


def _reranking(prompt: Prompt, candidates: int, picker: str, keep: bool) -> Reranking | None:
    if candidates == 1:
        return None
    offers = {name for name in ("text", "spans", "video") if getattr(prompt, name)}
    name = default_picker(offers) if picker == AUTO else picker
    assert name is not None  # a prompt offers something
    chosen, identity, _ = registry.build("picker", name)
    if reason := chosen.missing():
        raise Precondition(
            f"expected picker {name} to work, found that it cannot: {reason}; or choose another --picker"
        )
    if not chosen.applies_to(prompt):
        raise Precondition(f"expected a prompt that picker {name} can compare with, found {sorted(offers)} only")
    return Reranking(candidates=candidates, picker=chosen, identity=identity, keep=keep)


def _write_estimates(found: CandidateSet, out: Path, printed: str, *, keep: bool) -> SeparatedFile:
    picked = found.separation(found.picked)
    try:
        out.mkdir(parents=True, exist_ok=True)
        paths = {part: audio.write(out / part, getattr(picked, part)) for part in ESTIMATE_PARTS}
        for index in found.valid if keep else ():
            for part in ESTIMATE_PARTS:
                audio.write(out / safe_name(f"{part}.{index}"), getattr(found.separation(index), part))
        append_text(out / LOG_NAME, printed)
    except OSError as error:
        raise MediaError(f"expected a folder that can be written at {out}, found: {error}") from error
    return {
        "target": str(paths["target"]),
        "residual": str(paths["residual"]),
        "seconds": found.seconds,
        "picker": found.picker,
        "picked": found.picked,
        "scores": [None if math.isnan(score) else score for score in found.scores],
    }
