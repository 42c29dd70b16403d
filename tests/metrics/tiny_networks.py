"""Networks of learned metrics with random weights, small, in the formats of their authors."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from sam_audio_bench.metrics.aesthetics import AXES
from sam_audio_bench.metrics.imagebind import WEIGHTS

SCALES = {axis: {"mean": 5.0 + index, "std": 1.5} for index, axis in enumerate(AXES)}
NETWORK = """
import torch
from types import SimpleNamespace
ModalityType = SimpleNamespace(VISION="vision", AUDIO="audio")

class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.vision, self.audio = torch.nn.Linear(3, 4), torch.nn.Linear(8, 4)

    def forward(self, inputs):
        return {"vision": self.vision(inputs["vision"]), "audio": self.audio(inputs["audio"])}

def imagebind_huge(pretrained=False):
    assert not pretrained
    return Tiny()
"""
DATA = """
import av, numpy as np, soundfile, torch

def load_and_transform_video_data(paths, device):
    return torch.stack([_video(path) for path in paths]).to(device)

def load_and_transform_audio_data(paths, device):
    return torch.stack([_audio(path) for path in paths]).to(device)

def _video(path):
    with av.open(path) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.tensor(np.mean(frames, axis=(0, 1, 2)) / 255, dtype=torch.float32)

def _audio(path):
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == 16000
    return torch.tensor(np.abs(np.fft.rfft(samples))[:8])
"""


def write_clap(folder: Path, *, seed: int = 0, fusion: bool = False) -> Path:
    """A CLAP of 9 000 random weights with a vocabulary of eight words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerFast

    text = {
        "vocab_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "max_position_embeddings": 10, "projection_dim": 8, "pad_token_id": 1,
    }  # fmt: skip
    audio = {
        "spec_size": 256, "num_mel_bins": 64, "patch_embeds_hidden_size": 8, "hidden_size": 16, "depths": [1, 1],
        "num_attention_heads": [1, 2], "window_size": 8, "num_classes": 3, "projection_dim": 8, "aff_block_r": 1,
        "enable_fusion": fusion, "fusion_type": "aff_2d" if fusion else None,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=8)).save_pretrained(folder)
    words = ("<s>", "<pad>", "</s>", "<unk>", "noise", "dog", "rain", "horn")
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    ClapFeatureExtractor(truncation="fusion" if fusion else "rand_trunc").save_pretrained(folder)
    return folder


@contextmanager
def small_aesthetics() -> Iterator[Any]:
    """The package's module with the network, its WavLM made small enough for a test."""
    module: Any = importlib.import_module("audiobox_aesthetics.model.aes")
    wavlm: Any = importlib.import_module("audiobox_aesthetics.model.wavlm")
    small = {
        "encoder_layers": 2, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16, "encoder_attention_heads": 2,
        "conv_feature_layers": "[(8,10,5)] + [(8,3,2)] * 4 + [(8,2,2)] * 2", "conv_pos": 4, "conv_pos_groups": 2,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        config = wavlm.WavLMConfig({**vars(module.DEFAULT_AUDIO_CFG), **small})
        patch.setattr(module, "DEFAULT_AUDIO_CFG", config)
        yield module


def write_wavlm(folder: Path, *, seed: int = 0) -> Path:
    """A WavLM of 7 000 random weights, which hears waveforms at 16 kHz."""
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

    config = WavLMConfig(
        vocab_size=4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(40, 8), conv_kernel=(80, 8), num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        WavLMModel(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def write_aesthetics(folder: Path, package: Any, seed: int = 0) -> Path:
    """A random checkpoint of a module from `small_aesthetics`, in the package's format."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.nn.utils.weight_norm` is deprecated")
        torch.manual_seed(seed)
        package.AesMultiOutput(nth_layer=3, precision="bf16", target_transform=SCALES).save_pretrained(folder)
    return folder


def write_imagebind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in on the path, and random weights in the authors' form: a state dict in a .pth file."""
    models = tmp_path / "site" / "imagebind" / "models"
    models.mkdir(parents=True)
    for place in (models.parent, models):
        (place / "__init__.py").touch()
    (models / "imagebind_model.py").write_text(NETWORK)
    (models.parent / "data.py").write_text(DATA)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    for name in ("imagebind", "imagebind.data", "imagebind.models", "imagebind.models.imagebind_model"):
        monkeypatch.setitem(sys.modules, name, None)  # so that it is out again after the test
        del sys.modules[name]
    torch.manual_seed(0)
    network = importlib.import_module("imagebind.models.imagebind_model").imagebind_huge()
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.save(network.state_dict(), folder / WEIGHTS)
    return folder


def write_ctc(folder: Path, *, seed: int = 0) -> Path:
    """A wav2vec 2.0 for speech recognition of random weights, which spells words of eight letters."""
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGH"]
    config = Wav2Vec2Config(
        vocab_size=len(letters), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(20, 16), conv_kernel=(20, 16), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        Wav2Vec2ForCTC(config).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({letter: index for index, letter in enumerate(letters)}))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    return folder


def write_whisper(folder: Path, *, seed: int = 0) -> Path:
    """A Whisper of random weights, which writes words of five letters."""
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
    from transformers import WhisperTokenizer as Tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    pieces = ["<|endoftext|>", *"abcde", *(f"Ġ{letter}" for letter in "abcde"), "Ġ"]
    (folder / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"Ġ {letter}\n" for letter in "abcde"))
    tokenizer: Any = Tokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    marks = ["<|startoftranscript|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.save_pretrained(folder)
    start, no_times = tokenizer.convert_tokens_to_ids(marks)
    config = WhisperConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8, max_target_positions=32,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=start, init_std=1.0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = WhisperForConditionalGeneration(config)
    network.generation_config = GenerationConfig(
        decoder_start_token_id=start, eos_token_id=0, pad_token_id=0, no_timestamps_token_id=no_times, max_length=20,
        is_multilingual=False,
    )  # fmt: skip
    network.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8).save_pretrained(folder)
    return folder
