"""Configuration of a judge, read from ``config.json``.

Defaults are those of the released class, which is smaller than the released judge; `RELEASED` holds the dimensions of
the latter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sam_audio_bench.errors import Precondition
from sam_audio_bench.identity import Options
from sam_audio_bench.judge.audio_encoder import AudioEncoderConfig
from sam_audio_bench.judge.prompt_features import PrototypesConfig
from sam_audio_bench.judge.word_vectors import WordVectorsConfig
from sam_audio_bench.nn.config import CodecConfig, Config, read_config
from sam_audio_bench.nn.peav import PEAVConfig

__all__ = ["RELEASED", "REPOSITORY", "REVISION", "JudgeConfig", "SmallConfig"]

REPOSITORY = "facebook/sam-audio-judge"
"""The released judge on the Hugging Face hub."""

REVISION = "sam_audio"
"""Branch of the repository whose layout is read here; ``main`` has the layout of a port to transformers."""


@dataclass(frozen=True, kw_only=True)
class SmallConfig(Config):
    """Configuration of a small judge, which has audio encoder, word vectors and prototypes instead of large networks.

    They replace codec, transformer and ModernBERT of the released judge. Fields have the names of ``config.json``.

    Attributes:
        steps: frames of the audio encoder per frame of the judge.
        hidden: width of the layer that reads the features of a frame.
        dropout: at the input and output of that layer.
    """

    listener: AudioEncoderConfig = field(default_factory=AudioEncoderConfig)
    words: WordVectorsConfig = field(default_factory=WordVectorsConfig)
    prototypes: PrototypesConfig = field(default_factory=PrototypesConfig)
    steps: int = 4
    hidden: int = 192
    dropout: float = 0.1

    @classmethod
    def of_options(cls, options: Options) -> SmallConfig:
        """Reads the config from a JSON object; raises Precondition for invalid options, or those of version 1."""
        if "evidence" in options:
            raise Precondition(
                "expected a small judge of version 2, found one of version 1, which has other input features; train it "
                "again from its ratings with `sabench judge train`"
            )
        return cls(
            listener=AudioEncoderConfig.of(options.get("listener")),
            words=WordVectorsConfig.of(options.get("words")),
            prototypes=PrototypesConfig.of(options.get("prototypes")),
            **{name: options[name] for name in ("steps", "hidden", "dropout") if name in options},
        )


@dataclass(frozen=True, kw_only=True)
class JudgeConfig(Config):
    """Configuration of a judge; ``text_model`` holds the arguments of `transformers.ModernBertConfig`.

    If ``small`` is given, ``audio_codec``, ``transformer``, ``text_model`` and ``nth_text_layer`` have no effect.
    """

    audio_codec: CodecConfig = field(default_factory=CodecConfig)
    transformer: PEAVConfig = field(default_factory=PEAVConfig)
    finetune_transformer: PEAVConfig = field(default_factory=PEAVConfig)
    text_model: Options = field(default_factory=dict)
    nth_text_layer: int | None = 22  # None: the last one, after the final norm
    bottleneck_dim: int = 256
    small: SmallConfig | None = None

    @classmethod
    def of_options(cls, options: Options) -> JudgeConfig:
        """Reads the config from a JSON object; raises Precondition for invalid options."""
        return cls(
            audio_codec=CodecConfig.of(options.get("audio_codec")),
            transformer=PEAVConfig.of(options.get("transformer")),
            finetune_transformer=PEAVConfig.of(options.get("finetune_transformer")),
            text_model=options.get("text_model") or {},
            small=SmallConfig.of_options(options["small"]) if options.get("small") else None,
            **{name: options[name] for name in ("nth_text_layer", "bottleneck_dim") if name in options},
        )

    @classmethod
    def of_folder(cls, folder: Path) -> JudgeConfig:
        """Reads ``config.json``; raises Precondition if it is missing or belongs to another model or layout."""
        path = folder / "config.json"
        options = read_config(path)
        if "dac_vae_encoder" in options:
            raise Precondition(
                f"expected audio_codec in {path}, found dac_vae_encoder: {REPOSITORY} at revision main is a port "
                f"to transformers; get the official layout with `hf download {REPOSITORY} --revision {REVISION}`"
            )
        if "finetune_transformer" not in options:
            kind = "a separator's config" if "num_anchors" in options or "text_encoder" in options else "another one"
            raise Precondition(
                f"expected the config of a judge, with finetune_transformer, in {path}, found {kind}; give the folder "
                "of a judge"
            )
        return cls.of_options(options)


RELEASED: Options = {
    "audio_codec": {},
    "transformer": {
        "hidden_size": 1792, "intermediate_size": 4800, "num_hidden_layers": 28, "num_attention_heads": 14,
    },
    "finetune_transformer": {
        "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 3,
    },
    "text_model": {
        "hidden_size": 1024, "intermediate_size": 2624, "num_hidden_layers": 28, "num_attention_heads": 16,
    },
}  # fmt: skip
"""Dimensions of the released judge, 1533.8 million parameters; the ``config.json`` of a checkpoint takes precedence."""
