"""What was declared is what arrives: through arguments and `config.json`, in this process and in a child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import transport_values
from conftest import DEADLINE_S
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, Secret, field_serializer, field_validator, model_serializer
from pydantic_settings import SettingsConfigDict
from transport_values import (
    VALUES,
    Colour,
    Optimiser,
    Rank,
    Value,
    config_class,
    describe,
    every_value,
    special_configs,
)

import experiment_config
from experiment_config import BaseExperimentConfig, ConfigError

MODULES = os.pathsep.join(str(Path(str(module.__file__)).parent) for module in (experiment_config, transport_values))

SPECIAL = special_configs()


def save(config: BaseExperimentConfig, folder: Path) -> list[str]:
    """What the runner does before it starts a case; returns the arguments."""
    arguments, text = config.to_arguments(str(folder))
    (folder / "config.json").write_text(text, encoding="utf-8")
    return arguments


def child_description(config: BaseExperimentConfig, expression: str, folder: Path) -> str:
    """The description that a child process makes of the config which it reads from its command line."""
    script = folder / "entry.py"
    script.write_text(
        "import pathlib, transport_values\n"
        f"config = {expression}()\n"
        "text = transport_values.describe(config)\n"
        "pathlib.Path(config.output_dir, 'arrived.txt').write_text(text, encoding='utf-8', newline='')\n"
    )
    command = [sys.executable, str(script), *save(config, folder)]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=DEADLINE_S)
    assert (done.returncode, done.stderr) == (0, "")
    return (folder / "arrived.txt").read_bytes().decode()


def child_environment() -> dict[str, str]:
    left_out = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if name not in left_out} | {"PYTHONPATH": MODULES}


def with_output_dir(config: BaseExperimentConfig, folder: Path) -> str:
    return describe(config).replace("output_dir=str('')", f"output_dir=str({str(folder)!r})", 1)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.name)
def test_a_value_arrives_as_it_was_declared(value: Value, tmp_path: Path) -> None:
    """Each value of the list is read back from the arguments and config.json with type and value unchanged."""
    config = config_class(value)(**{value.name: value.value})
    arrived = type(config).from_command_line(save(config, tmp_path))
    assert describe(getattr(arrived, value.name)) == describe(value.value)


@pytest.mark.parametrize("name", SPECIAL)
def test_a_special_class_arrives_as_it_was_declared(name: str, tmp_path: Path) -> None:
    """Configs with odd names, aliases, strict types, factories or computed fields are read back unchanged."""
    arrived = type(SPECIAL[name]).from_command_line(save(SPECIAL[name], tmp_path))
    assert describe(arrived) == with_output_dir(SPECIAL[name], tmp_path)


IN_CHILDREN = [name for name in SPECIAL if name != "odd_names_at_their_defaults"]
EVERY = "every_value"
# An entry point, once for each command line: the imports are made once.
IN_TURN = """\
import json, os, pathlib, sys, transport_values
from typing import Union
for expression, arguments in json.load(sys.stdin):
    pid = os.fork()
    if pid == 0:
        sys.argv[1:] = arguments
        config = eval(expression)()
        text = transport_values.describe(config)
        pathlib.Path(config.output_dir, 'arrived.txt').write_text(text, encoding='utf-8', newline='')
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0, expression
"""


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one for each special class and for all values, in which a child has described what arrived."""
    folder = tmp_path_factory.mktemp("children")
    (folder / "entry.py").write_text(IN_TURN)
    command_lines: list[tuple[str, list[str]]] = []
    configs = [(name, SPECIAL[name], type(SPECIAL[name]).__name__) for name in IN_CHILDREN]
    for name, config, expression in [*configs, (EVERY, every_value(), "EveryValue")]:
        (folder / name).mkdir()
        command_lines.append((f"transport_values.{expression}", save(config, folder / name)))
    (folder / "command_lines.json").write_text(json.dumps(command_lines))
    done = subprocess.run(
        [sys.executable, str(folder / "entry.py")], input=json.dumps(command_lines), env=child_environment(),
        capture_output=True, text=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_no_value_of_the_list_changes_on_its_way_to_a_child(children: Path) -> None:
    """About 200 values reach a real child process with 0 changed."""
    assert len(VALUES) >= 170
    arrived = (children / EVERY / "arrived.txt").read_bytes().decode()
    assert arrived == with_output_dir(every_value(), children / EVERY)


@pytest.mark.parametrize("name", IN_CHILDREN)
def test_a_special_class_arrives_in_a_child(name: str, children: Path) -> None:
    """A child that makes `Cfg()` gets the declared config, whatever is special about the class."""
    arrived = (children / name / "arrived.txt").read_bytes().decode()
    assert arrived == with_output_dir(SPECIAL[name], children / name)


def test_text_arrives_whatever_the_locale_of_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child with an ASCII locale gets the same text as the suite declared."""
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    config = transport_values.Validated(model="modèles/日本語")
    assert child_description(config, "transport_values.Validated", tmp_path) == with_output_dir(config, tmp_path)


def test_arguments_look_as_a_person_would_type_them() -> None:
    """Plain values are flags; what a flag can't carry is named in --config-fields."""

    class Config(BaseExperimentConfig):
        model: str = "gpt-4"
        num_samples: int = 10
        layers: list[int] = [1, 2]
        prompt: str = "a\nb"
        limit: float | None = None
        shuffle: bool = True

    arguments, text = Config().to_arguments("out/a")
    assert " ".join(arguments) == (
        "--output_dir out/a --seed 42 --model gpt-4 --num_samples 10 --layers 1 --layers 2 --limit __none__ "
        "--shuffle true --config-fields prompt"
    )
    assert json.loads(text) == {
        "output_dir": "out/a",
        "seed": 42,
        "model": "gpt-4",
        "num_samples": 10,
        "layers": [1, 2],
        "prompt": "a\nb",
        "limit": None,
        "shuffle": True,
    }


def test_the_arguments_fit_into_a_command_line(children: Path) -> None:
    """However large the values, no argument and no list of arguments is too long for the system."""
    arguments = dict(json.loads((children / "command_lines.json").read_text()))["transport_values.EveryValue"]
    assert max(map(len, arguments)) < 131_072
    assert sum(len(argument.encode()) + 9 for argument in arguments) < 200_000


def test_computed_fields_stay_out_of_config_json(tmp_path: Path) -> None:
    """What is computed isn't recorded as a value, at no depth."""
    _, text = SPECIAL["computed"].to_arguments("out")
    saved = json.loads(text)
    assert "area" not in saved
    assert "volume" not in saved
    assert set(saved["model"]) == {"size", "optimiser", "notes"}
    assert set(saved["cached"]) == {"side"}


class Base(BaseModel):
    x: int = 1


class Derived(Base):
    y: int = 2


class Unequal:
    """Like an array of numpy's: comparing it gives no truth value."""

    def __eq__(self, other: object) -> Any:
        return NotImplemented if other is None else [True]

    __hash__ = None  # pyright: ignore[reportAssignmentType, reportGeneralTypeIssues]

    def __repr__(self) -> str:
        raise RuntimeError("no text")


@dataclass
class Holder:
    content: Any


class Anything(BaseExperimentConfig):
    value: Any = None
    text: str = ""
    base: Base = Base()
    moment: datetime = datetime(2024, 1, 1)
    number: int = 0
    hidden: int = Field(default=1, exclude=True)


class GenericSecret(BaseExperimentConfig):
    secret: Secret[int] = Secret(0)


class Growing(BaseExperimentConfig):
    model: str = "gpt"

    @field_validator("model")
    @classmethod
    def prefix(cls, value: str) -> str:
        return f"openai/{value}"


class Masking(BaseExperimentConfig):
    user: str = "somebody"

    @field_serializer("user")
    def mask(self, value: str) -> str:
        return "***"


class Extra(BaseExperimentConfig):
    model_config = SettingsConfigDict(extra="allow")


class NestedExclude(BaseModel):
    kept: int = 1
    left_out: int = Field(default=1, exclude=True)


class Nesting(BaseExperimentConfig):
    nested: NestedExclude = NestedExclude()


def cyclic() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


REFUSED: dict[str, tuple[Callable[[], BaseExperimentConfig], str]] = {
    "lone_surrogate": (lambda: Anything(value="\ud800"), "value"),
    "lone_surrogate_deep": (lambda: Anything(value={"a": ["\udfff"]}), "value"),
    "lone_surrogate_key": (lambda: Anything(value={"\ud800": 1}), "value"),
    "object": (lambda: Anything(value=object()), "value"),
    "object_without_repr": (lambda: Anything(value=Unequal()), "value"),
    "object_in_dataclass": (lambda: Anything(value=Holder(object())), "value"),
    "dataclass_in_any": (lambda: Anything(value=Holder(1)), "value"),
    "function": (lambda: Anything(value=describe), "value"),
    "lambda": (lambda: Anything(value=lambda: 1), "value"),
    "class": (lambda: Anything(value=int), "value"),
    "tuple_in_any": (lambda: Anything(value=(1, 2)), "value"),
    "tuple_deep_in_any": (lambda: Anything(value={"a": [(1,)]}), "value"),
    "set_in_any": (lambda: Anything(value={1, 2}), "value"),
    "bytes_in_any": (lambda: Anything(value=b"abc"), "value"),
    "int_keys_in_any": (lambda: Anything(value={1: "a"}), "value"),
    "keys_that_collide": (lambda: Anything(value={1: "a", "1": "b"}), "value"),
    "enum_in_any": (lambda: Anything(value=Colour.RED), "value"),
    "int_enum_in_any": (lambda: Anything(value=Rank.FIRST), "value"),
    "path_in_any": (lambda: Anything(value=Path("a")), "value"),
    "model_in_any": (lambda: Anything(value=Optimiser()), "value"),
    "cyclic": (lambda: Anything(value=cyclic()), "value"),
    "too_deep": (lambda: Anything(value=deep(5_000)), "value"),
    "int_of_5000_digits": (lambda: Anything(number=10**5_000), "number"),
    "subclass_instance": (lambda: Anything(base=Derived(y=3)), "base"),
    "named_time_zone": (lambda: Anything(moment=datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC"))), "moment"),
    "second_2_am": (lambda: Anything(moment=datetime(2024, 10, 27, 2, fold=1)), "moment"),
    "excluded_field": (lambda: Anything(hidden=2), "hidden"),
    "excluded_in_nested": (lambda: Nesting(nested=NestedExclude(left_out=2)), "nested"),
    "generic_secret": (lambda: GenericSecret(secret=Secret(5)), "secret"),
    "validator_that_grows": (lambda: Growing(), "model"),
    "serialiser_that_masks": (lambda: Masking(), "user"),
    "extra_value": (lambda: Extra.model_validate({"surprise": 1}), "surprise"),
    "output_dir": (lambda: Anything(output_dir="somewhere"), "output_dir"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_travel_is_refused_by_field(name: str) -> None:
    """A value that would not arrive unchanged raises a ConfigError that begins with the name of its field."""
    make, field = REFUSED[name]
    config = make()
    with pytest.raises(ConfigError) as caught:
        config.to_arguments("out")
    assert [problem.replace(":", " ").split(" ")[0] for problem in caught.value.problems] == [field]


def test_every_field_that_cannot_travel_is_named_at_once() -> None:
    """One error names all fields that can't be recorded."""

    class Config(BaseExperimentConfig):
        one: Any = None
        two: Any = None
        three: Any = None

    with pytest.raises(ConfigError) as caught:
        Config(one=(1,), two=5, three={1}).to_arguments("out")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["one", "three"]


# --- Generated values ------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=12) | st.sampled_from(["null", "__none__", "--help", "-h", "[1]", "a,b", "None", "{}"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


class Generated(BaseExperimentConfig):
    text: str
    optional: str | None
    integer: int
    real: float
    either: int | str
    number: int | float
    switch: bool | None
    texts: list[str]
    optionals: list[str | None]
    integers: list[int] | None
    reals: tuple[float, ...]
    names: set[str]
    raw: bytes
    table: dict[str, int | None]
    numbered: dict[int, str]
    anything: Any
    colour: Colour
    optimiser: Optimiser
    optimisers: list[Optimiser]
    moment: datetime


OPTIMISERS = st.builds(Optimiser, name=TEXT, rate=st.floats(), betas=st.lists(st.floats(), max_size=3).map(tuple))
CONFIGS = st.builds(
    Generated,
    text=TEXT,
    optional=st.none() | TEXT,
    integer=st.integers(),
    real=st.floats(),
    either=st.integers() | TEXT | st.integers().map(str),
    number=st.integers() | st.floats(),
    switch=st.none() | st.booleans(),
    texts=st.lists(TEXT, max_size=3),
    optionals=st.lists(st.none() | TEXT, max_size=3),
    integers=st.none() | st.lists(st.integers(), max_size=3),
    reals=st.lists(st.floats(), max_size=3).map(tuple),
    names=st.sets(TEXT, max_size=3),
    raw=st.binary(max_size=8),
    table=st.dictionaries(TEXT, st.none() | st.integers(), max_size=3),
    numbered=st.dictionaries(st.integers(), TEXT, max_size=3),
    anything=JSON,
    colour=st.sampled_from(Colour),
    optimiser=OPTIMISERS,
    optimisers=st.lists(OPTIMISERS, max_size=2),
    moment=st.datetimes().map(lambda moment: moment.replace(fold=0)),
)

EXAMPLES = 150
"""Times 20 fields: 3,000 values."""


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generated")


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(config=CONFIGS)
def test_generated_values_arrive_as_they_were_declared(config: Generated, shared_folder: Path) -> None:
    """3,000 generated values of 20 types are read back unchanged."""
    arrived = Generated.from_command_line(save(config, shared_folder))
    assert describe(arrived) == with_output_dir(config, shared_folder)


def test_a_serializer_without_fields_is_refused() -> None:
    """A class that serialises to something else than its fields can't be recorded, and says so."""

    class Textual(BaseExperimentConfig):
        @model_serializer
        def as_text(self) -> str:
            return "no fields"

    with pytest.raises(ConfigError, match="model_serializer gives no dict"):
        Textual().to_arguments("/out")


def test_deprecated_fields_travel_without_a_warning() -> None:
    """Reading a deprecated field warns; recording it is not the user's doing."""

    class Old(BaseExperimentConfig):
        x: int = Field(default=1, deprecated=True)

    arguments, _ = Old().copy_with(x=2).to_arguments("/out")
    assert arguments[-2:] == ["--x", "2"]
