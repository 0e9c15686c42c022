"""What all models of the configuration have in common."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Base of all configuration models: immutable, and strict about unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, hide_input_in_errors=True
    )


def allow_method_too(schema: dict[str, Any]) -> None:
    """``method: GET`` is another spelling of ``methods: [GET]``."""
    schema["properties"]["method"] = {
        "type": "string",
        "description": "an HTTP method in capitals like GET",
    }
