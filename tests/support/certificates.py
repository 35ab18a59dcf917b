"""Certificate authorities of a test's own, whose certificates nobody else trusts."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SIGNS = {"digital_signature": False, "key_cert_sign": True, "crl_sign": True}
_SERVES = {"digital_signature": True, "key_cert_sign": False, "crl_sign": False}


class Authority:
    """Signs certificates; `pem` is its own."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = self._begin(self._name, self._key, _SIGNS, is_authority=True)
        self.pem = self._sign(builder.add_extension(self._identifier, critical=False))

    def issue(self, *names: str) -> tuple[bytes, bytes]:
        """A server's certificate for these names and addresses, and its key, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._begin(x509.Name([]), key, _SERVES, is_authority=False)
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier)
        builder = (
            # Critical, as RFC 5280 requires where there is no subject: a common name could not hold
            # a name longer than 64 characters.
            builder.add_extension(alternatives, critical=True)
            .add_extension(issuer, critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        return self._sign(builder), key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )

    def write(self, path: Path) -> Path:
        """Its own certificate as a file, for sslrootcert."""
        path.write_bytes(self.pem)
        return path

    def _begin(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        usage: dict[str, bool],
        *,
        is_authority: bool,
    ) -> x509.CertificateBuilder:
        others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        unused = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder(
                subject_name=subject, issuer_name=self._name, public_key=key.public_key()
            )
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage, **unused), critical=True)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
