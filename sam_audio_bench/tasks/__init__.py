"""The catalogue of tasks and the loaders that turn data into Items.

    catalogue        the cards of the built-in tasks, their official subsets, and groups of tasks
    data             TaskData: the items of one task, loaded one at a time
    attributes       further numbers and texts that are known of items
    load             load_task: from the name of a task to its items
    recipes          the stems of the mini split, and the recipes of its mixtures
    mini             the mini split, which is part of the package and mixed on load
    synthetic_video  the rendered videos of the mini split's visual tasks
    attribution      authors and licences of the mini split's stems
    official         the test split: SAM Audio-Bench and its excerpts of MUSDB18-HQ
    annotations      the metadata of the test split
    vocabulary       paraphrases, and the sounds that a mixture may contain, from the metadata
    media            the recordings of the test split, which the user supplies
    video_clips      cuts parts of videos into separate files
    inspection       which recordings of the test split are present, missing or corrupt
    lock             lock.json: verified revisions, digests and decoding results
    licences         the terms of the official data, shown once
    manifest         the user's own data: a table of files, a folder, or a known layout
    manifest_rows    its rows, their checks, and how they become items
    manifest_sounds  the sounds of a row
    manifest_tables  readers of CSV, JSON lines, parquet and datasets folders
    manifest_check   checks all files of the user's own data
    adapters         layouts of known data sets
    span_table       spans from the activity of reference signals
    mixing           building blocks of all mixtures: drawing, cutting and placing clips, levels
    mixing_recipe    the recipe of `sabench data mix`
    mixing_pool      the labelled clips that are mixed
    mixing_plan      which clips sound together in each mixture, where and how loud
    mixing_render    renders mixtures and their questions
    mixing_write     writes mixtures as folders or archives
    archives         writes WebDataset tar files and CSV tables
    croissant        tasks as Croissant metadata
    prompts          the same items with paraphrased prompts, or with prompts for absent sounds
    contact_sheet    one image that summarises an item
    folders          paths of the cache and the official data

Importing this package does not import torch.
"""

from sam_audio_bench.tasks.catalogue import GROUPS, TASKS, Task, expand
from sam_audio_bench.tasks.data import TaskData

__all__ = ["GROUPS", "TASKS", "Task", "TaskData", "expand"]
