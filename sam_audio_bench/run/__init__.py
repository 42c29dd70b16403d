"""An evaluation run: plan, separate, persist, score, seal.

    plan        what will be done, and why something cannot
    contract    building separators, and checking their interface before any work
    evaluate    the whole evaluation in one call
    separate    one file and one prompt
    execution   one separator on one task
    stages      where the time goes; tracing: within one call of a separator
    separation  asking a separator; a bad item costs its own estimate only; several candidates per item
    isolation   isolated calls of a separator, by output_log and global_state
    process_exit preventing third-party code from ending the process
    interruption Ctrl-C, SIGTERM and SIGHUP
    estimate_check the only place where estimates are checked
    scoring     scores of stored estimates
    rescore     scoring kept audio again
    store       the run folder: journal, audio, scores, resuming
    header      the record in run.json
    attributes  attributes of items besides their scores: items.parquet
    measuring   what is measured of an item while it is in hand
    settings    the options of an evaluation
    recorded_data loading the data that runs were made from
    provenance  versions, hardware, fingerprints, seeds
    progress    the progress bar
    results     what a run found
    display     results as figures, and as a page of a notebook
    compatibility whether runs can share a table
    compare     two runs on the items that both have
    reproduction a run made again from its record, and what differs
    loggers     telling experiment trackers of an evaluation
    slices      where a separator is worse than elsewhere
    merge       shards become one run
    cite        BibTeX entries of what was used

Importing this package does not import torch.
"""
