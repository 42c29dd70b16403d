"""``sabench doctor``: checks the installation, and gives commands that install missing parts."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import click

from sam_audio_bench import __version__
from sam_audio_bench.cli.output import echo, print_json
from sam_audio_bench.errors import BenchError
from sam_audio_bench.plugins import plugins

__all__ = ["doctor"]

_EXTRAS = {  # extra -> (module that shows whether it is installed, its purpose)
    "speech": ("pesq", "pesq_wb, pesq_nb, stoi, estoi, dnsmos_*"),
    "speaker": ("webrtcvad", "speaker_similarity, with `pip install --no-deps Resemblyzer==0.1.4`"),
    "demucs": ("demucs", "Demucs as a separator"),
    "suppress": ("onnxruntime", "the runtime of dtln, nsnet2, gtcrn and hush; rnnoise"),
    "oracles": ("museval", "the comparison tests against other libraries"),
    "ray": ("ray", "runs on many machines"),
    "tensorboard": ("tensorboard", "--log tensorboard:DIR"),
    "trackio": ("trackio", "--log trackio:PROJECT"),
    "wandb": ("wandb", "--log wandb:PROJECT"),
}


@click.command()
@click.option("--json", "as_json", is_flag=True)
def doctor(as_json: bool) -> None:
    """Check this installation, and say what is missing. Exits with 2 if something required is missing."""
    checks = [*_software(), *_storage(), *_data(), *_extras()]
    if as_json:
        print_json([dict(zip(("what", "state", "detail"), check, strict=True)) for check in checks])
    else:
        for what, state, detail in checks:
            echo(f"{state:8} {what:16} {detail}")
    if any(state == "missing" for _, state, _ in checks):
        sys.exit(2)


Check = tuple[str, str, str]


def _software() -> list[Check]:
    found: list[Check] = [("sam-audio-bench", "ok", __version__), ("python", "ok", sys.version.split()[0])]
    for requirement in requires("sam-audio-bench") or []:
        name = requirement.split(";")[0].strip()
        bare = name.split(">")[0].split("<")[0].split("=")[0].strip()
        if "extra ==" in requirement:
            continue
        try:
            found.append((bare, "ok", version(bare)))
        except PackageNotFoundError:
            found.append((bare, "missing", f"pip install '{name}'"))
    import torch

    from sam_audio_bench.devices import gpu_names

    found.append(
        ("device", "ok", ", ".join(gpu_names()) or f"cpu, {torch.get_num_threads()} threads of {os.cpu_count()}")
    )
    names = [name for kind in ("separators", "metrics", "tasks") for name in plugins(kind)]
    found.append(("plugins", "ok", ", ".join(names) or "none"))
    return found


def _storage() -> list[Check]:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    writable = "ok" if os.access(Path.cwd(), os.W_OK) else "missing"
    return [("working folder", writable, f"{free:.0f} GiB free")]


def _data() -> list[Check]:
    """Loads an item of the embedded split, and looks for the official data."""
    from sam_audio_bench.registry import load_task

    try:
        item = next(iter(load_task("sfx", split="mini")))
        mini: Check = ("mini split", "ok", f"mixes at {item.query.mixture.rate} Hz")
    except BenchError as error:
        mini = ("mini split", "missing", str(error))
    try:
        notes = load_task("sfx", split="test").notes
        official: Check = ("official data", "ok", "; ".join(notes) or "`sabench data status` says what is there")
    except BenchError as error:
        official = ("official data", "absent", str(error))
    return [mini, official]


def _extras() -> list[Check]:
    aesthetics = importlib.util.find_spec("audiobox_aesthetics") is not None
    without = "pip install --no-deps audiobox-aesthetics for aes_* (its own torchaudio is not needed)"
    return [
        ("aesthetics", "ok" if aesthetics else "absent", "aes_*" if aesthetics else without),
        *_optional(),
        *_suppressors(),
    ]


def _suppressors() -> list[Check]:
    """Checks the packages of noise suppressors, which are installed without their many requirements."""
    from sam_audio_bench.separators.catalogue import CARDS, SUPPRESSOR_PACKAGES, is_installed

    missing = {name: card for name in SUPPRESSOR_PACKAGES if not all(map(is_installed, (card := CARDS[name]).modules))}
    here = [name for name in SUPPRESSOR_PACKAGES if name not in missing]
    found: list[Check] = [("suppressors", "ok", ", ".join(here))] if here else []
    if missing:
        packages = " ".join(SUPPRESSOR_PACKAGES[name][0] for name in missing)
        runtime = "pip install onnxruntime && " * any("onnxruntime" in card.modules for card in missing.values())
        line = f"{'' if is_installed('onnxruntime') else runtime}pip install --no-deps {packages}"
        found.append(("suppressors", "absent", f"{line} for {', '.join(missing)}"))
    return found


def _optional() -> list[Check]:
    return [
        (f"[{extra}]", "ok", brings)
        if importlib.util.find_spec(module)
        else (f"[{extra}]", "absent", f"pip install 'sam-audio-bench[{extra}]' for {brings}")
        for extra, (module, brings) in _EXTRAS.items()
    ]
