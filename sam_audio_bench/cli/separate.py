"""``sabench separate``: one file, one prompt, any separator."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from sam_audio_bench.cli.output import claim_stdout, echo, note, print_json
from sam_audio_bench.errors import BenchError, UsageError

__all__ = ["separate"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="A separator, as `sabench eval` takes it.")
@click.option("--text", help='What to extract: "dog barking".')
@click.option("--span", "spans", multiple=True, help="+1.0:2.5 where it sounds, -3:4 where it does not, in seconds; "
              "may be repeated.")  # fmt: skip
@click.option("--video", type=click.Path(path_type=Path), help="A video of the scene.")
@click.option("--mask", type=click.Path(path_type=Path), help="Masks of the object in it, npz.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of target and residual.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--candidates", type=int, default=1, show_default=True, help="Estimates of which one is picked.")
@click.option("--picker", default="auto", show_default=True, help="auto, saj, clap, imagebind, activity or ensemble.")
@click.option("--keep-candidates", is_flag=True, help="Write all candidates.")
@click.option("--model-args", default="", help="Options of the separator, k=v,k=v.")
@click.option("--device", default="auto", show_default=True)
@click.option("--dtype", default="auto", show_default=True)
@click.option("--offline", is_flag=True, help="Never use the network for weights.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def separate(file: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Separate FILE into the target of the prompt and the residual."""
    from sam_audio_bench.cli.config import go_offline
    from sam_audio_bench.names import check_exists, check_model, check_picker
    from sam_audio_bench.options import parse_arguments, split_specifications
    from sam_audio_bench.run.settings import check_device

    if options.pop("offline"):
        go_offline()
    models = split_specifications(options.pop("model"))
    if len(models) != 1:
        raise UsageError(f"expected one --model, found {len(models)}")
    arguments = parse_arguments(options.pop("model_args"))
    check_model(models[0], arguments)
    check_picker(options["picker"])
    check_device(options["device"])
    check_exists("an audio file", file)
    from sam_audio_bench.run.separate import separate_file
    from sam_audio_bench.tasks.manifest import parse_spans

    spans = parse_spans(" ".join(options.pop("spans")))
    stdout = claim_stdout() if as_json else None
    try:
        found = separate_file(file, out, models[0], spans=spans, model_args=arguments, **options)
    except BenchError:
        raise
    except KeyboardInterrupt:
        note("sabench: stopped; nothing was written")
        sys.exit(3)
    if stdout is not None:
        print_json(found, stdout)
        return
    echo(found["target"])
    echo(found["residual"])
    if found["picker"]:
        scores = ", ".join("undefined" if score is None else f"{score:.3f}" for score in found["scores"])
        echo(f"picked candidate {found['picked']} by {found['picker']} ({scores})")
