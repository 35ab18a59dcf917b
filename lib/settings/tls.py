"""What the TLS of a connection has to prove, where neither the URL nor PGSSLMODE says it."""

from pathlib import Path

from psycopg import pq

from ..errors import ConfigurationError
from . import providers as provider
from .connection_url import ConnectionTarget

_VERIFYING = ("verify-ca", "verify-full")
# Where libpq looks by itself: https://www.postgresql.org/docs/current/libpq-ssl.html
_LIBPQS_ROOTS = Path("~", ".postgresql", "root.crt")
RDS_ROOTS = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"


def tls_parameters(target: ConnectionTarget) -> dict[str, str]:
    """The `sslmode` and, where a public authority vouches for the host, the `sslrootcert` to connect with.

    Raises ConfigurationError where a login token would go to a host that can't be verified. A local host is asked for TLS
    and may have none; any other has to have it, and to prove its name where that can be told from the name.
    """
    if "service" in target.parameters:
        # Host and sslmode are in libpq's own file.
        return {}
    mode = _mode(target)
    if not relies_on_public_authorities(target):
        return {"sslmode": mode}
    if _is_a_token_for_an_unknown_host(target):
        raise ConfigurationError(
            "A login token is sent to a verified host only, and no public authority vouches for those of RDS and Aurora: "
            f"download {RDS_ROOTS} into the project, commit it, and set PGSSLROOTCERT to its path."
        )
    # Anybody can have a certificate of a public authority's: only the name in it tells whose it is.
    return {"sslmode": "verify-full", "sslrootcert": _public_roots()}


def relies_on_public_authorities(target: ConnectionTarget) -> bool:
    """Tell whether the server is verified by no root certificates of the user's own, in a file or where libpq looks."""
    roots = target.parameters.get("sslrootcert")
    if _mode(target) not in _VERIFYING or (roots and roots != "system"):
        return False
    return bool(roots) or not has_file(_LIBPQS_ROOTS)


def has_file(path: Path) -> bool:
    """Tell whether it is a file. Path raises for a home that there isn't or that is another user's, and for a long name."""
    try:
        return path.expanduser().is_file()
    except (OSError, RuntimeError):
        return False


def _mode(target: ConnectionTarget) -> str:
    if target.needs_verified_host:
        return "verify-full"
    if chosen := target.parameters.get("sslmode") or _libpqs_own_mode():
        return chosen
    if target.parameters.get("sslrootcert") == "system" or provider.has_public_certificates(
        target.host
    ):
        return "verify-full"
    return "prefer" if target.is_local else "require"


def _libpqs_own_mode() -> str | None:
    """What a service says that PGSERVICE names, or PGSSLMODE; None for libpq's own default."""
    value = next(
        (option.val for option in pq.Conninfo.get_defaults() if option.keyword == b"sslmode"), None
    )
    return None if value in (None, b"prefer") else value.decode()


def _is_a_token_for_an_unknown_host(target: ConnectionTarget) -> bool:
    chosen = target.parameters.get("sslrootcert") == "system"
    return target.needs_verified_host and not (
        chosen or provider.has_public_certificates(target.host)
    )


def _public_roots() -> str:
    """Certifi's: the path that psycopg's own OpenSSL looks at doesn't exist on most machines."""
    try:
        import certifi
    except ImportError:
        raise ConfigurationError(
            "The server's certificate is to be verified, and certifi, which has the public root certificates, is not "
            "installed: add certifi to requirements.txt."
        ) from None
    return certifi.where()
