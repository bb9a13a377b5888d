"""What is taken from outside: variables, then `palaver.toml`, then defaults. Read in one place."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from palaver.domain.errors import ConfigurationError
from palaver.settings import Settings

DEFAULT_MODELS = {"anthropic": "anthropic:claude-sonnet-4-5", "openai": "openai:gpt-5-mini"}
"""What is used when a key is there and no model was chosen. The first provider with a key wins."""
KEYS = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
DEFAULT_ADDRESSES = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
}
ADDRESSES = {"anthropic": "ANTHROPIC_BASE_URL", "openai": "OPENAI_BASE_URL"}


class Environment(msgspec.Struct, frozen=True):
    """Everything that is taken from outside: variables, then `palaver.toml`, then defaults."""

    home: Path
    model: str
    fallbacks: tuple[str, ...] = ()
    """Models that stand in for one that fails, in this order."""
    system: str = ""
    folders: tuple[Path, ...] = ()
    log: str = ""
    """`stderr`, a file's path, or nothing."""
    log_level: str = "info"
    keys: dict[str, str] = {}
    addresses: dict[str, str] = {}
    settings: Settings = Settings()
    config_file: Path | None = None

    def __repr__(self) -> str:
        return f"Environment(home={self.home}, model={self.model!r}, keys={sorted(self.keys)})"


def read_environment(variables: Mapping[str, str] | None = None) -> Environment:
    """The environment as it is. Raises ConfigurationError for a setting that makes no sense."""
    env = os.environ if variables is None else variables
    home = Path(env["PALAVER_HOME"]).expanduser() if env.get("PALAVER_HOME") else _default_home()
    config_file, config = _read_config(env, home)
    keys = {p: env[v].strip() for p, v in KEYS.items() if env.get(v, "").strip()}
    addresses = {p: env[v].strip() for p, v in ADDRESSES.items() if env.get(v, "").strip()}
    chosen = env.get("PALAVER_MODEL", "").strip() or config.model
    named = env.get("PALAVER_FOLDERS", "")
    inside = (config.folders,) if isinstance(config.folders, str) else config.folders
    folders = named.split(os.pathsep) if named else inside
    return Environment(
        home=home,
        model=chosen or default_model(keys),
        fallbacks=_names(env.get("PALAVER_FALLBACKS", "")) or config.fallbacks,
        system=config.system,
        folders=tuple(Path(f).expanduser() for f in folders),
        log=_home_in(env.get("PALAVER_LOG", "") or config.log),
        log_level=env.get("PALAVER_LOG_LEVEL", "") or config.log_level,
        keys=keys,
        addresses=addresses,
        settings=_overridden(_settings(config.settings), env),
        config_file=config_file,
    )


def default_model(keys: Mapping[str, str]) -> str:
    """The model when none was chosen: of the first provider with a key, else `offline`."""
    return next((DEFAULT_MODELS[p] for p in DEFAULT_MODELS if p in keys), "offline")


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip())


def _home_in(path: str) -> str:
    return str(Path(path).expanduser()) if path.startswith("~") else path


def _default_home() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("palaver", appauthor=False))


class ConfigFile(msgspec.Struct, forbid_unknown_fields=True):
    """What `palaver.toml` may hold."""

    model: str = ""
    fallbacks: tuple[str, ...] = ()
    system: str = ""
    folders: str | tuple[str, ...] = (".",)
    log: str = ""
    log_level: str = "info"
    settings: dict[str, Any] = {}


def _read_config(env: Mapping[str, str], home: Path) -> tuple[Path | None, ConfigFile]:
    named = env.get("PALAVER_CONFIG")
    places = [Path(named).expanduser()] if named else [Path("palaver.toml"), home / "palaver.toml"]
    for place in places:
        try:
            with place.open("rb") as file:
                return place, msgspec.convert(tomllib.load(file), ConfigFile)
        except FileNotFoundError:
            continue
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"cannot read {place}: {error}") from error
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"{place}: {error}") from error
    if named:
        raise ConfigurationError(f"there is no file {named} (PALAVER_CONFIG)")
    return None, ConfigFile()


def _settings(table: Mapping[str, Any]) -> Settings:
    plain = msgspec.to_builtins(Settings())
    for group, values in table.items():
        if group not in plain:
            raise ConfigurationError(f"there is no group of settings called {group!r}")
        if not isinstance(values, dict):
            plain[group] = values
            continue
        for name, value in values.items():
            if name not in plain[group]:
                raise ConfigurationError(f"there is no setting {group}.{name}")
            plain[group][name] = value
    try:
        return msgspec.convert(plain, Settings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings: {error}") from error


def _overridden(settings: Settings, env: Mapping[str, str]) -> Settings:
    """`PALAVER_SERVER__PORT` and the like come before the file; lists have commas."""
    plain = msgspec.to_builtins(settings)
    given = [name for name in env if name.startswith("PALAVER_") and "__" in name]
    for variable in given:
        group, _, name = variable.removeprefix("PALAVER_").lower().partition("__")
        if not isinstance(plain.get(group), dict) or name not in plain[group]:
            raise ConfigurationError(f"there is no setting {group}.{name} ({variable})")
        value = env[variable].strip()
        is_list = isinstance(plain[group][name], list | tuple)
        plain[group][name] = list(_names(value)) if is_list else value
    if not given:
        return settings
    try:
        return msgspec.convert(plain, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings from {', '.join(given)}: {error}") from error
