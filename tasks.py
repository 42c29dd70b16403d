"""The catalogue of tasks for people who work in the checkout: ``python tasks.py`` prints it.

This file is not installed; the records live in `sam_audio_bench.tasks`.
"""

from sam_audio_bench.tasks import GROUPS, TASKS

__all__ = ["GROUPS", "TASKS"]

if __name__ == "__main__":
    from sam_audio_bench.cli import main

    main(["list", "tasks"])
