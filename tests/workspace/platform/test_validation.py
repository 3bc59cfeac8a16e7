"""What pydantic refuses is said in our words: every error at once, one for each field."""

import re
from enum import StrEnum
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationInfo, field_validator

from workspace.platform.errors import Invalid
from workspace.platform.validation import (
    JsonObject,
    OneOf,
    OptionalSourcePath,
    Regex,
    SourcePath,
    StrictModel,
    Text,
    Texts,
    error_at,
    validate,
)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Engine(StrictModel):
    name: Text
    cores: int = 1
    schema_reference: str = Field(default="", validation_alias="$schema")


class Car(StrictModel):
    seats: Annotated[int, Field(ge=1, le=5000)] = 4
    weight: Annotated[float, Field(gt=0, le=1e6)] | None = None
    is_new: bool = False
    colour: Annotated[Colour, Field(strict=False)] = Colour.RED
    year: Annotated[str, OneOf(("2.21", "2.15"))] = "2.21"
    plate: Annotated[str, Regex(re.compile("[A-Z]{1,3}"), "1 to 3 letters", optional=True)] = ""
    manual: OptionalSourcePath = ""
    engine: Engine | None = None
    wheels: tuple[Engine, ...] = Field(default=(), strict=False)
    parts: Texts = ()
    labels: dict[str, int | bool] = {}

    @field_validator("labels")
    @classmethod
    def _few_labels(cls, value: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        if len(value) > info.data.get("seats", 4):
            raise error_at("seats", "Labels {need} seats.", beside=True)
        if "driver" in value:
            raise error_at("driver", "A driver is no label.")
        return value


def errors_of(data: object, model: type[StrictModel] = Car) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        validate(model, data)
    errors = caught.value.errors
    assert len({error.field for error in errors}) == len(errors)
    return {error.field: error.message for error in errors}


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        ({"seats": "4"}, "seats", "Use a whole number, not text."),
        ({"seats": True}, "seats", "Use a whole number, not a boolean."),
        ({"seats": 4.0}, "seats", "Use a whole number, not a decimal number."),
        ({"seats": [4]}, "seats", "Use a whole number, not a list."),
        ({"seats": 0}, "seats", "Seats should be at least 1; it is 0."),
        ({"seats": 6000}, "seats", "Seats should be at most 5,000; it is 6,000."),
        ({"seats": 10**400}, "seats", f"Seats should be at most 5,000; it is {10**400:,}."),
        ({"weight": "1"}, "weight", "Use a number, not text."),
        ({"weight": True}, "weight", "Use a number, not a boolean."),
        ({"weight": 0}, "weight", "Weight should be above 0; it is 0."),
        ({"weight": 2e6}, "weight", "Weight should be at most 1,000,000; it is 2,000,000."),
        ({"weight": float("inf")}, "weight", "Use a finite number, not inf."),
        ({"weight": float("nan")}, "weight", "Use a finite number, not nan."),
        ({"is_new": 1}, "is_new", "Use true or false, not a whole number."),
        ({"is_new": "yes"}, "is_new", "Use true or false, not text."),
        ({"colour": "green"}, "colour", "'green' is not one of red, blue."),
        ({"colour": 3}, "colour", "3 is not one of red, blue."),
        ({"year": "1.13"}, "year", "'1.13' is not one of 2.21, 2.15."),
        ({"year": 2.21}, "year", "2.21 is not one of 2.21, 2.15."),
        ({"year": ["a" * 80]}, "year", "a list is not one of 2.21, 2.15."),
        ({"plate": "a\n"}, "plate", "Use 1 to 3 letters, without control characters."),
        ({"plate": {}}, "plate", "Use text, not an object."),
        ({"manual": "../x"}, "manual", "Use a path inside the source directory"),
        ({"manual": "a\\b"}, "manual", "Use a path inside the source directory"),
        ({"manual": 1}, "manual", "Use text, not a whole number."),
        ({"engine": "big"}, "engine", "Use a JSON object, not text."),
        ({"engine": {}}, "engine.name", "name is required."),
        ({"engine": {"name": ""}}, "engine.name", "name is required."),
        ({"engine": {"name": None}}, "engine.name", "name is required."),
        ({"engine": {"name": "x" * 1001}}, "engine.name", "Use 1 to 1,000 characters"),
        ({"wheels": {}}, "wheels", "Use a list, not an object."),
        ({"wheels": [{"name": "a"}, {"name": 1}]}, "wheels.1.name", "Use text"),
        ({"parts": "door"}, "parts", "Use a list of texts"),
        ({"parts": ["door", 1]}, "parts", "Use a list of texts"),
        ({"labels": []}, "labels", "Use a JSON object, not a list."),
        ({"labels": {"a": "b"}}, "labels.a", "Use a whole number, not text."),
        ({"labels": {"driver": 1}}, "labels.driver", "A driver is no label."),
        ({"labels": dict.fromkeys("abcde", 1)}, "seats", "Labels {need} seats."),
        ({"parts": ["\ud800"]}, "parts", "It holds half of a surrogate pair"),
        ({"\ud800": 1}, "\\ud800", "It holds half of a surrogate pair"),
    ],
)
def test_what_is_wrong_is_named_with_its_field(data: dict[str, Any], field: str, message: str):
    assert errors_of(data)[field].startswith(message)
    assert len(errors_of(data)) == 1


