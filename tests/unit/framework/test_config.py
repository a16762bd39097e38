from __future__ import annotations

import contextlib
import enum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from moorage.framework.config import Config, ConfigError, Duration, Option, Size, document, load, options
from moorage.framework.config_file import read_config_file


class Mode(enum.Enum):
    FAST = "fast"
    SAFE = "safe"


class Sample(Config):
    root: Annotated[Path, Option("directory that holds the volumes", metavar="DIR")]
    pool: Annotated[tuple[str, ...], Option("pools, NAME=DIR", metavar="NAME=DIR")] = ()
    attach: Annotated[bool, Option("offer ControllerPublishVolume")] = False
    attach_limit: Annotated[int | None, Option("volumes that a node takes")] = None
    reserve: Annotated[Size, Option("space never handed out")] = 1 << 30
    timeout: Annotated[Duration, Option("how long a request may take")] = 30.0
    ratio: Annotated[float, Option("over-commit | ratio")] = 1.5
    mode: Annotated[Mode, Option("how writes are done")] = Mode.SAFE
    level: Annotated[Literal[1, 2], Option("level of checks")] = 1
    paths: Annotated[list[Path], Option("further directories", env="SAMPLE_PATHS")] = msgspec.field(
        default_factory=list
    )
    token: Annotated[str, Option("password of the storage", secret=True)] = ""


def read(
    *,
    flags: dict[str, object] | None = None,
    environment: dict[str, str] | None = None,
    file_values: dict[str, object] | None = None,
) -> Sample:
    given_flags: dict[str, object] = {"root": "/r"} if flags is None else {"root": "/r", **flags}
    return load(Sample, flags=given_flags, environment=environment or {}, file_values=file_values or {})


def test_options_describe_every_field_in_order() -> None:
    by_field = {option.field: option for option in options(Sample)}
    assert list(by_field)[:4] == ["root", "pool", "attach", "attach_limit"]
    limit = by_field["attach_limit"]
    assert (limit.flag, limit.environment, limit.required) == (
        "--attach-limit",
        "MOORAGE_ATTACH_LIMIT",
        False,
    )
    assert by_field["root"].required
    assert by_field["root"].metavar == "DIR"
    assert by_field["pool"].repeatable
    assert by_field["attach"].no_flag == "--no-attach"
    assert by_field["mode"].choices == ("fast", "safe")
    assert by_field["paths"].environment == "SAMPLE_PATHS"
    assert by_field["reserve"].default_text == "1Gi"
    assert by_field["timeout"].default_text == "30s"


def test_a_secret_has_no_flag_and_is_never_shown() -> None:
    (token,) = [option for option in options(Sample) if option.field == "token"]
    assert token.flag == ""
    config = read(environment={"MOORAGE_TOKEN": "hunter2"})
    assert config.token == "hunter2"
    assert "hunter2" not in repr(config)
    with pytest.raises(ConfigError) as raised:
        read(file_values={"token": ["hunter2"]})
    assert "hunter2" not in str(raised.value)
    assert str(raised.value).startswith("token from the configuration file is not text")


def test_a_flag_wins_over_environment_over_file_over_default() -> None:
    environment = {"MOORAGE_ATTACH_LIMIT": "2"}
    file_values: dict[str, object] = {"attach-limit": 3}
    assert read().attach_limit is None
    assert read(file_values=file_values).attach_limit == 3
    assert read(file_values=file_values, environment=environment).attach_limit == 2
    flags: dict[str, object] = {"attach_limit": "1"}
    assert read(file_values=file_values, environment=environment, flags=flags).attach_limit == 1


def test_what_was_not_given_does_not_hide_a_weaker_source() -> None:
    config = read(
        flags={"pool": (), "attach": None},
        environment={"MOORAGE_POOL": "", "MOORAGE_ATTACH": "yes"},
        file_values={"pool": ["a=/a", "b=/b"]},
    )
    assert config.pool == ("a=/a", "b=/b")
    assert config.attach is True


