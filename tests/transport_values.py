"""The fixed list of values that must arrive as they were declared, and an exact description to compare them by.

Imported by the tests and by the child processes that they start.
"""

from __future__ import annotations

import math
import uuid
import warnings
from collections import OrderedDict
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeVar, Union, cast
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    computed_field,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_settings import SettingsConfigDict

from experiment_config import BaseExperimentConfig

T = TypeVar("T")

NAN, INF = math.nan, math.inf


class Colour(Enum):
    RED = "red"
    BLUE = "blue"
    NULL = "null"
    COMMA = "a,b"


class Level(Enum):
    LOW = 1
    HIGH = 2


class Rank(IntEnum):
    FIRST = 1
    SECOND = 2


class Family(StrEnum):
    TREE = "tree"
    LINEAR = "linear"


class Mode(IntFlag):
    FAST = 1
    LOUD = 2


class Point(NamedTuple):
    x: float
    y: int


class Optimiser(BaseModel):
    name: str = "adam"
    rate: float = 1e-3
    betas: tuple[float, ...] = (0.9, 0.999)


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int = 1
    optimiser: Optimiser = Optimiser()
    notes: dict[str, Any] = {}

    @computed_field
    @property
    def doubled(self) -> int:
        return 2 * self.size


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, strict=True)

    learning_rate: float = 0.1
    batch_sizes: tuple[int, ...] = ()


class Cached(BaseModel):
    side: int = 1

    @computed_field
    @cached_property
    def area(self) -> int:
        return self.side**2


class Tree(BaseModel):
    label: str
    children: list[Tree] = []


class Names(RootModel[list[str]]):
    pass


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    lives: int = 1


class Box(BaseModel, Generic[T]):
    content: T


@dataclass(frozen=True)
class Span:
    start: int
    stop: float = NAN
    tags: tuple[str, ...] = ()


class Value(NamedTuple):
    """One value of a field of its own."""

    name: str
    type: Any
    value: Any


STRINGS = {
    "empty": "",
    "null": "null",
    "sentinel": "__none__",
    "None": "None",
    "true": "true",
    "digits": "007",
    "float": "1e5",
    "nan": "nan",
    "plain": "gpt-4",
    "words": "two words",
    "line_break": "a\nb",
    "trailing_line_break": "a\n",
    "carriage_return": "a\rb\r\n",
    "tab": "a\tb",
    "nul": "a\0b",
    "double_quotes": '"quoted"',
    "single_quotes": "it's, ok",
    "backslashes": "C:\\new\\table\\",
    "commas": "a,b,,c",
    "leading_space": " a",
    "trailing_space": "a ",
    "only_space": " ",
    "no_break_space": "\u00a0a\u00a0",
    "hyphen": "-",
    "two_hyphens": "--",
    "leading_hyphen": "-1.5",
    "help": "--help",
    "short_help": "-h",
    "flag": "--seed=7",
    "at_file": "@config.json",
    "json_list": "[1]",
    "json_dict": '{"a": 1}',
    "json_string": '"a"',
    "half_json": '{"a',
    "equals": "a=b",
    "shell": "$HOME `id` * ~ ; | &",
    "percent": "100 % of %s %(prog)s",
    "accents": "café",
    "decomposed": "cafe\u0301",
    "cjk": "日本語",
    "emoji": "👩‍🔬🧪",
    "right_to_left": "\u202eabc\u202c",
    "zero_width": "a\u200bb\ufeff",
    "line_separator": "a\u2028b\u2029c\x85d",
    "escape": "\x1b[31mred\x1b[0m",
    "delete": "\x7f",
    "last_code_point": "\U0010ffff\ue000\uffff",
    "openai": "openai/gpt-4o",
    "longest_argument": "x" * 131_071,
    "too_long_argument": "x" * 131_072,
    "megabyte": "é" * 500_000 + "\n",
}

NUMBERS: list[Value] = [
    Value("int_zero", int, 0),
    Value("int_negative", int, -7),
    Value("int_64_bits", int, 2**63),
    Value("int_negative_64_bits", int, -(2**63) - 1),
    Value("int_401_digits", int, 10**400),
    Value("int_strict", StrictInt, 5),
    Value("float_nan", float, NAN),
    Value("float_inf", float, INF),
    Value("float_minus_inf", float, -INF),
    Value("float_minus_zero", float, -0.0),
    Value("float_zero", float, 0.0),
    Value("float_subnormal", float, 1e-320),
    Value("float_smallest", float, 5e-324),
    Value("float_largest", float, 1.7976931348623157e308),
    Value("float_small_negative", float, -1e-05),
    Value("float_1e22", float, 1e22),
    Value("float_sum", float, 0.1 + 0.2),
    Value("float_whole", float, 3.0),
    Value("float_strict", StrictFloat, 2.0),
    Value("bool_true", bool, True),
    Value("bool_false", bool, False),
    Value("bool_strict", StrictBool, False),
    Value("decimal", Decimal, Decimal("1.10")),
    Value("decimal_exponent", Decimal, Decimal("-1E+30")),
    Value("decimal_long", Decimal, Decimal("0." + "123456789" * 6)),
]

