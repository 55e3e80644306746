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
"""The volumes of a copy as bytes, read beside the guest."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from typing import Protocol

from blockmirror_driver import exception
from blockmirror_driver.model import BlockSource, Bytes, Disk, FileSource, NetworkSource, Seconds
from blockmirror_driver.qemu import allocation, nbd
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

    def occupied(self, size: Bytes, timeout: Seconds) -> list[tuple[int, int]]:
        """Return where, of the first ``size`` bytes, the storage doesn't know them to be zeroes.

        All of them, where it doesn't tell or takes more than ``timeout`` seconds for it.
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

    def occupied(self, size: Bytes, timeout: Seconds) -> list[tuple[int, int]]:
        """Ask the file system for its holes; a device has none."""
        found: list[tuple[int, int]] = []
        start = end = 0
        try:
            while end < size:
                start = os.lseek(self._descriptor, end, os.SEEK_DATA)
                end = os.lseek(self._descriptor, start, os.SEEK_HOLE)
                if start < size:
                    found.append((start, min(end, size)))
        except OSError as error:
            if error.errno == errno.ENXIO:  # there is no more data
                return found
            return [(0, size)]
        return found

    def hang_up(self) -> None:
        """Change nothing: the kernel answers, or nobody does."""

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class FarImage(nbd.Export):
    """A volume that a throwaway domain has opened."""

    def __init__(self, path: str, name: str, timeout: Seconds) -> None:
        super().__init__(path, name, timeout)
        self._place = (path, name)

    def occupied(self, size: Bytes, timeout: Seconds) -> list[tuple[int, int]]:
        """Ask QEMU, which asks its driver of this storage: that of NFS never knows."""
        return allocation.occupied(*self._place, size, timeout)


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
    hypervisor: Hypervisor, domain: Domain, disks: Sequence[Disk], timeout: Seconds
) -> Iterator[tuple[Image, ...]]:
    """Yield the volumes, opened for reading.

    :param timeout: seconds for opening them, and that one may be silent later.
    :raise DestinationUnusable: DestinationSilent: SecretUnavailable: CopyFailed: Refused: one
        does not open.
    """
    far = [disk for disk in disks if isinstance(disk.source, NetworkSource)]
    with contextlib.ExitStack() as stack:
        path = ''
        if far:
            path = stack.enter_context(reading.exported(hypervisor, far, domain, timeout))
        images: list[Image] = []
        for disk in disks:
            image: Image
            if isinstance(disk.source, FileSource | BlockSource):
                image = LocalImage(disk.source.path)
            else:
                image = FarImage(path, str(far.index(disk)), timeout)
            stack.callback(image.close)
            images.append(image)
        yield tuple(images)
