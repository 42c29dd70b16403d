"""The catalogue of tasks, for developers working in the checkout: ``python tasks.py`` prints it.

This file is not installed; the task cards are in `sam_audio_bench.tasks`.
"""

from sam_audio_bench.tasks import GROUPS, TASKS

__all__ = ["GROUPS", "TASKS"]

if __name__ == "__main__":
    from sam_audio_bench.cli import main

    main(["list", "tasks"])
