"""Mistakes that a type checker must find: an ignored error that is none is an error to mypy and pyright. Never run."""

import sam_audio_bench as sab

sab.evaluat("hpss", "music")  # type: ignore[attr-defined]
sab.evaluate(3, "music")  # type: ignore[arg-type]
sab.Audio("mix.wav", 48_000)  # type: ignore[arg-type]
sab.Prompt(text=3)  # type: ignore[arg-type]
sab.Score(0.5, "ok")  # type: ignore[arg-type]
sab.load_task("music").title  # type: ignore[attr-defined]  # noqa: B018
