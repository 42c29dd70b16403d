"""The same items with paraphrased prompts, or with prompts for absent sounds, to test a separator's robustness.

`paraphrase` makes one variant of an item per stored paraphrase of its text. Spans and video stay. The variants are
``<id>~p0``, ``<id>~p1`` …, in the group of their item, so that intervals resample recordings as before.

`absent` prompts an item with the text of another one and expects silence: the reference is zero, the residual is the
mixture. A text is assumed to be absent from a mixture if

* it belongs to an item of another group, and
* it is none of the texts that may describe the mixture, if the data list them (the mini split does);
* if the data do not, none of its words, without articles and prepositions, is a word of a text in the mixture's group.
  Words of which one begins with the other are equal (dog, dogs), and so are all words for voices.

Of these texts, the one is chosen whose hash follows that of the item's id, so that the order of the items does not
matter. An item without such a text is left out. The prompt is the text only, since spans and video would indicate the
sound that is present.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from sam_audio_bench.digests import combined_digest
from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.files import dump_json, sha256
from sam_audio_bench.tasks.data import PROMPTS, TaskData
from sam_audio_bench.types import Audio, Item, Prompt, Query

__all__ = ["absent_texts", "with_prompts"]

_FILLERS = frozenset(re.findall(r"\w+", "a an and at by for from in into is of off on or over some the to up with"))
_VOICE = frozenset(
    re.findall(
        r"\w+",
        "adult announcer baby boy child children crowd dialogue female girl human kid lady male man men narrator "
        "people person rap reporter sing singer singing somebody someone speaker speaking speech talk talking vocal "
        "vocals voice voices woman women",
    )
)
_SHORTEST = 3  # letters of the shortest word that counts as the beginning of another one


def with_prompts(data: TaskData, prompts: str) -> TaskData:
    """Returns the task with prompts of a kind of `PROMPTS`: "given", unchanged; "paraphrase"; or "absent".

    Raises:
        UsageError: the kind is unknown, or the task has no texts, or none that is absent from some mixture.
        Precondition: no paraphrase is stored.
    """
    if prompts not in PROMPTS:
        raise UsageError(f"expected --prompts to be one of {', '.join(PROMPTS)}, found {prompts!r}")
    if prompts == "given":
        return data
    if not data.texts:
        raise UsageError(f"expected a task whose items have texts for --prompts {prompts}, found none in {data.label}")
    variants = _paraphrase_variants(data) if prompts == "paraphrase" else _absent_variants(data)
    items = {item for item, _ in variants.values()}
    missing = "a stored paraphrase" if prompts == "paraphrase" else "a text that is surely absent"
    note = f"{len(data) - len(items)} of {len(data)} items left out for want of {missing}"
    changed = replace(
        data,
        task=f"{data.task}+{prompts}",
        revision=sha256(dump_json([data.revision, prompts, variants]).encode()),
        groups={name: data.groups[item] for name, (item, _) in variants.items()},
        prompts=prompts,
        texts={name: text for name, (_, text) in variants.items()},
        paraphrases={},
        heard={},
        source=data.source or data.task,
        missing=frozenset(name for name, (item, _) in variants.items() if item in data.missing),
        notes=(*data.notes, note) if len(items) < len(data) else data.notes,
        load=partial(_load, data, variants, prompts),
        content=partial(_content, data, variants, prompts),
        size=None if data.size is None else partial(_size, data.size, variants),
    )
    offers = data.provides if prompts == "paraphrase" else {"reference", "residual_reference"}
    return replace(changed, provides=frozenset({*offers, "text"}))


Variants = Mapping[str, tuple[str, str]]  # id of the variant -> item and text


def _paraphrase_variants(data: TaskData) -> Variants:
    variants = {
        f"{item}~p{index}": (item, text)
        for item in data.groups
        if item in data.texts
        for index, text in enumerate(data.paraphrases.get(item, ()))
    }
    if not variants:
        raise Precondition(
            f"expected stored paraphrases of the texts of {data.label}, found none: use --split mini, or a manifest "
            "with a column 'paraphrases'"
        )
    return variants


def _absent_variants(data: TaskData) -> Variants:
    variants = {f"{item}~absent": (item, text) for item, text in absent_texts(data).items()}
    if not variants:
        raise UsageError(
            f"expected texts of {data.label} that are surely absent from some of its mixtures, found none: leave the "
            "task out"
        )
    return variants


def absent_texts(data: TaskData) -> dict[str, str]:
    """Finds, for each item with a text, a text that is absent from its mixture; items without one are left out.

    Args:
        data: a task with ``texts``, and with ``heard`` if known. The module's docstring states the rule.
    """
    in_group: dict[str, set[str]] = {}
    groups: dict[str, set[str]] = {}  # text -> groups of the items that have it
    for item, text in data.texts.items():
        in_group.setdefault(data.groups[item], set()).add(text)
        groups.setdefault(text, set()).add(data.groups[item])
    words = {text: _words(text) for text in groups}
    similar = _similar_words(frozenset[str]().union(*words.values()))
    taken = {
        group: frozenset(other for text in texts for word in words[text] for other in similar[word])
        for group, texts in in_group.items()
    }
    ring = sorted(groups, key=_position)
    positions = [_position(text) for text in ring]

    def is_absent(item: str, text: str) -> bool:
        group = data.groups[item]
        if text == data.texts[item] or groups[text] == {group}:
            return False
        if item in data.heard:
            return text not in data.heard[item]
        comparable = bool(words[text]) and all(words[own] for own in in_group[group])
        return comparable and text not in in_group[group] and words[text].isdisjoint(taken[group])

    found = {}
    for item in data.texts:
        start = bisect(positions, _position(item))
        chosen = next((text for text in (*ring[start:], *ring[:start]) if is_absent(item, text)), None)
        if chosen is not None:
            found[item] = chosen
    return found


def _position(text: str) -> str:
    return sha256(text.encode())


def _words(text: str) -> frozenset[str]:
    words = frozenset(re.findall(r"\w+", text.casefold())) - _FILLERS
    return frozenset("voice" if word in _VOICE else word for word in words)


def _similar_words(words: frozenset[str]) -> dict[str, set[str]]:
    """Maps each word to the words that begin with it or with which it begins."""
    similar = {word: {word} for word in words}
    for word in words:
        for length in range(_SHORTEST, len(word)):
            if word[:length] in similar:
                similar[word].add(word[:length])
                similar[word[:length]].add(word)
    return similar


def _content(data: TaskData, variants: Variants, prompts: str, identifier: str) -> str:
    name, text = variants[identifier]
    return combined_digest(data.content_sha256(name), prompts, identifier, text)


def _size(size: Callable[[str], int | None], variants: Variants, identifier: str) -> int | None:
    return size(variants[identifier][0])


def _load(data: TaskData, variants: Variants, prompts: str, identifier: str) -> Item:
    name, text = variants[identifier]
    item = data[name]
    query = item.query
    if prompts == "paraphrase":
        return replace(item, id=identifier, query=replace(query, prompt=replace(query.prompt, text=text)))
    silence = Audio(query.mixture.samples.new_zeros(query.mixture.samples.shape), query.mixture.rate)
    return replace(
        item,
        id=identifier,
        query=Query(mixture=query.mixture, prompt=Prompt(text=text)),
        reference=silence,
        residual_reference=query.mixture,
        residual_sources=(),
    )
