"""Submissions that anyone can check and re-score, ranks with their uncertainty, and a site without a server.

    safe_io           size-limited reading of untrusted files
    records           every JSON file of a leaderboard, typed
    parquet_sandbox   decodes an untrusted parquet file in a process with limits
    labels            kinds of separators, columns and folders
    item_lists        the item ids of a task
    submission        one submission on disk
    card              metadata of a separator: authors, licence, training data
    submit            turns finished runs into a submission
    hub               evaluation results for the Hugging Face Hub
    push              a leaderboard as a repository of the Hub
    fetching          leaderboards at URLs
    comparison        what is new beside what stood there, for a review
    pull_request      a submission as a pull request
    score_checks      checks of scores, row by row
    validate          validation of one submission
    consistency       checks across all submissions of a leaderboard
    rescoring         scores the stored audio again
    log               append-only record of submissions and withdrawals
    board             all submissions as one value, the source of every page
    reported          numbers copied from papers, not measured here
    previews          the preview files of the site
    preview_rendering makes previews: sound files, spectrograms, frames
    png               PNG encoder
    sitetypes         the types of what pages show
    sitedata          data.json
    figures           SVG figures
    template_helpers  filters and functions of the HTML templates
    site              the pages

Importing this package does not import torch; only `rescoring` and `preview_rendering`,
which read audio, do.
"""
