"""TLS contexts, with handshakes in memory: who is believed in which mode, and bad files."""

import ssl
from pathlib import Path

import pytest
import trustme

from outrider.base.errors import ConfigError
from outrider.net.options import TlsOptions
from outrider.net.tls import TlsContexts, describe, server_context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def server(authority: trustme.CA, tmp_path: Path, name: str = "mx.example") -> ssl.SSLContext:
    certificate = authority.issue_cert(name)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    return server_context(chain, key, where="listeners[0].tls")


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "mx.example") -> ssl.SSLObject:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    for _ in range(10):
        for end in tuple(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
        if not waiting:
            return ends[0]
    raise AssertionError("the handshake does not end")


def test_opportunistic_takes_any_certificate(authority: trustme.CA, tmp_path: Path) -> None:
    tls = handshake(
        TlsContexts(TlsOptions()).client("opportunistic"), server(authority, tmp_path), "other.example"
    )
    version, cipher = (describe(tls) or "").split()
    assert version == "TLSv1.3"
    assert cipher.startswith("TLS_")


def test_required_believes_the_right_chain_and_name(
    authority: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    contexts = TlsContexts(TlsOptions(ca_file=ca_file))
    assert handshake(contexts.client("required"), server(authority, tmp_path)).version() == "TLSv1.3"


def test_required_refuses_a_wrong_name(authority: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
    contexts = TlsContexts(TlsOptions(ca_file=ca_file))
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(contexts.client("required"), server(authority, tmp_path), "other.example")


def test_required_refuses_an_unknown_authority(ca_file: Path, tmp_path: Path) -> None:
    contexts = TlsContexts(TlsOptions(ca_file=ca_file))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(contexts.client("required"), server(trustme.CA(), tmp_path))


def test_required_uses_the_authorities_of_the_system_by_default(
    authority: trustme.CA, tmp_path: Path
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(TlsContexts(TlsOptions()).client("required"), server(authority, tmp_path))


@pytest.mark.parametrize("mode", ["opportunistic", "required"])
def test_old_versions_are_off_on_both_sides(
    authority: trustme.CA, ca_file: Path, tmp_path: Path, mode: str
) -> None:
    contexts = TlsContexts(TlsOptions(ca_file=ca_file, minimum_version="TLSv1.3"))
    client = contexts.client("required" if mode == "required" else "opportunistic")
    old = server(authority, tmp_path)
    assert old.minimum_version is ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(client, old)


def test_contexts_are_made_once() -> None:
    contexts = TlsContexts(TlsOptions())
    assert contexts.client("opportunistic") is contexts.client("opportunistic")
    assert contexts.client("opportunistic").minimum_version is ssl.TLSVersion.TLSv1_2


def test_nothing_is_said_about_clear_text() -> None:
    assert describe(None) is None


def test_faults_of_files_name_the_option(authority: trustme.CA, tmp_path: Path) -> None:
    certificate, other = authority.issue_cert("mx.example"), authority.issue_cert("mx.example")
    chain, key, rubbish = tmp_path / "c.pem", tmp_path / "k.pem", tmp_path / "r.pem"
    chain.write_bytes(certificate.cert_chain_pems[0].bytes())
    other.private_key_pem.write_to_path(key)
    rubbish.write_text("rubbish")
    where = "listeners[2].tls"
    damaged = tmp_path / "d.pem"
    damaged.write_bytes(chain.read_bytes().replace(b"M", b"!"))
    for files, told in (
        ((chain, tmp_path / "none.pem"), "none.pem is not a file"),
        ((tmp_path, key), "is not a file"),
        ((chain, key), "key values mismatch"),
        ((rubbish, key), "r.pem holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"),
        ((key, chain), "k.pem holds no certificate in PEM"),
        ((chain, rubbish), "r.pem holds no private key in PEM"),
        ((chain, None), "c.pem holds no private key in PEM (-----BEGIN PRIVATE KEY-----)"),
        ((damaged, key), "between the BEGIN and END lines is damaged"),
    ):
        with pytest.raises(ConfigError) as caught:
            server_context(*files, where=where)
        assert caught.value.message.startswith(f"{where}: ")
        assert told in caught.value.message
    with pytest.raises(ConfigError, match=r"net\.tls\.ca_file: .*r\.pem"):
        TlsContexts(TlsOptions(ca_file=rubbish)).client("required")


def test_encrypted_key_is_named_as_such(authority: trustme.CA, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    certificate = authority.issue_cert("mx.example")
    chain, key = tmp_path / "c.pem", tmp_path / "k.pem"
    chain.write_bytes(certificate.cert_chain_pems[0].bytes())
    loaded = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    key.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="encrypted"):
        server_context(chain, key, where="x")
