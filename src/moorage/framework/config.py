"""A driver's settings as one typed class, whose fields become flags, environment variables and documentation.

    class ToyConfig(Config):
        root: Annotated[Path, Option("directory that holds the volumes", metavar="DIR")]
        reserve: Annotated[Size, Option("space that is never handed out")] = 1 << 30
        timeout: Annotated[Duration, Option("how long one request may take")] = 30.0

Every value is parsed once, here, from where it was given: a flag wins over an environment variable, that
over the configuration file, that over the default. This module knows neither click nor YAML: flags and the
file's content come in as mappings (`moorage.framework.config_file` reads files).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    TypeVar,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
)

import msgspec
from msgspec import Struct, StructMeta, structs

from moorage.framework.config_values import DURATION, SIZE, BadValue, Kind, kind_of

Size = Annotated[int, SIZE]
"""Bytes, given as a number or a quantity such as `10Gi`."""

Duration = Annotated[float, DURATION]
"""Seconds, given as a number or in Go's syntax: `1m30s`."""

ENVIRONMENT_PREFIX: Final = "MOORAGE_"


class ConfigError(ValueError):
    """The configuration cannot be used. `problems` holds one sentence for each thing that is wrong."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Option(Struct, frozen=True):
    """What a field of a `Config` is for.

    help: what it does, its unit and why one would change it; shown by `--help` and in the documentation.
    metavar: how the value is called in `--help`, such as DIR; the name of the type by default.
    env: the environment variable, `MOORAGE_` and the field's name by default.
    secret: the value must not be seen: it has no flag (`ps` would show that), and errors and `repr` hide it.
    """

    help: str
    metavar: str = ""
    env: str | None = None
    secret: bool = False


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class ConfigMeta(StructMeta):
    """Makes every subclass of `Config` frozen, keyword-only and closed without its author asking for it."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> ConfigMeta:
        options = {"frozen": True, "kw_only": True, "forbid_unknown_fields": True} | options
        return super().__new__(mcls, name, bases, namespace, **options)


if TYPE_CHECKING:
    _Values = object  # the base would bring its own defaults for type checkers: not frozen, positional
else:
    _Values = Struct


class Config(_Values, metaclass=ConfigMeta):
    """The settings of a driver; subclass it and annotate every field with an `Option`.

    Types: str, int, float, bool, Path, `Size`, `Duration`, enums and Literal, lists and tuples of these (the
    flag is then repeated, and the environment variable separates by commas), and `| None` of any of these.
    For rules across fields define `__post_init__` and raise ValueError with a sentence, or ConfigError with several.
    """

    def __repr__(self) -> str:
        secret = {option.field for option in options(type(self)) if option.secret}
        shown = (
            f"{name}={'***' if name in secret else repr(value)}"
            for name, value in structs.asdict(cast("Struct", self)).items()
        )
        return f"{type(self).__name__}({', '.join(shown)})"


ConfigT = TypeVar("ConfigT", bound=Config)


