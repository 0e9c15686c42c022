"""routes.yaml: which requests go to which service, and under which rules."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from config.models.base import Model, allow_method_too
from config.models.origins import Cors, IpFilter
from config.models.rates import RateLimitOrNumber
from config.paths import REST, is_reserved, pattern_parameters
from config.schemas import (
    Schema,
    demanded_in_vain,
    object_problems,
    schema_problems,
    spelling_problems,
)
from config.values import (
    Flag,
    Methods,
    Name,
    PathPattern,
    PositiveCount,
    Role,
    Scope,
    Seconds,
    Size,
    TierName,
    WholeNumber,
    refusal,
    refuse_places,
)


class AnyOrAll(Model):
    """A demand on a set of roles: at least one of ``any``, or every one of ``all``."""

    any: Annotated[tuple[Role, ...], Field(min_length=1)] | None = None
    all: Annotated[tuple[Role, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.any is None) == (self.all is None):
            found = "both any and all" if self.any else "neither any nor all"
            raise refusal("one of the two", found)
        return self


class AnyOrAllScopes(AnyOrAll):
    """The same of scopes, which are shown in a header field."""

    any: Annotated[tuple[Scope, ...], Field(min_length=1)] | None = None
    all: Annotated[tuple[Scope, ...], Field(min_length=1)] | None = None


class Delivery(StrEnum):
    """What a crash may do to a request: repeat it, or leave its outcome unknown."""

    AUTO = "auto"  # by method: idempotent ones at least once, others at most once
    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class RequestValidation(Model):
    """JSON Schemas (2020-12) for the parts of a request; ``log`` lets pass what does not fit."""

    query: dict[str, Any] | None = None
    headers: dict[str, Any] | None = None
    body: dict[str, Any] | Flag | None = None
    mode: Literal["enforce", "log"] = "enforce"

    @field_validator("query", "headers", "body")
    @classmethod
    def _is_a_schema(cls, value: Schema | None, info: ValidationInfo) -> Schema | None:
        if value is None:
            return None
        problems = schema_problems(value)
        if info.field_name != "body" and not problems:
            problems = list(object_problems(value))
        if info.field_name == "headers" and not problems:
            problems = [*spelling_problems(value), *demanded_in_vain(value)]
        refuse_places(problems)
        return value

    @model_validator(mode="after")
    def _checks_something(self) -> Self:
        if self.query is None and self.headers is None and self.body is None:
            raise refusal("a schema for query, headers or body", "none of them")
        return self


class Hedge(Model):
    """Further calls while the first is late: how many at most, each after ``delay`` seconds."""

    delay: Seconds
    max: Annotated[WholeNumber, Field(ge=1, le=5)] = 1


class Route(Model):
    """Which requests go to which service, and under which rules."""

    model_config = ConfigDict(json_schema_extra=allow_method_too)

    path: PathPattern
    # `method` and `methods` are two spellings of one thing; None means every method.
    methods: Annotated[
        Methods | None, Field(validation_alias=AliasChoices("methods", "method"))
    ] = None
    service: Annotated[Name, Field(description="the name of a service")]
    auth_required: Flag = True
    rate_limit: RateLimitOrNumber = None
    rate_limit_cost: Annotated[PositiveCount, Field(le=1_000_000)] = 1
    timeout: Seconds = 30.0
    retry_count: Annotated[WholeNumber | None, Field(ge=0, le=20)] = None
    retry_on: tuple[Annotated[WholeNumber, Field(ge=400, le=599)], ...] = ()
    hedge: Hedge | None = None
    name: Annotated[str, Field(max_length=200)] = ""
    upstream_path: PathPattern | None = None
    roles: AnyOrAll | None = None
    scopes: AnyOrAllScopes | None = None
    priority: TierName = "inherit"
    delivery: Delivery = Delivery.AUTO
    async_mode: Annotated[Literal["never", "allowed", "always"], Field(alias="async")] = "never"
    max_body: Size | None = None
    validation: Annotated[RequestValidation | None, Field(alias="validate")] = None
    ip_filter: IpFilter | None = None
    cors: Cors | None = None
    when_open: Literal["hold", "fallback", "fail"] = "fallback"

    @field_validator("roles", "scopes")
    @classmethod
    def _of_known_callers(cls, value: AnyOrAll | None, info: ValidationInfo) -> AnyOrAll | None:
        if value is not None and info.data.get("auth_required") is False:
            raise refusal("it without auth_required: false", "it beside auth_required: false")
        return value

    @field_validator("path")
    @classmethod
    def _outside_of_reserved(cls, value: str) -> str:
        if is_reserved(value):
            raise refusal(
                "a path outside /auth/, /requests/ and /problems/: those are the gateway's"
            )
        return value

    @field_validator("upstream_path")
    @classmethod
    def _parameters_of_path(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None or "path" not in info.data:
            return value
        known = pattern_parameters(info.data["path"])
        if not set(pattern_parameters(value)) <= set(known):
            names = [name if name == REST else f"{{{name}}}" for name in known]
            raise refusal(
                f"the parameters of path, {', '.join(names)}"
                if names
                else "no parameters, as path has none"
            )
        return value

    @property
    def label(self) -> str:
        """The route's name, or ``METHOD path`` where it has none."""
        return self.name or f"{','.join(self.methods) if self.methods else 'ANY'} {self.path}"
