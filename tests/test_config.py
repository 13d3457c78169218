"""The config class itself: frozen, copied with validation, fed by nothing but code and command lines."""

from __future__ import annotations

import copy
import pickle
import uuid
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretBytes,
    SecretStr,
    ValidationError,
    computed_field,
    field_validator,
    model_validator,
)
from pydantic_settings import SettingsConfigDict
from typing_extensions import TypedDict

from experiment_config import BaseExperimentConfig, ConfigError


class Optimiser(BaseModel):
    name: str = "adam"
    rate: float = Field(default=0.1, alias="learningRate")


class Config(BaseExperimentConfig):
    model: str = "openai/gpt"
    num_samples: int = Field(default=10, ge=1)
    layers: list[int] = [1, 2]
    optimiser: Optimiser = Optimiser()
    identity: str = Field(default_factory=lambda: uuid.uuid4().hex)
    started: date | None = Field(default=None, alias="startedOn")

    @field_validator("model", mode="before")
    @classmethod
    def add_provider(cls, value: str) -> str:
        return f"openai/{value}"


class Window(BaseExperimentConfig):
    low: int = 0
    high: int = 10
    seen_before: int = 0

    @model_validator(mode="before")
    @classmethod
    def count(cls, values: dict[str, Any]) -> dict[str, Any]:
        return values | {"seen_before": values.get("seen_before", 0) + 1}

    @model_validator(mode="after")
    def check_order(self) -> Window:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


def problems_of(config: BaseExperimentConfig, **changes: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        config.copy_with(**changes)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


# --- Frozen, copied --------------------------------------------------------------------------------------------------


def test_configs_are_frozen_and_have_the_two_fields_of_the_runner() -> None:
    """A value can't be set, and every config has `output_dir` and `seed`."""
    config = BaseExperimentConfig()
    assert (config.output_dir, config.seed) == ("", 42)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, "seed", 7)  # noqa: B010


def test_wrong_and_unknown_values_are_refused_in_code() -> None:
    """The class refuses wrong types and unknown names when it is called."""
    with pytest.raises(ValidationError):
        Config.model_validate({"num_samples": "many"})
    with pytest.raises(ValidationError, match="Extra inputs"):
        Config.model_validate({"modle": "x"})


def test_copy_with_changes_what_it_is_told_to() -> None:
    """The copy has the new values, validated, and the original keeps its own."""
    config = Config()
    copied = config.copy_with(num_samples="3", seed=7)
    assert (copied.num_samples, copied.seed, type(copied)) == (3, 7, Config)
    assert (config.num_samples, config.seed) == (10, 42)


def test_copy_with_leaves_unchanged_fields_untouched() -> None:
    """Their validators don't run again, factories' values are kept, and the objects stay the same."""
    config = Config(model="gpt", layers=[3])
    copied = config.copy_with(seed=7).copy_with(num_samples=2)
    assert copied.model == "openai/gpt"
    assert copied.identity == config.identity
    assert copied.layers is config.layers
    assert copied.copy_with(model="claude").model == "openai/claude"


def test_copy_with_validates_a_changed_field_that_gets_its_old_value() -> None:
    """A field that is named in the call is a changed one, even if its value is the same object."""
    config = Config(model="gpt")
    assert config.copy_with(model=config.model).model == "openai/openai/gpt"


def test_copy_with_names_every_problem_in_one_error() -> None:
    """Unknown names with the nearest field, output_dir, and wrong values come together."""
    problems = problems_of(Config(), modle="x", num_samples="many", layers=["a"], output_dir="o", zzz=1)
    assert problems[0] == "modle: not a field of Config. Did you mean model?"
    assert problems[1] == "zzz: not a field of Config."
    assert problems[2] == "output_dir is set by the runner alone: leave it out."
    assert problems[3].startswith("num_samples: Input should be a valid integer")
    assert problems[3].endswith(", not 'many'.")
    assert problems[4].startswith("layers.0: Input should be a valid integer")
    assert len(problems) == 5


def test_copy_with_enforces_constraints() -> None:
    """A changed value is held to the constraints of its field."""
    assert problems_of(Config(), num_samples=0) == ("num_samples: Input should be greater than or equal to 1, not 0.",)


def test_copy_with_runs_model_validators() -> None:
    """Validators of the model see the copy as a whole, before and after."""
    window = Window()
    assert window.copy_with(low=1).seen_before == 2
    assert problems_of(window, low=11) == ("the config: low must not be above high.",)


