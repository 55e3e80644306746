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
"""A destination by the name that QEMU has for it: ``nbd:``, ``rbd:``, ``json:``.

For what libvirt has no name for. The text is taken apart here, once, and handed on as
``BlockdevOptions``, so that nothing in it becomes another option on the way. A secret in it
would stand on a command line for everybody to read, and is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from blockmirror_driver import exception
from blockmirror_driver.model import Disk, Driver, QemuSource
from blockmirror_driver.model.disk import Format

#: What these names begin with.
PREFIXES = ('json:', 'nbd:', 'rbd:')
#: Members of QAPI's BlockdevOptions whose value is a secret.
_SECRETS = frozenset({'key', 'passphrase', 'password'})
_HINT = 'a connection_info may hold secrets, or the keyring that ceph.conf names has the key'
_DEEPEST = 8


def disk_of(filename: str, dev: str, disk_format: Format = 'raw') -> Disk:
    """Return the disk that QEMU would make of a name. No I/O.

    :param filename: ``nbd:HOST:PORT:exportname=NAME``, ``nbd:unix:PATH:exportname=NAME``,
        ``rbd:POOL/IMAGE:id=USER:auth_supported=cephx:mon_host=HOST:conf=PATH``, in which a
        backslash keeps the character behind it, or ``json:`` and a storage's BlockdevOptions.
    :raise UsageError: it is no such name, or holds a secret.
    """
    kind, _, rest = filename.partition(':')
    options = _READERS[kind](rest)
    _check(options)
    text = json.dumps(options, sort_keys=True)
    return Disk(QemuSource(text), target_dev=dev, driver=Driver(format=disk_format))


def _check(value: object, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise exception.UsageError('the description of the destination is nested too deep')
    if isinstance(value, dict):
        for name, member in value.items():
            if name in _SECRETS:
                raise exception.UsageError(f'{name}: no secret may stand in a name', hint=_HINT)
            _check(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _check(member, depth + 1)
    elif isinstance(value, str) and ('\0' in value or not value.isprintable()):
        raise exception.UsageError('the description of the destination holds control characters')


def _json(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except (ValueError, RecursionError) as error:
        # Its own words would quote the text.
        raise exception.UsageError('json: is not followed by JSON') from error
    if isinstance(options, dict) and options.get('driver') == 'raw' and 'file' in options:
        if set(options) != {'driver', 'file'}:
            raise exception.UsageError('json: of the raw format only its file can be said')
        options = options['file']
    if not isinstance(options, dict) or not isinstance(options.get('driver'), str):
        raise exception.UsageError('json: has to be an object with a driver')
    if 'file' in options or 'backing' in options:
        raise exception.UsageError(
            'json: has to be a storage, not a format on one', hint='say --format for the format'
        )
    return options


def _nbd(text: str) -> dict[str, Any]:
    """``HOST:PORT[:exportname=NAME]``, ``[HOST]:PORT``, ``unix:PATH``."""
    where, _, export = text.partition(':exportname=')
    if where.startswith('unix:/'):
        server = {'type': 'unix', 'path': where.removeprefix('unix:')}
    elif found := re.fullmatch(r'(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+)):(\d{1,5})', where, re.ASCII):
        server = {'type': 'inet', 'host': found[1] or found[2], 'port': found[3]}
    else:
        raise exception.UsageError(
            'nbd: needs a host and a port, or a socket',
            hint='nbd:HOST:PORT:exportname=NAME or nbd:unix:/PATH:exportname=NAME',
        )
    return {'driver': 'nbd', 'server': server, 'export': export}


def _rbd(text: str) -> dict[str, Any]:
    """``POOL/[NAMESPACE/]IMAGE[:key=value…]``, as QEMU's rbd driver documents it."""
    image, *pairs = _split(text, ':')
    parts = _split(image, '/')
    if not 2 <= len(parts) <= 3 or not all(parts) or '@' in image:
        raise exception.UsageError('rbd: needs POOL/IMAGE, and no snapshot')
    options: dict[str, Any] = {'driver': 'rbd', 'pool': _plain(parts[0])}
    options['image'] = _plain(parts[-1])
    if len(parts) == 3:
        options['namespace'] = _plain(parts[1])
    for pair in pairs:
        name, found, value = pair.partition('=')
        if name in _SECRETS:
            raise exception.UsageError(f'{name}: no secret may stand in a name', hint=_HINT)
        if not found or name not in _RBD_WORDS:
            known = ', '.join(_RBD_WORDS)
            raise exception.UsageError(f'rbd: knows no {name[:40]!r}', hint=f'it knows {known}')
        member, read = _RBD_WORDS[name]
        options[member] = read(value)
    return options


def _split(text: str, separator: str) -> list[str]:
    """Split where no backslash stands before, and leave the backslashes."""
    return re.split(rf'(?<!\\){re.escape(separator)}', text)


def _plain(text: str) -> str:
    return re.sub(r'\\(.)', r'\1', text)


def _modes(text: str) -> list[str]:
    modes = _plain(text).split(';')
    if not set(modes) <= {'cephx', 'none'}:
        raise exception.UsageError('rbd: auth_supported is cephx or none')
    return modes


def _monitors(text: str) -> list[dict[str, str]]:
    monitors = []
    for one in re.split(r'[;,]', _plain(text)):
        host, _, port = one.rpartition(':')
        if not host or not port.isdecimal():
            raise exception.UsageError('rbd: mon_host needs HOST:PORT of each monitor')
        monitors.append({'host': host, 'port': port})
    return monitors


_RBD_WORDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    'id': ('user', _plain),
    'conf': ('conf', _plain),
    'auth_supported': ('auth-client-required', _modes),
    'mon_host': ('server', _monitors),
}
_READERS: dict[str, Callable[[str], dict[str, Any]]] = {'json': _json, 'nbd': _nbd, 'rbd': _rbd}