OPTIONALS: list[Value] = [
    Value("optional_str_null", Optional[str], "null"),  # noqa: UP045
    Value("optional_str_none", Optional[str], None),  # noqa: UP045
    Value("optional_str_sentinel", str | None, "__none__"),
    Value("optional_str_empty", str | None, ""),
    Value("optional_str_None", str | None, "None"),
    Value("optional_int_none", int | None, None),
    Value("optional_int", int | None, 0),
    Value("optional_bool_none", bool | None, None),
    Value("optional_bool_false", bool | None, False),
    Value("optional_dict_none", dict[str, int] | None, None),
    Value("optional_list_none", list[int] | None, None),
    Value("optional_list_empty", list[int] | None, []),
    Value("optional_model_none", Model | None, None),
    Value("optional_float_nan", float | None, NAN),
]

COLLECTIONS: list[Value] = [
    Value("list_empty", list[str], []),
    Value("list_one", list[str], ["a"]),
    Value("list_commas", list[str], ["a,b", "c"]),
    Value("list_quotes", list[str], ["it's, ok", '"x"']),
    Value("list_json_text", list[str], ["[1]"]),
    Value("list_object_text", list[str], ['{"a": 1}', "b"]),
    Value("list_empty_string", list[str], [""]),
    Value("list_line_breaks", list[str], ["a\nb", "c\r"]),
    Value("list_sentinel", list[str], ["__none__"]),
    Value("list_null_text", list[str], ["null"]),
    Value("list_flag_text", list[str], ["--help", "-h"]),
    Value("list_digits_text", list[str], ["1", "2"]),
    Value("list_none_inside", list[str | None], ["a", None]),
    Value("list_only_none", list[int | None], [None]),
    Value("list_none_text", list[str | None], ["None", "null", None]),
    Value("list_ints", list[int], [3, 1, 2]),
    Value("list_one_int", list[int], [7]),
    Value("list_negative", list[int], [-1, -2]),
    Value("list_floats", list[float], [NAN, -0.0, -INF, 1e22]),
    Value("list_bools", list[bool], [True, False]),
    Value("list_one_bool", list[bool], [False]),
    Value("list_of_lists", list[list[int]], [[1], [], [2, 3]]),
    Value("list_of_one_list", list[list[int]], [[1, 2]]),
    Value("list_of_enums", list[Colour], [Colour.BLUE, Colour.COMMA]),
    Value("list_of_one_enum", list[Level], [Level.HIGH]),
    Value("list_of_dicts", list[dict[str, int]], [{"b": 1, "a": 2}, {}]),
    Value("list_of_models", list[Optimiser], [Optimiser(rate=NAN), Optimiser()]),
    Value("list_int_or_str", list[int | str], [1, "1", "a"]),
    Value("list_200_000", list[int], list(range(200_000))),
    Value("list_long_texts", list[str], ["x" * 900] * 3_000),
    Value("tuple_empty", tuple[int, ...], ()),
    Value("tuple_mixed", tuple[int, str, float], (1, "1", 1.0)),
    Value("tuple_one", tuple[str, ...], ("a",)),
    Value("tuple_nested", tuple[tuple[int, int], ...], ((1, 2), (3, 4))),
    Value("named_tuple", Point, Point(-0.0, 2)),
    Value("set_empty", set[int], set[int]()),
    Value("set_ints", set[int], {3, 1, 2}),
    Value("set_strings", set[str], {"a,b", "", "null"}),
    Value("set_of_frozensets", set[frozenset[int]], {frozenset({0, 8, 16}), frozenset({8, 0}), frozenset[int]()}),
    Value("frozenset_strings", frozenset[str], frozenset({"x", "y"})),
    Value("frozenset_tuples", frozenset[tuple[int, str]], frozenset({(1, "a"), (2, "b")})),
    Value("bytes_empty", bytes, b""),
    Value("bytes_ascii", bytes, b"abc"),
    Value("bytes_not_utf_8", bytes, b"\xff\x00\xfe"),
    Value("bytes_all", bytes, bytes(range(256))),
    Value("list_of_bytes", list[bytes], [b"", b"\x80"]),
    Value("dict_empty", dict[str, int], {}),
    Value("dict_none_inside", dict[str, int | None], {"a": None, "b": 1}),
    Value("dict_int_keys", dict[int, str], {2: "b", 1: "a"}),
    Value("dict_float_keys", dict[float, int], {0.5: 1, -0.0: 2}),
    Value("dict_enum_keys", dict[Colour, int], {Colour.RED: 1}),
    Value("dict_date_keys", dict[date, int], {date(2020, 2, 29): 1}),
    Value("dict_key_order", dict[str, int], {"z": 1, "a": 2, "m": 3}),
    Value("dict_odd_keys", dict[str, str], {"": "", "a.b": "--x", "null": "null", "é\n": '"'}),
    Value("dict_nested", dict[str, dict[str, list[int]]], {"a": {"b": [1], "c": []}, "d": {}}),
    Value("dict_nan_inside", dict[str, float], {"a": NAN, "b": -INF, "c": -0.0}),
    Value("dict_of_tuples", dict[str, tuple[int, ...]], {"a": (1, 2), "b": ()}),
    Value("dict_untyped", dict[str, Any], {"a": [1, 1.0, True, None, "1"], "b": {"c": NAN}}),
    Value("ordered_dict", OrderedDict[str, int], OrderedDict(b=1, a=2)),
]

