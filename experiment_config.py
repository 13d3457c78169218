"""Typed, frozen configs for experiments: what was declared is what runs.

    class MyConfig(BaseExperimentConfig):
        model: str = "gpt-4"
        num_samples: int = 10

In a suite, `MyConfig()` is the class's defaults and `copy_with()` makes the cases. In an entry point,
the same `MyConfig()` reads the command line: the runner's, or the one that a person types.

Values come from code and from the command line of an entry point, from nowhere else: no environment
variable, no `.env` file, no secrets folder. This file works alone, needs pydantic and
pydantic-settings, and may be copied unmodified into any repository. Contents:

    BaseExperimentConfig      the class to derive from: copy_with, from_command_line, to_arguments
    ConfigError               every problem of a config or of a command line, in one message

    Reading a command line    who reads it; arguments -> JSON values -> a config
    Writing a command line    a config -> arguments and config.json, proved by reading them back
    Validation                changed fields only; messages; fields that can't be recorded
"""

from __future__ import annotations

import ast
import difflib
import functools
import json
import os
import re
import sys
import sysconfig
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from datetime import datetime, time, timezone
from enum import EnumMeta
from pathlib import Path
from types import FrameType, UnionType
from typing import Any, Literal, NoReturn, Self, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretBytes,
    SecretStr,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["BaseExperimentConfig", "ConfigError"]
__version__ = "0.1.0"

NONE = "__none__"
"""What None looks like on a command line."""

FROM_CONFIG_JSON = "config-fields"
"""Names the fields whose values are read from `config.json`. The hyphen keeps it apart from every field."""

MOST_CHARACTERS = 1000
"""Fields with longer arguments travel in `config.json`: a command line holds about two megabytes in all."""

NOTHING = object()
"""No value at all, where None is one."""

UNIONS = (typing.Union, UnionType)

MODEL = "the config"
"""Stands for the name of a field where a problem belongs to the config as a whole."""


def current_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed
        return "/"


IMPORTED_AT = current_folder()
"""The folder that a relative `sys.argv[0]` starts from, even if the program moves on to another one."""

ConfigT = TypeVar("ConfigT", bound="BaseExperimentConfig")

_command_lines_read: list[list[str]] = []
_unchanged: ContextVar[Mapping[str, Any]] = ContextVar("unchanged")


