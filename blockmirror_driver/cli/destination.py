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
"""From what stands on the command line to the disk that a copy goes to."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TextIO

from oslo_config import cfg

from blockmirror_driver import disk_for, exception
from blockmirror_driver.cli.app import BlockmirrorApp
from blockmirror_driver.model import BlockSource, Disk, Driver, FileSource, Secret
from blockmirror_driver.model.disk import Format
from blockmirror_driver.qemu import filename
from blockmirror_driver.volume import key_manager
from blockmirror_driver.xml import disk as xml_disk

#: What a connection_info or a <disk> may take, in bytes. Real ones have a few thousand.
LARGEST_FILE = 1024 * 1024
#: The argument that means standard input.
STDIN = '-'


def read_text(path: str, stdin: TextIO | None = None) -> str:
    """Read a small text file, or standard input for ``-``.

    :raise UsageError: when it can't be read, is not UTF-8, or has more than
        :data:`LARGEST_FILE` bytes.
    """
    try:
        if path == STDIN:
            data = (stdin or sys.stdin).read(LARGEST_FILE + 1).encode()
        else:
            with Path(path).open('rb') as file:
                data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise exception.UsageError(f'{path}: more than {LARGEST_FILE} bytes', hint='')
        return data.decode('utf-8-sig')
    except OSError as error:
        raise exception.UsageError(f'cannot read {path}: {error.strerror}', hint='') from error
    except ValueError as error:
        # Neither the text nor the error's own words: both may hold a part of a secret.
        raise exception.UsageError(f'{path} is not UTF-8 text', hint='') from error


def read_connection_info(path: str, stdin: TextIO | None = None) -> dict[str, Any]:
    """Read a connection_info from a JSON file, or from standard input for ``-``.

    The answer of Cinder's API, which holds it under ``connection_info``, will do too.

    :raise UsageError: when the file can't be read or is not JSON.
    :raise InvalidConnectionInfo: when it is JSON, but not an object.
    """
    text = read_text(path, stdin)
    try:
        # JSON has no NaN; json.loads takes it without this.
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = f'line {error.lineno} column {error.colno}'
        raise exception.UsageError(
            f'{path} is not JSON: {error.msg}, {where}', hint='write the connection_info as JSON'
        ) from error
    except (ValueError, RecursionError) as error:
        raise exception.UsageError(f'{path} is not JSON that can be read', hint='') from error
    if not isinstance(value, dict):
        raise exception.InvalidConnectionInfo(f'{path}: the connection_info is not an object')
    inner = value.get('connection_info')
    if isinstance(inner, dict) and 'driver_volume_type' not in value:
        return inner
    return value


def from_connection_info(
    path: str,
    dev: str,
    conf: cfg.ConfigOpts,
    stdin: TextIO | None = None,
    *,
    key_file: str | None = None,
    key_id: str | None = None,
) -> Disk:
    """Return the disk of a connection_info file.

    :param key_file: holds the passphrase of a volume that is encrypted with LUKS.
    :param key_id: names that key to the key manager, in place of a file.
    :raise UsageError: when a file can't be read, or the first is not JSON.
    :raise Refused: when the volume is not one that can be moved, or its key is not to be had.
    """
    if path == key_file == STDIN:
        raise exception.UsageError('standard input is either the connection_info or the key')
    connection_info = read_connection_info(path, stdin)
    key = None if key_file is None else read_key(key_file)
    if key_id is not None:
        key = key_manager.fetch(key_id, conf)
    return disk_for(connection_info, dev, conf=conf, key=key)


def from_arguments(parsed: argparse.Namespace, dev: str, app: BlockmirrorApp) -> Disk:
    """Return the disk of CONNECTION.json and of its key; see :func:`from_connection_info`.

    :param app: ours, with its configuration.
    """
    return from_connection_info(
        parsed.connection_info,
        dev,
        app.conf,
        app.stdin,
        key_file=parsed.key_file,
        key_id=parsed.key_id,
    )


def read_key(path: str) -> Secret:
    """Read a passphrase, byte for byte, from a file or from standard input for ``-``.

    :raise UsageError: when it can't be read, or is larger than a key can be.
    """
    try:
        if path == STDIN:
            value = sys.stdin.buffer.read(LARGEST_FILE + 1)
        else:
            with Path(path).open('rb') as file:
                value = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise exception.UsageError(f'cannot read {path}: {error.strerror}', hint='') from error
    if len(value) > LARGEST_FILE:
        raise exception.UsageError(f'{path}: more than {LARGEST_FILE} bytes', hint='')
    return Secret(value)


def from_xml(path: str, dev: str, stdin: TextIO | None = None) -> Disk:
    """Return the disk of a file with a top-level ``<disk>``, as virsh takes it.

    :raise UsageError: when the file can't be read.
    :raise InvalidDisk: when it is not a ``<disk>``.
    """
    return replace(xml_disk.parse(read_text(path, stdin)), target_dev=dev)


def from_path(path: str, dev: str, disk_format: Format, *, block_device: bool) -> Disk:
    """Return the disk of a local file or block device."""
    where = os.path.abspath(path)  # noqa: PTH100 - a symbolic link is kept as it is
    source = BlockSource(where) if block_device else FileSource(where)
    return Disk(source=source, target_dev=dev, driver=Driver(format=disk_format))


def kind_of(path: str) -> str:
    """Tell by the name alone what a destination is: ``json``, ``xml``, ``qemu`` or ``path``.

    Never by content: a destination's content belongs to a guest, which could make an image
    look like a ``<disk>`` that leads somewhere else.
    """
    if path == STDIN:
        return 'json'
    if path.startswith(filename.PREFIXES):
        return 'qemu'
    suffix = Path(path).suffix.lower()
    return {'.json': 'json', '.xml': 'xml'}.get(suffix, 'path')


def _no_constant(name: str) -> NoReturn:
    raise exception.UsageError(f'not JSON: {name}', hint='')
