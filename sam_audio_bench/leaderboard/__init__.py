"""Submissions that anyone can check and re-score, ranks with their uncertainty, and a site without a server.

    reading     bounded reading of files from strangers
    unpacking   their tables first, in a process with limits
    labels      names of tasks, columns and folders
    pinned      which items a task has
    submission  one submission as it lies on disk
    card        who made a separator, and of what
    submit      from finished runs to a submission
    hub         what the Hugging Face Hub can show of it
    rows        checks of scores, row by row
    validate    everything that can be wrong with a submission
    consistency what shows only in a whole leaderboard
    rescoring   stored answers scored again
    log         every submission and withdrawal, append-only
    ranking     ranks, their intervals, and groups that cannot be told apart
    board       all submissions as one value, from which every page is made
    reported    numbers of papers, which nobody measured here
    listening   previews as they lie in the site
    previews    something to listen to
    pictures    small PNG files
    sitedata    data.json
    figures     figures as SVG
    views       what templates call
    site        the pages

Importing this package does not import torch; only `rescoring` and `previews`
do, which touch audio.
"""
