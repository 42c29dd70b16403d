"""Locates weights, in a folder of the user or in the cache of the Hugging Face hub.

A separator and its parts are downloaded when they are created, before any work (`find_checkpoint`). Models of metrics
and pickers are not downloaded (`ModelSource`): a download may fail, and a run must not be interrupted by that; the
message states the command to run instead.

Importing this module imports neither torch nor huggingface_hub.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from sam_audio_bench.digests import file_digest
from sam_audio_bench.errors import Precondition, StoreError
from sam_audio_bench.files import load_json
from sam_audio_bench.nn.config import TextConfig, read_config

__all__ = [
    "SEPARATORS",
    "WEIGHTS",
    "Checkpoint",
    "ModelSource",
    "find_checkpoint",
    "find_dataset",
    "find_separator",
    "weight_file",
]

SEPARATORS = {
    f"sam-audio-{size}{variant}": f"facebook/sam-audio-{size}{variant}"
    for size in ("small", "base", "large")
    for variant in ("", "-tv")
}
"""Ids of the released separators on the Hugging Face hub, by their names in this package."""

WEIGHTS = ("model.safetensors", "checkpoint.pt")
"""Names of the weight file, the preferred one first."""

_PATIENCE_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A folder with a weight file and usually ``config.json``, and its id and revision on the hub, if any."""

    folder: Path
    weights: Path
    repository: str | None = None
    revision: str | None = None  # the commit
    label: str = "local"  # name in results if there is no repository

    @property
    def model(self) -> str:
        """Id on the hub, or the label."""
        return self.repository or self.label

    def sha256(self) -> str:
        """Returns the hex digest of the weight file; in the hub's cache it is the file's name, others are read."""
        blob = self.weights.resolve().name
        if self.repository is not None and re.fullmatch(r"[0-9a-f]{64}", blob):
            return blob
        return file_digest(self.weights)


