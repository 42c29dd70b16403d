"""Where an option's value comes from: command line > environment ``SABENCH_*`` > ``--config`` file > default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sam_audio_bench.errors import UsageError

__all__ = ["config_option", "data_dir_option", "go_offline", "origins"]

_ORIGINS = {
    click.core.ParameterSource.COMMANDLINE: "command line",
    click.core.ParameterSource.ENVIRONMENT: "environment",
    click.core.ParameterSource.DEFAULT_MAP: "config file",
    click.core.ParameterSource.DEFAULT: "default",
}
_Command = TypeVar("_Command", bound=Callable[..., Any])
_NOT_SETTINGS = frozenset({"config", "show_config"})


def _read(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is None:
        return None
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"expected a TOML file of options at {path}, found: {error}") from error
    several = {option.name for option in ctx.command.params if isinstance(option, click.Option) and option.multiple}
    known = {option.name for option in ctx.command.params if option.name} - _NOT_SETTINGS
    values = {key.replace("-", "_"): value for key, value in values.items()}
    values = {key: [value] if key in several and isinstance(value, str) else value for key, value in values.items()}
    flags = {option.name for option in ctx.command.params if isinstance(option, click.Option) and option.is_flag}
    values = {key: value if key in flags else _as_typed(value) for key, value in values.items()}
    unknown = sorted(set(values) - known)
    if unknown:
        raise UsageError(f"expected options among {', '.join(sorted(known))} in {path}, found {', '.join(unknown)}")
    ctx.default_map = values
    return path


def _as_typed(value: Any) -> Any:
    """A value as one would type it, so that it is read as strictly: 1.5 is no whole number, and true none at all."""
    if isinstance(value, list):
        return [_as_typed(one) for one in value]
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


config_option = click.option(
    "--config", type=click.Path(path_type=Path), is_eager=True, callback=_read, expose_value=False,
    help="TOML file with any of these options.",
)  # fmt: skip


def _use_folder(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None:
        os.environ["SABENCH_DATA"] = str(path)
    return path


def data_dir_option(*, expose: bool = False) -> Callable[[_Command], _Command]:
    """``--data-dir``, which says what ``SABENCH_DATA`` says: where the official data lie."""
    return click.option(
        "--data-dir", type=click.Path(path_type=Path), envvar="SABENCH_DATA", callback=_use_folder,
        expose_value=expose, help="Folder of the official data.  [default: SABENCH_DATA, else data in the cache]",
    )  # fmt: skip


def go_offline() -> None:
    """Keeps huggingface_hub, and everything on top of it, from the network; to be called before it is imported."""
    os.environ["HF_HUB_OFFLINE"] = "1"


def origins(ctx: click.Context) -> dict[str, dict[str, object]]:
    """Every option with its value and where that came from."""
    found = {}
    for name, value in ctx.params.items():
        source = ctx.get_parameter_source(name)
        if name not in _NOT_SETTINGS and source is not None:
            plain = str(value) if isinstance(value, Path) else value
            found[name] = {"value": plain, "origin": _ORIGINS.get(source, "default")}
    return found
