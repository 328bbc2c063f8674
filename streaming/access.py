"""Who may come in: API keys, short-lived client secrets for browsers, and the origins of pages.

Nothing here waits or knows the time; `now_s` is Unix time.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from streaming.events import Json

SECRET_SECONDS = (10, 7200)
DEFAULT_SECRET_SECONDS = 600
MOST_SECRETS = 10_000

_KEY_SUBPROTOCOL = "openai-insecure-api-key."


class Refused(Exception):
    """A request that is turned away with an HTTP status and a JSON error."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param

    def to_json(self) -> Json:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"type": kind, "code": self.code, "message": self.message, "param": self.param}}


@dataclass(frozen=True, slots=True)
class _Secret:
    value: str
    expires_at: int
    session: Json  # settings that each session opened with it begins with


class Doorkeeper:
    """Owns the keys. Without API keys everyone may come in whose page has the server's own origin or none."""

    def __init__(self, api_keys: Iterable[str] = (), allowed_origins: Iterable[str] = ()) -> None:
        self._api_keys = tuple(api_keys)
        self._allowed_origins = frozenset(allowed_origins)
        self._secrets: list[_Secret] = []

    def admit(self, headers: Mapping[str, str], now_s: float, subprotocols: Iterable[str] = ()) -> Json:
        """Let a request in. Returns the session settings that its key brings. Raises Refused with 401 or 403."""
        self._check_origin(headers)
        offered = _key_of(headers, subprotocols)
        for secret in self._secrets:
            if secret.expires_at > now_s and _same(secret.value, offered):
                return secret.session
        if self._api_keys and not any([_same(key, offered) for key in self._api_keys]):
            missing = "No API key was given" if not offered else "The API key is wrong or has expired"
            where = "send it as 'Authorization: Bearer KEY'"
            raise Refused(401, "invalid_api_key", f"{missing}; {where}.")
        return {}

    def new_secret(self, seconds: int, session: Json, now_s: float) -> tuple[str, int]:
        """A secret that lets in until it expires. Returns it with its Unix time of expiry."""
        self._secrets = [secret for secret in self._secrets if secret.expires_at > now_s]
        if len(self._secrets) >= MOST_SECRETS:
            raise Refused(503, "too_many_secrets", "Too many client secrets are in use; try again in a while.")
        secret = _Secret(f"ek_{secrets.token_urlsafe(32)}", int(now_s) + seconds, session)
        self._secrets.append(secret)
        return secret.value, secret.expires_at

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        """Browsers say which page a request comes from. Others say nothing and are let through."""
        origin = headers.get("origin")
        if origin is None or "*" in self._allowed_origins or origin in self._allowed_origins:
            return
        if urlsplit(origin).netloc != headers.get("host"):
            raise Refused(403, "origin_not_allowed", f"Pages from {origin[:200]} may not use this server.")


def _key_of(headers: Mapping[str, str], subprotocols: Iterable[str]) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    offered = [name.removeprefix(_KEY_SUBPROTOCOL) for name in subprotocols if name.startswith(_KEY_SUBPROTOCOL)]
    return offered[0] if offered else ""


def _same(key: str, offered: str) -> bool:
    return hmac.compare_digest(key.encode(), offered.encode(errors="surrogateescape"))
