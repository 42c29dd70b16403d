"""An evaluation run: plan, separate, persist, score, seal.

    plan        what will be done, and why something cannot
    evaluate    the whole evaluation in one call
    runner      one separator on one task
    scoring     scores of stored answers
    rescore     scoring kept audio again
    answers     asking a separator; a bad item costs its own answer only
    candidates  several answers an item, and the one that a picker chooses
    check       the boundary where answers are checked
    store       the run folder: journal, audio, scores, resuming
    header      what run.json says
    data        the data that runs were done on, loaded again
    provenance  versions, hardware, fingerprints, seeds
    progress    the progress bar
    results     what a run found
    compare     two runs on the items that both have
    merge       shards become one run
    cite        BibTeX of what was used

Importing this package does not import torch.
"""
