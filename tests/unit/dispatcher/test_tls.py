"""Contexts for services, over the changes of settings and files."""

import logging
import ssl
from pathlib import Path

import pytest
import trustme

from config.faults import ConfigError
from config.models.services import Service, ServiceTls
from dispatcher.tls import TlsContexts
from tests.integration.upstreams.authority import write_authority, write_certificate


def services(tls: ServiceTls | None, name: str = "users") -> dict[str, Service]:
    """One service with these settings."""
    settings = {"name": name, "base_url": f"https://{name}.test", "tls": tls}
    return {name: Service.model_validate(settings)}


@pytest.fixture
def files(tmp_path: Path) -> ServiceTls:
    """Settings that name an authority and a certificate."""
    authority = trustme.CA()
    ca = write_authority(authority, tmp_path / "ca.pem")
    chain, key = write_certificate(authority.issue_cert("gateway.test"), tmp_path, "gateway")
    return ServiceTls(
        ca=str(ca), certificate=str(chain), key=str(key), server_name="users.internal"
    )


def test_what_is_asked_for(files: ServiceTls) -> None:
    """The files' authority alone, verification, and the name."""
    tls = TlsContexts().of(services(files))["users"]
    assert tls is not None
    assert tls.server_name == "users.internal"
    assert (tls.context.verify_mode, tls.context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(tls.context.get_ca_certs()) == 1


def test_without_settings() -> None:
    """The client has one context for all those."""
    assert TlsContexts().of(services(None)) == {"users": None}


def test_nothing_new(files: ServiceTls) -> None:
    """While settings and files stay, so does the context, and with it the connections."""
    contexts = TlsContexts()
    assert contexts.of(services(files)) == contexts.of(services(files))


def test_a_renewed_certificate(files: ServiceTls) -> None:
    """New contents make a new context, though the settings are the same."""
    contexts = TlsContexts()
    before = contexts.of(services(files))["users"]
    write_certificate(
        trustme.CA().issue_cert("gateway.test"), Path(files.files[0]).parent, "gateway"
    )
    after = contexts.of(services(files))["users"]
    assert after is not None
    assert before != after


def test_other_settings(files: ServiceTls) -> None:
    """New settings make a new context, though the files are the same."""
    contexts = TlsContexts()
    before = contexts.of(services(files))["users"]
    after = contexts.of(services(files.model_copy(update={"server_name": "b.test"})))["users"]
    assert after is not None
    assert before != after


def test_files_that_have_gone(files: ServiceTls, caplog: pytest.LogCaptureFixture) -> None:
    """A service that is served stays as it was, and the log says so; a new one can't begin."""
    contexts = TlsContexts()
    before = contexts.of(services(files))
    Path(files.files[0]).unlink()
    assert contexts.of(services(files)) == before
    assert "tls stays as it was" in caplog.text
    with pytest.raises(ConfigError, match=r'services.yaml: service "users"'):
        TlsContexts().of(services(files))


def test_a_file_that_broke(files: ServiceTls) -> None:
    """Half a file, as a copy under way leaves it, changes nothing either."""
    contexts = TlsContexts()
    before = contexts.of(services(files))
    Path(files.files[1]).write_text("-----BEGIN CERTIFICATE-----\n")
    assert contexts.of(services(files)) == before


def test_a_service_that_has_gone(files: ServiceTls) -> None:
    """Nothing is kept of it."""
    contexts = TlsContexts()
    contexts.of(services(files))
    contexts.of(services(None))
    assert contexts._made == {}


def test_unverified(caplog: pytest.LogCaptureFixture) -> None:
    """Certificates are only not verified where that is set, and each time the log warns of it."""
    tls = TlsContexts().of(services(ServiceTls(verify=False)))["users"]
    assert tls is not None
    assert (tls.context.verify_mode, tls.context.check_hostname) == (ssl.CERT_NONE, False)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "users" in record.getMessage()
    assert "NOT VERIFIED" in record.getMessage()
