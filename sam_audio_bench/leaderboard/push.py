"""Pushes a leaderboard to a dataset repository of the Hugging Face Hub, and a separator's results to the repository of
its model, as a pull request.

Everything goes into one commit on top of the revision that was checked. If somebody else pushed in the meantime, the
Hub refuses it, so that a push is complete or does not happen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_audio_bench.errors import BenchError, Precondition, StoreError, UsageError, describe_error
from sam_audio_bench.leaderboard import log, safe_io
from sam_audio_bench.leaderboard.hub import evaluation_results
from sam_audio_bench.leaderboard.submission import Submission, submission_folder
from sam_audio_bench.leaderboard.validate import validate
from sam_audio_bench.render.text import one_line, pluralize

__all__ = ["PushResult", "push_board", "push_results"]

_RESULTS = ".eval_results/sam-audio-bench.yaml"
_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_SHOWN = 5  # problems in a message
_CARD = """---
configs:
- config_name: scores
  data_files: results/*/*/scores.parquet
tags:
- leaderboard
- audio
- source-separation
---

Submissions to a leaderboard of sam-audio-bench, one folder per separator and revision: `submission.json` tells of the
separator, its tasks and metrics, `scores.parquet` has a row per item and metric. `log.jsonl` has every submission and
withdrawal.

    sabench leaderboard validate hf://datasets/{repository}
"""


@dataclass(frozen=True, kw_only=True)
class PushResult:
    """What was pushed to a repository, or would be."""

    repository: str
    files: tuple[str, ...]  # of the commit; the Hub ignores unchanged ones
    entries: int  # new log entries
    url: str  # of the commit or pull request; "": nothing was written


def push_board(
    board: Path, repository: str, *, create: str | None = None, pull_request: bool = False, dry_run: bool = False
) -> PushResult:
    """Pushes submissions, log and rules of a valid leaderboard, without pages and previews.

    Args:
        board: the leaderboard.
        repository: ``OWNER/NAME`` of a dataset repository.
        create: "private" or "public": create the repository if it does not exist.
        pull_request: open one instead of writing to the main branch.
        dry_run: check everything, write nothing.

    Raises:
        StoreError: a leaderboard that is invalid, or whose log does not begin with that of the repository.
        Precondition: no repository, no write permission, or no network. UsageError: an invalid repository name.
    """
    api, kind = _api(repository), "dataset"
    _check_board(board)
    entries = log.read(board)
    with _hub(f"datasets/{repository}"):
        head = _head(api, repository, create, dry_run=dry_run)
        before, there = ([], set[str]()) if head is None else _remote(api, repository, head)
        if problems := log.append_only_problems(entries, before):
            raise StoreError(f"expected a log that begins with that of datasets/{repository}, found: {problems[0]}")
        files = {path.relative_to(board).as_posix(): path for path in _files(board)}
        added = [*files, *({"README.md"} - there)]
        new = len(entries) - len(before)
        if dry_run:
            return PushResult(repository=repository, files=tuple(added), entries=new, url="")
        content: dict[str, str | bytes] = {name: str(path) for name, path in files.items()}
        card = _CARD.format(repository=repository).encode()
        url = _commit(
            api, repository, kind, {name: content.get(name, card) for name in added}, head,
            f"Add {new} {'entry' if new == 1 else 'entries'} to the log", pull_request=pull_request,
        )  # fmt: skip
    return PushResult(repository=repository, files=tuple(added), entries=new, url=url)


def push_results(board: Path, separator: str, repository: str, *, dry_run: bool = False) -> PushResult:
    """Opens a pull request that adds a separator's results to its model's repository, where the Hub shows them.

    Args:
        board: the leaderboard.
        separator: its name there; its latest revision that is not withdrawn is used.
        repository: ``OWNER/NAME`` of a model repository.
        dry_run: check everything, write nothing.

    Raises:
        UsageError: no such separator. Precondition: no repository, or no network.
    """
    api = _api(repository)
    known = dict(log.latest_revisions(log.read(board)))
    if separator not in known:
        raise UsageError(
            f"expected a separator of {board} ({', '.join(sorted(known)) or 'none'}), found {separator!r}; "
            f"`sabench leaderboard log {board}` names them"
        )
    submission = Submission.read(submission_folder(board / "results", separator, known[separator]))
    text = evaluation_results(submission.header)
    with _hub(repository):
        head = _head(api, repository, None, dry_run=False, kind="model")
        url = "" if dry_run else _commit(
            api, repository, "model", {_RESULTS: text.encode()}, head, f"Add results of {separator}",
            pull_request=True,
        )  # fmt: skip
    return PushResult(repository=repository, files=(_RESULTS,), entries=0, url=url)


def _api(repository: str) -> Any:
    if not _NAME.fullmatch(repository):
        raise UsageError(f"expected a repository of the Hub, OWNER/NAME, found {repository!r}")
    from huggingface_hub import HfApi

    return HfApi(library_name="sam-audio-bench")


def _check_board(board: Path) -> None:
    """Refuses a leaderboard that others could not validate."""
    report = validate(board, share=None)
    if not (board / log.LOG).is_file():
        raise Precondition(f"expected a leaderboard with {log.LOG} at {board}, found none; push the whole leaderboard")
    if report.problems:
        shown = "; ".join(f"{problem.where}: {problem.what}" for problem in report.problems[:_SHOWN])
        raise StoreError(
            f"expected a leaderboard that validates, found {pluralize(len(report.problems), 'problem')} in {board}, "
            f"pushed nothing: {shown}"
        )


def _files(board: Path) -> Iterator[Path]:
    """Yields the files that are validated, and no others in the folder."""
    yield from (path for name in (log.LOG, "boards.json") if (path := board / name).is_file())
    yield from sorted(safe_io.walk_files(board / "results"))


def _head(api: Any, repository: str, create: str | None, *, dry_run: bool, kind: str = "dataset") -> str | None:
    """Returns the latest commit of the main branch; None in a dry run if the repository would be created first."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return str(api.repo_info(repository, repo_type=kind).sha)
    except GatedRepoError:
        raise
    except RepositoryNotFoundError as error:
        if create is None:
            more = "; --create private makes one" if kind == "dataset" else ""
            raise Precondition(
                f"expected the {kind} repository {repository}, and a token that may write to it (`hf auth login`), "
                f"found none{more}"
            ) from error
        if dry_run:
            return None
    api.create_repo(repository, repo_type=kind, private=create == "private")
    return str(api.repo_info(repository, repo_type=kind).sha)


