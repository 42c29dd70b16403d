"""Runs of three systems, small enough to be planned and heard in a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import sam_audio_bench as sab

RATE = 16000
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def secrethalf(mixture: np.ndarray, rate: int, prompt: sab.Prompt) -> np.ndarray:
    """A system that makes everything quieter."""
    return mixture * 0.5


def secretsilence(mixture: np.ndarray, rate: int, prompt: sab.Prompt) -> np.ndarray:
    """A system that gives up."""
    return mixture * 0


@pytest.fixture(scope="session")
def listening_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of secrethalf, secretsilence and mixture to eight items of four recordings; the last target is absent."""
    folder = tmp_path_factory.mktemp("secrets")
    generator = np.random.default_rng(3)
    prompts = ["a dog barks", HOSTILE, "größer als “das”", "=1+1", "a, b; c", "key: value", "x & y", "absent"]
    lines = ["mixture,text,spans,target,group,id"]
    for number, prompt in enumerate(prompts):
        length = RATE * (6 + number) // 10
        target, rest = generator.normal(size=(2, length)) * 0.05
        target *= number < 7
        for name, samples in ((f"secretmix{number}.wav", target + rest), (f"secrettarget{number}.wav", target)):
            soundfile.write(folder / name, samples.astype(np.float32), RATE, subtype="FLOAT")
        quoted = prompt.replace('"', '""')
        spans = "+0.1:0.3 -0.4:0.5" if number % 2 else ""
        cells = [f"secretmix{number}.wav", f'"{quoted}"', spans, f"secrettarget{number}.wav"]
        lines.append(",".join([*cells, f"secretsong{number % 4}", f"secretitem{number}"]))
    (folder / "secrettask.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    output = folder / "runs"
    results = sab.evaluate(
        [secrethalf, secretsilence], str(folder / "secrettask.csv"), metrics=["si_sdr"], output=output, progress=False
    )
    assert results.failures == 0
    return output
