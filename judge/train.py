"""Trains a judge: ``python -m judge.train --config FILE``, the same as ``sabench judge train``.

On several GPUs: ``accelerate launch -m judge.train --config FILE``.
"""

from __future__ import annotations

from sam_audio_bench.cli import main

if __name__ == "__main__":
    import sys

    main(["judge", "train", *sys.argv[1:]])