class ConfigError(ValueError):
    """A config or a command line that can't be used.

    Attributes:
        problems: One sentence each: which field, what is wrong, what to do.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class BaseExperimentConfig(BaseSettings):
    """The parameters of one case: typed, frozen, and recorded before anything runs."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        # Lossless JSON: pydantic's defaults write NaN as null and refuse bytes that aren't UTF-8.
        ser_json_inf_nan="constants",
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )

    # `default=` by name: type checkers take a field for a required argument without it.
    output_dir: str = Field(default="", description="Folder for this case's results; the runner sets it.")
    seed: int = Field(default=42, description="Seed of every random choice that this case makes.")

    if not typing.TYPE_CHECKING:  # type checkers see the fields as keyword arguments instead

        def __init__(self, /, **values: Any) -> None:
            argv = None if values else command_line_of_entry_point(sys._getframe(1))
            if argv is None:
                # Not BaseSettings.__init__: it adds the environment, .env files and secrets folders.
                BaseModel.__init__(self, **values)
                return
            if argv:
                _command_lines_read.append(argv)
            read_or_exit(lambda: read_arguments(type(self), argv, every_config_class(), into=self), argv, type(self))

        # As for BaseModel's own: pydantic then validates nested configs and JSON without calling it.
        __init__.__pydantic_base_init__ = True

    @classmethod
    def from_command_line(cls, argv: Sequence[str] | None = None) -> Self:
        """The config that a command line asks for, whatever program this is (console scripts, tests).

        Args:
            argv: Arguments without the program's name; by default `sys.argv[1:]`.

        Raises:
            SystemExit: After `--help` (0), and after a message that names every problem (2).
        """
        arguments = list(sys.argv[1:] if argv is None else argv)
        return read_or_exit(lambda: read_arguments(cls, arguments, [cls]), arguments, cls)

    def copy_with(self, **changes: Any) -> Self:
        """A copy with other values. Changed fields and model validators are validated, the rest is kept as it is.

        Raises:
            ConfigError: Unknown names (with the nearest known one), `output_dir`, and wrong values, all at once.
        """
        cls = type(self)
        problems = [unknown_field(name, cls) for name in changes if name not in cls.model_fields]
        if "output_dir" in changes:
            problems.append("output_dir is set by the runner alone: leave it out.")
        known = {name: value for name, value in changes.items() if name in cls.model_fields and name != "output_dir"}
        try:
            copied = validate_changes(self, known)
        except ValidationError as error:
            raise ConfigError(problems + validation_problems(error)) from None
        if problems:
            raise ConfigError(problems)
        return copied

    def copy_with_arguments(self, argv: Sequence[str]) -> Self:
        """`copy_with()` for values as a command line spells them: `["--lr=0.1", "--layers", "[64, 64]"]`.

        Raises:
            ConfigError: As `copy_with()` does.
        """
        cls = type(self)
        texts = split_arguments(argv, [cls])
        if FROM_CONFIG_JSON in texts:
            raise ConfigError([unknown_field(FROM_CONFIG_JSON, cls)])
        return self.copy_with(**{name: typed_value(cls, name, given) for name, given in texts.items()})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> NoReturn:
        """Refused: it would skip validation."""
        raise NotImplementedError("model_copy() skips validation: use copy_with(**changes).")

    def to_arguments(self, output_dir: str) -> tuple[list[str], str]:
        """The arguments and the text of `config.json` from which an entry point gets exactly this config.

        Arguments look as a person would type them; values that an argument can't carry are named in
        `--config-fields` and travel in `config.json`. Both are read back here and compared, type by type.

        Raises:
            ConfigError: Fields whose values can't arrive unchanged, with the reason.
        """
        return write_arguments(self, output_dir)

    @classmethod
    def command_lines_read(cls) -> list[list[str]]:
        """The command lines, empty ones left out, that configs of this process have read on their own."""
        return list(_command_lines_read)

    @classmethod
    def __pydantic_on_complete__(cls) -> None:
        # Called when the class is defined, or at its first use if one of its types is defined after it.
        if cls.__base__ is not BaseSettings:
            refuse_secrets(cls)


# --- Reading a command line ------------------------------------------------------------------------------------------


def command_line_of_entry_point(caller: FrameType | None) -> list[str] | None:
    """The arguments that a config made by `caller` reads, or None if it gets the class's defaults.

    A config reads them only in an entry point, and only where the program asks for it: not as the
    default of another config, and not in a class body.
    """
    if sys.argv[1:2] != ["--output_dir"] and not is_entry_point(sys.argv[0] if sys.argv else ""):
        return None
    frame = caller
    while frame is not None:
        in_class_body = "__qualname__" in frame.f_locals and frame.f_locals is not frame.f_globals
        module = frame.f_globals.get("__name__")
        in_another_config = frame.f_code.co_name == "__init__" and module == __name__
        if in_class_body or in_another_config or module in ("pydantic.main", "pydantic.type_adapter"):
            return None
        frame = frame.f_back
    return sys.argv[1:]


def is_entry_point(program: str) -> bool:
    """Whether `sys.argv[0]` names a script of a project, and one that is neither a suite nor a test run.

    Suites, test runners, notebook kernels and `python -c` have command lines of their own, which
    must never leak into a config.
    """
    main_file = getattr(sys.modules.get("__main__"), "__file__", None) or ""
    path = os.path.join(IMPORTED_AT, program)  # the program may have changed the folder since
    if not os.path.exists(path):
        path = main_file if os.path.basename(main_file) == os.path.basename(program) else os.path.abspath(program)
    if os.path.isdir(path):
        path = os.path.join(path, "__main__.py")
    if not program or not path.endswith(".py") or not os.path.isfile(path):
        return False
    script, standard_library = Path(path).resolve(), Path(sysconfig.get_path("stdlib")).resolve()
    if script.is_relative_to(standard_library) or {"site-packages", "dist-packages"}.intersection(script.parts):
        return False
    return not runs_suites_or_tests(path)


