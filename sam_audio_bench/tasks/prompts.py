"""The same items asked in other words, or for a sound that they do not have: how robust is a separator to its prompt?

`paraphrase` asks an item once by each stored paraphrase of its text. Spans and video stay. The questions
are ``<id>~p0``, ``<id>~p1`` …, of the group of their item, so that intervals resample recordings as before.

`absent` asks an item by the text of another one and expects silence: reference zero, residual the mixture. A text is
taken for absent from a mixture if

* it belongs to an item of another group,
* it is none of the texts that fit the mixture, where the data say which do (the mini split does);
* where they do not, none of its words, articles and the like aside, is a word of a text asked in the mixture's group.
  A word that another one begins with counts as the same (dog, dogs), and so do all words for voices.

Of these texts the one is taken whose hash follows that of the item's id, whatever the order of the items. An item
without such a text is left out.
The prompt is the text alone: spans and video would point at the sound that is there.
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
_SHORTEST = 3  # letters of a word that may begin another one


def with_prompts(data: TaskData, prompts: str) -> TaskData:
    """The task with its items asked as `PROMPTS` says: "given", as they are; "paraphrase"; or "absent".

    Raises:
        UsageError: an unknown way, or a task without texts or without a text that is absent anywhere.
        Precondition: no paraphrase is stored.
    """
    if prompts not in PROMPTS:
        raise UsageError(f"expected --prompts to be one of {', '.join(PROMPTS)}, found {prompts!r}")
    if prompts == "given":
        return data
    if not data.texts:
        raise UsageError(f"expected a task whose items have texts for --prompts {prompts}, found none in {data.label}")
    questions = _paraphrased(data) if prompts == "paraphrase" else _absent(data)
    asked = {item for item, _ in questions.values()}
    missing = "a stored paraphrase" if prompts == "paraphrase" else "a text that is surely absent"
    note = f"{len(data) - len(asked)} of {len(data)} items left out for want of {missing}"
    changed = replace(
        data,
        task=f"{data.task}+{prompts}",
        revision=sha256(dump_json([data.revision, prompts, questions]).encode()),
        groups={name: data.groups[item] for name, (item, _) in questions.items()},
        prompts=prompts,
        texts={name: text for name, (_, text) in questions.items()},
        paraphrases={},
        heard={},
        source=data.source or data.task,
        missing=frozenset(name for name, (item, _) in questions.items() if item in data.missing),
        notes=(*data.notes, note) if len(asked) < len(data) else data.notes,
        load=partial(_load, data, questions, prompts),
        content=partial(_content, data, questions, prompts),
        size=None if data.size is None else partial(_size, data.size, questions),
    )
    offers = data.provides if prompts == "paraphrase" else {"reference", "residual_reference"}
    return replace(changed, provides=frozenset({*offers, "text"}))


Questions = Mapping[str, tuple[str, str]]  # id of the question -> item and text


def _paraphrased(data: TaskData) -> Questions:
    questions = {
        f"{item}~p{index}": (item, text)
        for item in data.groups
        if item in data.texts
        for index, text in enumerate(data.paraphrases.get(item, ()))
    }
    if not questions:
        raise Precondition(
            f"expected stored paraphrases of the texts of {data.label}, found none: use --split mini, or a manifest "
            "with a column 'paraphrases'"
        )
    return questions


def _absent(data: TaskData) -> Questions:
    questions = {f"{item}~absent": (item, text) for item, text in absent_texts(data).items()}
    if not questions:
        raise UsageError(
            f"expected texts of {data.label} that are surely absent from some of its mixtures, found none: leave the "
            "task out"
        )
    return questions


def absent_texts(data: TaskData) -> dict[str, str]:
    """For each item with a text, one of other items that its mixture does not have, where there is one.

    Args:
        data: with ``texts``; ``heard`` where it is known. The rule stands above.
    """
    in_group: dict[str, set[str]] = {}
    groups: dict[str, set[str]] = {}  # text -> the groups that ask it
    for item, text in data.texts.items():
        in_group.setdefault(data.groups[item], set()).add(text)
        groups.setdefault(text, set()).add(data.groups[item])
    words = {text: _words(text) for text in groups}
    alike = _alike(frozenset[str]().union(*words.values()))
    taken = {
        group: frozenset(like for text in texts for word in words[text] for like in alike[word])
        for group, texts in in_group.items()
    }
    ring = sorted(groups, key=_position)
    positions = [_position(text) for text in ring]

    def absent(item: str, text: str) -> bool:
        group = data.groups[item]
        if text == data.texts[item] or groups[text] == {group}:
            return False
        if item in data.heard:
            return text not in data.heard[item]
        told = bool(words[text]) and all(words[own] for own in in_group[group])
        return told and text not in in_group[group] and words[text].isdisjoint(taken[group])

    found = {}
    for item in data.texts:
        start = bisect(positions, _position(item))
        chosen = next((text for text in (*ring[start:], *ring[:start]) if absent(item, text)), None)
        if chosen is not None:
            found[item] = chosen
    return found


def _position(text: str) -> str:
    return sha256(text.encode())


def _words(text: str) -> frozenset[str]:
    words = frozenset(re.findall(r"\w+", text.casefold())) - _FILLERS
    return frozenset("voice" if word in _VOICE else word for word in words)


def _alike(words: frozenset[str]) -> dict[str, set[str]]:
    """Each word with those that it begins and that begin it."""
    alike = {word: {word} for word in words}
    for word in words:
        for length in range(_SHORTEST, len(word)):
            if word[:length] in alike:
                alike[word].add(word[:length])
                alike[word[:length]].add(word)
    return alike


def _content(data: TaskData, questions: Questions, prompts: str, identifier: str) -> str:
    name, text = questions[identifier]
    return combined_digest(data.content_sha256(name), prompts, identifier, text)


def _size(size: Callable[[str], int | None], questions: Questions, identifier: str) -> int | None:
    return size(questions[identifier][0])


def _load(data: TaskData, questions: Questions, prompts: str, identifier: str) -> Item:
    name, text = questions[identifier]
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
