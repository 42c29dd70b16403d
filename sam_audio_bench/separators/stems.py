"""Models that return all stems of a mixture at once: one pass serves every prompt of the mixture.

A class with ``separate_stems(mixture)`` is sufficient. It gets its own copy of an `Audio`, and returns a mapping from
labels to `Audio` of the same rate and length (or float tensors or arrays ``[channels, time]``). The class attributes
that `Adapted` reads apply to every stem. A `StemMap`, the attribute ``stem_map`` or else `GENERAL`, maps prompts to
stems. A prompt without a matching stem has the status ``unsupported``. The residual is mixture - target.

With ``unordered = True`` the method returns a list of unlabelled outputs. They are assigned by the references of all
items of a mixture, and the separator is an oracle, which no table ranks.
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
from sam_audio_bench.separators.adaptation import ModelInput
from sam_audio_bench.separators.adapted import Adapted, subtract_target
from sam_audio_bench.separators.prompt_stems import GENERAL, read_stem_map
from sam_audio_bench.types import Audio, Item, Query, Separation

__all__ = ["AdaptedStems", "UnorderedStems", "choose_stems_class", "mixture_key"]

_CACHE_BYTES = 512 << 20  # bytes of stems kept for other prompts; those of the last mixture are always kept


def choose_stems_class(model: Any) -> type[Adapted]:
    """Returns the wrapper class for a model with ``separate_stems``, by whether its outputs are unordered."""
    unordered = getattr(model, "unordered", False)
    if not isinstance(unordered, bool):
        raise UsageError(f"expected unordered of {_name(model)} to be True or False, found {unordered!r}")
    return UnorderedStems if unordered else AdaptedStems


def _name(model: Any) -> str:
    return str(getattr(model, "name", None) or getattr(model, "__name__", None) or type(model).__name__)


class _Stems(Adapted, ABC):
    """Common base class: separates mixtures, and caches their stems."""

    deterministic = True  # a mixture is separated once, for all prompts
    batch_size = 1

    def reset(self) -> None:
        """Also clears the cached stems."""
        super().reset()
        self._cache: OrderedDict[str, dict[str, Audio]] = OrderedDict()

    def _separated(self, mixture: Audio) -> dict[str, Audio]:
        """Returns all stems of a mixture, at its rate, channels and length; runs the model unless they are cached."""
        key = mixture_key(mixture)
        if key not in self._cache:
            self._cache[key] = self._separate_mixture(mixture)
        self._cache.move_to_end(key)
        while len(self._cache) > 1 and sum(map(_count_bytes, self._cache.values())) > _CACHE_BYTES:
            self._cache.popitem(last=False)
        return self._cache[key]

    def _separate_mixture(self, mixture: Audio) -> dict[str, Audio]:
        model_input = self.adaptation.prepare(mixture, self.name)
        outputs = [self._outputs(chunk) for chunk in model_input.chunks]
        labels = list(outputs[0])
        if any(list(one) != labels for one in outputs):
            others = list(map(list, outputs))
            raise BadSeparation(f"expected the same stems of every chunk from {self.name}, found {others}")
        found = {label: self._join_stem(model_input, [one[label] for one in outputs], label) for label in labels}
        total = sum((one.samples for one in list(outputs[0].values())[1:]), start=outputs[0][labels[0]].samples)
        self._warn_about_lag(model_input, Audio(total, model_input.rate))
        return found

    def _join_stem(self, model_input: ModelInput, parts: list[Audio], label: str) -> Audio:
        found = self.adaptation.join(model_input, parts, self.name, f"stem {label!r}")
        if found.samples.shape != model_input.mixture.samples.shape:
            raise BadSeparation(
                f"expected the stem {label!r} of {self.name} as {list(model_input.mixture.samples.shape)}, found "
                f"{list(found.samples.shape)}"
            )
        return found

    @abstractmethod
    def _outputs(self, chunk: Audio) -> dict[str, Audio]:
        """Runs the model, and returns its outputs as `Audio`, by label."""

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
    """Returns a digest that is equal for equal mixtures."""
    samples = mixture.samples.contiguous()
    content = sha256(samples.numpy().tobytes())
    return combined_digest(content, str(samples.dtype), str(tuple(samples.shape)), str(mixture.rate))


def _count_bytes(parts: Mapping[str, Audio]) -> int:
    return sum(part.samples.nbytes for part in parts.values())


class AdaptedStems(_Stems):
    """A model with labelled stems as a separator; arguments as for `Adapted`.

    Attributes of the model: ``stem_map``, the path of a TOML file or a mapping; ``stems``, all of its labels, so that
    the model does not run for a prompt that matches none of them.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stem_map = read_stem_map(getattr(self.model, "stem_map", None) or GENERAL, self.name)
        self._known: tuple[str, ...] = tuple(getattr(self.model, "stems", None) or ())

    def _adaptation_options(self) -> dict[str, Any]:
        """Returns the options of `Adapted`, and a digest of the stem map."""
        return {
            **super()._adaptation_options(),
            "stem_map": combined_digest(dump_json(msgspec.to_builtins(self.stem_map)))[:32],
        }

    def separate(self, queries: Sequence[Query], seeds: Sequence[int]) -> list[Separation]:
        """Returns one estimate per query, in order; the seeds are ignored.

        Raises:
            BadSeparation: a prompt matches no stem (``unsupported``), or an output is invalid.
        """
        return [self._separate_one(query) for query in queries]

    def _separate_one(self, query: Query) -> Separation:
        text = query.prompt.text
        if self._known and not self.stem_map.stems(text, self._known):
            raise self._unsupported(text, self._known)
        parts = self._separated(query.mixture)
        chosen = self.stem_map.stems(text, tuple(parts))
        if not chosen:
            raise self._unsupported(text, tuple(parts))
        target = sum((parts[label].samples for label in chosen[1:]), start=parts[chosen[0]].samples.clone())
        sound = Audio(target, query.mixture.rate)
        return Separation(target=sound, residual=subtract_target(query.mixture, sound))

    def _unsupported(self, text: str | None, labels: Sequence[str]) -> BadSeparation:
        reason = f"the text {text!r} asks for none of them" if text else "the prompt has no text"
        return BadSeparation(f"{self.name} gives {', '.join(labels)}, and {reason}", status="unsupported")

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
            raise BadSeparation(f"{self.name} states the stems {list(self._known)}, and returned {list(found)}")
        return {label: self._as_audio(one, label, chunk) for label, one in found.items()}


