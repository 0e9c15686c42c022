"""transforms.yaml: what becomes of bodies and header fields."""

from typing import Annotated, Literal, Self

from pydantic import (
    AliasChoices,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from config.models.base import Model, allow_method_too
from config.values import (
    ChangeableHeader,
    HeaderName,
    HeaderValue,
    JsonPathText,
    Methods,
    PathPattern,
    TemplateText,
    WholeNumber,
    refusal,
)


class Condition(Model):
    """Which exchanges a transform applies to; an absent key matches all.

    But without ``status`` only the bodies of successful answers are changed.
    """

    model_config = ConfigDict(json_schema_extra=allow_method_too)

    path: PathPattern | None = None
    methods: Annotated[
        Methods | None, Field(validation_alias=AliasChoices("methods", "method"))
    ] = None
    status: tuple[Annotated[WholeNumber, Field(ge=100, le=599)], ...] | None = None


class HeaderChanges(Model):
    """Header fields to rename, then to remove, then to set."""

    set: dict[ChangeableHeader, HeaderValue] = {}
    remove: tuple[HeaderName, ...] = ()
    rename: dict[HeaderName, ChangeableHeader] = {}


class BodyTransform(Model):
    """Fields of a new object by JSONPath and by Jinja2 template, and changes of header fields."""

    jsonpath: dict[str, JsonPathText] = {}
    template: dict[str, TemplateText] = {}
    mode: Literal["replace", "merge"] = "replace"
    headers: HeaderChanges = HeaderChanges()

    @field_validator("template")
    @classmethod
    def _each_field_once(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name in value:
            if name in info.data.get("jsonpath", ()):
                raise refusal("each field by one of the two", found=f"{name}, as in jsonpath")
        return value

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        headers = self.headers
        if not (self.jsonpath or self.template or headers.set or headers.remove or headers.rename):
            raise refusal("jsonpath, template, or changes of headers", "none of them")
        return self


class Transform(Model):
    """A named change of requests or responses that match its condition."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    condition: Condition = Condition()
    request_transform: BodyTransform | None = None
    response_transform: BodyTransform | None = None

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if self.response_transform is None:
            if self.request_transform is None:
                raise refusal("request_transform, response_transform, or both", "neither")
            if self.condition.status is not None:
                raise refusal("it beside response_transform only", "condition.status")
        return self
