"""Configuration of a checkpoint, read from ``config.json``, with the defaults of the released class (size ``base``).

Dimensions that ``config.json`` only refers to by name ("PE-Core-L14-336", "t5-base") are taken from the tables here, or
from ``pe_config.json`` and ``t5_config.json`` next to it, so that a folder with tiny networks is self-contained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self

from sam_audio_bench.errors import Precondition, StoreError
from sam_audio_bench.files import load_json
from sam_audio_bench.identity import Options

__all__ = [
    "TOWERS",
    "CodecConfig",
    "Config",
    "SAMAudioConfig",
    "TextConfig",
    "TextTowerConfig",
    "TransformerConfig",
    "VisionEncoderConfig",
    "VisionTowerConfig",
    "read_config",
]


@dataclass(frozen=True, kw_only=True)
class Config:
    """A group of options; unknown keys of a file, such as training options, are ignored."""

    @classmethod
    def of(cls, options: Mapping[str, object] | None) -> Self:
        """Creates a config from a JSON object, with defaults for missing options; raises Precondition if invalid."""
        known = {item.name for item in fields(cls) if item.init}
        found = {name: value for name, value in (options or {}).items() if name in known}
        try:
            return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})
        except (TypeError, ValueError, AttributeError) as error:
            raise Precondition(f"expected options of {cls.__name__}, found {found} ({error})") from error


@dataclass(frozen=True, kw_only=True)
class CodecConfig(Config):
    """DAC-VAE: rates are the strides of the blocks, in samples of the block's input."""

    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (2, 8, 10, 12)
    latent_dim: int = 1024
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (12, 10, 8, 2)
    codebook_dim: int = 128
    sample_rate: int = 48_000

    @property
    def hop_length(self) -> int:
        """Samples per latent frame."""
        return math.prod(self.encoder_rates)


@dataclass(frozen=True, kw_only=True)
class TextConfig(Config):
    """The T5 encoder; ``architecture`` holds the arguments of `transformers.T5Config` if a file defines them."""

    name: str = "t5-base"
    dim: int = 768
    max_length: int = 512
    pad_mode: str = "longest"
    architecture: Options | None = None


@dataclass(frozen=True, kw_only=True)
class VisionTowerConfig(Config):
    """The image tower of a Perception Encoder (Bolya et al., 2025)."""

    patch_size: int = 14
    width: int = 1024
    layers: int = 24
    heads: int = 16
    mlp_ratio: float = 4.0
    output_dim: int = 1024
    ls_init_value: float | None = None
    image_size: int = 336
    use_abs_posemb: bool = True
    use_cls_token: bool = True
    use_rope2d: bool = True
    pool_type: str = "attn"
    attn_pooler_heads: int = 8
    use_ln_pre: bool = True
    use_ln_post: bool = True


@dataclass(frozen=True, kw_only=True)
class TextTowerConfig(Config):
    """The text tower of a Perception Encoder, which is stored in checkpoints but never used."""

    context_length: int = 32
    width: int = 1024
    heads: int = 16
    layers: int = 24
    output_dim: int = 1024
    mlp_ratio: float = 4.0
    vocab_size: int = 49_408


TOWERS = {"PE-Core-L14-336": (VisionTowerConfig(), TextTowerConfig())}
"""Image and text towers of the Perception Encoders, by the name in ``config.json``."""