def _remote(api: Any, repository: str, head: str) -> tuple[list[object], set[str]]:
    """Reads the log entries of the repository, and the names of its files."""
    names = set(api.list_repo_files(repository, repo_type="dataset", revision=head))
    if log.LOG not in names:
        return [], names
    path = Path(api.hf_hub_download(repository, log.LOG, repo_type="dataset", revision=head))
    return log.read_earlier(path.resolve()), names  # the cache holds links


def _commit(
    api: Any,
    repository: str,
    kind: str,
    files: Mapping[str, str | bytes],
    head: str | None,
    message: str,
    *,
    pull_request: bool,
) -> str:
    from huggingface_hub import CommitOperationAdd

    done = api.create_commit(
        repository, [CommitOperationAdd(name, content) for name, content in files.items()], commit_message=message,
        repo_type=kind, parent_commit=head, create_pr=pull_request,
    )  # fmt: skip
    return str(done.pr_url if pull_request else done.commit_url)


@contextmanager
def _hub(place: str) -> Iterator[None]:
    """Turns every error of the Hub or its library into a Precondition with a one-sentence message."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:  # of the network, the Hub, or its library
        found = one_line(describe_error(error, named=True))
        raise Precondition(
            f"expected {place} on the Hub to be read and written, found: {found}; nothing was pushed. Is there a "
            "network, and a token (`hf auth login`) that may write there? If somebody pushed meanwhile, do it again"
        ) from error
