"""What all schemas share."""

import base64
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, Self, TypeVar, get_args

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from service.catalog.sources import OF_MODELS
from service.codecs.rows import MAX_NAME_LENGTH, name_problem
from service.errors import GleanerError, MalformedRequestError

Stored = TypeVar("Stored")


LabelValue = str | list[str] | float
"""A label: a class, a list of classes, or a number, as the project's task says."""


class Schema(BaseModel):
    """Strict: unknown fields, wrong types and numbers that JSON lacks are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, from_attributes=True)

    def render(self) -> bytes:
        """The JSON answer."""
        return orjson.dumps(self.model_dump(mode="json"))

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, sent: Any) -> Any:
        """In JSON 5.0 is a whole number."""
        if not isinstance(sent, dict):
            return sent
        fields = cls.model_fields
        found = {name for name, value in sent.items() if isinstance(value, float) and value.is_integer()}
        whole = {name: int(sent[name]) for name in found if name in fields and _is_whole(fields[name].annotation)}
        return {**sent, **whole} if whole else sent


def _is_whole(annotation: Any) -> bool:
    """Whether a type takes whole numbers and no others."""
    parts = get_args(annotation)
    return annotation is int or (any(map(_is_whole, parts)) and float not in parts)


def fields_at(body: Any, path: Sequence[str | int]) -> list[str]:
    """The fields of the object at a path into a body, whose type is given."""
    schema = next(_schemas_in(body))
    for step in path:
        if step in schema.model_fields:
            schema = next(_schemas_in(schema.model_fields[str(step)].annotation))
    return list(schema.model_fields)


def _schemas_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The schema that a type is, or those that it is made of: a list of one, or one or null."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _schemas_in(part)


def _clean(text: str) -> str:
    if "\x00" in text:
        raise ValueError("NUL characters are not allowed")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("lone surrogates are not allowed") from error
    return text


def _storable(value: Stored) -> Stored:
    """Refuse what not every store can hold, however deep inside it is."""
    left: list[object] = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left += [*item, *item.values()]
        elif isinstance(item, list):
            left += item
        elif isinstance(item, str):
            _clean(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise ValueError("numbers are finite")
        elif isinstance(item, int) and not -(2**63) <= item < 2**63:
            raise ValueError("whole numbers have at most 64 bits")
    return value


def _scalar(value: object) -> object:
    if not isinstance(value, str | int | float):
        raise PydanticCustomError("wrong_type", "Must be a text, a number or a boolean.")
    return _storable(value)


def _row_name(text: str) -> str:
    problem = name_problem("", _clean(text))
    if problem is not None:
        raise PydanticCustomError("invalid_text", problem.detail)
    return text


def _name_of_nobody_else(text: str) -> str:
    if text.startswith(OF_MODELS):
        raise PydanticCustomError("reserved_name", f"Names that begin with `{OF_MODELS}` are those of models.")
    return text


def _name_of_strategy(sent: object) -> object:
    if not isinstance(sent, str):
        beside = '{"strategy": "margin", "params": {}}'
        detail = f"Must be the name of a strategy, as a string; its parameters stand beside it: {beside}."
        raise PydanticCustomError("string_type", "{detail}", {"detail": detail})
    return sent


Text = Annotated[str, AfterValidator(_clean), Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})]
StrategyName = Annotated[Text, BeforeValidator(_name_of_strategy)]
Scalar = Annotated[
    str | int | float | bool, PlainValidator(_scalar, json_schema_input_type=str | int | float | bool)
]  # one error for a wrong type, not one for each type of the union
Data = Annotated[dict[str, Any], AfterValidator(_storable)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
AnnotatorName = Annotated[Name, AfterValidator(_name_of_nobody_else)]
RowName = Annotated[
    str,
    AfterValidator(_row_name),
    Field(min_length=1, max_length=MAX_NAME_LENGTH, json_schema_extra={"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}),
]
Time = Annotated[datetime, Field(strict=False, description="RFC 3339, UTC.")]


def example(*examples: Any) -> ConfigDict:
    """The configuration of a schema with examples for its readers."""
    return ConfigDict(json_schema_extra={"examples": list(examples)})


class Patch(Schema):
    """Fields to change: each may be left out, and none be null."""

    @model_validator(mode="before")
    @classmethod
    def _no_null(cls, sent: Any) -> Any:
        nulls = [name for name in cls.model_fields if isinstance(sent, dict) and name in sent and sent[name] is None]
        if nulls:
            raise ValueError(f"cannot be null: {', '.join(nulls)}")
        return sent

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe each field without the null that stands for its absence."""
        schema = handler(core)
        described = handler.resolve_ref_schema(schema)
        for name, field in described["properties"].items():
            (kind,) = (option for option in field.pop("anyOf") if option != {"type": "null"})
            field.pop("default", None)
            described["properties"][name] = {**kind, **field}
        return schema


