"""Listening tests: how to make one, whose answers to believe, and which metric agrees with listeners.

    table           the tidy table in a parquet file
    media           the sounds and prompts that were rated
    importing       from files of any known format to the table
    formats         readers, one module a format
    describe        counts and scale use
    screening       rules that leave out answers, and who was dropped
    matrices        from rows to matrices
    agreement       reliability and mean opinions
    correlation     metrics against listeners
    preference      ranks from pairwise votes
    power           how large the next test should be
    evidence        what the figures of a report show
    report          one HTML page with all of it
    example         an imaginary test to try the commands on

    plan            a listening test from runs
    options         what a listening test should be
    axes            what raters are asked
    stimuli         the sounds of a test
    controls        anchors, traps and golds
    loudness        loudness of BS.1770-4, and gains that make sounds equally loud
    assignment      who rates what: a balanced incomplete design
    trials          trials under opaque names
    composition     the parts of a test
    listening_page  the test as one static page
    exports         the same test for webMUSHRA and the P.808 toolkit
    handout         what raters, tools and the experimenter get
    answers         what opaque names stand for, joined to answers

Importing this package does not import torch.
"""
