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
"""A value that must never be seen."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Bytes that show themselves to nobody but :meth:`reveal`.

    ``str``, ``repr`` and ``format`` give a fixed text; pickling and copying through
    serializers is refused, so that a secret can't slip into a journal or a report.
    Two secrets are equal when their bytes are; a secret is not hashable.
    """

    __slots__ = ('_value',)
    __hash__ = None  # type: ignore[assignment]

    REDACTED = '***'

    def __init__(self, value: bytes | str) -> None:
        self._value = value.encode() if isinstance(value, str) else bytes(value)

    def reveal(self) -> bytes:
        """Return the bytes. Only who hands them to libvirt or QEMU may call this."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __len__(self) -> int:
        return len(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return f'Secret({self.REDACTED})'

    def __str__(self) -> str:
        return self.REDACTED

    def __format__(self, spec: str) -> str:
        return format(self.REDACTED, spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError('a Secret is never serialized')
