"""The pool of stems that `saj-mini` is trained on, rebuilt from named package versions.

    packages     the pinned list (`judge/sources.toml`): fetch, verify, unpack
    archives     safe unpacking, OpenTTD's sound sets
    clips        decode, trim, level, cut
    job          what makers hand over
    effects      file names to classes (`judge/effects.toml`)
    speech       recorded voices
    voices       synthetic voices
    singing      recorded voices made to sing
    sing         the voice of a song: notes, pitch, synthesis
    music        published pieces
    patterns     musical patterns from a seed
    instruments  patterns played by soundfonts (`judge/instruments.toml`)
    samples      patterns played by recorded notes and strokes
    splits       train, test, unseen
    pool         runs the jobs, writes the table

Run as ``python -m judge.sources --out judge/made/pool``.
"""