@pytest.mark.parametrize(
    ("field", "raw", "value"),
    [
        pytest.param("pool", "a=/a, b=/b", ("a=/a", "b=/b"), id="list-by-commas"),
        pytest.param("attach", "Off", False, id="bool"),
        pytest.param("reserve", "1.5Gi", 3 << 29, id="size"),
        pytest.param("timeout", "1m30s", 90.0, id="go-duration"),
        pytest.param("timeout", "90", 90.0, id="plain-seconds"),
        pytest.param("ratio", "2", 2.0, id="float"),
        pytest.param("mode", "fast", Mode.FAST, id="enum-by-value"),
        pytest.param("level", "2", 2, id="literal-number"),
    ],
)
def test_environment_text_is_converted(field: str, raw: str, value: object) -> None:
    assert getattr(read(environment={f"MOORAGE_{field.upper()}": raw}), field) == value


@pytest.mark.parametrize(
    ("field", "raw", "value"),
    [
        pytest.param("pool", ["a=/a"], ("a=/a",), id="list"),
        pytest.param("pool", "a=/a,b", ("a=/a,b",), id="single-text-is-one-element"),
        pytest.param("attach", True, True, id="bool"),
        pytest.param("reserve", 4096, 4096, id="size-as-number"),
        pytest.param("timeout", 2.5, 2.5, id="duration-as-number"),
        pytest.param("attach_limit", None, None, id="null-for-optional"),
        pytest.param("paths", ["/x"], [Path("/x")], id="list-of-paths"),
    ],
)
def test_file_values_are_converted(field: str, raw: object, value: object) -> None:
    assert getattr(read(file_values={field: raw}), field) == value


