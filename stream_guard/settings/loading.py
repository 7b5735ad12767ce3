"""From a YAML file and the environment to `Settings`, or to sentences that say what is wrong where."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, RootModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource
from pydantic_settings import SettingsError as UndecodableError

from stream_guard.detection.documents import DocumentError, parse_document
from stream_guard.settings.model import NESTING, PREFIX, Settings
from stream_guard.settings.security import SECRETS
from stream_guard.settings.values import CURRENCY_PATTERN

_RESERVED: Final = f"{PREFIX}TEST_"
"""Variables that talk to the tests."""

_RATES: Final = 'must be pairs such as {"USD": 7.1}'
_NAME_CHARACTERS: Final = "letters, digits, '.', '_' and '-'"


class SettingsError(ValueError):
    """Settings that cannot be used.

    Attributes
    ----------
    problems
        A sentence each: where it is written, what is wrong, what to do.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def load_settings(path: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of a file and the environment.

    Parameters
    ----------
    path
        YAML file; None: defaults only.
    environ
        Environment variables; None: the process's.

    Raises
    ------
    SettingsError
        With every problem found.

    Examples
    --------
    >>> load_settings(environ={"STREAM_GUARD_HTTP__PORT": "0"}).http.port
    0
    >>> load_settings(environ={"STREAM_GUARD_HTTP__PROT": "0"})
    Traceback (most recent call last):
    ...
    stream_guard.settings.loading.SettingsError: STREAM_GUARD_HTTP__PROT: there is no such setting; did you \
mean STREAM_GUARD_HTTP__PORT?
    """
    problems: list[str] = []
    written = {} if path is None else _read_file(Path(path), problems)
    variables = _read_environment(os.environ if environ is None else environ, problems)
    try:
        settings = Settings.model_validate(_merge(written, variables))
    except ValidationError as error:
        source = "" if path is None else f"{path}: "
        raise SettingsError([*problems, *_sentences(error, source, variables)]) from None
    if problems:
        raise SettingsError(problems)
    return settings


def environment_names() -> list[str]:
    """Every variable that overrides a setting.

    Examples
    --------
    >>> environment_names()[:3]
    ['STREAM_GUARD_BROKER', 'STREAM_GUARD_APP_ID', 'STREAM_GUARD_INSTANCE_ID']
    """
    return [PREFIX + NESTING.join(place).upper() for place, _ in _leaves(Settings)]


class _Document(RootModel[dict[str, Any]]):
    """A mapping whose fields are checked later, together with the environment."""


class _Environment(EnvSettingsSource):
    """Variables of a mapping instead of the process."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): text for name, text in self._variables.items()}


def _leaves(model: type[BaseModel], place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Place and type of every setting that is no section."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _leaves(annotation, (*place, name))
        else:
            yield (*place, name), annotation


def _has_path(annotation: Any) -> bool:
    return annotation is Path or any(map(_has_path, get_args(annotation)))


_LEAVES: Final = dict(_leaves(Settings))
_KNOWN: Final = (*(".".join(place) for place in _LEAVES), *Settings.model_fields)
_PATHS: Final = tuple(place for place, annotation in _LEAVES.items() if _has_path(annotation))


def _read_file(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        values = parse_document(path.read_text(encoding="utf-8"), str(path), _Document).root
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SettingsError([f"{path} cannot be read: {cause}"]) from None
    except DocumentError as error:
        raise SettingsError(str(error).splitlines()) from None
    security = values.get("security")
    for secret in SECRETS:
        if isinstance(security, dict) and security.pop(secret, None) is not None:
            variable = f"{PREFIX}SECURITY{NESTING}{secret.upper()}"
            problems.append(f"{path}: security.{secret} must not be in this file; set {variable} instead")
    _anchor(values, path.absolute().parent)
    return values


def _read_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    variables = {}
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or name.startswith(_RESERVED) or text == "":
            continue
        place = tuple(name.removeprefix(PREFIX).lower().split(NESTING))
        if place in _LEAVES or place[:2] == ("bank", "rates"):
            variables[name] = text
        else:
            problems.append(f"{name}: there is no such setting{_nearest(name, environment_names())}")
    try:
        values = _Environment(variables)()
    except UndecodableError:
        raise SettingsError([*problems, f"{PREFIX}BANK{NESTING}RATES: {_RATES}"]) from None
    _anchor(values, Path.cwd())
    return values


def _anchor(values: dict[str, Any], folder: Path) -> None:
    """Make the paths among some values absolute; a relative one means `folder`."""
    for *sections, name in _PATHS:
        section: Any = values
        for part in sections:
            section = section.get(part) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(section.get(name), str):
            section[name] = folder / section[name]


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        merged[name] = _merge(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _sentences(error: ValidationError, source: str, variables: Mapping[str, Any]) -> Iterator[str]:
    for item in error.errors(include_url=False, include_input=False):
        place = tuple(str(part) for part in item["loc"])
        where = _written_as(place, source, variables)
        if item["type"] == "extra_forbidden":
            yield f"{where}: there is no such setting{_nearest('.'.join(place), _KNOWN)}"
        else:
            yield f"{where}: {_plain(item)}" if where else _plain(item)


def _written_as(place: tuple[str, ...], source: str, variables: Mapping[str, Any]) -> str:
    """Where somebody wrote the value that `place` complains about."""
    found: Any = variables
    for depth, part in enumerate(place, 1):
        if not isinstance(found, dict) or part not in found:
            break
        found = found[part]
        if not isinstance(found, dict):
            return PREFIX + NESTING.join(place[:depth]).upper()
    return f"{source}{'.'.join(place)}".removesuffix(": ")


def _plain(item: ErrorDetails) -> str:
    if item["type"].startswith("time_delta"):
        return "must be seconds, or a number with s, m, h or d, such as 30d"
    if item["type"] in ("model_type", "model_attributes_type"):
        return "must be a section with settings of its own"
    if item["type"] == "dict_type":
        return _RATES
    if item["type"] == "string_pattern_mismatch":
        is_currency = item["ctx"]["pattern"] == CURRENCY_PATTERN
        code = "an ISO 4217 code of three capital letters"
        return f"must be {code if is_currency else _NAME_CHARACTERS}"
    return item["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""