def test_copy_with_can_change_fields_that_are_valid_only_together() -> None:
    """Two fields change at once, with no invalid state between."""
    assert Window().copy_with(low=20, high=30).low == 20


def test_copy_with_takes_field_names_where_a_field_has_an_alias() -> None:
    """Aliases work in code that makes a config; copy_with uses names, at every depth."""
    config = Config(startedOn=date(2024, 1, 1))
    assert config.copy_with(started="2025-01-01").started == date(2025, 1, 1)
    assert config.copy_with(seed=1).started == date(2024, 1, 1)
    assert problems_of(config, startedOn="2025-01-01")[0].startswith("startedOn: not a field of Config. Did you mean")
    assert config.copy_with(optimiser={"rate": 3}).optimiser.rate == 3.0


def test_copy_with_takes_dicts_for_nested_models() -> None:
    """A dict becomes the nested model."""
    assert Config().copy_with(optimiser={"name": "sgd"}).optimiser == Optimiser(name="sgd")


def test_copy_with_works_once_a_cached_property_was_read() -> None:
    """A cached value isn't taken for a field, nor carried over to the copy."""

    class Square(BaseExperimentConfig):
        side: int = 2

        @computed_field
        @cached_property
        def area(self) -> int:
            return self.side**2

    square = Square()
    assert square.area == 4
    assert square.copy_with(side=3).area == 9


def test_copy_with_keeps_the_extra_values_of_a_class_that_allows_them() -> None:
    """No value is lost in a copy."""

    class Open(BaseExperimentConfig):
        model_config = SettingsConfigDict(extra="allow")

    assert Open.model_validate({"surprise": 1}).copy_with(seed=7).model_extra == {"surprise": 1}


def test_model_copy_names_copy_with() -> None:
    """model_copy would skip validation; it refuses and says what to use."""
    for update in (None, {"seed": 7}):
        with pytest.raises(NotImplementedError, match="copy_with"):
            Config().model_copy(update=update)


def test_configs_can_be_pickled_and_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickling and copying give an equal config, even in a process with a command line that says otherwise."""
    monkeypatch.setattr("sys.argv", ["train.py", "--output_dir", "out", "--seed", "7"])
    config = Config(model="gpt", startedOn=date(2024, 1, 1))
    for copied in (pickle.loads(pickle.dumps(config)), copy.copy(config), copy.deepcopy(config)):
        assert copied == config
        assert copied.model == "openai/gpt"


def test_a_nested_config_is_validated_from_a_dict() -> None:
    """A config in a field comes from an instance, from its default or from a dict, and never reads anything."""

    class Outer(BaseExperimentConfig):
        inner: Window = Window(high=5)
        made: Window = Field(default_factory=Window)

    assert (Outer().inner.high, Outer().made.high) == (5, 10)
    assert Outer.model_validate({"inner": {"high": 3}}).inner.high == 3
    assert Outer().copy_with(inner={"high": 4}).inner.high == 4


# --- From code and from nowhere else ---------------------------------------------------------------------------------


class Leaky(BaseExperimentConfig):
    model: str = "gpt-4"
    user: str = "nobody"
    home: str = "nowhere"
    path: str = "none"


class Configured(Leaky):
    model_config = SettingsConfigDict(
        env_prefix="EXP_", env_file=".env", secrets_dir="secrets", env_nested_delimiter="__", cli_parse_args=True
    )


@pytest.mark.parametrize("cls", [Leaky, Configured])
def test_no_value_comes_from_the_environment(cls: type[Leaky], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables, .env files and secrets folders change nothing, even where the class's settings ask for them."""
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("EXP_MODEL=dotenv\nMODEL=dotenv\nEXP_SEED=1\n")
    Path("secrets").mkdir()
    Path("secrets", "EXP_user").write_text("secret")
    Path("secrets", "user").write_text("secret")
    for name in ("MODEL", "USER", "HOME", "PATH", "OUTPUT_DIR", "model"):
        monkeypatch.setenv(name, "leaked")
        monkeypatch.setenv(f"EXP_{name}", "leaked")
    monkeypatch.setenv("SEED", "5")
    monkeypatch.setenv("EXP_SEED", "5")
    defaults = {"output_dir": "", "seed": 42, "model": "gpt-4", "user": "nobody", "home": "nowhere", "path": "none"}
    arguments, _ = cls().to_arguments("")
    for config in (cls(), cls(seed=42), cls.model_validate({}), cls.from_command_line(arguments), cls().copy_with()):
        assert config.model_dump() == defaults


