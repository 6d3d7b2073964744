"""Encryption: the server's certificate, taken anew when it is renewed."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

from attrs import define, field

from daggy.engine.configuration import TlsSettings
from daggy.errors import UsageError
from daggy.paths import CERTIFICATE
from daggy.seldom import Seldom

LOG = logging.getLogger("daggy.server")


@define(eq=False)
class Tls:
    """A certificate, its key, and what encrypts connections with them.

    Args:
        settings: Where they are.
        directory: The state directory, if clients on this machine are to find the certificate there, whatever names it
            has.
        context: Encrypts connections.
    """

    settings: TlsSettings
    directory: Path | None = None
    context: ssl.SSLContext = field(init=False)
    _changed: tuple[int, int] = field(init=False)
    _seldom: Seldom = field(factory=Seldom, init=False)

    def __attrs_post_init__(self) -> None:
        """Read them.

        Raises:
            UsageError: they cannot be read, or do not belong together.
        """
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            self._changed = self._times()
            self._load()
        except OSError as error:
            raise UsageError(self._complaint(error)) from None

    def _load(self) -> None:
        self.context.load_cert_chain(self.settings.certificate, self.settings.key, password="")
        if self.directory is None:
            return
        fresh = self.directory / f".{CERTIFICATE}"
        fresh.write_bytes(self.settings.certificate.read_bytes())
        fresh.replace(self.directory / CERTIFICATE)

    def _times(self) -> tuple[int, int]:
        return os.stat(self.settings.certificate).st_mtime_ns, os.stat(self.settings.key).st_mtime_ns  # noqa: PTH116

    def _complaint(self, error: OSError) -> str:
        if isinstance(error, ssl.SSLError):
            return (
                f"server.tls: '{self.settings.certificate}' and '{self.settings.key}' are not a certificate and its "
                "key, both in PEM and without a passphrase"
            )
        return f"server.tls: '{error.filename}' cannot be read: {(error.strerror or str(error)).lower()}"

    def current(self, now: float) -> ssl.SSLContext:
        """Return what encrypts a new connection: with the renewed certificate, if it was.

        Args:
            now: Seconds on a clock that never goes back.
        """
        try:
            if (times := self._times()) != self._changed:
                self._load()
                self._changed = times
        except OSError as error:
            if said := self._seldom.of(f"{self._complaint(error)}; the earlier one is used", now):
                LOG.warning(said)
        return self.context