TYPES: list[Value] = [
    Value("enum_str", Colour, Colour.BLUE),
    Value("enum_null_valued", Colour | None, Colour.NULL),
    Value("enum_int", Level, Level.HIGH),
    Value("int_enum", Rank, Rank.SECOND),
    Value("str_enum", Family, Family.LINEAR),
    Value("str_enum_or_str", Family | str, "tree"),
    Value("int_flag", Mode, Mode.LOUD),
    Value("literal_text", Literal["a", "null", "1"], "1"),
    Value("literal_mixed", Literal["1", 1, None], 1),
    Value("literal_none", Literal["1", 1, None], None),
    Value("int_or_str_int", int | str, 7),
    Value("int_or_str_digits", int | str, "7"),
    Value("str_or_int_int", str | int, 7),
    Value("str_or_int_digits", Union[str, int], "7"),  # noqa: UP007
    Value("float_or_int_float", float | int, 1.0),
    Value("float_or_int_int", float | int, 1),
    Value("float_or_str_nan", float | str, NAN),
    Value("float_or_str_text", float | str, "nan"),
    Value("bool_or_int_one", bool | int, 1),
    Value("bool_or_int_true", bool | int, True),
    Value("bool_or_str_text", bool | str, "true"),
    Value("str_or_list_text", str | list[str], "a"),
    Value("str_or_list_list", str | list[str], ["a"]),
    Value("path", Path, Path("data/it's here.csv")),
    Value("path_dot", Path, Path()),
    Value("path_or_none", Path | None, Path("/tmp")),
    Value("datetime_naive", datetime, datetime(2024, 2, 29, 23, 59, 59, 999999)),
    Value("datetime_utc", datetime, datetime(2024, 1, 1, tzinfo=timezone.utc)),  # noqa: UP017
    Value("datetime_offset", datetime, datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-5, minutes=-30)))),
    Value("datetime_first", datetime, datetime.min),
    Value("date", date, date(1, 1, 1)),
    Value("date_or_datetime", date | datetime, datetime(2024, 1, 1)),
    Value("time", time, time(23, 59, 59, 1)),
    Value("time_utc", time, time(12, tzinfo=timezone.utc)),  # noqa: UP017
    Value("timedelta", timedelta, timedelta(days=-1, microseconds=1)),
    Value("timedelta_long", timedelta, timedelta(days=40_000, seconds=1)),
    Value("uuid", UUID, UUID(int=1)),
    Value("any_none", Any, None),
    Value("any_int", Any, 7),
    Value("any_digits", Any, "7"),
    Value("any_null", Any, "null"),
    Value("any_nan", Any, NAN),
    Value("any_list", Any, [1, [2.0, [None, True, "x"]], {}]),
    Value("any_list_of_one", Any, ["a"]),
    Value("any_dict", Any, {"b": {"z": [-0.0, INF]}, "a": 10**400}),
    Value("any_deep", Any, eval("[" * 90 + "]" * 90)),
    Value("model_default", Model, Model()),
    Value("model_nan_inside", Model, Model(optimiser=Optimiser(rate=NAN, betas=()), notes={"a": [NAN, -0.0]})),
    Value("model_camel", Camel, Camel.model_validate({"learningRate": 5.0, "batchSizes": (1, 2)})),
    Value("model_generic", Box[int | str], Box[int | str](content="7")),
    Value("model_recursive", Tree, Tree(label="a", children=[Tree(label="b", children=[Tree(label="")])])),
    Value("model_root", Names, Names(["a,b", ""])),
    Value("model_cached", Cached, Cached(side=3)),
    Value("union_of_models", Cat | Dog, Dog(lives=9)),
    Value("union_discriminated", Annotated[Cat | Dog, Field(discriminator="kind")], Dog()),
    Value("dataclass", Span, Span(1, NAN, ("a,b",))),
    Value("list_of_dataclasses", list[Span], [Span(1), Span(2, -0.0)]),
]

