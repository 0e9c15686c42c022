"""What became of every request: the books are kept by nonce, on both sides of the gateway."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Self
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class Request:
    """One request, known everywhere by its nonce; ``route`` is the first segment of its path."""

    method: str = "GET"
    route: str = "open"
    nonce: str = field(default_factory=lambda: uuid4().hex)

    @property
    def path(self) -> str:
        """Where it goes; no two requests have the same."""
        return f"/{self.route}/{self.nonce}"

    @property
    def body(self) -> bytes:
        """The nonce again, where the method has a body."""
        return self.nonce.encode() if self.method == "POST" else b""


def requests(gets: int = 0, posts: int = 0, route: str = "open") -> list[Request]:
    """So many of both, shuffled, as consumers have turns and each would get one kind alone."""
    mixed = [Request(method, route) for method in ["GET"] * gets + ["POST"] * posts]
    Random(0).shuffle(mixed)
    return mixed


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The gateway's own answer; empty if it is the upstream's."""
        if self.headers.get("content-type") != "application/problem+json":
            return {}
        problem: dict[str, Any] = json.loads(self.body)
        return problem

    def belongs_to(self, request: Request) -> bool:
        """Whether all that it says of its request is said of this one."""
        if problem := self.problem:
            return bool(problem["instance"] == request.path)
        echo = {"path": request.path, "header": request.nonce, "body": request.body.decode()}
        return bool(json.loads(self.body) == echo)


@dataclass(frozen=True, slots=True)
class Result:
    """A request and its answer, or why there is none."""

    request: Request
    answer: Answer | None
    failure: str = ""

    @property
    def outcome(self) -> tuple[str, int | str]:
        """Method, and the status of the answer or the failure."""
        return self.request.method, self.answer.status if self.answer else self.failure


def outcomes(results: Iterable[Result]) -> Counter[tuple[str, int | str]]:
    """How many ended how, by method."""
    return Counter(result.outcome for result in results)


def problems(results: Iterable[Result]) -> Counter[tuple[str | None, str | None]]:
    """How many were answered with which problem: the last part of its type, and ``executed``."""
    found = [result.answer.problem for result in results if result.answer]
    return Counter(
        (problem["type"].rpartition("/")[2], problem.get("executed"))
        for problem in found
        if problem
    )


@dataclass(frozen=True, slots=True)
class Account:
    """The books of one run. ``answered`` counts final answers, whatever their status.

    ``lost`` got none in time; ``duplicated`` may not be repeated and reached the upstream twice;
    ``unexpected`` got what belongs to another; ``misreported`` were told that they were not
    executed, and were.
    """

    attempted: int
    answered: int
    lost: int = 0
    duplicated: int = 0
    unexpected: int = 0
    misreported: int = 0

    @classmethod
    def of(cls, results: Iterable[Result], seen: Mapping[str, int]) -> Self:
        """Compare what clients got with what the upstream saw, by nonce."""
        results = list(results)
        answered = [(result.request, result.answer) for result in results if result.answer]
        return cls(
            attempted=len({result.request.nonce for result in results}),
            answered=len(answered),
            lost=len(results) - len(answered),
            duplicated=sum(
                result.request.method == "POST" and seen.get(result.request.nonce, 0) > 1
                for result in results
            ),
            unexpected=sum(not answer.belongs_to(request) for request, answer in answered),
            misreported=sum(
                answer.problem.get("executed") == "no" and seen.get(request.nonce, 0) > 0
                for request, answer in answered
            ),
        )


def whole(attempted: int) -> Account:
    """As it must be: everything answered once, and nothing else."""
    return Account(attempted, answered=attempted)