@functools.cache
def runs_suites_or_tests(path: str) -> bool:
    """Whether a script's own import statements name `experiment_runner`, or it calls a test runner's main."""
    imported: list[tuple[str, str]] = []
    called: set[str] = set()
    for node in ast.walk(ast.parse(Path(path).read_bytes())):
        if isinstance(node, ast.Import):
            imported += [(alias.asname or alias.name, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported += [(alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Call):
            called.add(ast.unparse(node.func))
    mains = {"unittest.main", "pytest.main"}
    mains |= {name + rest for name, origin in imported for rest in ("", ".main") if origin + rest in mains}
    parts = {part for _, origin in imported for part in origin.split(".")}
    return "experiment_runner" in parts or not called.isdisjoint(mains)


def every_config_class() -> list[type[BaseExperimentConfig]]:
    """All config classes that this process has defined so far."""
    classes: list[type[BaseExperimentConfig]] = [BaseExperimentConfig]
    for cls in classes:
        classes.extend(cls.__subclasses__())
    return classes


def read_or_exit(read: Callable[[], ConfigT], argv: list[str], cls: type[BaseExperimentConfig]) -> ConfigT:
    """What `read` returns; a user's mistake ends the program as commands do, without a traceback."""
    if "--help" in argv or "-h" in argv:
        print(help_text(cls))
        raise SystemExit(0)
    try:
        config = read()
        if config.output_dir:  # the runner has made it; a person should not have to
            os.makedirs(config.output_dir, exist_ok=True)
        return config
    except (ConfigError, ValidationError) as error:
        problems = error.problems if isinstance(error, ConfigError) else validation_problems(error, flag="--")
    except OSError as error:
        problems = [f"--output_dir: {error.filename} can't be made: {error.strerror}."]
    program = program_name()
    print("\n".join(f"{program}: {problem}" for problem in problems), file=sys.stderr)
    print(f"{program}: --help lists every field.", file=sys.stderr)
    raise SystemExit(2)


def read_arguments(
    cls: type[ConfigT],
    argv: Sequence[str],
    known: Sequence[type[BaseExperimentConfig]],
    saved: Mapping[str, Any] | None = None,
    into: ConfigT | None = None,
) -> ConfigT:
    """The config that arguments describe.

    Args:
        known: Classes whose flags are no mistake, even if `cls` lacks the field.
        saved: The JSON values of `config.json`; by default read from the folder that `--output_dir` names.
        into: An instance to initialise; by default a new one.

    Raises:
        ConfigError: Arguments that can't be read, all of them.
        ValidationError: Values that the class refuses.
    """
    texts = split_arguments(argv, known)
    names = texts.pop(FROM_CONFIG_JSON, [])
    if names and saved is None:
        saved = load_saved_config(texts.get("output_dir", [""])[-1])
    saved = saved or {}
    by_reference = [name for name in ",".join(names).split(",") if name in cls.model_fields and name in saved]
    values = {name: typed_value(cls, name, given) for name, given in texts.items() if name in cls.model_fields}
    values |= {name: from_json(cls, name, saved[name], default=saved[name]) for name in by_reference}
    extra = extra_rule(cls)
    if into is None:
        return cls.model_validate(values, extra=extra, by_alias=False, by_name=True)
    into.__pydantic_validator__.validate_python(values, self_instance=into, extra=extra, by_alias=False, by_name=True)
    return into


def split_arguments(argv: Sequence[str], known: Sequence[type[BaseExperimentConfig]]) -> dict[str, list[str]]:
    """The texts given for each flag: `--name value`, `--name=value`, `--switch`, `--no_switch`; lists by repetition."""
    fields = {name: (cls, field) for cls in known for name, field in cls.model_fields.items()}
    texts: dict[str, list[str]] = {}
    problems: list[str] = []
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        name, equals, value = token.removeprefix("--").partition("=")
        switched_off = fields.get(name.removeprefix("no_")) if name.startswith("no_") and name not in fields else None
        if not token.startswith("--") or not name:
            problems.append(f"unexpected argument {token!r}: every value needs a flag, as in --seed 7.")
            continue
        if switched_off and is_switch(switched_off[1]) and not equals:
            name, value = name.removeprefix("no_"), "false"
        elif name not in fields and name != FROM_CONFIG_JSON:
            problems.append(unknown_field(name, *known, flag="--"))
            if not equals and tokens and not tokens[0].startswith("--"):
                tokens.pop(0)
            continue
        elif not equals and tokens and not tokens[0].startswith("--"):
            value = tokens.pop(0)
        elif not equals and name in fields and is_switch(fields[name][1]):
            value = "true"
        elif not equals:
            problems.append(f"--{name} needs a value (one that begins with -- is written --{name}=--value).")
            continue
        texts.setdefault(name, []).append(value)
    if problems:
        raise ConfigError(problems)
    return texts


def typed_value(cls: type[BaseExperimentConfig], name: str, texts: list[str]) -> Any:
    """The value that a field's texts stand for: the first reading that fits the field's type.

    A text is read as text first and as JSON second, so that `--name 7` stays text for a `str` field
    and `--options '{"a": 1}'` becomes a dict. What fits in no reading is left to the class's own
    validators: they may know better, and their message is the one to show.
    """
    if texts == [NONE]:
        return None
    field = cls.model_fields[name]
    annotation: Any = field.annotation
    may_be_strict = field.metadata or cls.model_config.get("strict")
    if len(texts) == 1 and annotation in (str, int, float, bool) and not may_be_strict:
        return texts[0]
    readings = list(possible_readings(texts))
    typed = (from_json(cls, name, reading, default=NOTHING) for reading in readings)
    plausible = cast(Any, readings[1] if isinstance(readings[1], dict) else readings[0])
    return next((value for value in typed if value is not NOTHING), plausible)


def possible_readings(texts: list[str]) -> Iterator[Any]:
    """Everything that the texts of one flag may mean, most literal first."""
    decoded = [decoded_json(text) for text in texts]
    if len(texts) == 1:
        yield texts[0]
        yield decoded[0]
    yield texts
    yield decoded


def decoded_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def from_json(cls: type[BaseExperimentConfig], name: str, value: Any, default: Any) -> Any:
    """A JSON value as the type of a field, or `default` if it doesn't fit."""
    try:
        text = json.dumps({"value": value})
        read = single_field(cls, name).model_validate_json(text, extra=extra_rule(cls), by_alias=False, by_name=True)
    except (ValidationError, TypeError, AttributeError):
        return default
    return read.value


@functools.cache
def single_field(cls: type[BaseExperimentConfig], name: str) -> Any:
    """A model whose `value` has one field's bare type; JSON reaches tuples, enums and bytes, also in strict classes.

    Without the field's own validators: those belong to the class, and must run once.
    """
    field = cls.model_fields[name]
    config = ConfigDict(arbitrary_types_allowed=True, val_json_bytes=cls.model_config.get("val_json_bytes", "utf8"))
    definition: Any = (field.annotation, FieldInfo(annotation=field.annotation, discriminator=field.discriminator))
    return create_model("SingleField", __config__=config, value=definition)


def load_saved_config(output_dir: str) -> dict[str, Any]:
    """What the runner saved in a case's folder."""
    path = Path(output_dir or ".", "config.json")
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError([f"--{FROM_CONFIG_JSON} needs {path}: {error}"]) from error
    if not isinstance(saved, dict):
        raise ConfigError([f"{path} is not a JSON object."])
    return cast(dict[str, Any], saved)


def program_name() -> str:
    return os.path.basename(sys.argv[0]) if sys.argv else "python"


def is_switch(field: FieldInfo) -> bool:
    choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) in UNIONS else ()
    return bool in (field.annotation, *choices)


def help_text(cls: type[BaseExperimentConfig]) -> str:
    """Every field with its type, default and description."""
    import argparse

    parser = argparse.ArgumentParser(
        prog=program_name(),
        add_help=False,
        usage="%(prog)s [--FIELD VALUE ...]",
        description=cls.__doc__,
        epilog="Lists: repeat the flag, or give one JSON array. Dicts and nested models: JSON. "
        f"None: {NONE}. Switches: --flag, --no_flag, --flag false.",
    )
    for name, field in cls.model_fields.items():
        default = "computed" if field.default_factory else repr(field.default)
        default = "required" if field.is_required() else f"default: {default}"
        text = f"{field.description or ''} ({default})".strip().replace("%", "%%")
        parser.add_argument(f"--{name}", metavar=type_name(field.annotation), help=text)
    return parser.format_help()


def type_name(annotation: Any) -> str:
    if isinstance(annotation, EnumMeta):
        return "|".join(str(member.value) for member in cast(Iterable[Any], annotation))
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return re.sub(r"('.*?')|(\w+\.)+", r"\1", str(annotation))  # names of modules, but nothing in a Literal


# --- Writing a command line ------------------------------------------------------------------------------------------


def write_arguments(config: BaseExperimentConfig, output_dir: str) -> tuple[list[str], str]:
    """See `BaseExperimentConfig.to_arguments`."""
    cls = type(config)
    problems = [f"{name}: the class has no such field, so it can't be recorded." for name in config.model_extra or {}]
    if config.output_dir:
        problems.append("output_dir is set by the runner alone: leave it out.")
    declared = {name: config.__dict__[name] for name in cls.model_fields} | {"output_dir": output_dir}
    saved, unwritable = dump(config)
    saved |= {"output_dir": output_dir}
    if problems or unwritable:
        raise ConfigError(problems + unwritable)
    plain = {name: texts for name, value in saved.items() if (texts := plain_texts(name, value)) is not None}
    arguments, changed = prove(cls, declared, saved, plain)
    while demoted := plain.keys() if MODEL in changed else plain.keys() & changed.keys():
        # What did not arrive as an argument travels in config.json instead.
        plain = {name: texts for name, texts in plain.items() if name not in demoted}
        arguments, changed = prove(cls, declared, saved, plain)
    if changed:
        raise ConfigError(f"{name}: {reason}" for name, reason in changed.items())
    return arguments, json.dumps(saved, indent=2, ensure_ascii=False) + "\n"


def dump(config: BaseExperimentConfig) -> tuple[dict[str, Any], list[str]]:
    """The JSON values of a config's fields by field name, and the fields that have none."""

    def jsonable(**only: Any) -> dict[str, Any]:
        values = config.model_dump(mode="json", by_alias=False, exclude_computed_fields=True, warnings="none", **only)
        json.dumps(values, ensure_ascii=False).encode()  # refuses lone surrogates
        return values

    try:
        values = jsonable()
        return (
            (values, [])
            if isinstance(cast(object, values), dict)
            else ({}, [f"{MODEL}: its model_serializer gives no dict."])
        )
    except (ValueError, TypeError, RecursionError):
        pass
    problems: list[str] = []
    for name in type(config).model_fields:
        try:
            jsonable(include={name})
        except (ValueError, TypeError, RecursionError) as error:
            problems.append(f"{name}: {shortened(config.__dict__[name])} can't be written as JSON: {error}")
    return {}, problems


def plain_texts(name: str, value: Any) -> list[str] | None:
    """A value as a person would type it, or None where only `config.json` is sure to carry it."""
    values = cast(list[Any], value) if isinstance(value, list) else [value]
    if name in ("help", "output_dir") or not values:
        return None
    texts = [text for text in map(plain_text, values) if text is not None]
    all_plain = len(texts) == len(values) and sum(len(name) + len(text) for text in texts) <= MOST_CHARACTERS
    return texts if all_plain else None


def plain_text(value: Any) -> str | None:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return str(value).lower()
    text = value if isinstance(value, str) else repr(value) if isinstance(value, int | float) else ""
    # ASCII, since a child with another locale would decode anything else in its own way.
    looks_plain = text.isascii() and text.isprintable() and text == text.strip() and text[:1] not in ("-", "[", "{")
    return text if text and looks_plain and text not in (NONE, "null") else None


def prove(
    cls: type[BaseExperimentConfig],
    declared: Mapping[str, Any],
    saved: Mapping[str, Any],
    plain: Mapping[str, list[str]],
) -> tuple[list[str], dict[str, str]]:
    """The arguments for a config, and the fields that would not arrive as they were declared, with the reason."""
    arguments = ["--output_dir", saved["output_dir"]]
    arguments += [part for name, texts in plain.items() for text in texts for part in (sys.intern(f"--{name}"), text)]
    by_reference = [name for name in cls.model_fields if name not in plain and name != "output_dir"]
    if by_reference:
        arguments += [f"--{FROM_CONFIG_JSON}", ",".join(by_reference)]
    try:
        arrived = read_arguments(cls, arguments, [cls], saved)
    except ValidationError as error:
        details = error.errors(include_url=False)
        return arguments, {str((*detail["loc"], MODEL)[0]): f"would be refused: {detail['msg']}" for detail in details}
    except Exception as error:  # a user's validator
        return arguments, {MODEL: f"reading it back fails: {type(error).__name__}: {error}"}
    return arguments, {
        name: f"{shortened(value)} would arrive as {shortened(arrived.__dict__[name])}. {why_changed(cls, name)}"
        for name, value in declared.items()
        if not identical(value, arrived.__dict__[name])
    }


def why_changed(cls: type[BaseExperimentConfig], name: str) -> str:
    if cls.model_fields[name].exclude:
        return "Field(exclude=True) keeps it out of config.json."
    return "Give the field a type that JSON can carry, and validators that leave valid values alone."


def identical(one: Any, other: Any) -> bool:
    """Equal in value, type, sign of zero and order of keys, all the way down. NaN is identical to NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one.hex() == other.hex()
    if isinstance(one, BaseModel):
        values = [[model.__dict__[name] for name in type(one).model_fields] for model in (one, other)]
        return identical(*values) and identical(one.model_extra, other.model_extra)
    if isinstance(one, dict):
        return identical(list(cast(dict[Any, Any], one).items()), list(other.items()))
    if isinstance(one, list | tuple):
        items = cast(Sequence[Any], one)
        return len(items) == len(other) and all(map(identical, items, other))
    if isinstance(one, set | frozenset):
        return in_order(one) == in_order(other)
    if is_dataclass(one) and not isinstance(one, type):
        return all(identical(getattr(one, field.name), getattr(other, field.name)) for field in dataclass_fields(one))
    if isinstance(one, datetime | time):
        # A fixed offset comes back as pydantic's own class, which means the same; a named zone would be lost.
        same_zone = type(one.tzinfo) is type(other.tzinfo) or isinstance(one.tzinfo, timezone)
        return same_zone and one.isoformat() == other.isoformat() and one.fold == other.fold
    try:
        return bool(one == other) and (isinstance(one, str | int | bytes) or repr(one) == repr(other))
    except Exception:  # somebody's __eq__, as numpy's: what can't be compared can't be proved
        return False


def in_order(member: Any) -> str:
    """The repr of a set's member, but for sets in it: their own depends on the order in which they were filled."""
    if isinstance(member, set | frozenset):
        return repr(sorted(map(in_order, cast(set[Any], member))))
    return repr(member)


# --- Validation ------------------------------------------------------------------------------------------------------


def validate_changes(config: ConfigT, changes: Mapping[str, Any]) -> ConfigT:
    """A config with some values changed, where validators see the changed fields and the model as a whole.

    Validating everything again would change values silently: a validator that turns `gpt` into
    `openai/gpt` would run a second time when another field changes.
    """
    cls = type(config)
    # Not all of __dict__: cached properties are in there, too.
    values = {name: config.__dict__[name] for name in cls.model_fields} | (config.model_extra or {})
    unchanged = {name: value for name, value in values.items() if name not in changes}
    copied = cls.__new__(cls)
    token = _unchanged.set(unchanged)
    try:
        keeping_validator(cls).__pydantic_validator__.validate_python(
            unchanged | dict(changes), self_instance=copied, extra=extra_rule(cls), by_alias=False, by_name=True
        )
    finally:
        _unchanged.reset(token)
    return copied


@functools.cache
def keeping_validator(cls: type[BaseExperimentConfig]) -> type[BaseModel]:
    """A twin of a config class whose fields take unchanged values as they are; identity tells which those are."""

    def keep(_: type[BaseModel], value: Any, validate: Callable[[Any], Any], info: ValidationInfo) -> Any:
        unchanged = _unchanged.get()
        kept = unchanged.get(info.field_name or "", NOTHING) is value
        return value if kept else validate(value)

    # Defined last, a wrap validator is the outermost one: it runs before the class's own.
    validators: dict[str, Any] = {"keep": field_validator("*", mode="wrap")(classmethod(keep))}
    return create_model(cls.__name__, __base__=cls, __validators__=validators)


def validation_problems(error: ValidationError, flag: str = "") -> list[str]:
    """A pydantic error in the words of somebody who types values: field, what was expected, what was given."""
    problems: list[str] = []
    for detail in error.errors(include_url=False):
        where = ".".join(str(part) for part in detail["loc"])
        name = f"{flag}{where}" if where else MODEL
        if detail["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            problems.append(f"{name}: there is no such field.")
            continue
        given = "" if detail["type"] == "missing" or not where else f", not {shortened(detail['input'])}"
        problems.append(f"{name}: {detail['msg'].removeprefix('Value error, ').removesuffix('.')}{given}.")
    return problems


def unknown_field(name: str, *classes: type[BaseExperimentConfig], flag: str = "") -> str:
    """That a name is no field, and which one may have been meant."""
    fields = [field for cls in classes for field in cls.model_fields]
    near = difflib.get_close_matches(name.replace("-", "_"), fields, n=1, cutoff=0.5)
    hint = f" Did you mean {flag}{near[0]}?" if near else ""
    owner = classes[0].__name__ if len(classes) == 1 else "any config class"
    return f"{flag}{name}: not a field of {owner}.{hint}"


def shortened(value: Any, limit: int = 80) -> str:
    try:
        text = repr(value)
    except Exception:  # somebody's __repr__, or an int of 5,000 digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= limit else f"{text[: limit - 12]}… ({len(text)} characters)"


def refuse_secrets(cls: type[BaseExperimentConfig]) -> None:
    """Raise if a field holds a secret: configs are recorded, and a record is no place for secrets."""
    if not holds_secret(cls.__pydantic_core_schema__):
        return
    schemas = {name: single_field(cls, name).__pydantic_core_schema__ for name in cls.model_fields}
    raise ConfigError(
        f"{cls.__name__}.{name} holds a secret, and every config is saved and shown. Name the environment "
        f'variable instead: `{name}_env: str = "{name.upper()}"`, and read os.environ[config.{name}_env] '
        "in the entry point."
        for name, schema in schemas.items()
        if holds_secret(schema)
    )


def holds_secret(schema: Any) -> bool:
    """Whether a core schema makes a SecretStr or SecretBytes."""

    def makes_secret(part: Mapping[str, Any]) -> bool:
        made = part.get("cls")
        return isinstance(made, type) and issubclass(made, SecretStr | SecretBytes)

    return any(map(makes_secret, schema_parts(schema)))


@functools.cache
def extra_rule(cls: type[BaseExperimentConfig]) -> Literal["forbid"] | None:
    """Typos in nested models are refused too, unless the class has a place for names that it doesn't know."""
    keys = ("extra_fields_behavior", "extra_behavior")
    allows = any(part.get(key) == "allow" for part in schema_parts(cls.__pydantic_core_schema__) for key in keys)
    return None if allows else "forbid"


def schema_parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Every part of a core schema.

    Annotations would not do: aliases, forward references and TypedDicts hide what they hold.
    """
    if isinstance(schema, list | tuple):
        for part in cast(Sequence[Any], schema):
            yield from schema_parts(part)
    elif isinstance(schema, dict):
        parts = cast(dict[str, Any], schema)
        yield parts
        yield from schema_parts([part for key, part in parts.items() if key not in ("default", "expected")])
