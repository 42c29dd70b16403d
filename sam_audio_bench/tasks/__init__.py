"""The catalogue of tasks and the loaders that turn data into Items.

    catalogue   one record per task, its official subsets, groups
    data        TaskData: the items of one task, loaded one at a time
    attributes  what else is known of items
    load        load_task: from a name to its items
    recipes     the stems of the mini split, and which of them each mixture is made of
    mini        the embedded split: the recipes, mixed on load
    synthetic_video  the rendered videos of the mini split's visual tasks
    attribution authors and licences of the stems
    official    the test split: SAM Audio-Bench and its questions about MUSDB18-HQ
    annotations its metadata: found, read by column, checked
    vocabulary  other words, and what is in a mixture, where the metadata tell
    media       its recordings: which file serves an item, and what is cut from it
    video_clips parts of videos as separate files
    inspection  which of its recordings are present, missing or corrupt
    lock        lock.json: verified revisions, digests and decoding results
    licences    its terms, shown once
    manifest    anyone's data: a table of files, a folder, or a known layout
    manifest_rows    its questions, one row each, and their checks
    manifest_sounds  the sounds that they name
    manifest_tables  CSV, JSON lines, parquet and datasets folders as rows
    span_table       spans from the activity of its references
    mixing           what all mixtures are made by: draws, cuts, placing, levels
    mixing_recipe    what `sabench data mix` shall make
    mixing_pool      the labelled clips that it is made of
    mixing_plan      which clips sound together in each mixture, where and how loud
    mixing_render    its sounds, and the questions about it
    mixing_write     the folders or archives that they become
    archives         tar files as WebDataset has them, CSV tables
    croissant        all of it as Croissant metadata
    manifest_check   everything that can be wrong with it, files included
    adapters    layouts of known data sets
    prompts     the same items in other words, or asked for what they do not have
    contact_sheet    one image that summarises an item
    folders     paths of the cache and the official data

Importing this package does not import torch.
"""

from sam_audio_bench.tasks.catalogue import GROUPS, TASKS, Task, expand
from sam_audio_bench.tasks.data import TaskData

__all__ = ["GROUPS", "TASKS", "Task", "TaskData", "expand"]
