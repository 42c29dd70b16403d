"""How results look to a reader: one form of every number, name and table, without torch.

    numbers     a true minus, a dash where a value is undefined, intervals
    text        texts from strangers, counts, names of lines and columns
    verdict     who is best, as a sentence
    layout      what a table shows, ranks, marks and prints bold
    terminal    blocks in the width that a terminal has
    tables      rows as Markdown, CSV, LaTeX, HTML, JSON, and in a terminal

Importing one of them loads neither pandas nor rich.
"""
