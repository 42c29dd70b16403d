"""The transformer of PE-AV (Perception Encoder Audiovisual), used by the judge and PE-A-Frame, and their text encoder.

A pre-norm transformer with RMSNorm, rotary positions, normalised queries and keys and gated SiLU. A class token is
prepended to the frames, passes through the convolutions with them and is dropped at the end.

Letters: B batch, T frames, h width, S tokens, t width of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_audio_bench.errors import Precondition, UsageError
from sam_audio_bench.identity import Options
from sam_audio_bench.nn.config import Config
from sam_audio_bench.nn.layers import Linear, ResidualBlock, RMSNorm, rotary_angles, rotate
from sam_audio_bench.nn.text import silence_transformers

__all__ = [
    "TOKENIZER",
    "PEAVConfig",
    "PEAVTransformer",
    "build_modern_bert",
    "encode_first_token",
    "load_tokenizer",
    "restore_buffers",
    "tokenize",
]

TOKENIZER = "answerdotai/ModernBERT-large"
"""Hub id of the tokenizer of the released judge and PE-A-Frame."""

_LONGEST_TEXT = 512  # tokens


@dataclass(frozen=True, kw_only=True)
class PEAVConfig(Config):
    """Dimensions of a `PEAVTransformer`; the defaults are those of the released class, not of a released model.

    ``rope_theta`` of a file has no effect on the reference and is ignored, see `theta`.
    """

    hidden_size: int = 1024
    intermediate_size: int = 2752
    num_hidden_layers: int = 16
    num_attention_heads: int = 8
    rms_norm_eps: float = 1e-5
    max_position_embeddings: int = 10_000
    attention_bias: bool = False

    def __post_init__(self) -> None:
        heads = self.num_attention_heads
        if heads < 1 or self.hidden_size % heads or self.hidden_size // heads % 2:
            raise ValueError(f"expected heads of equal, even width, found width {self.hidden_size} and {heads} heads")

    @property
    def theta(self) -> float:
        """Base of the rotary frequencies."""
        return max(10_000, 2 * self.max_position_embeddings)


class _Attention(nn.Module):
    def __init__(self, config: PEAVConfig) -> None:
        super().__init__()
        width, bias = config.hidden_size, config.attention_bias
        self.heads = config.num_attention_heads
        self.q_proj = Linear(width, width, bias=bias)
        self.k_proj = Linear(width, width, bias=bias)
        self.v_proj = Linear(width, width, bias=bias)
        self.o_proj = Linear(width, width, bias=bias)
        self.q_norm = RMSNorm(width // self.heads, config.rms_norm_eps)
        self.k_norm = RMSNorm(width // self.heads, config.rms_norm_eps)

    def forward(self, x: Tensor, angles: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = rotate(self.q_norm(query), angles), rotate(self.k_norm(key), angles)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        output: Tensor = self.o_proj(found.transpose(1, 2).flatten(2))
        return output


class _FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = Linear(width, inner, bias=False)
        self.up_proj = Linear(width, inner, bias=False)
        self.down_proj = Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return found


class _Layer(nn.Module):
    def __init__(self, config: PEAVConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn = _Attention(config)
        self.mlp = _FeedForward(width, config.intermediate_size)
        self.input_layernorm = RMSNorm(width, eps)
        self.post_attention_layernorm = RMSNorm(width, eps)

    def forward(self, x: Tensor, angles: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), angles, mask)
        found: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return found


class _Embeddings(nn.Module):
    """The class token before the frames, and the convolutions over both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.resnet_block = ResidualBlock(width)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """``[B, T, h]``, bool ``[B, T + 1]`` -> ``[B, T + 1, h]``."""
        x = torch.cat([self.cls_token.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
        found: Tensor = self.resnet_block(x.transpose(1, 2), keep)
        return found.transpose(1, 2)


class PEAVTransformer(nn.Module):
    """The transformer; parameters have the names of the released checkpoints."""

    def __init__(self, config: PEAVConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.embeddings = _Embeddings(width)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(width, config.rms_norm_eps)
        self.output = Linear(width, width, bias=False)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Computes the states of the frames.

        Args:
            x: ``[B, T, h]``.
            keep: bool ``[B, T]``, true for real frames; their states do not depend on other frames, whose states are
                meaningless. None: all are real, as in the released judge.

        Returns:
            ``[B, T, h]``.

        Raises:
            UsageError: there are more frames than positions in the config.
        """
        longest = self.config.max_position_embeddings - 1  # the class token has the first position
        if x.shape[1] > longest:
            raise UsageError(f"expected at most {longest} frames, found {x.shape[1]}; cut the audio into pieces")
        mask = None
        if keep is not None:
            keep = F.pad(keep, (1, 0), value=True)
            mask = keep[:, None, None]
        x = self.embeddings(x, keep)
        width = self.config.hidden_size // self.config.num_attention_heads
        angles = rotary_angles(x.shape[1], width, self.config.theta, device=x.device)
        for layer in self.layers:
            x = layer(x, angles, mask)
        found: Tensor = self.output(self.norm(x))
        return found[:, 1:]


def build_modern_bert(options: Options | None, layer: int | None) -> Any:
    """Builds a ModernBERT (Warner et al., 2024) of transformers.

    Args:
        options: ``text_model`` of a ``config.json``; missing ones have the defaults of transformers.
        layer: the layer that `encode_first_token` reads; None: the network's output.

    Raises:
        Precondition: options are invalid, or there are too few layers.
    """
    import transformers

    known = {name: value for name, value in (options or {}).items() if not name.startswith("_")}
    kind: Any = transformers.ModernBertModel
    try:
        with silence_transformers():
            network = kind(transformers.ModernBertConfig(**known))
    except Exception as error:  # transformers' validators and torch's layers have no common exception
        found = " ".join(str(error).split())[:160]
        raise Precondition(f"expected text_model to describe a ModernBERT in config.json, found {found}") from error
    if layer is not None and not 0 <= layer <= len(network.layers):
        raise Precondition(
            f"expected nth_text_layer of at most {len(network.layers)}, the layers of text_model, found {layer}; "
            "correct config.json"
        )
    return network


def restore_buffers(network: Any) -> None:
    """Computes the rotary frequencies of a ModernBERT created on the meta device; no checkpoint contains them."""
    network.rotary_emb = type(network.rotary_emb)(network.config)


def encode_first_token(network: Any, input_ids: Tensor, attention_mask: Tensor | None, layer: int | None) -> Tensor:
    """Returns the state ``[B, t]`` of the first token after ``layer`` layers of a ModernBERT, for token ids ``[B, S]``.

    None: the state after the last layer, which includes the final norm, as in transformers.
    """
    found = network(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=layer is not None)
    state: Tensor = found.last_hidden_state if layer is None else found.hidden_states[layer]
    return state[:, 0]


def load_tokenizer(folder: Path | None, place: str = "", *, option: str = "tokenizer=DIR") -> Any:
    """Loads the tokenizer at ``place``, else that in a checkpoint's folder, else `TOKENIZER` from the hub.

    Args:
        folder: folder of the checkpoint, if any.
        place: a folder or an id on the hub.
        option: name of the option in error messages.

    Raises:
        Precondition: there is none.
    """
    import transformers

    own = folder is not None and (folder / "tokenizer.json").is_file()
    place = place or (str(folder) if own else TOKENIZER)
    kind: Any = transformers.AutoTokenizer
    try:
        with silence_transformers():
            return kind.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError) as error:
        found = " ".join(str(error).split())[:160]
        raise Precondition(
            f"expected the tokenizer {place} in a folder or on the Hugging Face hub, found {found}; run "
            f"`hf download {TOKENIZER} tokenizer.json tokenizer_config.json special_tokens_map.json` once, or give a "
            f"copy: {option}"
        ) from error


def tokenize(tokenizer: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Returns ids and attention mask, int64 ``[B, S]``, padded on the right to the longest text, at most 512 tokens."""
    found = tokenizer(list(texts), truncation=True, max_length=_LONGEST_TEXT, padding="longest", return_tensors="pt")
    return found["input_ids"], found["attention_mask"]
