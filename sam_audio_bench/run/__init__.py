"""An evaluation run: plan, separate, persist, score, seal.

    plan        what will be done, and why something cannot
    contract    making separators, and what is wrong with them before any work
    evaluate    the whole evaluation in one call
    separate    one file and one prompt
    execution   one separator on one task
    stages      where the time goes; tracing: within one call of a separator
    separation  asking a separator; a bad item costs its own estimate only; several candidates per item
    isolation   calls of a separator: output_log and global_state say what is kept apart
    exits       who may not end the process
    interruption Ctrl-C, SIGTERM and SIGHUP
    check       the boundary where estimates are checked
    scoring     scores of stored estimates
    rescore     scoring kept audio again
    store       the run folder: journal, audio, scores, resuming
    header      what run.json says
    attributes  what is known of the items beside their scores: items.parquet
    measuring   what is measured of an item while it is in hand
    settings    the options of an evaluation
    data        the data that runs were done on, loaded again
    provenance  versions, hardware, fingerprints, seeds
    progress    the progress bar
    results     what a run found
    display     results as figures, and as a page of a notebook
    alike       which runs can stand in one table
    compare     two runs on the items that both have
    reproduction a run made again from its record, and what differs
    loggers     telling experiment trackers of an evaluation
    slices      where a separator is worse than elsewhere
    merge       shards become one run
    cite        BibTeX of what was used

Importing this package does not import torch.
"""
