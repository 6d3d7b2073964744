"""Certificates for tests, made by `openssl`."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_certificate(directory: Path, name: str = "cert", host: str = "127.0.0.1") -> tuple[Path, Path]:
    """Make a certificate that signs itself, and its key; return their files."""
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    alternative = f"IP:{host}" if host[0].isdigit() else f"DNS:{host}"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}", "-keyout", str(key),
         "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key
