"""Pinned package versions with SHA-256: fetched with the ordinary clients, verified and unpacked."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from judge.sources.archives import unpack
from sam_audio_bench.errors import Precondition, UsageError

__all__ = ["ALLOWED", "CATALOGUE", "Package", "Provenance", "Unpacked", "check_licence", "fetch", "load_packages"]

CATALOGUE = Path(__file__).parents[1] / "sources.toml"
ALLOWED = re.compile(
    r"CC0-1\.0|CC-BY-(SA-)?[34]\.0|Public-Domain|MIT|BSD-[234]-Clause|Apache-2\.0|L?GPL-[23](\.[01])?(-only|-or-later)"
)
_CLIENTS = {
    "deb": ["apt-get", "download", "-q", "{name}={version}"],
    "npm": ["npm", "pack", "--silent", "{name}@{version}"],
    "pypi": ["pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "{name}=={version}"],
    "sdist": ["pip", "download", "-q", "--no-deps", "--no-binary", "{name}", "{name}=={version}"],
}
_SUFFIXES = (".deb", ".tgz", ".tar.gz", ".whl")


def check_licence(licence: str, where: str) -> str:
    """Returns the licence if audio under it may be used to train the judge.

    Raises:
        UsageError: it is non-commercial, GFDL, unclear or not in the list.
    """
    if ALLOWED.fullmatch(licence) is None:
        raise UsageError(
            f"{where} is under {licence!r}, which is not among the licences that may be used: leave it out"
        )
    return licence


@dataclass(frozen=True)
class Package:
    """One pinned package version, a row of ``judge/sources.toml``."""

    name: str
    kind: str
    version: str
    sha256: str
    licence: str
    credit: str
    takes: str
    keep: str = ""
    inside: str = ""
    exclude: str = ""
    licences: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in _CLIENTS:
            raise UsageError(f"{self.name}: a package is one of {', '.join(_CLIENTS)}, found {self.kind!r}")
        for licence in (self.licence, *self.licences.values()):
            check_licence(licence, self.name)

    @property
    def source(self) -> str:
        """``package==version``, as recorded with every stem."""
        return f"{self.name}=={self.version}"

    def licence_of(self, origin: str) -> str:
        """Returns the licence of a file: that of the first pattern of ``licences`` in its path, else the package's."""
        return next((value for key, value in self.licences.items() if re.search(key, origin)), self.licence)


@dataclass(frozen=True)
class Provenance:
    """Origin of a clip.

    Attributes:
        source: ``package==version``.
        origin: path inside the package, and processing other than cutting.
        licence: licence of the file.
        credit: attribution.
    """

    source: str
    origin: str
    licence: str
    credit: str


@dataclass(frozen=True)
class Unpacked:
    """A package on disk."""

    package: Package
    folder: Path

    def files(self, pattern: str) -> list[Path]:
        """Returns the files whose path inside the package matches a regular expression, in order."""
        found = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        return [path for path in found if self.takes(self.origin(path), pattern)]

    def takes(self, origin: str, pattern: str) -> bool:
        """Returns whether a path (or title) matches the pattern and is not excluded."""
        excluded = self.package.exclude and re.search(self.package.exclude, origin)
        return not excluded and re.search(pattern, origin) is not None

    def origin(self, path: Path) -> str:
        """Returns the path inside the package."""
        return path.relative_to(self.folder).as_posix()

    def provenance(self, origin: Path | str, done: str = "") -> Provenance:
        """Returns the provenance of a file (or of a title in one), with a description of its processing."""
        inside = self.origin(origin) if isinstance(origin, Path) else origin
        described = f"{inside}, {done}" if done else inside
        return Provenance(self.package.source, described, self.package.licence_of(inside), self.package.credit)


def load_packages(path: Path = CATALOGUE) -> dict[str, Package]:
    """Reads the pinned list, in its order."""
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["package"]
    packages = {row["name"]: Package(**row) for row in rows}
    if len(packages) != len(rows):
        raise UsageError(f"{path.name} should name every package once: remove the second row")
    return packages


def fetch(package: Package, cache: Path) -> Unpacked:
    """Fetches, verifies and unpacks a package, unless that was done before.

    Args:
        package: the package.
        cache: folder of archives (``archives/``) and unpacked packages (``unpacked/``); may be shared by processes.

    Raises:
        Precondition: the client is missing, the version is unavailable, or the file is not the pinned one.
    """
    stem = f"{package.name}-{package.version}".replace("/", "+").replace(":", "+")
    folder = cache / "unpacked" / f"{stem}-{package.sha256[:8]}"
    if not folder.exists():
        archive = _archive(package, cache / "archives", stem)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            whole = Path(scratch) / "whole"
            whole.mkdir()
            unpack(archive, whole, package.keep if not package.inside else re.escape(package.inside))
            if package.inside:  # an archive within the archive
                inner, whole = whole / package.inside, Path(scratch) / "inner"
                whole.mkdir()
                unpack(inner, whole, package.keep)
            _take_place(whole, folder)
    return Unpacked(package, folder)


def _take_place(made: Path, final: Path) -> None:
    try:
        made.rename(final)
    except OSError:  # another process was faster
        if not final.exists():
            raise


def _archive(package: Package, folder: Path, stem: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in _SUFFIXES:
        if (found := folder / (stem + suffix)).exists():
            verify(found, package)
            return found
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        got = _download(package, Path(scratch))
        verify(got, package)
        suffix = next(ending for ending in _SUFFIXES if got.name.endswith(ending))
        return got.replace(folder / (stem + suffix))


def _download(package: Package, folder: Path) -> Path:
    command = [part.format(name=package.name, version=package.version) for part in _CLIENTS[package.kind]]
    if shutil.which(command[0]) is None:
        raise Precondition(f"{package.source} is fetched with {command[0]}, which was not found: install it")
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    got = [path for path in folder.iterdir() if path.name.endswith(_SUFFIXES)]
    if ran.returncode or len(got) != 1:
        last = (ran.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Precondition(f"`{' '.join(command)}` should fetch one file, but failed: {last}")
    return got[0]


def verify(path: Path, package: Package) -> None:
    """Raises an error if a file is not the pinned one.

    Raises:
        Precondition: its SHA-256 differs.
    """
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != package.sha256:
        raise Precondition(
            f"{package.source} should have SHA-256 {package.sha256[:12]}…, found {found[:12]}… in {path.name}: "
            "delete it and try again; if it differs again, the package was replaced and must not be used"
        )
