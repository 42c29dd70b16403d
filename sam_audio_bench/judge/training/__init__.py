"""Training, evaluation and export of a judge.

    recipe           configuration of a run, a TOML file
    examples         rows of ratings and the clips that they refer to
    tables           examples from tables of ratings
    shards           examples from tar archives
    splits           held-out recordings and systems; rejects leakage
    setup            prepares data and model of a run
    features         features of the frozen encoder, computed once and cached
    dataset          makes batches and targets from rows of examples
    batches          plans batches of similar length, several estimates per query
    losses           Huber, ranking and spread losses
    trainable_model  the judge in training: initialisation, trainable parts, forward pass
    optimizer        parameter groups, learning rate, moving average of the weights
    calibration      scale of ratings and width of intervals, fitted on held-out data
    checkpoint       state of a run, from which it resumes
    loop             training loop
    finish           final weights, calibration and report
    rating           rates examples
    measures         agreement of a judge with ratings
    figures          figures of the report
    report           report and model card
    export           writes a judge in the official layout

Importing this package does not import torch.
"""
