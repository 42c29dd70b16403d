"""An evaluation run: plan, separate, persist, score, seal.

    plan        the jobs of a run, and why a metric is unavailable
    contract    construction of separators, and checks of them before any work
    evaluate    the whole evaluation in one call
    separate    one file and one prompt
    execution   one separator on one task
    stages      time per stage; tracing: a trace of one call of a separator
    separation  separation of items; failures affect single items only; several candidates per item
    isolation   calls of a separator, isolated by output_log and global_state
    process_exit protection against components that end the process
    interruption Ctrl-C, SIGTERM and SIGHUP
    estimate_check checks of estimates
    scoring     scoring of stored estimates
    rescore     rescoring of stored estimates
    store       the run folder: journal, audio, scores, resuming
    header      contents of run.json
    attributes  attributes of the items: items.parquet
    measuring   attributes measured from an item while it is loaded
    settings    the options of an evaluation
    recorded_data the data of stored runs, loaded again
    provenance  versions, hardware, fingerprints, seeds
    progress    the progress bar
    results     scores, summaries and tables of runs
    display     results as figures, and in notebooks
    compatibility which runs can be in one table
    compare     two runs on the items that both have
    reproduction a run repeated from its record, and the differences
    loggers     experiment trackers
    slices      item attributes for which a separator is worse
    merge       merging of shards
    cite        BibTeX of what was used

Importing this package does not import torch.
"""
