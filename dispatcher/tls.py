"""TLS towards upstreams: contexts made of what services.yaml says, renewed when files change."""

import hashlib
import logging
import ssl
from collections.abc import Mapping
from pathlib import Path

from config.faults import ConfigError, Fault, quoted
from config.models.services import Service, ServiceTls
from config.tls import no_password
from dispatcher.options import ClientTls

logger = logging.getLogger(__name__)


def system_context() -> ssl.SSLContext:
    """Trusts the system's authorities."""
    return _for_http(ssl.create_default_context())


class TlsContexts:
    """Gives a service the same context again while neither its settings nor its files change.

    So kept connections stay in use over a reload that leaves them alone, and those that are opened
    after another reload are made under the new files.
    """

    def __init__(self) -> None:
        self._made: dict[str, _Made] = {}

    def of(self, services: Mapping[str, Service]) -> dict[str, ClientTls | None]:
        """For each service what its ``tls`` says. Raises ConfigError; then nothing has changed.

        Files that can't be read any more are as they were when they last could be.
        """
        made = {
            name: _renewed(name, service.tls, self._made.get(name))
            for name, service in services.items()
            if service.tls is not None
        }
        self._made = made
        return {name: made[name].tls if name in made else None for name in services}


class _Made:
    """A context, and what it was made of."""

    def __init__(self, service: str, options: ServiceTls) -> None:
        self.options = options
        self.contents = _contents(options)
        self.tls = ClientTls(_context(options), options.server_name)
        if not options.verify:
            logger.warning(
                "service %s: the certificates of its instances are NOT VERIFIED (tls.verify is "
                "false): whoever is on the way can read and change what is sent",
                service,
            )


def _renewed(service: str, options: ServiceTls, known: _Made | None) -> _Made:
    if known is not None and known.options != options:
        known = None
    try:
        if known is not None and known.contents == _contents(options):
            return known
        return _Made(service, options)
    except OSError as error:  # ssl.SSLError is one
        if known is not None:
            logger.warning("service %s: tls stays as it was: %s", service, error)
            return known
        entry = f"service {quoted(service)}"
        fault = Fault("services.yaml", str(error), "files as they were checked", entry, "tls")
        raise ConfigError([fault]) from error


def _contents(options: ServiceTls) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(Path(file).read_bytes()).digest() for file in options.files)


def _context(options: ServiceTls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.ca)
    if options.certificate is not None:
        context.load_cert_chain(options.certificate, options.key, no_password)
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return _for_http(context)


def _for_http(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols(["http/1.1"])
    return context
