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
"""A cephx keyring, as Cinder hands it out: the text of the file, or the bare key."""

from __future__ import annotations

import base64
import binascii
import re

from blockmirror_driver.volume.connection_info import ConnectionInfo

_SECTION = re.compile(r'\[(.*)\]')
_KEY_LINE = re.compile(r'key\s*=\s*(.*)')


def secret_of(info: ConnectionInfo, user: str) -> tuple[bytes, str] | None:
    """Return the user's key as libvirt stores it, and a note or ''; ``None`` without one.

    libvirt keeps a ceph secret as the bytes that the key is the base64 of.

    :raise InvalidConnectionInfo: when there is no key for the user in it, or it is not
        base64. No part of the text is in the message.
    """
    text = info.secret('keyring')
    if text is None or not text.strip():
        return None
    keys = _keys(text)
    note = ''
    entity = f'client.{user}'
    key = keys.get(entity, keys.get(''))
    if key is None and len(keys) == 1:
        # cinderlib hands out the keyring of its own user with the name of another.
        key = next(iter(keys.values()))
        note = f'keyring: its only key is not that of {entity}; used all the same'
    if key is None:
        raise info.error('keyring', f'has no key for {entity}')
    try:
        value = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise info.error('keyring', 'holds a key that is not base64') from exc
    if not value:
        raise info.error('keyring', 'holds an empty key')
    return value, note


def _keys(text: str) -> dict[str, str]:
    """Map entities to keys; the entity of a bare key is ''."""
    lines = [line.split('#')[0].split(';')[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    if len(lines) == 1 and not _SECTION.fullmatch(lines[0]) and not _KEY_LINE.fullmatch(lines[0]):
        return {'': lines[0]}
    keys: dict[str, str] = {}
    entity = ''
    for line in lines:
        if section := _SECTION.fullmatch(line):
            entity = section[1].strip()
        elif key := _KEY_LINE.fullmatch(line):
            keys[entity] = key[1].strip().strip('"')
    return keys
