"""Pseudo-labels: keeps the estimates of a separator that are good enough to train on, as a task.

    expression   conditions on columns: parsed and checked, never executed as code
    presets      named conditions: the published thresholds, and those that need no other model
    pool         the labels to choose from: estimates of runs, or rows of a table, with their scores
    fingerprint  audio fingerprints, to find recordings with the same sound
    measuring    measures targets: silence, spans, fingerprint, mask coverage
    choosing     applies conditions, duplicates and quotas, and records the reason for every label
    writing      writes the folder of kept labels: manifest, sounds, decisions
    precision    draws a sample for raters, and estimates the precision of all kept labels from their ratings
    figures      figures of distributions with their thresholds
    report       the HTML report
    labelling    runs all steps

The scores come from `sabench eval` and `sabench score`; only measurements without a neural network are made here.
"""
