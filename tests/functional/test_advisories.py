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
"""Advisories whose other half is a guest or a server: on real parts (P8)."""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass

from tests.functional.base import SIZE, LabTestCase
from tests.functional.test_qcow2 import Qcow2TestCase
from tests.lab import oracle
from tests.lab.pattern import BLOCK
from tests.lab.process import run

#: Where the guest's writers begin; before it there is the header.
WRITERS = 1 << 20


@dataclass(frozen=True)
class Header:
    """A disk that begins with a header, and holds zeros else."""

    data: bytes

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length].ljust(length, b'\0')


def luks_header() -> Header:
    """A LUKS1 header without a key; qemu-img would time this machine for one, in vain at times.

    The form is that of the LUKS1 On-Disk Format Specification, version 1.2.3.
    """
    names = (b'aes', b'xts-plain64', b'sha256')
    digest, salt, name = bytes(20), bytes(32), str(uuid.uuid4()).encode()
    begin = struct.pack(
        '>6sH32s32s32sII20s32sI40s', b'LUKS\xba\xbe', 1, *names, 4096, 32, digest, salt, 1000, name
    )
    slot = struct.pack('>II32sII', 0x0000DEAD, 0, salt, 8, 4000)
    data = begin + 8 * slot
    return Header(data + bytes(-len(data) % BLOCK))


class GuestHeaderTest(LabTestCase):
    """A guest that wrote an image's header into its raw disk has a raw disk, as before."""

    def _header(self, *argv: str) -> Header:
        path = self.command.home / f'header-{uuid.uuid4().hex[:8]}'
        run(['qemu-img', 'create', '-q', *argv[:-1], str(path), argv[-1]])
        data = path.read_bytes()[: WRITERS // 2]
        return Header(data + bytes(-len(data) % BLOCK))

    def _stays_raw(self, header: Header, source_kind: str, destination_kind: str) -> None:
        source, destination = self.volume(source_kind), self.volume(destination_kind)
        source.write(header, len(header.data))
        guest = self.guest(source)
        guest.start_writers(blocks=128, delay_us=2000, base=WRITERS)
        guest.wait_acked(20)
        self.assertEqual(SIZE, guest.size())
        self.assert_ok(self.swap(guest, destination))
        self.assert_on(guest, destination)
        guest.wait_acked(20)
        self.assertEqual(0, guest.stop_writers().errors)
        # A cold start is when a probed format would show.
        guest.poweroff()
        guest.boot()
        self.assertEqual(SIZE, guest.size())
        for inactive in (False, True):
            (driver,) = self.source_of(guest, inactive=inactive).findall('driver')
            self.assertEqual('raw', driver.get('type'))
        guest.poweroff()
        report = oracle.check(destination.read_back(), guest.acked(), header)
        self.assertTrue(report.ok, report)

    def test_cve_2014_3641_and_2024_40767_qcow2(self) -> None:
        """It names a file of the host as its backing file, and says to be a terabyte."""
        argv = ('-f', 'qcow2', '-u', '-b', '/etc/passwd', '-F', 'raw', '1T')
        self._stays_raw(self._header(*argv), 'nfs', 'iscsi')

    def test_cve_2022_47951_vmdk(self) -> None:
        self._stays_raw(self._header('-f', 'vmdk', '1G'), 'iscsi', 'rbd')

    def test_luks(self) -> None:
        self._stays_raw(luks_header(), 'rbd', 'nfs')


class NfsFileTest(Qcow2TestCase):
    """An NFS file that a tenant prepared is refused, and nothing is followed."""

    def test_cve_2024_32498_absolute_data_file(self) -> None:
        path = self.image()
        data = bytearray(path.read_bytes())
        data[72:80] = (1 << 2).to_bytes(8, 'big')  # incompatible features: external data file
        path.write_bytes(data)
        self.assert_refused(path, 'data file')

    def test_cve_2015_1850_backing_file_of_the_host(self) -> None:
        self.assert_refused(self.image('-u', '-b', '/etc/passwd', '-F', 'raw'), 'backing file')

    def test_a_huge_virtual_size(self) -> None:
        path = self.image()
        run(['qemu-img', 'resize', '-q', '-f', 'qcow2', str(path), '1T'])
        self.assert_refused(path, 'too large')
