"""Models that give all parts of a mixture at once: one pass serves every prompt of the mixture.

A class with ``separate_stems(mixture)`` is enough. It gets an `Audio`, a copy of its own, and returns a mapping from
labels to `Audio` of the same rate and length (or float tensors or arrays ``[channels, time]``). The attributes that
`Adapted` honours on other separators count here too, for every stem. A `StemMap` says which stems a prompt asks for:
the attribute ``stem_map``, or else `GENERAL`. A prompt that asks for none has the status ``unsupported``. The residual
is mixture - target.

With ``unordered = True`` the method returns a list: nobody knows which output is which. Then the references of all
items of a mixture choose together, and the separator is an oracle, which no table ranks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from sam_audio_bench.digests import combined_digest
from sam_audio_bench.errors import BadSeparation, UsageError
from sam_audio_bench.files import dump_json, sha256
from sam_audio_bench.separators.adaptation import Feed
from sam_audio_bench.separators.adapted import Adapted, difference
from sam_audio_bench.separators.prompt_stems import GENERAL, read_stem_map
from sam_audio_bench.types import Audio, Item, Query, Separation

__all__ = ["AdaptedStems", "UnorderedStems", "mixture_key", "stems_class"]

_KEPT = 512 << 20  # bytes of stems that wait for other prompts; those of the last mixture always stay


def stems_class(model: Any) -> type[Adapted]:
    """The class around a model with ``separate_stems``: its outputs have labels, or no order."""
    unordered = getattr(model, "unordered", False)
    if not isinstance(unordered, bool):
        raise UsageError(f"expected unordered of {_name(model)} to be True or False, found {unordered!r}")
    return UnorderedStems if unordered else AdaptedStems


def _name(model: Any) -> str:
    return str(getattr(model, "name", None) or getattr(model, "__name__", None) or type(model).__name__)


class _Stems(Adapted, ABC):
    """What both kinds share: the passes over mixtures, and what is kept of them."""

    deterministic = True  # a mixture is separated once, whatever is asked of it
    batch_size = 1

    def reset(self) -> None:
        """Also forgets the stems of mixtures."""
        super().reset()
        self._passes: OrderedDict[str, dict[str, Audio]] = OrderedDict()

    def _parts(self, mixture: Audio) -> dict[str, Audio]:
        """All stems of a mixture, at its rate, channels and length; the model runs where they are not known yet."""
        key = mixture_key(mixture)
        if key not in self._passes:
            self._passes[key] = self._pass(mixture)
        self._passes.move_to_end(key)
        while len(self._passes) > 1 and sum(map(_size, self._passes.values())) > _KEPT:
            self._passes.popitem(last=False)
        return self._passes[key]

    def _pass(self, mixture: Audio) -> dict[str, Audio]:
        feed = self.adaptation.feed(mixture, self.name)
        outputs = [self._outputs(chunk) for chunk in feed.chunks]
        labels = list(outputs[0])
        if any(list(one) != labels for one in outputs):
            others = list(map(list, outputs))
            raise BadSeparation(f"expected the same stems of every chunk from {self.name}, found {others}")
        found = {label: self._whole(feed, [one[label] for one in outputs], label) for label in labels}
        total = sum((one.samples for one in list(outputs[0].values())[1:]), start=outputs[0][labels[0]].samples)
        self._tell_lag(feed, Audio(total, feed.rate))
        return found

    def _whole(self, feed: Feed, parts: list[Audio], label: str) -> Audio:
        found = self.adaptation.join(feed, parts, self.name, f"stem {label!r}")
        if found.samples.shape != feed.mixture.samples.shape:
            raise BadSeparation(
                f"expected the stem {label!r} of {self.name} as {list(feed.mixture.samples.shape)}, found "
                f"{list(found.samples.shape)}"
            )
        return found

    @abstractmethod
    def _outputs(self, chunk: Audio) -> dict[str, Audio]:
        """The outputs of the model by their labels, as `Audio`."""

    def _as_audio(self, found: Any, label: str, chunk: Audio) -> Audio:
        if isinstance(found, Audio):
            return found
        expected = f"expected the stem {label!r} of {self.name} as Audio, or as floats [channels, time]"
        if isinstance(found, np.ndarray) and np.issubdtype(found.dtype, np.floating):
            found = torch.from_numpy(found.astype(np.float64))
        if not isinstance(found, Tensor):
            raise BadSeparation(f"{expected}, found {type(found).__name__}")
        found = found[None] if found.ndim == 1 and chunk.channels == 1 else found
        if found.ndim != 2 or not found.is_floating_point() or found.layout != torch.strided:
            raise BadSeparation(f"{expected}, found {found.dtype} {list(found.shape)}")
        return Audio(found.detach().cpu().to(chunk.samples.dtype), chunk.rate)


def mixture_key(mixture: Audio) -> str:
    """Digest by which two mixtures are known to be the same."""
    samples = mixture.samples.contiguous()
    content = sha256(samples.numpy().tobytes())
    return combined_digest(content, str(samples.dtype), str(tuple(samples.shape)), str(mixture.rate))


def _size(parts: Mapping[str, Audio]) -> int:
    return sum(part.samples.nbytes for part in parts.values())


class AdaptedStems(_Stems):
    """Answers to prompts by a model whose stems have labels; arguments as for `Adapted`.

    Attributes of the model: ``stem_map``, the path of a TOML file or a mapping; ``stems``, all of its labels, so that a
    prompt for none of them costs no pass.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stem_map = read_stem_map(getattr(self.model, "stem_map", None) or GENERAL, self.name)
        self._known: tuple[str, ...] = tuple(getattr(self.model, "stems", None) or ())

    def _between(self) -> dict[str, Any]:
        """As of `Adapted`, and the map from prompts to stems."""
        return {**super()._between(), "stem_map": combined_digest(dump_json(msgspec.to_builtins(self.stem_map)))[:32]}

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Answers in the order of the queries; nothing is drawn, so the seeds do not matter.

        Raises:
            BadSeparation: a prompt that asks for no stem (``unsupported``), or an output that is none.
        """
        return [self._answer(query) for query in queries]

    def _answer(self, query: Query) -> Separation:
        text = query.prompt.text
        if self._known and not self.stem_map.stems(text, self._known):
            raise self._unsupported(text, self._known)
        parts = self._parts(query.mixture)
        chosen = self.stem_map.stems(text, tuple(parts))
        if not chosen:
            raise self._unsupported(text, tuple(parts))
        target = sum((parts[label].samples for label in chosen[1:]), start=parts[chosen[0]].samples.clone())
        sound = Audio(target, query.mixture.rate)
        return Separation(target=sound, residual=difference(query.mixture, sound))

    def _unsupported(self, text: str | None, labels: Sequence[str]) -> BadSeparation:
        asked = f"the text {text!r} asks for none of them" if text else "the prompt has no text"
        return BadSeparation(f"{self.name} gives {', '.join(labels)}, and {asked}", status="unsupported")

    def _outputs(self, chunk: Audio) -> dict[str, Audio]:
        found = self.model.separate_stems(Audio(chunk.samples.clone(), chunk.rate))
        if isinstance(found, list | tuple):
            raise BadSeparation(
                f"expected separate_stems of {self.name} to return a mapping from labels to Audio, found a "
                f"{type(found).__name__}; outputs without an order need `unordered = True` on the class, and are "
                "chosen by the references then, as those of an oracle"
            )
        if not isinstance(found, Mapping) or not found or not all(isinstance(label, str) for label in found):
            raise BadSeparation(
                f"expected separate_stems of {self.name} to return a mapping from labels to Audio, found "
                f"{sorted(map(repr, found)) if isinstance(found, Mapping) else type(found).__name__}"
            )
        if self._known and set(found) != set(self._known):
            raise BadSeparation(f"{self.name} says that its stems are {list(self._known)}, and gave {list(found)}")
        return {label: self._as_audio(one, label, chunk) for label, one in found.items()}


class UnorderedStems(_Stems):
    """An oracle: outputs without labels are given out by the references of all items of a mixture, each output once.

    Targets are the different references of the task's items of that mixture, whichever of them are asked for: items of
    one reference share an output. Outputs go to the targets that sound so that the sum of their SI-SDR is highest
    (Hungarian method); a silent target gets, of the outputs that are left, the one with the least energy. Of a single
    item and two outputs, the rest of the mixture counts as a second target, where its reference sounds. A target that
    is left without an output is ``unsupported``. The residual is mixture - target.
    """

    separate = None  # type: ignore[assignment] # without the references there is no answer
    wants_others = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.adaptation.chunk_seconds is not None:
            raise UsageError(
                f"expected no chunk_seconds for {self.name}, whose outputs have no order: it may change from chunk to "
                "chunk; leave chunk_seconds out, or let the model put its own chunks together"
            )

    def separate_oracle(self, items: Sequence[Item], seeds: Sequence[int]) -> list[Separation]:
        """Answers in the order of the items; nothing is drawn, so the seeds do not matter.

        Raises:
            BadSeparation: an item has no reference, or no output is left for it, or an output is none.
        """
        return [self._answer(item) for item in items]

    def _answer(self, item: Item) -> Separation:
        mixture = item.query.mixture
        if item.reference is None:
            raise BadSeparation(
                f"{self.name} has outputs without an order, which a reference must choose from, and the item has none"
            )
        outputs = list(self._parts(mixture).values())
        assigned = _assigned(outputs, {**item.others, item.id: item.reference}, item.residual_reference)
        if item.id not in assigned:
            given = ", ".join(f"{number} to {other}" for other, number in assigned.items())
            raise BadSeparation(
                f"{self.name} gave {len(outputs)} output(s), which went to other targets of this mixture ({given}); "
                f"none is left for {item.id}",
                status="unsupported",
            )
        target = Audio(outputs[assigned[item.id]].samples.clone(), mixture.rate)
        return Separation(target=target, residual=difference(mixture, target), outputs=assigned)

    def _outputs(self, chunk: Audio) -> dict[str, Audio]:
        found = self.model.separate_stems(Audio(chunk.samples.clone(), chunk.rate))
        if isinstance(found, Tensor) and found.ndim == 3:
            found = list(found)
        if not isinstance(found, list | tuple) or not found:
            kind = "an empty one" if isinstance(found, list | tuple) else type(found).__name__
            raise BadSeparation(
                f"expected separate_stems of {self.name} to return a list of Audio, since its class says unordered = "
                f"True, found {kind}"
            )
        return {str(index): self._as_audio(one, str(index), chunk) for index, one in enumerate(found)}


def _assigned(outputs: Sequence[Audio], references: Mapping[str, Audio], rest: Audio | None) -> dict[str, int]:
    """Item -> the output that the references of all items give it, the same whatever the order of the items."""
    from sam_audio_bench.metrics.functional import best_assignment, si_sdr  # which few separators need

    items: dict[str, list[str]] = {}  # of each target; "": of silence
    for name in sorted(references):
        sound = _flat(references[name])
        items.setdefault(sha256(sound.numpy().tobytes()) if bool(sound.any()) else "", []).append(name)
    targets = [_flat(references[names[0]]) for names in items.values()]
    sounding = [index for index, target in enumerate(targets) if bool(target.any())]
    signals = torch.stack([_flat(one) for one in outputs])
    chosen: dict[int, int] = {}  # target -> output
    if sounding:
        rows = [targets[index] for index in sounding]
        if len(references) == 1 and len(outputs) == 2 and rest is not None and bool(rest.samples.any()):
            rows.append(_flat(rest))
        scores = torch.stack([si_sdr(reference=row.expand_as(signals), estimate=signals) for row in rows])
        if len(rows) <= len(outputs):
            chosen = dict(zip(sounding, best_assignment(scores).tolist(), strict=False))
        else:
            chosen = {sounding[row]: output for output, row in enumerate(best_assignment(scores.T).tolist())}
    left = [output for output in range(len(outputs)) if output not in chosen.values()]
    silent = [index for index in range(len(targets)) if index not in sounding]
    if silent and left:
        chosen[silent[0]] = min(left, key=lambda output: float(signals[output].square().sum()))
    owners = list(items.values())
    return {name: chosen[index] for index in sorted(chosen) for name in owners[index]}


def _flat(sound: Audio) -> Tensor:
    return sound.samples.flatten().double()
