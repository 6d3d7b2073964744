"""What the server, its clients and their pages agree on."""

from __future__ import annotations

API = "/api/v1"
"""Path of the API."""