class ConfigOption(Struct, frozen=True, kw_only=True):
    """One field of a `Config`, as the command line, the documentation and manifest generators need it.

    flag is empty for a secret; `no_flag` is the flag that turns a bool off, empty for everything else.
    """

    field: str
    flag: str
    environment: str
    type_name: str
    default: Any
    required: bool
    help: str
    repeatable: bool
    metavar: str
    secret: bool
    kind: Kind

    @property
    def no_flag(self) -> str:
        """The flag that says no, for a bool."""
        return f"--no-{self.flag.removeprefix('--')}" if self.flag and self.kind.is_bool else ""

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that are accepted, where these can be counted."""
        return self.kind.choices

    @property
    def default_text(self) -> str:
        """The default as one would write it; empty when there is none."""
        return "" if self.required or self.default is None else self.kind.show(self.default)


def options(cls: type[Config]) -> tuple[ConfigOption, ...]:
    """The options of a configuration class, in the order of its fields.

    Raises TypeError for a field without an `Option` or of a type that has no textual form.
    """
    return tuple(_option(cls, info) for info in structs.fields(cast("type[Struct]", cls)))


def _option(cls: type[Config], info: structs.FieldInfo) -> ConfigOption:
    declared = next((note for note in _notes(info.type) if isinstance(note, Option)), None)
    if declared is None:
        raise TypeError(f"{cls.__name__}.{info.name} has no Option(...) in its annotation")
    try:
        kind = kind_of(info.type)
    except TypeError as error:
        raise TypeError(f"{cls.__name__}.{info.name}: {error}") from None
    return ConfigOption(
        field=info.name,
        flag="" if declared.secret else f"--{info.name.replace('_', '-')}",
        environment=declared.env or ENVIRONMENT_PREFIX + info.name.upper(),
        type_name=kind.name,
        default=_default(info),
        required=info.required,
        help=declared.help,
        repeatable=kind.repeatable,
        metavar=declared.metavar or kind.metavar,
        secret=declared.secret,
        kind=kind,
    )


def _notes(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _default(info: structs.FieldInfo) -> Any:
    if info.default_factory is not msgspec.NODEFAULT:
        return info.default_factory()
    return None if info.default is msgspec.NODEFAULT else info.default


def load(
    cls: type[ConfigT],
    *,
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    file_values: Mapping[str, object],
) -> ConfigT:
    """The configuration from its sources: flags over environment over file over defaults.

    flags: by field name; None or an empty tuple means not given. environment: as `os.environ`; an empty value
    means not set. file_values: by field name, `-` and `_` alike.
    Raises ConfigError with one sentence for each problem: unknown names, bad values, values that are missing.
    """
    values: dict[str, object] = {}
    known = options(cls)
    in_file, problems = _file_fields(known, file_values)
    for option in known:
        given = _given(option, flags, environment, in_file)
        if given is None:
            if option.required:
                problems.append(f"{option.field} is not given; {_how_to_give(option)}")
            continue
        source, raw = given
        try:
            values[option.field] = option.kind.convert(raw)
        except BadValue as bad:
            shown = "" if option.secret else f" {bad.shown}"
            problems.append(f"{option.field} from {source} is{shown} not {bad.accepted}".replace("  ", " "))
    if problems:
        raise ConfigError(*problems)
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _file_fields(
    known: tuple[ConfigOption, ...], file_values: Mapping[str, object]
) -> tuple[dict[str, object], list[str]]:
    names = [option.field for option in known]
    fields: dict[str, object] = {}
    problems = []
    for key, value in file_values.items():
        field = str(key).replace("-", "_")
        if field not in names:
            problems.append(f"the configuration file sets {key!r}, which is no setting{_instead(field, names)}")
        elif field in fields:
            problems.append(f"the configuration file sets {field} twice, with '-' and with '_'; keep one")
        else:
            fields[field] = value
    return fields, problems


def _instead(field: str, names: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(field, names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; the settings are {', '.join(names)}" if names else "; this driver has no settings"


def _given(
    option: ConfigOption,
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    in_file: Mapping[str, object],
) -> tuple[str, object] | None:
    flag = flags.get(option.field)
    if flag is not None and flag != ():
        return option.flag, flag
    text = environment.get(option.environment, "")
    if text:
        return option.environment, [part.strip() for part in text.split(",")] if option.repeatable else text
    if option.field in in_file:
        return "the configuration file", in_file[option.field]
    return None


def _how_to_give(option: ConfigOption) -> str:
    by_flag = f"use {option.flag} {option.metavar}, " if option.flag else ""
    return f"{by_flag}set {option.environment} or put {option.field} into the configuration file"


def document(cls: type[Config]) -> str:
    """The settings as a Markdown table: flag, environment variable, type, default and meaning."""
    lines = ["| flag | environment | type | default | meaning |", "|---|---|---|---|---|"]
    for option in options(cls):
        flag = f"`{option.flag}`" if option.flag else "none (secret)"
        default = "required" if option.required else f"`{option.default_text}`" if option.default_text else "none"
        text = option.help.replace("|", "\\|").replace("\n", " ")
        kind = option.type_name.replace("|", "\\|") + (", repeatable" if option.repeatable else "")
        lines.append(f"| {flag} | `{option.environment}` | {kind} | {default} | {text} |")
    return "\n".join(lines) + "\n"