VALUES: list[Value] = [
    *(Value(f"str_{name}", str, text) for name, text in STRINGS.items()),
    *NUMBERS,
    *OPTIONALS,
    *COLLECTIONS,
    *TYPES,
]


def config_class(*values: Value) -> type[BaseExperimentConfig]:
    """A config class with one required field for each value."""
    definitions: dict[str, Any] = {value.name: (value.type, ...) for value in values}
    return create_model("Config", __base__=BaseExperimentConfig, **definitions)


EveryValue = config_class(*VALUES)


def every_value() -> BaseExperimentConfig:
    """All values in one config."""
    return EveryValue(**{value.name: value.value for value in VALUES})


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # "shadows an attribute": `json` and `copy` are methods of pydantic's

    class OddNames(BaseExperimentConfig):
        """Fields named like flags of suites, of Python and of pydantic."""

        n: int = 1
        p: str = "x"
        h: bool = False
        x: list[str] = ["default"]
        help: str = "me"
        resume: str = "latest"
        dry_run: bool = True
        only: list[str] = ["default"]
        set: str = "a=b"
        no_flag: bool = False
        flag: bool = True
        no: int = 3
        json: dict[str, int] = {"default": 1}  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
        copy: int = 1  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
        model: str = "gpt-4"
        config: str = "c"
        value: int = 0
        class_: int = 0
        argv: list[str] = []
        config_fields: str = ""
        größe: int = 1


class Defaults(BaseExperimentConfig):
    """Defaults that must not come back where a value is empty."""

    names: list[str] = ["a", "b"]
    pair: tuple[int, ...] = (1, 2)
    text: str = "text"
    limit: int | None = 3
    options: dict[str, Any] = {"a": 1}
    model: Model = Model(size=5, optimiser=Optimiser(rate=3.0))
    maybe: Model | None = Model(size=2)
    switch: bool = True
    ratio: float = 0.5


class Aliases(BaseExperimentConfig):
    learning_rate: float = Field(default=0.1, alias="learningRate")
    names: tuple[str, ...] = Field(default=(), alias="n", serialization_alias="m")
    steps: StrictInt = Field(default=1, alias="st")
    camel: Camel = Camel()


class Strict(BaseExperimentConfig):
    model_config = SettingsConfigDict(strict=True)

    pair: tuple[int, str] = (0, "")
    colour: Colour = Colour.RED
    day: date = date(2020, 1, 1)
    raw: bytes = b""
    names: frozenset[str] = frozenset()
    path: Path = Path("x")
    amount: Decimal = Decimal(1)
    identity: UUID = UUID(int=0)
    number: int = 1
    ratio: float = 1.0
    text: StrictStr = ""
    model: Model = Model()
    switch: bool = False


class Factories(BaseExperimentConfig):
    identity: str = Field(default_factory=lambda: uuid.uuid4().hex)
    created: datetime = Field(default_factory=datetime.now)
    history: list[int] = Field(default_factory=lambda: [1, 2, 3])
    name: str = "a"
    label: str = Field(default_factory=lambda data: f"{data['name']}-label")


class Computed(BaseExperimentConfig):
    width: int = 2
    model: Model = Model()
    cached: Cached = Cached()

    @computed_field
    @property
    def area(self) -> int:
        return self.width**2

    @computed_field
    @cached_property
    def volume(self) -> int:
        return self.width**3


def kind_of(value: Any) -> str:
    return cast(dict[str, str], value)["kind"] if isinstance(value, dict) else value.kind


class Unions(BaseExperimentConfig):
    pet: Cat | Dog = Field(default=Cat(), discriminator="kind")
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = []
    tagged: Annotated[Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator(kind_of)] = Cat()
    boxed: Box[int] | Box[str] = Box[int](content=1)


