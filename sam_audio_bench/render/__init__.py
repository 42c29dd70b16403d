"""Rendering of results: a uniform format of numbers, names and tables, without torch.

    numbers     numbers, undefined values, intervals
    text        untrusted texts, counts, names of lines and columns
    verdict     the best separators, as a sentence
    layout      content of a table: order, marks, bold
    terminal    tables that fit the width of a terminal
    tables      tables as Markdown, CSV, LaTeX, HTML, JSON, and in a terminal

Importing them loads neither pandas nor rich.
"""
