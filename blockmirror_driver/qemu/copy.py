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
"""Copying a volume that nobody uses, with qemu-img.

Sizes are compared before a byte is written, holes stay holes, and the source is opened for
reading only. Whoever calls makes sure that nobody writes to either volume meanwhile, and throws
the destination away when the copy fails: it is of no use then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oslo_log import log

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, BytesPerSecond, Disk, Seconds, format_bytes
from blockmirror_driver.qemu import blockdev, tool
from blockmirror_driver.qemu.blockdev import Blockdev
from blockmirror_driver.qemu.tool import Limits

LOG = log.getLogger(__name__)

#: Seconds for making what was written durable: one command to the storage.
_FLUSH_TIMEOUT = Seconds(600.0)
#: The storage has what the tool wrote when it says so; ``unsafe``, the default, never asks.
CACHE = ('-t', 'writeback')


@dataclass(frozen=True, slots=True)
class Wishes:
    """How to copy.

    :param target_is_zero: the destination is known to read as zeros, as a volume that was
        just made on a thin backend does. Zeros are then not written. Never guess it: where
        it is wrong, old data stays in the holes.
    :param bandwidth: bytes/s, 0 is unlimited
    :param verify: read both volumes once more and compare them
    :param timeout: seconds for the copy, and again for comparing
    :param open_timeout: seconds within which each volume must have told its size
    """

    target_is_zero: bool = False
    bandwidth: BytesPerSecond = BytesPerSecond(0)
    verify: bool = False
    timeout: Seconds = Seconds(86400.0)
    open_timeout: Seconds = Seconds(15.0)


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied."""

    size: Bytes
    elapsed: Seconds


def copy(
    source: Disk,
    destination: Disk,
    wishes: Wishes,
    *,
    progress: Callable[[str, float], None],
    cancelled: Callable[[], bool],
) -> Copied:
    """Copy one volume onto another, which is overwritten.

    :param progress: gets ``copy`` or ``compare`` and its per cent, in this thread.
    :raise Refused: nothing was written: a volume is of a kind that is not copied, or does not
        open, or does not answer, or the destination is the smaller one.
    :raise TimedOut: the deadline passed.
    :raise Cancelled: ``cancelled`` said so.
    :raise CopyFailed: it could not be read or written to its end, or differs afterwards.

    Whatever is raised, the source is as it was; but for a :class:`Refused` the destination
    holds a part of it.
    """
    started = time.monotonic()
    images = blockdev.of(source, 'source'), blockdev.of(destination, 'destination')
    sizes = [size(image, wishes.open_timeout) for image in images]
    _compare_sizes(images, sizes)
    limits = Limits(wishes.timeout, cancelled)
    _convert(images, wishes, limits, progress)
    flush(images[1])
    if wishes.verify:
        _verify(images, limits, progress)
    return Copied(sizes[0], Seconds(time.monotonic() - started))


def size(image: Blockdev, timeout: Seconds, *, in_use: bool = False) -> Bytes:
    """Open an image as the copy will, and return the bytes that a guest would see.

    :param in_use: another QEMU has it open for writing.
    :raise DestinationUnusable: it does not open; as :class:`DestinationSilent` within
        ``timeout`` seconds.
    :raise UnsupportedVolume: it refers to another file.
    """
    command = ['qemu-img', 'info', '--output=json', '-f', image.format]
    command += ['-U'] if in_use else []
    try:
        ended = tool.run(command, [image], Limits(timeout))
    except exception.TimedOut as exc:
        raise exception.DestinationSilent(f'{image.name} did not answer in time') from exc
    if ended.code:
        raise exception.DestinationUnusable(f'{image.name}: {ended.reason}')
    try:
        told = json.loads(ended.output)
        found = Bytes(int(told['virtual-size']))
    except (ValueError, KeyError, TypeError) as exc:
        raise exception.DestinationUnusable(f'{image.name}: qemu-img tells no size') from exc
    if told.get('backing-filename') or _data_file(told):
        raise exception.UnsupportedVolume(
            f'{image.name}: has a backing file or an external data file',
            hint='flatten it first: a copy would follow a name that stands in the image',
        )
    return found


def _data_file(told: dict[str, Any]) -> bool:
    return bool(told.get('format-specific', {}).get('data', {}).get('data-file'))


def _compare_sizes(images: tuple[Blockdev, Blockdev], sizes: list[Bytes]) -> None:
    if sizes[1] < sizes[0]:
        raise exception.DestinationUnusable(
            f'{images[1].name} has {sizes[1]} bytes, {images[0].name} has {sizes[0]}',
            hint='make the destination as large as the source',
        )
    if sizes[1] > sizes[0]:
        # Some storage rounds up. What lies behind the source's end is not part of the volume.
        LOG.warning(
            '%s is larger than %s: %d bytes, not %d',
            images[1].name,
            images[0].name,
            sizes[1],
            sizes[0],
        )


def _convert(
    images: tuple[Blockdev, Blockdev],
    wishes: Wishes,
    limits: Limits,
    progress: Callable[[str, float], None],
) -> None:
    command = ['qemu-img', 'convert', '-n', '-p', *CACHE]
    command += ['-f', images[0].format, '-O', images[1].format]
    if wishes.target_is_zero:
        command.append('--target-is-zero')
    if wishes.bandwidth:
        command += ['-r', str(wishes.bandwidth)]
    ended = tool.run(command, images, limits, lambda done: progress('copy', done))
    if ended.code:
        raise exception.CopyFailed(f'{images[0].name} to {images[1].name}: {ended.reason}')


def flush(image: Blockdev) -> None:
    """Make it durable: closing an image flushes too, but tells nobody when that fails.

    :raise CopyFailed: what was written may be lost.
    """
    command = ['qemu-io', '-c', 'flush', '-f', image.format]
    ended = tool.run(command, [image], Limits(_FLUSH_TIMEOUT))
    if ended.code:
        raise exception.CopyFailed(f'{image.name} could not be flushed: {ended.reason}')


def _verify(
    images: tuple[Blockdev, Blockdev],
    limits: Limits,
    progress: Callable[[str, float], None],
) -> None:
    command = ['qemu-img', 'compare', '-p', '-f', images[0].format, '-F', images[1].format]
    ended = tool.run(command, images, limits, lambda done: progress('compare', done))
    if ended.code:
        # 1 is a difference, which stands on the output; more is an error (qemu-img(1)).
        where = exception.one_line(ended.output.rpartition(b')')[2].decode(errors='replace'))
        what = where if ended.code == 1 else ended.reason
        raise exception.CopyFailed(f'{images[1].name} differs from {images[0].name}: {what}')


def describe(copied: Copied) -> str:
    """Return size and rate in a few words, for a log."""
    rate = copied.size / copied.elapsed if copied.elapsed else 0.0
    return f'{format_bytes(copied.size)} in {copied.elapsed:.1f} s, {format_bytes(int(rate))}/s'
