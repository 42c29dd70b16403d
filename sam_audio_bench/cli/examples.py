"""At least two examples per command, shown at the end of its help."""

from __future__ import annotations

from collections.abc import Mapping

import click

__all__ = ["EXAMPLES", "with_examples"]

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "eval": (
        "sabench eval --model hpss --task instrument --split mini",
        "sabench eval --model my_module:separate --task my/questions.csv",
        "sabench eval --model 'hpss(margin=2),oracle-irm' --task sfx --split mini --dry-run",
    ),
    "separate": (
        "sabench separate mix.wav --model hpss --text drums --out out",
        "sabench separate mix.wav --model sam-audio-small --text 'dog barking' --span +1.0:2.5 --out out",
    ),
    "list": ("sabench list tasks", "sabench list metrics --json"),
    "score": (
        "sabench score runs --metrics bss_images_sdr",
        "sabench score runs --changed --executor processes",
    ),
    "table": ("sabench table runs --format md", "sabench table runs --by snr:-10,0,10 --metrics si_sdr_i"),
    "plot": ("sabench plot runs", "sabench plot runs --kind scatter --metric si_sdr_i,saj_overall --theme both"),
    "compare": (
        "sabench compare runs/mixture runs/hpss",
        "sabench compare runs/hpss runs/repet-sim --metrics si_sdr_i --worst 3",
    ),
    "slices": ("sabench slices runs", "sabench slices runs --by snr:-10,0,10 --metric saj_overall --out figures"),
    "distance": (
        "sabench distance runs",
        "sabench distance runs --metric kad --reference clean-songs --embedding laion/clap-htsat-unfused --json",
    ),
    "filter": (
        "sabench filter runs --preset offline --out kept",
        "sabench filter runs --keep 'saj_overall >= 3.5 and silence < 0.9' --quota 50 --best saj_overall --out kept",
    ),
    "merge": ("sabench merge parts --output runs", "sabench merge parts/1 parts/2 --into runs/whole"),
    "cite": ("sabench cite runs", "sabench cite runs/hpss > used.bib"),
    "models": ("sabench models make-tiny checkpoints/tiny", "sabench list models"),
    "models make-tiny": (
        "sabench models make-tiny checkpoints/tiny",
        "sabench models make-tiny checkpoints/other --seed 1",
    ),
    "judge": (
        "sabench judge score --mixture mix.wav --target answer.wav --text 'dog barking'",
        "sabench judge explain runs/hpss/instr-wild@1-mini instr-wild-00",
        "sabench judge train --config recipe.toml",
    ),
    "judge score": (
        "sabench judge score --mixture mix.wav --target answer.wav --text 'dog barking'",
        "sabench judge score --mixture mix.wav --target answer.wav --span +1.0:2.5 --frames --json",
    ),
    "judge explain": (
        "sabench judge explain runs/hpss/instr-wild@1-mini instr-wild-00",
        "sabench judge explain runs/hpss/instr-wild@1-mini instr-wild-00 --out why.png --json",
    ),
    "judge listeners": (
        "sabench judge listeners my-test",
        "sabench judge listeners tests --judge runs/judge/mine --without reference",
    ),
    "judge train": (
        "sabench judge train --config recipe.toml --out runs/judge/mine",
        "sabench judge train --config recipe.toml --resume --set optimizer.epochs=5",
    ),
    "judge evaluate": (
        "sabench judge evaluate --ratings ratings.parquet",
        "sabench judge evaluate --judge runs/judge/mine --ratings ratings.parquet --out report",
    ),
    "judge export": (
        "sabench judge export runs/judge/mine --out mine",
        "sabench judge export runs/judge/mine --out mine-half --half",
    ),
    "data status": ("sabench data status", "sabench data status sfx music --json"),
    "data verify": ("sabench data verify", "sabench data verify instr-pro --workers 2"),
    "data where": ("sabench data where sfx", "sabench data where instr-pro --subset full --json"),
    "data missing": ("sabench data missing", "sabench data missing sfx --format csv > to-get.csv"),
    "data show": (
        "sabench data show sfx-visual sfx-visual-00 --split mini --out item.png",
        "sabench data show my/questions.csv item-1 --out item.png",
    ),
    "data validate": ("sabench data validate my/questions.csv", "sabench data validate musdb:musdb18hq/test --json"),
    "data spans": (
        "sabench data spans my/questions.csv --out my/by-spans.csv",
        "sabench data spans my/questions.csv --out my/by-spans.csv --threshold -50 --figures figures",
    ),
    "data mix": (
        "sabench data mix mini --set count=4 --out mixtures",
        "sabench data mix clips --recipe recipe.toml --shard 1/8 --format webdataset --out mixtures",
    ),
    "data croissant": (
        "sabench data croissant my/questions.csv --out my/croissant.json",
        "sabench data croissant sfx --out sfx.json --description 'Mixtures of everyday sounds.'",
    ),
    "ratings example": (
        "sabench ratings example --out answers.csv",
        "sabench ratings example --votes --seed 1 --out votes.csv",
    ),
    "ratings import": (
        "sabench ratings import answers.csv --out ratings.parquet",
        "sabench ratings import answers/*.json --key test/key.json --out ratings.parquet",
    ),
    "ratings describe": ("sabench ratings describe ratings.parquet", "sabench ratings describe ratings.parquet --json"),
    "ratings screen": (
        "sabench ratings screen ratings.parquet --p808 --out screened.parquet",
        "sabench ratings screen ratings.parquet --agreement --speed=1.5 --out screened.parquet",
    ),
    "ratings agreement": (
        "sabench ratings agreement screened.parquet",
        "sabench ratings agreement screened.parquet --by domain --mos opinions.csv",
    ),
    "ratings correlate": (
        "sabench ratings correlate screened.parquet",
        "sabench ratings correlate screened.parquet --scores runs/hpss/music@1-mini --level system --pairs",
    ),
    "ratings prefer": ("sabench ratings prefer votes.parquet", "sabench ratings prefer votes.parquet --by domain"),
    "ratings power": (
        "sabench ratings power screened.parquet",
        "sabench ratings power screened.parquet --raters 5,10 --items 20 --difference 0.5",
    ),
    "ratings report": (
        "sabench ratings report screened.parquet --out report",
        "sabench ratings report screened.parquet --out report --scores runs/hpss/music@1-mini --title 'Pilot test'",
    ),
    "ratings plan": (
        "sabench ratings plan runs --out test --raters 6 --raters-per-item 3",
        "sabench ratings plan runs --out test --axes overall --anchors --format page,webmushra",
    ),
    "leaderboard submit": (
        "sabench leaderboard submit runs --to board --dry-run",
        "sabench leaderboard submit runs --to board --card card.toml --with-audio",
    ),
    "leaderboard validate": (
        "sabench leaderboard validate board",
        "sabench leaderboard validate board --since earlier/board --audio runs",
    ),
    "leaderboard log": ("sabench leaderboard log board", "sabench leaderboard log board --json"),
    "leaderboard withdraw": (
        "sabench leaderboard withdraw hpss 1 --reason 'wrong sample rate' --from board",
        "sabench leaderboard withdraw my-model v2 --reason 'trained on test items'",
    ),
    "leaderboard previews": (
        "sabench leaderboard previews runs --to board",
        "sabench leaderboard previews runs --to board --items 5 --judge saj-mini",
    ),
    "leaderboard build": ("sabench leaderboard build board", "sabench leaderboard build board --check"),
    "leaderboard space": (
        "sabench leaderboard space my-space --from board",
        "sabench leaderboard space clone-of-my-space",
    ),
    "doctor": ("sabench doctor", "sabench doctor --json"),
}
"""Examples by name of a command; other groups show theirs in their help text."""


def with_examples(command: click.Command, name: str) -> click.Command:
    """Adds examples to the help of a command and its subcommands.

    Args:
        command: is modified.
        name: as on the command line, without "sabench".
    """
    if name in EXAMPLES:
        lines = "\n".join(f"  {line}" for line in EXAMPLES[name])
        command.epilog = f"\b\nExamples:\n{lines}"  # \b keeps click from rewrapping the lines
    for below, one in command.commands.items() if isinstance(command, click.Group) else ():
        with_examples(one, f"{name} {below}")
    return command
