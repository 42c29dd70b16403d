"""Listening tests: planning, import, screening, agreement of raters, and correlation of metrics with ratings.

    table           the tidy table in a parquet file
    media           paths of the sounds and prompts that were rated
    importing       reads files of any known format into the table
    formats         readers, one module per format
    describe        counts and scale use
    screening       rules that exclude raters or sessions
    matrices        turns rows into matrices
    agreement       reliability and mean opinions
    correlation     correlation of metrics with ratings
    preference      ranks from pairwise votes
    power           sample size of the next test
    finding         what a test found, in sentences
    figure_data     data of the figures in a report
    report          HTML report
    example         a simulated test to try the commands on

    plan            makes a listening test from runs
    options         options of a listening test
    axes            rating axes and their questions
    stimuli         the sounds of a test
    controls        anchors, trap questions and gold questions
    loudness        loudness of BS.1770-4, and loudness matching
    assignment      balanced incomplete assignment of stimuli to raters
    blinded_stimuli stimuli under blind names, and their assignment to raters
    composition     all parts of a test before rendering
    listening_page  the test as one static page
    exports         the same test for webMUSHRA and the P.808 toolkit
    export_bundle   files for raters, tools and the experimenter
    blind_key       resolves blind names in ratings

Importing this package does not import torch.
"""
