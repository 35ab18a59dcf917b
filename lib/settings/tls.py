"""What TLS has to prove, where neither the URL nor PGSSLMODE says so.

https://www.postgresql.org/docs/current/libpq-ssl.html
"""

from pathlib import Path

from ..errors import ConfigurationError
from . import providers
from .connection_target import ConnectionTarget, libpq_default

_VERIFYING = ("verify-ca", "verify-full")
# Where libpq looks for root certificates by itself.
_LIBPQ_ROOT_CERT = Path("~", ".postgresql", "root.crt")
RDS_ROOTS = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"


def tls_parameters(target: ConnectionTarget) -> dict[str, str]:
    """The `sslmode`, and the `sslrootcert` if a public authority certifies the host.

    A local host is asked for TLS and may refuse; any other must use TLS, and prove its name where
    its provider is known to have public certificates. Raises ConfigurationError if a login token
    would be sent to a host that can't be verified.
    """
    # The host and the sslmode are in the service file, which libpq reads.
    if "service" in target.parameters:
        return {}
    mode = _mode(target)
    if not relies_on_public_authorities(target):
        return {"sslmode": mode}
    if _is_token_for_unknown_host(target):
        raise ConfigurationError(
            "A login token is sent only to a verified host, and no public authority certifies "
            f"those of RDS and Aurora: download {RDS_ROOTS} into the project, commit it, and set "
            "PGSSLROOTCERT to its path."
        )
    # Anybody can get a certificate from a public authority: only the name in it tells them apart.
    return {"sslmode": "verify-full", "sslrootcert": _public_roots()}


def relies_on_public_authorities(target: ConnectionTarget) -> bool:
    """True if the server is verified, but not with root certificates that the user provides."""
    roots = target.parameters.get("sslrootcert")
    if _mode(target) not in _VERIFYING or (roots and roots != "system"):
        return False
    return bool(roots) or not is_file(_LIBPQ_ROOT_CERT)


def is_file(path: Path) -> bool:
    """True if the path is a file; a path that can't be looked at is not."""
    try:
        return path.expanduser().is_file()
    # RuntimeError: no home directory. OSError: one of another user, or a name that is too long.
    except (OSError, RuntimeError):
        return False


def _mode(target: ConnectionTarget) -> str:
    if target.needs_verified_host:
        return "verify-full"
    if chosen := target.parameters.get("sslmode"):
        return chosen
    # `prefer` is what libpq uses if nobody chose, and it accepts a connection without TLS.
    if (default := libpq_default("sslmode")) not in ("", "prefer"):
        return default
    if target.parameters.get("sslrootcert") == "system" or _is_certified(target):
        return "verify-full"
    return "prefer" if target.is_local else "require"


def _is_certified(target: ConnectionTarget) -> bool:
    return providers.has_public_certificates(target.host)


def _is_token_for_unknown_host(target: ConnectionTarget) -> bool:
    is_chosen = target.parameters.get("sslrootcert") == "system"
    return target.needs_verified_host and not (is_chosen or _is_certified(target))


def _public_roots() -> str:
    # The OpenSSL in the binary psycopg looks for its roots at a path that most machines lack.
    try:
        import certifi
    except ImportError:
        raise ConfigurationError(
            "The server's certificate is to be verified, and certifi, which has the public root "
            "certificates, is not installed: add certifi to requirements.txt."
        ) from None
    return certifi.where()
