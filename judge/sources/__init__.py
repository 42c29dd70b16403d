"""Builds the pool of stems that `saj-mini` is trained on, from pinned package versions.

    packages     the pinned list (`judge/sources.toml`): fetches, verifies, unpacks
    archives     unpacks archives safely; reads OpenTTD's sound sets
    clips        decodes, trims, levels and cuts audio
    job          interface of the jobs that make stems
    effects      sound effects, classified by file names (`judge/effects.toml`)
    speech       recorded voices
    synthetic_voices  voices of speech synthesizers
    singing      recorded voices made to sing: notes, pitch, synthesis
    music        published pieces
    patterns     musical patterns from a seed
    instruments  patterns rendered with soundfonts (`judge/instruments.toml`)
    samples      patterns played with recorded notes and strokes
    splits       assigns groups to train, test and unseen
    pool         runs the jobs and writes the table

Run as ``python -m judge.sources --out judge/made/pool``.
"""
