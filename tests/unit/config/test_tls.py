"""Files for TLS, checked by loading them."""

from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import ValidationError

from config.models.services import Service, ServiceTls


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An authority, a certificate and its key, both in one, another key, an encrypted key."""
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    own, other = authority.issue_cert("gateway.test"), authority.issue_cert("other.test")
    key = load_pem_private_key(own.private_key_pem.bytes(), None)
    encryption = BestAvailableEncryption(b"hunter2")
    contents = {
        "ca": authority.cert_pem.bytes(),
        "certificate": own.cert_chain_pems[0].bytes(),
        "key": own.private_key_pem.bytes(),
        "both": own.private_key_and_cert_chain_pem.bytes(),
        "another key": other.private_key_pem.bytes(),
        "encrypted key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption),
        "large": b"x" * (1024**2 + 1),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: str(folder / name) for name in contents}


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"ca": "ca"},
        {"certificate": "certificate", "key": "key"},
        {"certificate": "both"},
        {"ca": "ca", "certificate": "certificate", "key": "key"},
    ],
)
def test_what_is_sound(files: dict[str, str], keys: dict[str, str]) -> None:
    """Each file is optional; a key may be in its certificate's file."""
    tls = ServiceTls.model_validate({key: files[name] for key, name in keys.items()})
    assert set(tls.files) == {files[name] for name in keys.values()}
    assert tls.verify is True


@pytest.mark.parametrize(
    ("keys", "key", "found"),
    [
        ({"ca": "key"}, "ca", "no certificate or crl found"),
        ({"certificate": "certificate"}, "certificate", "no such thing in it"),
        ({"certificate": "key", "key": "key"}, "certificate", "no such thing in it"),
        ({"certificate": "certificate", "key": "another key"}, "certificate", "values mismatch"),
        ({"certificate": "certificate", "key": "encrypted key"}, "certificate", ""),
        ({"ca": "large"}, "ca", "over 1048576 bytes"),
        ({"ca": "ca", "verify": False}, "verify", "false beside ca"),
    ],
)
def test_what_is_not(files: dict[str, str], keys: dict[str, Any], key: str, found: str) -> None:
    """Files of another kind, keys of another certificate, encrypted keys: each at its key."""
    data = {key: files.get(name, name) for key, name in keys.items()}
    with pytest.raises(ValidationError) as caught:
        ServiceTls.model_validate(data)
    [error] = caught.value.errors()
    assert error["loc"] == (key,)
    assert found in error["ctx"]["found"]
    assert "hunter2" not in str(caught.value)


def test_a_key_that_can_not_be_read(files: dict[str, str], tmp_path: Path) -> None:
    """A directory, or what its owner keeps to himself, is no file to start with."""
    with pytest.raises(ValidationError) as caught:
        ServiceTls.model_validate({"ca": str(tmp_path)})
    assert "is a directory" in caught.value.errors()[0]["ctx"]["found"]


def test_a_service_without_any_says_nothing() -> None:
    """The system's authorities are trusted then."""
    service = Service.model_validate({"name": "users", "base_url": "https://users.test"})
    assert service.tls is None
