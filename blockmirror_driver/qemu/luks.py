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
"""Formatting a volume with LUKS, on any kind of storage that QEMU opens.

The tools format files only. So the header, which says nothing of the volume's size, is made in
a small file of its own, and then written over the beginning of the volume.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, Disk, FileSource, Secret
from blockmirror_driver.qemu import blockdev, copy, tool
from blockmirror_driver.qemu.blockdev import Blockdev
from blockmirror_driver.qemu.tool import Limits

#: How often to measure how long the key's derivation takes: on a busy machine QEMU gives up at
#: times, since its clock of this thread's time shows no progress (crypto/pbkdf.c).
_ATTEMPTS = 5
#: A LUKS1 header of QEMU for AES-256-XTS ends before this, in bytes; it is what is looked at.
_LOOKED_AT = Bytes(2 << 20)
_KEY = 'luks-key'


def format_volume(disk: Disk, key: Secret, limits: Limits, *, force: bool = False) -> Bytes:
    """Write a LUKS1 header with one key slot, and return its length: the data begins there.

    Whoever calls makes sure that nobody uses the volume.

    :param force: even when there is something in the way.
    :raise DestinationUnusable: it does not open, or is not blank where the header goes.
    :raise CopyFailed: it could not be written; what was there is lost.
    :raise TimedOut: Cancelled: see :func:`blockmirror_driver.qemu.tool.run`.
    """
    plain = blockdev.of(replace(disk, encryption=None), 'volume')
    if not force:
        _require_blank(plain, limits)
    with tempfile.TemporaryDirectory(prefix='blockmirror-') as scratch:
        header = Path(scratch) / 'header'
        _make(header, key, limits)
        length = Bytes(header.stat().st_size)
        _write(blockdev.of(Disk(FileSource(str(header))), 'header'), plain, limits)
    return length


def _require_blank(image: Blockdev, limits: Limits) -> None:
    command = ['qemu-io', '-r', '-c', f'read -P 0 0 {_LOOKED_AT}', '-f', image.format]
    ended = tool.run(command, [image], limits)
    told = ended.output.decode(errors='replace')
    if 'Pattern verification failed' in told:
        raise exception.DestinationUnusable(
            f'{image.name} is not blank', hint='take another volume, or say --force to lose it'
        )
    if ended.code or f'read {_LOOKED_AT}/{_LOOKED_AT} bytes' not in told:
        raise exception.DestinationUnusable(f'{image.name}: {ended.reason}')


def _make(header: Path, key: Secret, limits: Limits) -> None:
    """Make a LUKS image without a payload."""
    command = ['qemu-img', 'create', '-q', '-f', 'luks', '-o', f'key-secret={_KEY}']
    command += [str(header), '0']
    for _attempt in range(_ATTEMPTS):
        ended = tool.run(command, [], limits, further={_KEY: key})
        if not ended.code:
            return
    raise exception.CopyFailed(f'no LUKS header was made: {ended.reason}')


def _write(header: Blockdev, image: Blockdev, limits: Limits) -> None:
    convert = ['qemu-img', 'convert', '-n', *copy.CACHE, '-f', 'raw', '-O', image.format]
    ended = tool.run(convert, [header, image], limits)
    if ended.code:
        raise exception.CopyFailed(f'{image.name}: the header was not written: {ended.reason}')
    copy.flush(image)