class Nothing(Schema):
    """No fields: a body may be left out."""

    model_config = example({})


class FieldProblem(Schema):
    """One bad field."""

    pointer: str = Field(description="JSON pointer into the body, or `/query/<name>` and the like.")
    code: str
    detail: str
    line: int | None = Field(default=None, description="Row of a bulk body, from 1.")
    id: str | None = Field(default=None, description="The row's own id.")


class Problem(BaseModel):
    """RFC 9457 problem."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "https://gleaner.example/problems/not-found",
                    "title": "Not found",
                    "status": 404,
                    "detail": "There is no such project.",
                    "request_id": "01jd5k3v7m",
                }
            ]
        },
    )

    type: str = Field(description="A page that explains this kind of problem.")
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldProblem] | None = Field(default=None, description="At most 20 bad fields.")


Item = TypeVar("Item")
Found = TypeVar("Found")


class Page(Schema, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next_page_token: str | None = Field(description="Send it as `page_token` for the next page; null on the last.")

    @classmethod
    def of(
        cls,
        found: Sequence[Found],
        size: int,
        *,
        show: Callable[[Found], Item],
        position: Callable[[Found], str | int],
        tied: Mapping[str, Any],
    ) -> Self:
        """The first `size` of what was found, of which one more tells that there is another page.

        Args:
            found: In the list's order, one more than the page takes.
            size: Of the page.
            show: An item as it is answered.
            position: Where an item stands, for the token of the next page.
            tied: The parameters of the list, to which the token is tied.
        """
        more = str(position(found[size - 1])) if len(found) > size else None
        return cls(items=[show(one) for one in found[:size]], next_page_token=encode_token(more, **tied))


def encode_token(position: str | None, **parameters: Any) -> str | None:
    """An opaque page token: a position, tied to the parameters of the list."""
    if position is None:
        return None
    return base64.urlsafe_b64encode(orjson.dumps([position, parameters], option=orjson.OPT_SORT_KEYS)).decode()


def decode_token(token: str | None, **parameters: Any) -> str | None:
    """The position of a token.

    Raises:
        MalformedRequestError: it was changed, or belongs to another list.
    """
    if token is None:
        return None
    try:
        position, tied = orjson.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except (ValueError, TypeError) as error:
        raise MalformedRequestError("The page token is damaged.") from error
    if tied != parameters or not isinstance(position, str) or "\x00" in position:
        raise MalformedRequestError("The page token belongs to another list.")
    return position


def natural(text: str) -> int | None:
    """A number of at most 18 ASCII digits, which fits into 64 bits; none for anything else."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def decode_number(position: str | None) -> int | None:
    """The number that a token stands for; none without a token.

    Raises:
        MalformedRequestError: it stands for something else.
    """
    if position is None:
        return None
    number = natural(position)
    if number is None:
        raise MalformedRequestError("The page token is damaged.")
    return number


State = Literal["queued", "running", "succeeded", "failed", "cancelled"]


def problem_document(base_url: str, kind: type[GleanerError] | GleanerError, *, detail: str) -> dict[str, Any]:
    """The members that every problem has; `type` resolves to a page of this service."""
    return {
        "type": f"{base_url.rstrip('/')}/problems/{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
    }
