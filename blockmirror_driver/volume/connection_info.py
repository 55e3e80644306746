# Copyright the Blockmirror contributors
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""A connection_info, whose every value is checked on its way out.

Cinder hands out JSON whose types vary by driver: booleans as strings, numbers as strings,
keys that are absent, null or empty. Nothing here quotes a value in an error: any of them
may be a secret, or too large to print.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from blockmirror_driver.exception import InvalidConnectionInfo

_TRUE = frozenset({'1', 't', 'true', 'on', 'y', 'yes'})
_FALSE = frozenset({'0', 'f', 'false', 'off', 'n', 'no', ''})
_DECIMAL = re.compile(r'\s*[0-9]{1,20}\s*', re.ASCII)


#: No name, path, host or option is longer: PATH_MAX of linux/limits.h.
_LONGEST = 4096


class ConnectionInfo:
    """Reads both shapes: flat, and nested as ``{'driver_volume_type': …, 'data': …}``.

    Getters look in ``data`` first and, for what Nova puts beside it, at the top level. A
    getter without a default returns ``None`` for a key that is absent or null. All raise
    :class:`~blockmirror_driver.exception.InvalidConnectionInfo` with the field's path.

    :param raw: what Cinder's attachments API or Nova's block device mapping holds.
    """

    def __init__(self, raw: object) -> None:
        top = _mapping(raw, 'connection_info')
        nested = top.get('data')
        self._prefix = '' if nested is None else 'data.'
        self._data = top if nested is None else _mapping(nested, 'data')
        self._top = top
        volume_type = top.get('driver_volume_type')
        if not isinstance(volume_type, str) or not volume_type:
            raise InvalidConnectionInfo('is missing or not a string', field='driver_volume_type')
        self.driver_volume_type: str = volume_type

    def __repr__(self) -> str:
        """Show the type only; the rest may hold secrets."""
        return f'<ConnectionInfo {self.driver_volume_type[:40]!r}>'

    def path(self, key: str) -> str:
        """Return the field's path, for errors."""
        return f'{self._prefix}{key}'

    def error(self, key: str, message: str, *, hint: str | None = None) -> InvalidConnectionInfo:
        """Make the error for a field; the message must not quote a secret's field."""
        return InvalidConnectionInfo(message, field=self.path(key), hint=hint)

    def get(self, key: str) -> Any:
        """Return the value as it is; ``None`` when it is absent or null."""
        value = self._data.get(key)
        return self._top.get(key) if value is None else value

    def text(self, key: str) -> str | None:
        """Return a string that XML can hold, without control characters; never empty."""
        value = self.get(key)
        if value is None or value == '':
            return None
        return self._text(value, key)

    def required_text(self, key: str) -> str:
        """Return a string that must be there."""
        value = self.text(key)
        if value is None:
            raise self.error(key, 'is missing')
        return value

    def _text(self, value: object, key: str) -> str:
        if not isinstance(value, str):
            raise self.error(key, f'is of type {type(value).__name__}, not a string')
        if not value.isprintable():
            raise self.error(key, 'holds control characters or is not text')
        if len(value) > _LONGEST:
            raise self.error(key, f'is longer than {_LONGEST} characters')
        return value

    def secret(self, key: str) -> str | None:
        """Return a secret's text; newlines are allowed, NUL and surrogates are not."""
        value = self.get(key)
        if value is None or value == '':
            return None
        if not isinstance(value, str):
            raise self.error(key, f'is of type {type(value).__name__}, not a string')
        if '\0' in value or any('\ud800' <= c <= '\udfff' for c in value):
            raise self.error(key, 'is not text')
        return value

    def flag(self, key: str) -> bool | None:
        """Return a boolean, given as one, as 0 or 1, or as a word."""
        value = self.get(key)
        if value is None or isinstance(value, bool):
            return value
        word = str(value).strip().lower() if self._is_small(value) else None
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise self.error(key, 'is not a boolean')

    @staticmethod
    def _is_small(value: object) -> bool:
        return (isinstance(value, int) and 0 <= value <= 1) or isinstance(value, str)

    def number(self, key: str, *, low: int = 0, high: int = 1 << 63) -> int | None:
        """Return a whole number within bounds, given as one or as a decimal string."""
        return self.as_number(self.get(key), key, low=low, high=high)

    def as_number(
        self, value: object, key: str, *, low: int = 0, high: int = 1 << 63
    ) -> int | None:
        """Check a value that was found elsewhere, for example in a list, like a number."""
        if value is None or value == '':
            return None
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(key, 'is not a whole number')
        if not low <= value <= high:
            raise self.error(key, f'is not within {low} to {high}')
        return value

    def items(self, key: str) -> list[Any]:
        """Return a list; absent or null is an empty one."""
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            raise self.error(key, f'is of type {type(value).__name__}, not a list')
        return list(value)

    def texts(self, key: str) -> list[str]:
        """Return a list of strings, none empty."""
        found = []
        for index, item in enumerate(self.items(key)):
            place = f'{key}[{index}]'
            if item is None or item == '':
                raise self.error(place, 'is empty')
            found.append(self._text(item, place))
        return found

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return a dict with string keys; absent or null is an empty one."""
        value = self.get(key)
        return {} if value is None else _mapping(value, self.path(key))


def _mapping(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidConnectionInfo(
            f'is of type {type(value).__name__}, not an object', field=field
        )
    if not all(isinstance(key, str) for key in value):
        raise InvalidConnectionInfo('has a key that is not a string', field=field)
    return value
