"""Origins of option values: command line > environment ``SABENCH_*`` > ``--config`` file > default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sam_audio_bench.errors import UsageError

__all__ = ["config_option", "data_dir_option", "go_offline", "option_origins"]

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
    """Formats a value as on the command line, so that it is parsed as strictly: 1.5 is no integer, true no number."""
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
    """Returns the option ``--data-dir``, the folder of the official data, like ``SABENCH_DATA``."""
    return click.option(
        "--data-dir", type=click.Path(path_type=Path), envvar="SABENCH_DATA", callback=_use_folder,
        expose_value=expose, help="Folder of the official data.  [default: SABENCH_DATA, else data in the cache]",
    )  # fmt: skip


def go_offline() -> None:
    """Disables network access of huggingface_hub and its dependents; must be called before its import."""
    os.environ["HF_HUB_OFFLINE"] = "1"


def option_origins(ctx: click.Context) -> dict[str, dict[str, object]]:
    """Returns every option with its value and origin."""
    found = {}
    for name, value in ctx.params.items():
        source = ctx.get_parameter_source(name)
        if name not in _NOT_SETTINGS and source is not None:
            plain = str(value) if isinstance(value, Path) else value
            found[name] = {"value": plain, "origin": _ORIGINS.get(source, "default")}
    return found
