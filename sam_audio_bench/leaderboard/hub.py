"""Files for the Hugging Face Hub: evaluation results, a block for the model card, and a Space that shows the site.

The fields are those of the Hub's documentation of evaluation results: a list of results, each with its dataset, task,
value, date and source. YAML is written as JSON strings and numbers, which every YAML reader takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from sam_audio_bench.errors import UsageError
from sam_audio_bench.files import atomic_write, dump_json
from sam_audio_bench.leaderboard.item_lists import find_task_card
from sam_audio_bench.leaderboard.records import Aggregate, SubmissionRecord, SubmittedTask
from sam_audio_bench.render.numbers import number
from sam_audio_bench.render.text import line_name
from sam_audio_bench.tasks import TASKS

__all__ = ["evaluation_results", "results_block", "write_hub_files", "write_space"]

_BEGIN, _END = "<!-- sabench results -->", "<!-- end of sabench results -->"
_SPACE = """---
title: sam-audio-bench
emoji: 🎧
colorFrom: blue
colorTo: gray
sdk: static
app_file: index.html
pinned: false
short_description: How well audio separators follow a prompt
---

The site of a leaderboard of sam-audio-bench, written by `sabench leaderboard space`.
"""
_LARGE = ("*.ogg", "*.png")  # files that the Hub accepts only as large files (LFS)
_LINK = "https://arxiv.org/abs/2512.18099"


def evaluation_results(header: SubmissionRecord) -> str:
    """Returns YAML for ``.eval_results/sam-audio-bench.yaml``: one result per task, by its main or else first metric.

    Args:
        header: submission.json.
    """
    lines = []
    for task in header.tasks:
        name = _main_metric(task)
        for record in _records(header, task.label, name):
            notes = f"{name}, {task.label}, n = {record.n_ok}/{record.n}, 95 % interval {_interval(record)}"
            picked = f"; {line_name('', record.picked_by, task.candidates).strip()}" if record.picked_by else ""
            lines += [
                f"- dataset: {{id: {dump_json(_dataset(task))}, task_id: {dump_json(task.label)}, "
                f"revision: {dump_json(task.data_revision)}}}",
                f"  value: {record.value!r}",
                f"  date: {dump_json(header.date)}",
                f"  source: {{url: {dump_json(_source(header))}, name: {dump_json('sam-audio-bench')}}}",
                f"  notes: {dump_json(notes + picked)}",
            ]
    return "\n".join(lines) + "\n"


def results_block(header: SubmissionRecord) -> str:
    """Returns Markdown of all results, between two comments by which a later block finds and replaces it."""
    units = {metric.id: metric.unit for metric in header.metrics}
    lines = [_BEGIN, "", "| task | metric | mean | 95 % interval | items |", "| --- | --- | --- | --- | --- |"]
    for record in header.aggregates:
        picked = f" ({record.picked_by})" if record.picked_by else ""
        value = f"{number(record.value)} {units[record.metric]}".strip()
        value = value if record.value is not None else "undefined"
        items = f"{record.n_ok}/{record.n}"
        lines.append(f"| {record.task}{picked} | {record.metric} | {value} | {_interval(record)} | {items} |")
    return "\n".join([*lines, "", f"Measured with sam-audio-bench, {header.date}.", "", _END, ""])


def write_hub_files(folder: Path, header: SubmissionRecord) -> list[Path]:
    """Writes the evaluation results, and the results block into the folder's README.md, replacing an older one."""
    results, readme = folder / ".eval_results" / "sam-audio-bench.yaml", folder / "README.md"
    try:
        text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"expected a model card in UTF-8 at {readme}, found another file ({error})") from error
    block, old = results_block(header), re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}\n?", re.DOTALL)
    text = old.sub(lambda _: block, text) if old.search(text) else f"{text.rstrip()}\n\n{block}".lstrip()
    for path, content in ((results, evaluation_results(header)), (readme, text)):
        with atomic_write(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return [results, readme]


def _dataset(task: SubmittedTask) -> str:
    repository = find_task_card(task.id).repository if task.split == "test" else ""
    return repository or f"{task.id if task.id not in TASKS else 'sam-audio-bench'}/{task.split}"


def _main_metric(task: SubmittedTask) -> str:
    preferred = find_task_card(task.id).main_metric
    return preferred if preferred in task.metrics else task.metrics[0]


def _records(header: SubmissionRecord, label: str, metric: str) -> Iterable[Aggregate]:
    found = (record for record in header.aggregates if (record.task, record.metric) == (label, metric))
    return [record for record in found if record.value is not None]


def _source(header: SubmissionRecord) -> str:
    links = header.separator.links
    return links[0] if links else _LINK


def _interval(record: Aggregate) -> str:
    if record.ci_low is None:
        return "unknown"
    return f"[{number(record.ci_low)}, {number(record.ci_high)}]"


def write_space(root: Path, folder: Path) -> list[Path]:
    """Writes a static Space: the site, a README.md with front matter, and a .gitattributes for sounds and images.

    An existing README.md is kept, and existing attributes are completed.

    Args:
        root: the leaderboard.
        folder: folder of the Space, empty or a clone.

    Returns:
        Files written.

    Raises:
        UsageError: a README.md that is not of a static Space, or a folder that `build_site` refuses.
    """
    from sam_audio_bench.leaderboard.site import build_site

    readme, attributes = folder / "README.md", folder / ".gitattributes"
    if readme.exists() and not re.match(r"---\n(?:(?!---\n).*\n)*?sdk: *static\s", readme.read_text(encoding="utf-8")):
        raise UsageError(f"expected the front matter of a Space with `sdk: static` in {readme}, found none; remove it")
    pages = build_site(root, folder)
    known = attributes.read_text(encoding="utf-8") if attributes.exists() else ""
    missing = [f"{name} filter=lfs diff=lfs merge=lfs -text\n" for name in _LARGE if f"{name} " not in known]
    texts = {readme: _SPACE} if not readme.exists() else {}
    texts |= {attributes: known + "".join(missing)} if missing else {}
    for path, text in texts.items():
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return [*pages, *texts]