class UnorderedStems(_Stems):
    """An oracle that assigns unlabelled outputs by the references of all items of a mixture, each output once.

    Targets are the different references of all the task's items of that mixture, also of items that are not evaluated;
    items with the same reference share an output. Outputs are assigned to non-silent targets so that the sum of their
    SI-SDR is highest (Hungarian method); a silent target gets the remaining output with the least energy. With a single
    item and two outputs, the residual counts as a second target unless its reference is silent. A target without an
    output is ``unsupported``. The residual is mixture - target.
    """

    separate = None  # type: ignore[assignment] # there is no estimate without references
    wants_others = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.adaptation.chunk_seconds is not None:
            raise UsageError(
                f"expected no chunk_seconds for {self.name}, whose outputs have no order: it may change from chunk to "
                "chunk; leave chunk_seconds out, or let the model put its own chunks together"
            )

    def separate_oracle(self, items: Sequence[Item], seeds: Sequence[int]) -> list[Separation]:
        """Returns one estimate per item, in order; the seeds are ignored.

        Raises:
            BadSeparation: an item has no reference or no output, or an output is invalid.
        """
        return [self._separate_one(item) for item in items]

    def _separate_one(self, item: Item) -> Separation:
        mixture = item.query.mixture
        if item.reference is None:
            raise BadSeparation(
                f"{self.name} has outputs without an order, which a reference must choose from, and the item has none"
            )
        outputs = list(self._separated(mixture).values())
        assigned = _assign_outputs(outputs, {**item.others, item.id: item.reference}, item.residual_reference)
        if item.id not in assigned:
            given = ", ".join(f"{number} to {other}" for other, number in assigned.items())
            raise BadSeparation(
                f"{self.name} gave {len(outputs)} output(s), which went to other targets of this mixture ({given}); "
                f"none is left for {item.id}",
                status="unsupported",
            )
        target = Audio(outputs[assigned[item.id]].samples.clone(), mixture.rate)
        return Separation(target=target, residual=subtract_target(mixture, target), outputs=assigned)

    def _outputs(self, chunk: Audio) -> dict[str, Audio]:
        found = self.model.separate_stems(Audio(chunk.samples.clone(), chunk.rate))
        if isinstance(found, Tensor) and found.ndim == 3:
            found = list(found)
        if not isinstance(found, list | tuple) or not found:
            kind = "an empty one" if isinstance(found, list | tuple) else type(found).__name__
            raise BadSeparation(
                f"expected separate_stems of {self.name} to return a list of Audio, since its class states unordered = "
                f"True, found {kind}"
            )
        return {str(index): self._as_audio(one, str(index), chunk) for index, one in enumerate(found)}


def _assign_outputs(outputs: Sequence[Audio], references: Mapping[str, Audio], rest: Audio | None) -> dict[str, int]:
    """Returns the index of the output of each item, independent of the order of the items."""
    from sam_audio_bench.metrics.functional import best_assignment, si_sdr  # imported late: few separators need it

    items: dict[str, list[str]] = {}  # names per target; "": those with a silent reference
    for name in sorted(references):
        sound = _flatten(references[name])
        items.setdefault(sha256(sound.numpy().tobytes()) if bool(sound.any()) else "", []).append(name)
    targets = [_flatten(references[names[0]]) for names in items.values()]
    sounding = [index for index, target in enumerate(targets) if bool(target.any())]
    signals = torch.stack([_flatten(one) for one in outputs])
    chosen: dict[int, int] = {}  # target -> output
    if sounding:
        rows = [targets[index] for index in sounding]
        if len(references) == 1 and len(outputs) == 2 and rest is not None and bool(rest.samples.any()):
            rows.append(_flatten(rest))
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


def _flatten(sound: Audio) -> Tensor:
    return sound.samples.flatten().double()
