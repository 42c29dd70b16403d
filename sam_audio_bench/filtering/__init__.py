"""Pseudo-labels: which of a separator's estimates are good enough to train on, as a task of their own.

    expression   conditions on columns: parsed, checked, never run as code
    presets      the published thresholds, and those that need no other model
    pool         what there is to choose from: estimates of runs, or rows of a table, with their scores
    fingerprint  recordings that hold the same sound
    measuring    what is measured of a target itself: silence, spans, fingerprint, mask
    choosing     conditions, duplicates, quotas; what became of every label, and why
    writing      the folder of what is kept: a manifest, its sounds, the record
    precision    a sample for listeners, and what their ratings say of all that is kept
    figures      distributions with their thresholds
    report       the page
    labelling    all of it, in order

The scores come from `sabench eval` and `sabench score`; only what costs no network is measured here.
"""
