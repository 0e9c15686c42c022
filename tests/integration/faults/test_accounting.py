"""The books themselves: each kind of wrong is seen."""

import json

from tests.integration.faults.accounting import Account, Answer, Request, Result, whole


def echo(request: Request) -> Answer:
    """What the ledger answers."""
    body = {"path": request.path, "header": request.nonce, "body": request.body.decode()}
    return Answer(200, {}, json.dumps(body).encode())


def refusal(request: Request) -> Answer:
    """What the gateway answers that says it did nothing."""
    body = json.dumps({"type": "/problems/x", "instance": request.path, "executed": "no"})
    return Answer(503, {"content-type": "application/problem+json"}, body.encode())


def test_all_is_well() -> None:
    """Repeated GETs and refused requests that were not seen are no faults."""
    get, post, refused = Request(), Request("POST"), Request("POST")
    results = [Result(get, echo(get)), Result(post, echo(post)), Result(refused, refusal(refused))]

    assert Account.of(results, {get.nonce: 2, post.nonce: 1}) == whole(3)


def test_faults_are_counted() -> None:
    """Lost, duplicated, of another request, and done in spite of what the client was told."""
    lost, twice, mixed_up, denied = Request(), Request("POST"), Request("POST"), Request()
    results = [
        Result(lost, None, "no answer"),
        Result(twice, echo(twice)),
        Result(mixed_up, echo(twice)),
        Result(denied, refusal(denied)),
    ]
    seen = {twice.nonce: 2, mixed_up.nonce: 1, denied.nonce: 1}

    assert Account.of(results, seen) == Account(
        attempted=4, answered=3, lost=1, duplicated=1, unexpected=1, misreported=1
    )


def test_refusals_of_another_are_unexpected() -> None:
    """A problem too belongs to one request."""
    mine, other = Request(), Request()

    assert Account.of([Result(mine, refusal(other))], {}).unexpected == 1
