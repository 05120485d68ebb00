"""Over TLS too, the address that was checked is connected to, and the certificate has to be that of the name."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apps.notifications import channels, services
from apps.notifications.messages import Message
from apps.notifications.models import Subscription

NAME = "hooks.example"
MESSAGE = Message("key", "title", "text", "", "{}")


@dataclass
class TlsEndpoint:
    """An HTTPS server whose certificate is for `NAME`: what it was asked, and under which name."""

    port: int
    paths: list[str] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A file with a key and a certificate for `NAME` that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "endpoint.pem"
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(text + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls_endpoint(certificate: Path, loopback: None) -> Iterator[TlsEndpoint]:
    found = TlsEndpoint(port=0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found.paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_POST  # noqa: N815 -- the library's name

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _, name, __: found.names.append(name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # of a client that refuses the certificate
    found.port = server.server_port
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine trusts the certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))


@pytest.fixture
def looked_up(tls_endpoint: TlsEndpoint, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that are looked up. Each has the endpoint's address at first, and another one from then on."""
    asked: list[str] = []

    def lookup(host: str, *args: Any, **kwargs: Any) -> list[Any]:
        asked.append(host)
        address = "127.0.0.1" if asked.count(host) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, tls_endpoint.port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return asked


def send(channel: str, address: str) -> None:
    channels.send(Subscription(channel=channel, address=address, secret=services.new_secret()), MESSAGE)


@pytest.mark.parametrize(("channel", "scheme"), [("webhook", "https"), ("chat", "ntfys")])
def test_the_address_that_was_checked_is_connected_to_under_the_name(
    tls_endpoint: TlsEndpoint, trusted: None, looked_up: list[str], channel: str, scheme: str
) -> None:
    send(channel, f"{scheme}://{NAME}:{tls_endpoint.port}/topic")
    assert looked_up == [NAME]
    assert tls_endpoint.names == [NAME]
    assert len(tls_endpoint.paths) == 1


@pytest.mark.parametrize(("channel", "scheme"), [("webhook", "https"), ("chat", "ntfys")])
def test_a_certificate_of_another_name_is_refused(
    tls_endpoint: TlsEndpoint, trusted: None, looked_up: list[str], channel: str, scheme: str
) -> None:
    with pytest.raises(channels.NotSent) as refused:
        send(channel, f"{scheme}://other.example:{tls_endpoint.port}/topic")
    assert tls_endpoint.paths == []
    assert "other.example" not in str(refused.value)
    assert not refused.value.is_final


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_endpoint: TlsEndpoint, looked_up: list[str]) -> None:
    with pytest.raises(channels.NotSent, match=r"SSLCertVerificationError"):
        send("webhook", f"https://{NAME}:{tls_endpoint.port}/")
    assert tls_endpoint.paths == []


def test_a_private_address_is_refused_before_anything_is_said(
    tls_endpoint: TlsEndpoint, trusted: None, looked_up: list[str], settings: Any
) -> None:
    settings.WEBHOOK_PRIVATE_NETWORKS = []
    with pytest.raises(channels.NotSent, match="public network"):
        send("webhook", f"https://{NAME}:{tls_endpoint.port}/")
    assert tls_endpoint.names == tls_endpoint.paths == []
