"""``sabench ratings plan``: a listening test from runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sam_audio_bench.cli.arguments import RUN_OR_URL, parse_names
from sam_audio_bench.cli.output import note, print_json

if TYPE_CHECKING:
    from sam_audio_bench.ratings.plan import PlannedTest

__all__ = ["plan"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RUN_OR_URL)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New or empty folder for the test.")
@click.option("--raters", type=int, help="How many raters; default: as many as are needed.")
@click.option("--per-rater", type=int, help="Maximal trials per rater, without traps and golds; default: 40.")
@click.option("--raters-per-item", type=int, help="Raters per stimulus; default: as the other sizes allow, or 5.")
@click.option("--items", type=int, help="How many items; default: all that every system separated.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--axes", default="overall,recall,precision,faithfulness", show_default=True, help="Questions of a trial."
)
@click.option("--hidden-reference/--no-hidden-reference", default=True, show_default=True,
              help="Rate the clean recording too, as if a system had made it.")  # fmt: skip
@click.option("--anchors", is_flag=True, help="Rate a low anchor too: the mixture below 3.5 kHz.")
@click.option(
    "--traps", type=int, default=1, show_default=True, help="Trials per rater that end in beeps, to be counted."
)
@click.option("--golds", type=int, default=1, show_default=True, help="Trials per rater with an obvious rating.")
@click.option("--loudness", type=float, default=-23.0, show_default=True, help="LUFS (ITU-R BS.1770) of every sound.")
@click.option("--format", "formats", default="page", show_default=True, help="Of page, webmushra and p808.")
@click.option("--name", default="Listening test", show_default=True, help="What raters read as the title.")
@click.option("--consent", help="What raters agree to, instead of the sentence of the page.")
@click.option("--audio-url", default="audio/", show_default=True,
              help="Where webMUSHRA and P.808 find the folder with the audio.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(runs: tuple[Path | str, ...], out: Path, as_json: bool, **options: Any) -> None:
    """Make a listening test from RUNS: the assignment of estimates to raters, and a page to rate them on.

    RUNS are run folders or folders that hold them, of several systems on the same tasks.
    """
    from sam_audio_bench.ratings.options import ListeningTestOptions
    from sam_audio_bench.ratings.plan import plan_test

    for name, option in (("axes", "--axes"), ("formats", "--format")):
        options[name] = tuple(parse_names(options[name], option))
    if options["consent"] is None:
        del options["consent"]
    planned = plan_test(runs, out, ListeningTestOptions(**options))
    if as_json:
        print_json(planned.to_json())
    else:
        _show(planned, options["formats"])


def _show(planned: PlannedTest, formats: tuple[str, ...]) -> None:
    for text in planned.notes:
        note(f"plan: {text}")
    systems = f"{len(planned.systems)} systems ({', '.join(planned.systems)})"
    click.echo(
        f"Listening test {planned.test}: {planned.items} items, {planned.stimuli} stimuli of {systems} and controls"
    )
    for what, design in planned.designs.items():
        sizes, balance = design.sizes, design.balance
        subject, met = ("a stimulus", "trials") if what == "trials" else ("an item", "pages")
        click.echo(f"{sizes.raters} raters, {_range(balance.cells_per_rater)} {met} each, checks not counted")
        click.echo(f"  raters of {subject}: {_range(balance.raters_per_cell)}")
        if what == "trials":
            click.echo(f"  how often a rater meets a system or control: {_range(balance.condition_per_rater)}")
            click.echo(f"  how often a rater meets an item: {_range(balance.item_per_rater)}")
        connected = "yes" if balance.components == 1 else f"no, {balance.components} parts"
        click.echo(f"  raters connected by common {'stimuli' if what == 'trials' else 'items'}: {connected}")
    if planned.minutes:
        click.echo(f"  minutes of a rater, about: {_range((min(planned.minutes), max(planned.minutes)))}")
    click.echo(f"Keep to yourself: {planned.folder / 'key.json'}")
    for form in formats:
        click.echo(f"For {'raters' if form == 'page' else form}: {planned.folder / form}")
    if "page" in formats:
        last = planned.designs["trials"].sizes.raters
        page = planned.folder / "page" / "index.html"
        click.echo(f"Rater {last} opens {page}#{last} and sends back the file that the page saves.")
    answers = "ANSWERS.json" if "page" in formats else "RESULTS.csv"
    click.echo(f"Next: sabench ratings import {answers} --key {planned.folder / 'key.json'} --out ratings.parquet")


def _range(limits: tuple[int, int]) -> str:
    low, high = limits
    return str(low) if low == high else f"{low} to {high}"
