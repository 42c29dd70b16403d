"""How a judge is trained, measured and exported.

    recipe       one TOML: what is trained, on what, how
    examples     rows of ratings and the clips that they are of
    tables       examples from tables of ratings
    shards       examples from archives of answers
    splits       recordings and systems held out; leakage refused
    heard        what frozen ears hear, heard once
    batches      batches of like length with several answers to a query
    losses       Huber, ranking, spread
    student      the judge in training: where it starts, which parts learn, batches in, ratings out
    calibration  the scale of ratings and the width of intervals, fitted on held-out data
    checkpoint   the state of a run, and its going on
    loop         the run
    measures     how well a judge agrees with ratings
    figures      what a report draws
    report       the report and the model card
    export       the official layout

Importing this package does not import torch.
"""
