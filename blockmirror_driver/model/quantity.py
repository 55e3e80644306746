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
"""Quantities that carry their unit in their type."""

from __future__ import annotations

import re
from typing import NewType

from blockmirror_driver import exception

#: A number of bytes.
Bytes = NewType('Bytes', int)
#: A rate; 0 means unlimited, as in libvirt.
BytesPerSecond = NewType('BytesPerSecond', int)
#: A duration or a point of a monotonic clock.
Seconds = NewType('Seconds', float)

_UNITS = ('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB')
_PATTERN = re.compile(r'\s*(\d{1,20})\s*(?:([kmgtpe])(?:i?b)?|b)?\s*', re.IGNORECASE | re.ASCII)


def parse_bytes(text: str) -> Bytes:
    """Read ``1048576``, ``64KiB``, ``1G`` (all units are powers of 1024) as bytes.

    :raise UsageError: for anything else, and for more than 2**63 - 1 bytes, which is
        the largest number that libvirt's block calls take.
    """
    match = _PATTERN.fullmatch(text)
    if not match:
        raise exception.UsageError(
            f'not a number of bytes: {text[:40]!r}', hint='write for example 64MiB or 1048576'
        )
    exponent = 'kmgtpe'.index(match[2].lower()) + 1 if match[2] else 0
    value = int(match[1]) << (10 * exponent)
    if value >= 1 << 63:
        raise exception.UsageError(f'too many bytes: {text[:40]!r}')
    return Bytes(value)


def format_bytes(value: int) -> str:
    """Show bytes with a binary unit and at most one digit after the point."""
    amount = float(value)
    for unit in _UNITS:
        if abs(amount) < 1024 or unit == _UNITS[-1]:
            break
        amount /= 1024
    return f'{amount:.0f} {unit}' if unit == 'B' else f'{amount:.1f} {unit}'