@dataclass(frozen=True, kw_only=True)
class VisionEncoderConfig(Config):
    """Encoder of masked video frames; ``vision`` and ``text`` are the towers of the encoder ``name``."""

    name: str = "PE-Core-L14-336"
    dim: int = 1024
    batch_size: int = 300
    normalize_feature: bool = True
    interpolation_mode: str = "BICUBIC"
    image_size: int = 336
    vision: VisionTowerConfig = VisionTowerConfig()
    text: TextTowerConfig = TextTowerConfig()


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(Config):
    """The diffusion transformer; all options of the released class."""

    dim: int = 2048
    n_heads: int = 16
    n_layers: int = 16
    norm_eps: float = 1e-5
    qk_norm: bool = True
    fc_bias: bool = False
    ffn_exp: float = 4
    ffn_dim_multiplier: float = 1
    multiple_of: int = 64
    non_linearity: str = "swiglu"
    use_rope: bool = True
    max_positions: int = 10_000
    frequency_embedding_dim: int = 256
    timestep_non_linearity: str = "swiglu"
    t_block_non_linearity: str = "silu"
    t_block_bias: bool = True
    context_dim: int = 2048
    context_non_linearity: str = "swiglu"
    context_norm: bool = False
    out_channels: int = 256
    in_channels: int | None = None

    def __post_init__(self) -> None:
        if self.n_heads < 1 or self.dim % self.n_heads or (self.use_rope and self.dim // self.n_heads % 2):
            raise ValueError(f"expected heads of equal, even width, found dim {self.dim} and {self.n_heads} heads")

    @property
    def hidden(self) -> int:
        """Width of the feed-forward layers."""
        width = int(self.ffn_exp * self.dim)
        if self.non_linearity == "swiglu":
            width = int(2 * width / 3)
        return self.multiple_of * math.ceil(int(self.ffn_dim_multiplier * width) / self.multiple_of)


@dataclass(frozen=True, kw_only=True)
class SAMAudioConfig(Config):
    """A separator's checkpoint."""

    in_channels: int = 768
    audio_codec: CodecConfig = field(default_factory=CodecConfig)
    text_encoder: TextConfig = field(default_factory=TextConfig)
    vision_encoder: VisionEncoderConfig = field(default_factory=VisionEncoderConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    num_anchors: int = 3
    anchor_embedding_dim: int = 128

    @classmethod
    def of_folder(cls, folder: Path) -> SAMAudioConfig:
        """Reads ``config.json`` and the files beside it.

        Raises:
            Precondition: there is no such file, it is not a JSON object, or an unknown network is not described.
        """
        options = read_config(folder / "config.json")
        if "dac_vae_encoder" in options or "finetune_transformer" in options:
            raise Precondition(
                f"expected the config of a SAM Audio separator in {folder / 'config.json'}, found a judge's; "
                "give it to `sabench judge` instead"
            )
        return cls(
            audio_codec=CodecConfig.of(options.get("audio_codec")),
            text_encoder=_text(options.get("text_encoder") or {}, folder),
            vision_encoder=_vision(options.get("vision_encoder") or {}, folder),
            transformer=TransformerConfig.of(options.get("transformer")),
            **{
                name: options[name]
                for name in ("in_channels", "num_anchors", "anchor_embedding_dim")
                if name in options
            },
        )


def read_config(path: Path) -> Options:
    """Reads the JSON object in a file; raises Precondition if there is none."""
    if not path.is_file():
        raise Precondition(f"expected a checkpoint folder with {path.name} at {path.parent}, found no such file")
    try:
        found = load_json(path)
    except StoreError as error:
        raise Precondition(str(error)) from error
    if not isinstance(found, dict):
        raise Precondition(f"expected a JSON object in {path}, found {type(found).__name__}")
    return found


def _text(options: Options, folder: Path) -> TextConfig:
    beside = folder / "t5_config.json"
    return TextConfig.of({**options, "architecture": read_config(beside) if beside.is_file() else None})


def _vision(options: Options, folder: Path) -> VisionEncoderConfig:
    name = options.get("name", VisionEncoderConfig.name)
    beside = folder / "pe_config.json"
    if beside.is_file():
        found = read_config(beside)
        towers = (VisionTowerConfig.of(found.get("vision")), TextTowerConfig.of(found.get("text")))
    elif name in TOWERS:
        towers = TOWERS[name]
    else:
        raise Precondition(
            f"expected vision_encoder.name to be one of {', '.join(TOWERS)}, found {name!r}; "
            f"describe another tower in {beside}"
        )
    return VisionEncoderConfig.of({**options, "vision": towers[0], "text": towers[1]})
