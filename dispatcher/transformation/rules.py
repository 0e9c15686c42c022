"""One transform's part for requests, or for answers, compiled: what becomes of an object."""

from typing import Any

from config.models.transforms import BodyTransform
from dispatcher.transformation.budget import Budget
from dispatcher.transformation.fields import FieldChanges
from dispatcher.transformation.paths import ABSENT, path_function
from dispatcher.transformation.sandbox import Sandbox

LARGE = 32 * 1024  # bytes from which on a thread does the work


class Rules:
    """What is made of a body, and of header fields. Raises BadJsonPath and BadTemplate.

    ``cheap_below`` is a size in bytes: what is known by now of the bodies that take little time.
    """

    def __init__(self, name: str, config: BodyTransform, sandbox: Sandbox) -> None:
        self.name = name
        self.fields = FieldChanges(config.headers)
        self._paths = [(target, path_function(path)) for target, path in config.jsonpath.items()]
        self._templates = [
            (target, sandbox.template(text)) for target, text in config.template.items()
        ]
        self._merge = config.mode == "merge"
        self.cheap_below = LARGE
        self.changes_body = bool(self._paths or self._templates)

    def apply(self, value: object, budget: Budget) -> object:
        """An object changed; a list with each of its objects changed; all else as it is.

        Raises what can go wrong in a template or a path, with a note on the field, and TooMuchWork.
        """
        if type(value) is dict:
            return self._changed(value, budget)
        if type(value) is list:
            return [self._element(element, budget) for element in value]
        return value

    def _element(self, value: object, budget: Budget) -> object:
        budget.tick()
        return self._changed(value, budget) if type(value) is dict else value

    def _changed(self, old: dict[str, Any], budget: Budget) -> dict[str, Any]:
        new = old.copy() if self._merge else {}
        target = ""
        try:
            for target, find in self._paths:
                value = find(old)
                if value is not ABSENT:
                    new[target] = value
            for target, render in self._templates:
                new[target] = render(old, budget)
        except Exception as error:
            error.add_note(f"field {target}")
            raise
        return new
