"""Reading JSON that a peer may have got wrong: every complaint names the field and says what was expected."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

_REQUIRED: Any = object()


class ProtocolError(Exception):
    """Wrong input from a peer. It becomes an `error` event (or a JSON error), and the session lives."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


class Fields:
    """A JSON object to be read field by field. A field that is absent or null takes the default; without one it is
    an error. `no_others` at the end refuses what nobody read."""

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, dict):
            raise ProtocolError("invalid_type", f"'{path}' must be an object." if path else "Expected an object.", path)
        self._value: dict[str, Any] = value
        self._path = path
        self._read: set[str] = set()

    def path(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def is_null(self, name: str) -> bool:
        """Whether the field is there and null, for fields to which null is a value."""
        return name in self._value and self.anything(name) is None

    def anything(self, name: str, default: Any = None) -> Any:
        self._read.add(name)
        return self._value.get(name, default)

    def text(self, name: str, default: Any = _REQUIRED, most: int | None = None) -> Any:
        value = self._typed(name, str, "a string", default)
        if isinstance(value, str):
            if most is not None and len(value) > most:
                what = f"has {len(value):,} characters; at most {most:,} are accepted"
                raise self._wrong(name, what, "string_too_long")
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise self._wrong(name, "holds half a surrogate pair, which is no text")
        return value

    def choice(self, name: str, options: Collection[str], default: Any = _REQUIRED) -> Any:
        value = self._typed(name, str, "a string", default)
        if value is not default and value not in options:
            raise self._wrong(name, f"is {value[:100]!r}; it must be one of: {', '.join(options)}")
        return value

    def flag(self, name: str, default: Any = _REQUIRED) -> Any:
        return self._typed(name, bool, "true or false", default)

    def whole(self, name: str, least: int, most: int, default: Any = _REQUIRED) -> Any:
        return self._between(name, self._typed(name, int, "a whole number", default), least, most, default)

    def number(self, name: str, least: float, most: float, default: Any = _REQUIRED) -> Any:
        return self._between(name, self._typed(name, (int, float), "a number", default), least, most, default)

    def items(self, name: str, default: Any = _REQUIRED) -> Any:
        return self._typed(name, list, "a list", default)

    def object(self, name: str) -> Fields:
        """The fields of the object; without any if it is absent."""
        value = self.anything(name)
        return Fields({} if value is None else value, self.path(name))

    def no_others(self) -> None:
        for name in self._value:
            if name not in self._read:
                raise ProtocolError("unknown_parameter", f"Unknown parameter: '{self.path(name)}'.", self.path(name))

    def _typed(self, name: str, kind: type | tuple[type, ...], words: str, default: Any) -> Any:
        value = self.anything(name)
        if value is None:
            if default is _REQUIRED:
                path = self.path(name)
                raise ProtocolError("missing_required_parameter", f"Missing required parameter: '{path}'.", path)
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self._wrong(name, f"must be {words}", "invalid_type")
        return value

    def _between(self, name: str, value: Any, least: float, most: float, default: Any) -> Any:
        if value is not default and not least <= value <= most:  # also refuses NaN
            raise self._wrong(name, f"is {value:g}; it must lie between {least:g} and {most:g}")
        return value

    def _wrong(self, name: str, what: str, code: str = "invalid_value") -> ProtocolError:
        return ProtocolError(code, f"'{self.path(name)}' {what}.", self.path(name))
