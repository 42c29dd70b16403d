"""Prompts to vectors and events: tokens, sums, padding, quantisation, and hand-made vectors whose events are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch.nn import functional as F

from sam_audio_bench.errors import Precondition
from sam_audio_bench.files import write_json
from sam_audio_bench.judge.word_vectors import WordTokenizer, WordVectors, WordVectorsConfig, quantise_rows

VOCABULARY = ["[UNK]", "dog", "bark", "##ing", "electric", "guitar", "the", "a"]
MEANING = torch.tensor([[9, 9, 9], [1, 0, 0], [1, 0.1, 0], [0, 0, 0], [0, 0, 1], [0, 2, 0], [0, 0, 0], [0, 0, 0.0]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight words in three dimensions; events: dog, guitar, electricity."""
    found = tmp_path_factory.mktemp("words")
    tokenizer = Tokenizer(models.WordPiece({word: row for row, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(found / "tokenizer.json"))
    config = WordVectorsConfig(vocabulary=len(VOCABULARY), width=3, events=3)
    model = WordVectors(config)
    model.table, model.scale = quantise_rows(MEANING)
    model.names = torch.tensor([[3, 0, 0], [0, 1, 0], [0, 0, 0.5]], dtype=torch.float16)
    save_file(model.state_dict(), found / "model.safetensors")
    write_json(found / "config.json", vars(config))
    return found


@pytest.fixture(scope="module")
def words(folder: Path) -> WordVectors:
    return WordVectors.of_folder(folder)


@pytest.fixture(scope="module")
def tokens(folder: Path) -> WordTokenizer:
    return WordTokenizer(folder)


def test_tokens(tokens: WordTokenizer) -> None:
    ids, mask = tokens(["Dog BARKING", "the électric-guitar!", "qx dog", ""])
    assert ids.tolist() == [[1, 2, 3, 0, 0], [6, 4, 0, 5, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert torch.equal(mask, ids != 0)
    assert tokens([""])[0].shape == (1, 1)


def test_a_sum_of_words(words: WordVectors, tokens: WordTokenizer) -> None:
    found = words(*tokens(["dog", "the guitar", "a dog guitar electric"]))
    wanted = F.normalize(torch.tensor([[1, 0, 0], [0, 1, 0], [1, 2, 1.0]]), dim=-1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=5e-3, rtol=0)  # half a step of int8 in each direction


def test_what_texts_share_is_added_once(words: WordVectors, tokens: WordTokenizer) -> None:
    other = WordVectors(words.config)
    other.load_state_dict(words.state_dict())
    other.shared = torch.tensor([0, 0, 2.0])
    wanted = F.normalize(torch.tensor([[0, 2, 2], [1, 2, 2], [0, 0, 0.0]]), dim=-1)
    torch.testing.assert_close(other(*tokens(["guitar", "dog guitar", ""])), wanted, atol=5e-3, rtol=0)


def test_hand_made_events(words: WordVectors, tokens: WordTokenizer) -> None:
    weights = words.event_weights(words(*tokens(["a dog barking", "Electric Guitar", "electric", "guitar"])))
    assert weights.argmax(dim=1).tolist() == [0, 1, 2, 1]
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))
    cosine = F.normalize(torch.tensor([0, 2, 1.0]), dim=-1)
    torch.testing.assert_close(weights[1], (cosine / 0.05).softmax(dim=-1), atol=0.02, rtol=0)


@pytest.mark.parametrize("text", ["", "   ", "qx", "犬"])
def test_nothing_known_is_finite(words: WordVectors, tokens: WordTokenizer, text: str) -> None:
    found = words(*tokens([text]))
    assert torch.equal(found, torch.zeros(1, 3))
    torch.testing.assert_close(words.event_weights(found), torch.full((1, 3), 1 / 3))


@pytest.mark.bits
def test_batch_independence(words: WordVectors, tokens: WordTokenizer) -> None:
    texts = ["dog", "the electric guitar and a dog barking at a guitar", "", "electric dog"]
    together = words(*tokens(texts))
    assert all(torch.equal(words(*tokens([text]))[0], row) for text, row in zip(texts, together, strict=True))


@pytest.mark.bits
def test_words_without_order_but_with_case_folded(words: WordVectors, tokens: WordTokenizer) -> None:
    one, other = words(*tokens(["electric dog", "DOG ELECTRIC"]))
    assert torch.equal(one, other)


def test_quantised_is_within_half_a_step() -> None:
    table = torch.randn(50, 16, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 2, 50)[:, None]
    table[7] = 0
    integers, scale = quantise_rows(table)
    error = (integers * scale[:, None] - table).abs()
    assert bool((error <= 0.501 * table.abs().amax(dim=1, keepdim=True) / 127).all())
    assert not bool(integers[7].any())


def test_faults(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Precondition, match=r"expected a tokenizer in .*tokenizer\.json"):
        WordTokenizer(tmp_path)
    with pytest.raises(Precondition, match=r"config\.json"):
        WordVectors.of_folder(tmp_path)
    with pytest.raises(ValueError, match="positive"):
        WordVectorsConfig(temperature=0)


def test_what_is_not_understood(words: WordVectors, tokens: WordTokenizer) -> None:
    def remark(text: str, familiar: torch.Tensor | None = None) -> tuple[str, bool] | None:
        found = words.check_prompt(text, tokens, familiar)
        return found and (found.text, found.understood)

    assert remark("the dog") is None
    assert remark("Barking") is None  # in pieces, near an event
    assert remark("dog 犬") == ("of 'dog 犬' the judge does not know '犬'", True)
    for text in ("犬", "собака", "the", "12"):
        found = remark(text)
        assert found
        assert found[0].startswith(f"no word of '{text}' is known")
        assert not found[1]
    for text, word in (("no dog", "no"), ("Everything EXCEPT dog", "EXCEPT"), ("a dog that doesn't bark", "doesn't")):
        assert f"negation ('{word}')" in (remark(text) or "")[0]
    assert (remark("  ") or "")[0].startswith("the prompt is empty")
    assert remark("north notes dog") == (
        "of 'north notes dog' the judge does not know 'north', 'notes'",
        True,
    )
    assert remark("electric") is None


def test_words_in_pieces_are_known_where_they_lead_somewhere(words: WordVectors, tokens: WordTokenizer) -> None:
    far = WordVectors(words.config)
    far.load_state_dict(words.state_dict())
    far.names = torch.tensor([[0, 3, 0], [0, 1, 0], [0, 0, 0.5]], dtype=torch.float16)
    assert far.check_prompt("dog", tokens) is None  # a word of the table
    found = far.check_prompt("barking", tokens)
    assert found is not None
    assert not found.understood
    assert far.check_prompt("barking", tokens, words(*tokens(["bark"]))) is None  # it was trained on