@pytest.mark.parametrize(
    ("data", "field", "near"),
    [
        ({"colours": 1}, "colours", "colour"),
        ({"colours": None}, "colours", "colour"),
        ({"engine": {"name": "a", "core": 1}}, "engine.core", "cores"),
        ({"wheels": [{"name": "a", "nam": 1}]}, "wheels.0.nam", "name"),
    ],
)
def test_an_unknown_field_is_told_the_nearest_known_one(data: object, field: str, near: str):
    assert errors_of(data) == {field: f"Unknown field: did you mean {near}?"}


def test_a_field_that_resembles_none_is_shown_in_part():
    found = errors_of({"z" * 500: 1})
    assert found == {"z" * 100: "Unknown field: see the documentation for the names."}


def test_every_error_is_found_at_once():
    data = {"seats": 0, "colour": "", "engine": {"cores": "x"}, "extra": 1, "labels": {"a": "b"}}
    assert errors_of(data).keys() == {
        "seats",
        "colour",
        "engine.name",
        "engine.cores",
        "extra",
        "labels.a",
    }


@pytest.mark.parametrize("data", [None, [], "text", 3, True], ids=repr)
def test_what_is_no_object_is_refused_under_the_name_of_the_whole(data: object):
    assert errors_of(data)["config"].startswith("Use a JSON object, not")


class Request(StrictModel):
    body: JsonObject


@pytest.mark.parametrize("levels", [101, 895, 100_000])
def test_what_is_nested_too_deeply_is_refused(levels: int):
    assert errors_of({"parts": nested(levels), "seats": 0}) == {
        "parts": "It is nested too deeply: use at most 100 levels.",
        "seats": "Seats should be at least 1; it is 0.",
    }


def test_what_is_nested_as_deeply_as_is_allowed_is_kept():
    body = {"x": nested(99)}
    assert validate(Request, {"body": body}).body == body


def nested(levels: int) -> object:
    deep: object = 1
    for _ in range(levels):
        deep = [deep]
    return deep


def test_null_means_not_given_where_the_type_does_not_allow_it():
    car = validate(Car, {"seats": None, "weight": None, "engine": {"name": "a", "cores": None}})
    assert (car.seats, car.engine) == (4, Engine(name="a"))
    assert car.model_fields_set == {"weight", "engine"}


def test_what_is_right_is_read():
    data = {
        "seats": 5,
        "weight": 3,
        "colour": "blue",
        "year": "2.15",
        "manual": "./docs//manual.txt",
        "engine": {"$schema": "engine.json", "name": "two\nlines"},
        "parts": [" door ", ""],
    }
    car = validate(Car, data)
    assert (car.seats, car.weight, car.colour, car.year) == (5, 3.0, Colour.BLUE, "2.15")
    assert (car.manual, car.parts) == ("docs/manual.txt", ("door",))


def test_a_summary_takes_the_place_of_the_errors_joined():
    with pytest.raises(Invalid, match=r"^seats: Seats should be at least 1; it is 0\.$"):
        validate(Car, {"seats": 0})
    with pytest.raises(Invalid, match=r"^The car has errors\.$"):
        validate(Car, {"seats": 0}, message="The car has errors.")


def test_json_schema_has_the_rules():
    properties = Car.model_json_schema()["properties"]
    assert properties["year"]["enum"] == ["2.21", "2.15"]
    assert properties["plate"]["pattern"] == "^(?:[A-Z]{1,3})?$"
    assert properties["parts"] == {
        "default": [],
        "items": {"type": "string"},
        "title": "Parts",
        "type": "array",
    }


class Trip(StrictModel):
    script: SourcePath


@pytest.mark.parametrize("data", [{}, {"script": ""}, {"script": None}], ids=repr)
def test_a_path_that_is_needed_is_required(data: object):
    assert errors_of(data, Trip) == {"script": "script is required."}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"x": [1, float("nan")]}, "finite"),
        ({"x": float("-inf")}, "finite"),
        ({"x": [{"y": "a\0"}]}, "NUL"),
        ({"x": [{"a\0": 1}]}, "NUL"),
    ],
    ids=repr,
)
def test_json_that_not_every_database_keeps_is_refused(body: object, words: str):
    assert words in errors_of({"body": body}, Request)["body"]


def test_any_other_json_is_kept():
    body: dict[str, Any] = {"x": [None, True, 1.5, "a\\u0000", {"\u00e9": []}]}
    assert validate(Request, {"body": body}).body == body
