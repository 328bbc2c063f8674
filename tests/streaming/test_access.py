from __future__ import annotations

import pytest

from streaming.access import Doorkeeper, Refused


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_without_keys_everyone_may_come_in():
    assert Doorkeeper().admit({}, 0) == {}


def test_a_key_may_come_in_a_header_or_a_subprotocol():
    doorkeeper = Doorkeeper(["one", "two"])
    assert doorkeeper.admit(bearer("two"), 0) == {}
    assert doorkeeper.admit({}, 0, ["realtime", "openai-insecure-api-key.one"]) == {}
    for headers, offered in ((bearer("three"), []), ({}, ["realtime"]), (bearer("\udcff"), []), (bearer(""), [])):
        with pytest.raises(Refused, match="key") as refused:
            doorkeeper.admit(headers, 0, offered)
        assert refused.value.status == 401


def test_a_secret_brings_its_settings_until_it_expires():
    doorkeeper = Doorkeeper(["one"])
    value, expires_at = doorkeeper.new_secret(60, {"instructions": "Be kind."}, 1000.5)
    assert expires_at == 1060
    assert doorkeeper.admit(bearer(value), 1059) == {"instructions": "Be kind."}
    assert doorkeeper.admit({}, 1059, [f"openai-insecure-api-key.{value}"]) == {"instructions": "Be kind."}
    with pytest.raises(Refused):
        doorkeeper.admit(bearer(value), 1060)


def test_secrets_are_bounded_and_those_that_expired_make_room(monkeypatch):
    monkeypatch.setattr("streaming.access.MOST_SECRETS", 1)
    doorkeeper = Doorkeeper()
    doorkeeper.new_secret(10, {}, 0)
    with pytest.raises(Refused) as refused:
        doorkeeper.new_secret(10, {}, 9)
    assert refused.value.status == 503
    doorkeeper.new_secret(10, {}, 10)


@pytest.mark.parametrize(
    ("origin", "allowed", "let_in"),
    [
        (None, (), True),
        ("http://here:8080", (), True),
        ("http://here:8081", (), False),
        ("https://friend.example", ("https://friend.example",), True),
        ("https://friend.example.evil.example", ("https://friend.example",), False),
        ("null", (), False),
        ("https://anyone.example", ("*",), True),
    ],
)
def test_origins(origin, allowed, let_in):
    headers = {"host": "here:8080"} | ({"origin": origin} if origin else {})
    doorkeeper = Doorkeeper(allowed_origins=allowed)
    if let_in:
        doorkeeper.admit(headers, 0)
    else:
        with pytest.raises(Refused) as refused:
            doorkeeper.admit(headers, 0)
        assert refused.value.status == 403
