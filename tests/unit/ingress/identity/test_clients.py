"""A client is known by its id and its secret, and by nothing less."""

from hashlib import sha256

import pytest

from config.models.auth import Client
from ingress.identity.clients import Clients, Credentials, hashed_secret


def client(name: str, secret: str) -> Client:
    return Client(id=name, secret_hash=sha256(secret.encode()).hexdigest())


ONE, OTHER = client("one", "secret-of-one"), client("other", "secret-of-other")
CLIENTS = Clients([ONE, OTHER])


def test_each_by_its_own_secret() -> None:
    """The right pair is the client."""
    assert CLIENTS.authenticate(Credentials("one", "secret-of-one")) == ONE
    assert CLIENTS.authenticate(Credentials("other", "secret-of-other")) == OTHER


@pytest.mark.parametrize(
    "given",
    [
        ("one", "secret-of-other"),
        ("one", ""),
        ("one", "secret-of-one "),
        ("one", ONE.secret_hash),
        ("nobody", "secret-of-one"),
        ("nobody", ""),
        ("One", "secret-of-one"),
        ("one", "\udc80"),
        ("", ""),
    ],
)
def test_nobody_else(given: tuple[str, str]) -> None:
    """Any other pair is nobody, whatever is in it."""
    assert CLIENTS.authenticate(Credentials(*given)) is None


def test_a_secret_is_hashed_as_the_shell_does() -> None:
    """`printf %s secret | sha256sum` makes the hash of gateway.yaml."""
    assert hashed_secret("abc").hex().startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")
