"""Submissions that anyone can check and re-score, ranks with their uncertainty, and a site without a server.

    safe_io           size-limited reading of untrusted files
    records           every JSON file of a leaderboard, typed
    parquet_sandbox   decodes an untrusted parquet file in a process with limits
    name_checks       which names readers can tell apart
    item_lists        the item ids of a task
    attributes        attributes of a submission's items
    submission        one submission on disk
    card              metadata of a separator: authors, licence, training data
    submit            turns finished runs into a submission
    hub               evaluation results for the Hugging Face Hub
    push              a leaderboard as a repository of the Hub
    comparison        new submissions compared with earlier ones, for a review
    pull_request      a submission as a pull request
    score_checks      checks of scores, row by row
    validate          validation of one submission
    consistency       checks across all submissions of a leaderboard
    rescoring         recomputes scores from the stored audio
    log               append-only record of submissions and withdrawals
    board             all submissions in one object, the source of every page
    reported          numbers copied from papers, not measured here
    evidence          agreement of metrics with listeners
    previews          the preview files of the site
    preview_rendering writes previews: sound files, spectrograms, frames
    sitetypes         the types of the data of pages
    sitedata          data.json
    slicing           scores by slices of the items
    drawing           axes, ticks and the frame of SVG figures
    figures           SVG figures
    template_helpers  filters and functions of the HTML templates
    site              the pages
    fetching          leaderboards at URLs

Importing this package does not import torch; only `rescoring` and `preview_rendering`,
which read audio, do.
"""