@pytest.mark.parametrize(
    ("field", "raw", "sentence"),
    [
        pytest.param("attach_limit", "x", "is 'x', not a whole number", id="int"),
        pytest.param("attach_limit", True, "is True, not a whole number", id="bool-is-no-number"),
        pytest.param("attach", "maybe", "is 'maybe', not true or false", id="bool"),
        pytest.param("reserve", "10Gx", "is '10Gx', not a size in bytes", id="size"),
        pytest.param("reserve", -1, "is -1, not a size", id="negative-size"),
        pytest.param("timeout", "soon", "is 'soon', not a duration", id="duration"),
        pytest.param("timeout", "-3", "is '-3', not a duration", id="negative-duration"),
        pytest.param("ratio", "nan", "is 'nan', not a number", id="nan"),
        pytest.param("mode", "slow", "is 'slow', not one of fast, safe", id="enum"),
        pytest.param("level", 3, "is 3, not one of 1, 2", id="literal"),
        pytest.param("root", "", "is '', not a path", id="path"),
        pytest.param("pool", [1], "is 1, not text; quote it", id="element"),
        pytest.param("pool", {"a": 1}, "not a list of values", id="no-list"),
        pytest.param("reserve", None, "is None, not a size", id="null-for-required-type"),
    ],
)
def test_a_bad_value_names_field_source_and_what_is_accepted(field: str, raw: object, sentence: str) -> None:
    values: dict[str, object] = {"root": "/r", field: raw}
    with pytest.raises(ConfigError) as raised:
        load(Sample, flags={}, environment={}, file_values=values)
    assert str(raised.value).startswith(f"{field} from the configuration file ")
    assert sentence in str(raised.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        load(
            Sample,
            flags={"ratio": "x"},
            environment={"MOORAGE_LEVEL": "9"},
            file_values={"atach": True, "attach-limit": 1, "attach_limit": 2},
        )
    problems = raised.value.problems
    assert len(problems) == 5
    assert "the configuration file sets 'atach', which is no setting; did you mean attach?" in problems
    assert "the configuration file sets attach_limit twice, with '-' and with '_'; keep one" in problems
    assert "ratio from --ratio is 'x', not a number" in problems
    assert "level from MOORAGE_LEVEL is '9', not one of 1, 2" in problems
    assert "root is not given; use --root DIR, set MOORAGE_ROOT or put root into the configuration file" in problems


def test_rules_across_fields_become_config_errors() -> None:
    class Ranged(Config):
        low: Annotated[int, Option("lowest")] = 1
        high: Annotated[int, Option("highest")] = 2

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError(f"low ({self.low}) is above high ({self.high}); swap them")

    with pytest.raises(ConfigError, match=r"low \(5\) is above high \(2\)"):
        load(Ranged, flags={"low": "5"}, environment={}, file_values={})


def test_a_configuration_is_frozen_and_closed() -> None:
    config = read()
    with pytest.raises(AttributeError):
        config.attach = True  # type: ignore[misc]  # what is tested
    with pytest.raises(TypeError):
        Sample(Path("/r"))  # type: ignore[call-arg]  # what is tested


def test_a_class_without_options_takes_nothing() -> None:
    assert load(Config, flags={}, environment={}, file_values={}) == Config()
    with pytest.raises(ConfigError, match="this driver has no settings"):
        load(Config, flags={}, environment={}, file_values={"anything": 1})


class Undocumented(Config):
    size: int = 1


class Nested(Config):
    inner: Annotated[tuple[tuple[int, ...], ...], Option("lists of lists")] = ()


class Ambiguous(Config):
    either: Annotated[int | str, Option("two meanings")] = 1


class Opaque(Config):
    thing: Annotated[Struct | None, Option("no textual form")] = None


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        pytest.param(Undocumented, "Undocumented.size has no Option", id="no-option"),
        pytest.param(Nested, "Nested.inner", id="nested"),
        pytest.param(Ambiguous, "Ambiguous.either", id="union"),
        pytest.param(Opaque, "Opaque.thing", id="other-type"),
    ],
)
def test_a_defect_in_the_class_is_a_type_error_that_names_the_field(cls: type[Config], sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        options(cls)


def test_the_documentation_is_a_table_with_every_field() -> None:
    table = document(Sample)
    assert "| `--attach-limit` | `MOORAGE_ATTACH_LIMIT` | whole number | none | volumes that a node takes |" in table
    assert "| `--root` | `MOORAGE_ROOT` | path | required | directory that holds the volumes |" in table
    assert "over-commit \\| ratio" in table
    assert "none (secret)" in table
    assert len(table.splitlines()) == 2 + len(options(Sample))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("c.json", '{"attach": true, "pool": ["a=/a"]}', id="json"),
        pytest.param("c.toml", 'attach = true\npool = ["a=/a"]\n', id="toml"),
        pytest.param("c.yaml", "attach: true\npool: [a=/a]\n", id="yaml"),
        pytest.param("c.yml", "attach: true\npool:\n  - a=/a\n", id="yml"),
    ],
)
def test_every_file_format_gives_the_same_values(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert read_config_file(path) == {"attach": True, "pool": ["a=/a"]}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        pytest.param("c.ini", "", "must be named .json", id="unknown-format"),
        pytest.param("c.json", "{", "is not valid JSON", id="bad-json"),
        pytest.param("c.toml", "a = ", "is not valid TOML", id="bad-toml"),
        pytest.param("c.yaml", "a: [", "is not valid YAML", id="bad-yaml"),
        pytest.param("c.json", "[]", "holds no mapping", id="no-mapping"),
        pytest.param("c.toml", "\udcff", "is not valid TOML", id="not-utf8"),
        pytest.param("missing.json", None, "cannot be read (No such file or directory)", id="missing"),
    ],
)
def test_an_unusable_file_is_one_sentence(tmp_path: Path, name: str, content: str | None, sentence: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError) as raised:
        read_config_file(path)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_line_that_cannot_be_read_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("user: me\npassword: hunter2: secret\n")
    with pytest.raises(ConfigError, match="line 2, column 18") as raised:
        read_config_file(path)
    assert "hunter2" not in str(raised.value)


def test_an_empty_yaml_file_sets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("# nothing yet\n")
    assert read_config_file(path) == {}


@given(value=st.integers(min_value=0, max_value=(1 << 63) - 1))
def test_a_shown_size_reads_back_as_the_same_size(value: int) -> None:
    (reserve,) = [option for option in options(Sample) if option.field == "reserve"]
    assert reserve.kind.convert(reserve.kind.show(value)) == value


@given(raw=st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text())))
def test_no_value_from_a_file_raises_anything_but_config_error(raw: object) -> None:
    for option in options(Sample):
        values: dict[str, object] = {"root": "/r", option.field: raw}
        with contextlib.suppress(ConfigError):
            load(Sample, flags={}, environment={}, file_values=values)