def weight_file(folder: Path, names: Sequence[str] = WEIGHTS) -> Path:
    """Returns the weight file of a folder; raises Precondition if there is none."""
    found = _first(folder, names)
    if found is None:
        raise Precondition(f"expected {' or '.join(names)} in {folder}, found neither")
    return found


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where to find a model, and how to check that it is complete and of the right kind.

    Args:
        repository: id on the Hugging Face hub, ``owner/name``.
        revision: branch, tag or commit on the hub; results record the commit.
        path: a folder to be used instead, which has the model directly or in a subfolder ``name``, so that several
            metrics can share one ``path=DIR``.
        weights: names of the weight file, the preferred one first.
        files: groups of file names, of each of which one file must be next to the weights.
        config_entries: entries that ``config.json`` must have; None: any value.
        label: name in results of a model in a folder.
        folder_option: option by which a user gives a folder, for messages.
    """

    repository: str
    revision: str = "main"
    path: str = ""
    weights: tuple[str, ...] = ("model.safetensors",)
    files: tuple[tuple[str, ...], ...] = ()
    config_entries: tuple[tuple[str, str | None], ...] = ()
    label: str = "local"
    folder_option: str = "--metric-args path=DIR"

    def find(self) -> Checkpoint:
        """Finds the complete model; checks file names and ``config.json`` only.

        Raises:
            Precondition: it is missing, incomplete or of another kind; the message states how to get it.
        """
        folder = self._find_given() if self.path else self._find_cached()
        absent = [" or ".join(group) for group in (*self.files, self.weights) if _first(folder, group) is None]
        weights = _first(folder, self.weights)
        if absent or weights is None:
            raise Precondition(f"expected {' and '.join(absent)} in {folder}, found none; {self._remedy()}")
        self._check_kind(folder)
        if self.path:
            return Checkpoint(folder=folder, weights=weights, label=self.label)
        return Checkpoint(folder=folder, weights=weights, repository=self.repository, revision=folder.name)

    def _find_given(self) -> Path:
        folder = Path(self.path)
        shared = folder / self.repository.rpartition("/")[2]
        for place in (shared, folder):
            if (place / "config.json").is_file():
                return place
        raise Precondition(f"expected a model with a config.json in {folder} or {shared}, found none; {self._remedy()}")

    def _find_cached(self) -> Path:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repository, "config.json", revision=self.revision)
        if isinstance(found, str):
            return Path(found).parent
        raise Precondition(
            f"expected {self.repository} at revision {self.revision} in the cache of the Hugging Face hub, found none; "
            + self._remedy()
        )

    def _check_kind(self, folder: Path) -> None:
        try:
            config = load_json(folder / "config.json")
        except StoreError as error:
            raise Precondition(f"{error}; {self._remedy()}") from error
        for key, value in self.config_entries:
            found = config.get(key) if isinstance(config, dict) else None
            if found is None or value not in (None, found):
                expected = f"{key} {value}" if value else key
                raise Precondition(
                    f"expected {expected} in {folder / 'config.json'}, found {found}: another kind of model; "
                    + self._remedy()
                )

    def _remedy(self) -> str:
        from huggingface_hub import is_offline_mode

        revision = "" if self.revision == "main" else f" --revision {self.revision}"
        name = self.repository.rpartition("/")[2]
        offline = " with HF_HUB_OFFLINE unset" if is_offline_mode() else ""
        return (
            f"run `hf download {self.repository}{revision}`{offline}, "
            f"or give a copy with {self.folder_option} (the model in DIR or DIR/{name})"
        )


def find_checkpoint(
    place: str | Path, *, repository: str | None = None, revision: str | None = None, names: Sequence[str] = WEIGHTS
) -> Checkpoint:
    """Finds the checkpoint in a folder or, if ``repository`` is given, on the hub, from where it is downloaded.

    Args:
        place: a folder, or the model's name in messages.
        repository: id on the hub, ``owner/name``.
        revision: branch, tag or commit on the hub; None: ``main``.
        names: names of the weight file, the preferred one first.

    Raises:
        Precondition: it is missing and cannot be downloaded; the message states the reason and what to do.
    """
    if repository is None:
        folder = Path(place)
        if not (folder / "config.json").is_file():
            raise Precondition(f"expected a checkpoint folder with config.json at {folder}, found none")
        return Checkpoint(folder=folder, weights=weight_file(folder, names))
    config = _download(repository, "config.json", revision)
    weights = None
    for name in names:
        weights = _download(repository, name, revision, optional=name != names[-1])
        if weights is not None:
            break
    assert config is not None
    assert weights is not None  # the last name is not optional
    return Checkpoint(folder=config.parent, weights=weights, repository=repository, revision=config.parent.name)


def find_separator(place: str | Path, revision: str | None = None, *, text_encoder: str = "") -> Checkpoint:
    """Finds the checkpoint of a released name, or in a folder.

    Released ones do not contain the text encoder: unless another is given, the one in their config must be available.

    Args:
        place: a folder, or a name of `SEPARATORS`, with or without its owner.
        revision: branch, tag or commit on the hub; None: ``main``.
        text_encoder: folder or hub id of another text encoder.

    Raises:
        Precondition: one of them is missing and cannot be downloaded.
    """
    repository = SEPARATORS.get(str(place).removeprefix("facebook/"))
    found = find_checkpoint(place, repository=repository, revision=revision)
    if repository is not None and not text_encoder:
        named = read_config(found.folder / "config.json").get("text_encoder") or {}
        _download(named.get("name", TextConfig.name), "config.json", None)
    return found


def find_dataset(repository: str, revision: str | None = None, *, pattern: str = "*.parquet") -> tuple[Path, str]:
    """Returns the folder in the cache with a data set's files, downloaded if needed, and their commit.

    Args:
        repository: id on the hub, ``owner/name``.
        revision: branch, tag or commit; None: ``main``.
        pattern: pattern of the files to download.

    Raises:
        Precondition: it is missing and cannot be downloaded; the message states the reason and what to do.
    """
    from huggingface_hub import snapshot_download

    requested = f"the data set {repository} at revision {revision or 'main'}"
    try:
        folder = Path(
            snapshot_download(
                repository,
                repo_type="dataset",
                revision=revision,
                allow_patterns=pattern,
                local_files_only=not _is_hub_reachable(),
            )
        )
    except _download_errors() as error:
        raise _explain(error, requested, f"datasets/{repository}") from error
    return folder, folder.name


def _download(repository: str, name: str, revision: str | None, *, optional: bool = False) -> Path | None:
    """Returns the path in the cache, downloaded if needed; None for an optional file that does not exist."""
    from huggingface_hub import errors, hf_hub_download

    requested = f"{name} of {repository} at revision {revision or 'main'}"
    try:
        return Path(hf_hub_download(repository, name, revision=revision, local_files_only=not _is_hub_reachable()))
    except _download_errors() as error:
        if optional and isinstance(error, errors.EntryNotFoundError):
            return None
        raise _explain(error, requested, repository) from error


def _download_errors() -> tuple[type[Exception], ...]:
    """Returns the exceptions by which huggingface_hub reports that something is unavailable."""
    from huggingface_hub import errors

    return errors.HfHubHTTPError, errors.EntryNotFoundError, errors.HFValidationError, OSError


def _explain(error: Exception, requested: str, page: str) -> Precondition:
    """Returns the error for users: what was requested, what the hub reported, what to do."""
    from huggingface_hub import errors

    repository = page.removeprefix("datasets/")
    match error:
        case errors.GatedRepoError():
            return Precondition(
                f"expected access to the gated repository {repository}, found none; accept its licence at "
                f"https://huggingface.co/{page}, then log in with `hf auth login`, or give the folder of a copy"
            )
        case errors.RevisionNotFoundError():
            return Precondition(f"expected {requested}, found no such revision; see its branches on the hub")
        case errors.RepositoryNotFoundError():
            return Precondition(
                f"expected {requested}, found no such repository, or one that is not yours to see; "
                "log in with `hf auth login`"
            )
        case errors.LocalEntryNotFoundError():  # offline, or no connection; also an EntryNotFoundError
            return Precondition(f"expected {requested}, found it neither in the cache nor {_unreachable()}")
        case errors.EntryNotFoundError():
            return Precondition(f"expected {requested}, found no such file in that revision")
    found = " ".join(str(error).split())[:200]
    return Precondition(f"expected {requested}, found {found}; try again, or give the folder of a copy")


@cache
def _is_hub_reachable() -> bool:
    """Returns whether the hub, or its proxy, accepts connections: huggingface_hub would try for half a minute."""
    from huggingface_hub import constants, is_offline_mode

    if is_offline_mode():
        return False
    place = urlsplit(constants.ENDPOINT)
    proxy = getproxies().get(place.scheme)
    if proxy and not proxy_bypass(place.hostname or ""):
        place = urlsplit(proxy if "://" in proxy else f"//{proxy}")
    return _accepts_connections(place.hostname or "", place.port or (443 if place.scheme == "https" else 80))


def _accepts_connections(host: str, port: int) -> bool:
    """Returns whether a server accepts connections; in a thread, since name resolution has no timeout."""
    connected = threading.Event()

    def connect() -> None:
        with suppress(OSError), socket.create_connection((host, port), timeout=_PATIENCE_SECONDS):
            connected.set()

    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(_PATIENCE_SECONDS)
    return connected.is_set()


def _unreachable() -> str:
    """Describes why the hub is unreachable, and what fixes it."""
    from huggingface_hub import constants, is_offline_mode

    if is_offline_mode():
        reason = "a connection allowed (--offline or HF_HUB_OFFLINE=1); run once without it"
    else:
        reason = f"the hub at {constants.ENDPOINT} in reach; connect once"
    return f"{reason}, copy the cache of another machine, or give the folder of a copy"