def test_model_validate_reads_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `Cfg()` and `from_command_line` read one."""
    monkeypatch.setattr("sys.argv", ["train.py", "--output_dir", "out", "--seed", "7"])
    assert Leaky.model_validate({}).seed == 42
    assert Leaky.model_validate_json("{}").seed == 42
    assert Leaky(model="x").seed == 42
    assert Leaky().seed == 7


# --- Secrets ---------------------------------------------------------------------------------------------------------


class Account(BaseModel):
    name: str = ""
    keys: dict[str, SecretStr] = {}


@dataclass
class Login:
    user: str
    password: "SecretStr"  # noqa: UP037


class Typed(TypedDict):
    key: SecretBytes


class Password(SecretStr):
    pass


@pytest.mark.parametrize(
    "annotation",
    [
        SecretStr,
        SecretBytes,
        Password,
        SecretStr | None,
        list[SecretStr],
        dict[str, tuple[SecretBytes, ...]],
        Annotated[SecretStr, Field(min_length=1)],
        Account,
        list[Account] | None,
        Login,
        Typed,
    ],
    ids=str,
)
def test_a_secret_is_refused_when_the_class_is_defined(annotation: Any) -> None:
    """However deep a secret lies, its class is refused by field, with the way to do it instead."""
    with pytest.raises(ConfigError) as caught:
        type("Secretive", (BaseExperimentConfig,), {"__annotations__": {"plain": int, "api_key": annotation}})
    expected = (
        "Secretive.api_key holds a secret, and every config is saved and shown. Name the environment variable instead: "
        '`api_key_env: str = "API_KEY"`, and read os.environ[config.api_key_env] in the entry point.'
    )
    assert caught.value.problems == (expected,)


def test_every_secret_of_a_class_is_named() -> None:
    """Two secrets are two problems of one error."""
    with pytest.raises(ConfigError) as caught:
        type("Two", (BaseExperimentConfig,), {"__annotations__": {"a": SecretStr, "b": int, "c": SecretBytes}})
    assert [problem.split()[0] for problem in caught.value.problems] == ["Two.a", "Two.c"]


class Early(BaseExperimentConfig):
    login: Late | None = None


class EarlyToo(BaseExperimentConfig):
    login: Late | None = None


class Late(BaseModel):
    key: SecretStr


def test_a_secret_behind_a_forward_reference_is_refused_at_first_use() -> None:
    """A class whose types are defined after it is refused when it is first used, in either way."""
    with pytest.raises(ConfigError, match=r"Early\.login holds a secret"):
        Early(seed=1)
    with pytest.raises(ConfigError, match=r"EarlyToo\.login holds a secret"):
        EarlyToo.model_validate({})


def test_a_default_that_mentions_a_secret_is_no_secret() -> None:
    """Only types count: texts and values that look like a schema are left alone."""

    class Innocent(BaseExperimentConfig):
        api_key_env: str = "API_KEY"
        schema_like: dict[str, Any] = {"cls": SecretStr}

    assert Innocent().api_key_env == "API_KEY"


def test_typos_in_nested_models_are_refused() -> None:
    """A name that a nested model lacks is no silent default, whether it comes as a dict or as text."""

    class Descent(BaseModel):
        lr: float = 0.1

    class Nested(BaseExperimentConfig):
        optimiser: Descent = Descent()

    for change in (
        lambda: Nested().copy_with(optimiser={"lrr": 2}),
        lambda: Nested().copy_with_arguments(['--optimiser={"lrr": 2}']),
    ):
        with pytest.raises(ConfigError, match=r"optimiser\.lrr: there is no such field"):
            change()


def test_nested_models_may_allow_names_that_they_do_not_know() -> None:
    """A class that asks for extras gets them."""

    class Options(BaseModel):
        model_config = ConfigDict(extra="allow")

    class Open(BaseExperimentConfig):
        options: Options = Options()

    assert Open().copy_with(options={"anything": 1}).options.model_extra == {"anything": 1}


def test_set_can_not_name_the_flag_of_the_transport() -> None:
    """`--set config-fields=seed` is a typo like any other."""
    with pytest.raises(ConfigError, match="config-fields: not a field"):
        BaseExperimentConfig().copy_with_arguments(["--config-fields=seed"])
