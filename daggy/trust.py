"""Which servers are believed to be those that they say they are."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from daggy.errors import UsageError


def authorities(path: str | Path | None) -> ssl.SSLContext:
    """Return what believes the certificates that those in a file have signed; None: those of the system.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read as certificates: {error.strerror or error}") from None


def trust(certificate: Path | None) -> ssl.SSLContext | bool:
    """Return what a client of a server believes.

    Args:
        certificate: The one to believe, whatever names it has, and no other; None: what `$SSL_CERT_FILE` says, else the
            public authorities.

    Raises:
        UsageError: a file cannot be read.
    """
    path = certificate or os.environ.get("SSL_CERT_FILE", "")
    if not path:
        return True
    context = authorities(path)
    if certificate is not None:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
    return context
