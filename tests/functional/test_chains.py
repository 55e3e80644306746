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
"""Backing chains: flattened, shared by a shallow copy, and snapshots' overlays, on real parts."""

from __future__ import annotations

import uuid
from pathlib import Path

from lxml import etree

from blockmirror_driver.mirror.methods import blockcopy
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.virt.domain import CopyFlag
from tests.functional.base import FILLED, SIZE, LabTestCase
from tests.functional.command import Result
from tests.lab.guest.domain import Domain
from tests.lab.guest.guest import Guest
from tests.lab.process import run
from tests.lab.volumes import Volume

QCOW2 = ('qemu-img', 'create', '-q', '-f', 'qcow2')


class ChainTest(LabTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.base = self.volume('file', filled=True)
        self.base_path = Path(self.base.read_back())

    def overlay(self, below: Path, below_format: str, *, directory: Path | None = None) -> Path:
        """A qcow2 upon another image."""
        path = (directory or self.base_path.parent) / f'volume-{uuid.uuid4()}'
        run([*QCOW2, '-b', str(below), '-F', below_format, str(path), str(SIZE)])
        path.chmod(0o666)
        self.addCleanup(path.unlink, missing_ok=True)
        return path

    def chain(self, *layers: tuple[Path, str]) -> str:
        """``<backingStore>`` with these layers, from the top one down."""
        text = '<backingStore/>'
        for path, image_format in reversed(layers):
            text = (
                f"<backingStore type='file'><format type='{image_format}'/>"
                f"<source file='{path}'/>{text}</backingStore>"
            )
        return text

    def guest_on(self, top: Path, *layers: tuple[Path, str]) -> Guest:
        """A writing guest on a qcow2 and what is below it."""
        disk = (
            "<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/>"
            f"<source file='{top}'/>{self.chain(*layers)}<target dev='vda' bus='virtio'/></disk>"
        )
        guest = Guest(self.lab, Domain(f'bm-chain-{uuid.uuid4().hex[:8]}', [disk]))
        self.addCleanup(guest.destroy)
        guest.start()
        guest.start_writers(blocks=256, delay_us=2000)
        guest.wait_acked(20)
        return guest

    def xml(self, path: Path, chain: str, image_format: str = 'qcow2') -> str:
        """A file with the ``<disk>`` of a destination on NFS."""
        text = (
            f"<disk type='network' device='disk'><driver name='qemu' type='{image_format}'/>"
            f"<source protocol='nfs' name='{path}'><host name='127.0.0.1'/><identity/></source>"
            f"{chain}<target dev='vda' bus='virtio'/></disk>"
        )
        written = self.command.home / f'{uuid.uuid4()}.xml'
        written.write_text(text)
        return str(written)

    def copy(self, guest: Guest, destination: str, *options: str) -> Result:
        return self.command.run(
            'copy', guest.name, 'vda', destination, '--reuse-external', '--wait', '--pivot',
            *options,
        )  # fmt: skip

    def assert_moved(self, guest: Guest, destination: Volume) -> None:
        """The guest is on a volume without layers, which has every write; the end of a test."""
        guest.wait_acked(20)
        self.assert_on(guest, destination)
        self.assert_nothing_left(guest)
        self.assert_survived(guest, destination)
        # Before the volume, which is younger.
        guest.destroy()

    def layers(self, guest: Guest, flags: int) -> list[str]:
        """The names of the layers, from the top down."""
        disk = next(etree.fromstring(guest.domain.XMLDesc(flags)).iter('disk'))
        return [str(one.get('file') or one.get('name')) for one in disk.iter('source')]

    def test_a_full_copy_flattens(self) -> None:
        middle = self.overlay(self.base_path, 'raw')
        top = self.overlay(middle, 'qcow2')
        destination = self.volume('rbd')
        guest = self.guest_on(top, (middle, 'qcow2'), (self.base_path, 'raw'))
        self.assert_ok(self.swap(guest, destination))
        self.assert_moved(guest, destination)

    def test_a_shallow_copy_shares(self) -> None:
        """The top layer alone moves, and the chain is right, live, stored and after a start."""
        top = self.overlay(self.base_path, 'raw')
        guest = self.guest_on(top, (self.base_path, 'raw'))
        new = self.overlay(self.base_path, 'raw', directory=self.lab.nfs.path)
        where = self.xml(new, self.chain((self.base_path, 'raw')))
        self.assert_ok(self.copy(guest, where, '--shallow'))
        guest.wait_acked(20)
        for flags in (0, 2):
            self.assertEqual([str(new), str(self.base_path)], self.layers(guest, flags))
        # What lies in the base was not copied.
        self.assertLess(new.stat().st_blocks * 512, FILLED.length // 2)
        self.assert_nothing_left(guest)
        self.assert_survived_in_qcow2(guest, new)
        guest.boot()
        self.assertEqual([str(new), str(self.base_path)], self.layers(guest, 0))

    def test_what_is_refused(self) -> None:
        top = self.overlay(self.base_path, 'raw')
        guest = self.guest_on(top, (self.base_path, 'raw'))
        new = self.overlay(self.base_path, 'raw', directory=self.lab.nfs.path)
        before = new.read_bytes()
        other = self.volume('file')
        chain = self.chain((self.base_path, 'raw'))
        for where, shallow, words in (
            (self.xml(new, '<backingStore/>'), True, 'declares no backing file'),
            (self.xml(new, self.chain((Path(other.read_back()), 'raw'))), True, 'another backing'),
            (self.xml(new, self.chain((self.base_path, 'qcow2'))), True, 'another backing'),
            (self.xml(new, chain, 'raw'), True, 'loses the backing data'),
            (self.xml(new, chain), False, 'needs no backing file'),
            (self.xml(new, '<backingStore/>'), False, 'not declared'),
        ):
            done = self.copy(guest, where, *(['--shallow'] if shallow else []))
            self.assert_error(done, 3, words)
        self.assert_error(
            self.command.run(
                'copy', guest.name, 'vda', str(self.base_path), '--reuse-external', '--wait'
            ),
            3,
            'already vda',
        )
        self.assertEqual(before, new.read_bytes())
        self.assertEqual([str(top), str(self.base_path)], self.layers(guest, 0))
        self.assert_nothing_left(guest)
        self.assert_survived_in_qcow2(guest, top)

    def test_a_layer_that_names_more_than_is_declared(self) -> None:
        """The middle one has a backing file of its own, of which nothing was said."""
        middle = self.overlay(self.base_path, 'raw')
        top = self.overlay(middle, 'qcow2')
        guest = self.guest_on(top, (middle, 'qcow2'), (self.base_path, 'raw'))
        new = self.overlay(middle, 'qcow2', directory=self.lab.nfs.path)
        short = self.xml(new, self.chain((middle, 'qcow2')))
        self.assert_error(self.copy(guest, short, '--shallow'), 3, 'another backing')
        whole = self.xml(new, self.chain((middle, 'qcow2'), (self.base_path, 'raw')))
        self.assert_ok(self.copy(guest, whole, '--shallow'))
        self.assertEqual(
            [str(one) for one in (new, middle, self.base_path)], self.layers(guest, 2)
        )
        self.assert_survived_in_qcow2(guest, new)

    def test_the_overlay_of_a_snapshot(self) -> None:
        """A disk with an external snapshot is moved as a whole."""
        destination = self.volume('iscsi')
        guest = self.writing_guest(self.base)
        overlay = self.base_path.with_suffix('.snap')
        self.addCleanup(overlay.unlink, missing_ok=True)
        snapshot = (
            "<domainsnapshot><disks><disk name='vda' snapshot='external'>"
            f"<source file='{overlay}'/></disk></disks></domainsnapshot>"
        )
        # DISK_ONLY, NO_METADATA
        guest.domain.snapshotCreateXML(snapshot, 16 | 4)
        guest.wait_acked(20)
        self.assertEqual([str(overlay), str(self.base_path)], self.layers(guest, 0))
        self.assert_ok(self.swap(guest, destination))
        self.assert_moved(guest, destination)

    def test_three_monitors_and_every_flag(self) -> None:
        """rbd by three monitors and a libvirt secret; SHALLOW, REUSE_EXT, TRANSIENT_JOB."""
        destination = self.volume('rbd')
        guest = self.writing_guest(self.base)
        source = etree.fromstring(destination.source_xml())
        for address in ('127.0.0.2', '127.0.0.3'):
            host = etree.Element('host', {'name': address, 'port': '6789'})
            source.insert(0, host)
        text = (
            "<disk type='network' device='disk'><driver name='qemu' type='raw'/>"
            f"{etree.tostring(source).decode()}<target dev='vda' bus='virtio'/></disk>"
        )
        written = self.command.home / 'three.xml'
        written.write_text(text)
        self.assert_ok(
            self.copy(guest, str(written), '--shallow', '--transient-job', '--print-xml')
        )
        # By the call itself, and then by the command that makes the same.
        flags = CopyFlag.SHALLOW | CopyFlag.REUSE_EXT | CopyFlag.TRANSIENT_JOB
        self.assertEqual(flags, blockcopy.flags(CopyOptions(shallow=True)))
        guest.domain.blockCopy('vda', text, {'bandwidth': 1 << 20}, int(flags))
        guest.domain.blockJobAbort('vda', 0)
        self.assert_ok(self.copy(guest, str(written), '--shallow', '--transient-job'))
        self.assertEqual(3, len(self.source_of(guest).findall('source/host')))
        self.assert_moved(guest, destination)
