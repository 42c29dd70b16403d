"""Progress of long work as lines, without a terminal."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable

import pytest

from sam_audio_bench.run.progress import Progress


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def told(monkeypatch: pytest.MonkeyPatch, work: Callable[[Progress], None], total: int = 100, **options: bool) -> str:
    """Returns what work prints to standard error, which is a file."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress(total, **options) as progress:
        work(progress)
    return stream.getvalue()


def counted(clock: Callable[[float], None], items: int, seconds: float) -> Callable[[Progress], None]:
    def work(progress: Progress) -> None:
        count = progress.item_callback("music")
        for index in range(items):
            clock(seconds)
            count("no sound" if index == 0 else None)

    return work


def test_a_line_for_each_tenth(clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(monkeypatch, counted(clock, 100, 2.0)).splitlines()
    assert lines[0] == "music: no sound"
    assert lines[1] == "music, 1 failed: 11 of 100 (11%), 0:00:22 so far, some 0:02:58 left"  # 89 items of 2 s
    assert [line.split(": ")[1].split()[0] for line in lines[1:]] == [str(count) for count in range(11, 100, 10)]


def test_a_line_per_minute_if_a_tenth_takes_longer(
    clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = told(monkeypatch, counted(clock, 5, 31.0), total=1000).splitlines()[1:]
    assert [line.partition(" of ")[0] for line in lines] == ["music, 1 failed: 2", "music, 1 failed: 4"]


def test_short_work_and_what_shall_be_silent_say_nothing(
    clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(monkeypatch, counted(clock, 100, 0.09)) == "music: no sound\n"
    assert told(monkeypatch, counted(clock, 100, 9.0), show=False) == "music: no sound\n"


def test_steps_that_begin_anew_and_late(clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    def work(progress: Progress) -> None:
        for label, start in (("training", 50), ("writing", 0)):
            follow = progress.step_callback(label)
            for step in range(start, start + 3):
                follow(step, 100)
                clock(70)

    lines = told(monkeypatch, work, total=1).splitlines()
    assert lines[0] == "training: 51 of 100 (51%), 0:01:10 so far, some 0:57:10 left"  # 49 of 70 s, whatever was kept
    assert lines[2] == "writing: 0 of 100 (0%), 0:03:30 so far"  # nothing is known of its speed yet
    assert lines[3] == "writing: 1 of 100 (1%), 0:04:40 so far, some 1:55:30 left"


def test_a_terminal_has_its_bar_and_no_lines(clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress(100) as progress:
        counted(clock, 100, 2.0)(progress)
    assert "so far" not in stream.getvalue()
    assert "100/100" in stream.getvalue()