class Validated(BaseExperimentConfig):
    model_config = SettingsConfigDict(str_strip_whitespace=True, use_enum_values=True)

    model: str = "openai/gpt"
    colour: Colour = Colour.RED
    low: Annotated[int, Field(ge=0)] = 0
    high: int = Field(default=10, le=100)

    @field_validator("model", mode="before")
    @classmethod
    def add_provider(cls, value: Any) -> Any:
        return value if not isinstance(value, str) or "/" in value else f"openai/{value}"

    @model_validator(mode="after")
    def check_order(self) -> Validated:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


class Durations(BaseExperimentConfig):
    model_config = SettingsConfigDict(ser_json_timedelta="float", ser_json_bytes="hex", val_json_bytes="hex")

    limit: timedelta = timedelta(seconds=1)
    raw: bytes = b""


class Generics(BaseExperimentConfig, Generic[T]):
    content: T
    contents: list[T] = []


class Outer(BaseExperimentConfig):
    inner: Validated = Validated()
    others: list[Defaults] = []


def special_configs() -> dict[str, BaseExperimentConfig]:
    """Configs of classes with something special about the class rather than about a value."""
    empty = Defaults(
        names=[], pair=(), text="", limit=None, options={}, model=Model(), maybe=None, switch=False, ratio=-0.0
    )
    odd = OddNames(
        n=2, p="-p", h=True, x=[], help="--help", resume="r", dry_run=False, only=["a"], set="b=c", no_flag=True,
        flag=False, no=4, json={"b": 2, "a": 1}, copy=2, model="m", config="config.json", value=1, class_=1,
        argv=["--output_dir", "x"], config_fields="n,p", größe=2,
    )  # fmt: skip
    strict = Strict(
        pair=(1, "1"), colour=Colour.NULL, day=date(2021, 1, 1), raw=b"\xff", names=frozenset({"a"}), path=Path("a b"),
        amount=Decimal("1.0"), identity=UUID(int=5), number=-1, ratio=NAN, text="null", model=Model(size=2), switch=True
    )  # fmt: skip
    computed = Computed(width=3, model=Model(size=4), cached=Cached(side=5))
    assert (computed.volume, computed.cached.area) == (27, 25)  # now they are cached
    camel = Camel.model_validate({"learningRate": 2.0, "batchSizes": (3,)})
    aliases = Aliases(learningRate=1e-05, n=("a,b", ""), st=5, camel=camel)
    return {
        "defaults": Defaults(),
        "empty": empty,
        "odd_names": odd,
        "odd_names_at_their_defaults": OddNames(),
        "aliases": aliases,
        "strict": strict,
        "factories": Factories(),
        "computed": computed,
        "unions": Unions(pet=Dog(), pets=[Dog(), Cat()], tagged=Dog(lives=3), boxed=Box[str](content="1")),
        "validated": Validated(model=" gpt ", colour=Colour.BLUE, low=3, high=4),
        "durations": Durations(limit=timedelta(microseconds=1), raw=b"\xff\x00"),
        "generic": Generics[int | str](content="7", contents=[7, "7"]),
        "outer": Outer(inner=Validated(low=1), others=[empty, Defaults()]),
    }


def describe(value: Any) -> str:
    """Type and exact value, all the way down: equal texts are identical values."""
    kind = type(value).__qualname__
    if isinstance(value, Enum):
        detail = value.name or repr(value)
    elif isinstance(value, float):
        detail = value.hex()
    elif isinstance(value, int):
        detail = hex(value)
    elif isinstance(value, BaseModel):
        parts = {name: value.__dict__[name] for name in type(value).model_fields} | (value.model_extra or {})
        detail = ", ".join(f"{name}={describe(part)}" for name, part in parts.items())
    elif is_dataclass(value):
        detail = ", ".join(f"{field.name}={describe(getattr(value, field.name))}" for field in fields(value))
    elif isinstance(value, dict):
        pairs = cast(dict[Any, Any], value).items()
        detail = ", ".join(f"{describe(key)}: {describe(part)}" for key, part in pairs)
    elif isinstance(value, list | tuple):
        detail = ", ".join(map(describe, cast(list[Any], value)))
    elif isinstance(value, set | frozenset):
        detail = ", ".join(sorted(map(describe, cast(set[Any], value))))
    elif isinstance(value, datetime | time):
        # The offset, not the class of the time zone: pydantic has its own for fixed offsets.
        detail = f"{value.isoformat()} {value.utcoffset()} {value.fold}"
    else:
        detail = repr(value)
    return f"{kind}({detail})"
