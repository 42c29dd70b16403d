"""The catalogue of tasks and the loaders that turn data into Items.

    catalogue   one record a task, its official subsets, groups
    data        TaskData: the items of one task, loaded one at a time
    mini        the embedded split: licensed stems and recipes, mixed on load
    clips       the rendered videos of the mini split's visual tasks
    manifest    anyone's data: a CSV of files

Importing this package does not import torch.
"""

from sam_audio_bench.tasks.catalogue import GROUPS, TASKS, Task, expand
from sam_audio_bench.tasks.data import TaskData

__all__ = ["GROUPS", "TASKS", "Task", "TaskData", "expand"]
