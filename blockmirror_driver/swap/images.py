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
"""Both sides of a copy as bytes, read beside the guest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Protocol

from blockmirror_driver import exception
from blockmirror_driver.model import BlockSource, Disk, FileSource, NetworkSource, Seconds
from blockmirror_driver.qemu import nbd
from blockmirror_driver.virt import reading
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain


class Image(Protocol):
    """A volume that can be read. One thread uses it."""

    def within(self, timeout: Seconds) -> None:
        """Let it be silent for so long from now on."""

    def ask(self, offset: int, length: int) -> None:
        """Begin to read.

        :raise CopyFailed: it can't be read.
        """

    def answer(self) -> bytes | bytearray:
        """Return what was asked for.

        :raise CopyFailed: it can't be read, or is silent.
        """

    def hang_up(self) -> None:
        """Have whoever waits for an answer get an error. Any thread may call."""

    def close(self) -> None:
        """Let go of it."""


class LocalImage:
    """A file or block device of this host, as the storage has it and not as a cache has."""

    def __init__(self, path: str) -> None:
        self._asked = (0, 0)
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise exception.CopyFailed(f'{path}: {error.strerror}') from error

    def within(self, timeout: Seconds) -> None:
        """Change nothing: the kernel answers, or nobody does."""

    def ask(self, offset: int, length: int) -> None:
        """Remember it; pages that the kernel has read before are not good enough."""
        self._asked = (offset, length)
        os.posix_fadvise(self._descriptor, offset, length, os.POSIX_FADV_DONTNEED)

    def answer(self) -> bytes:
        """Read it."""
        offset, length = self._asked
        parts: list[bytes] = []
        try:
            while length:
                part = os.pread(self._descriptor, length, offset)
                if not part:
                    raise exception.CopyFailed(f'there is nothing at {offset}')
                parts.append(part)
                offset, length = offset + len(part), length - len(part)
        except OSError as error:
            raise exception.CopyFailed(f'it can not be read: {error.strerror}') from error
        return b''.join(parts)

    def hang_up(self) -> None:
        """Change nothing: the kernel answers, or nobody does."""

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


def unreadable(disk: Disk) -> str:
    """Tell why a volume can't be read beside its guest; empty when it can."""
    if disk.driver.format != 'raw':
        return f'it is {disk.driver.format}, of which only QEMU knows what is where'
    if isinstance(disk.source, NetworkSource):
        return ''
    if not isinstance(disk.source, FileSource | BlockSource):
        return 'it is of a kind that libvirt or we have no name for'
    if disk.encryption is not None:
        return 'it is local and encrypted'
    if not os.access(disk.source.path, os.R_OK):
        return 'this process may not read it'
    return ''


@contextlib.contextmanager
def opened(
    hypervisor: Hypervisor, domain: Domain, sides: tuple[Disk, Disk], timeout: Seconds
) -> Iterator[tuple[Image, Image]]:
    """Yield both sides, opened for reading.

    :param timeout: seconds for opening them, and that one may be silent later.
    :raise DestinationUnusable: DestinationSilent: SecretUnavailable: CopyFailed: Refused: one
        does not open.
    """
    far = [disk for disk in sides if isinstance(disk.source, NetworkSource)]
    with contextlib.ExitStack() as stack:
        path = ''
        if far:
            path = stack.enter_context(reading.exported(hypervisor, far, domain, timeout))
        images: list[Image] = []
        for disk in sides:
            image: Image
            if isinstance(disk.source, FileSource | BlockSource):
                image = LocalImage(disk.source.path)
            else:
                image = nbd.Export(path, str(far.index(disk)), timeout)
            stack.callback(image.close)
            images.append(image)
        yield images[0], images[1]
