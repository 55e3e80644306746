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
"""What all kinds of volumes have in common, tried on each of them."""

from __future__ import annotations

from blockmirror_driver import disk_for, exception
from blockmirror_driver.model import Bytes, IoTune, Secret
from tests.unit.volume import cases
from tests.unit.volume.cases import ABSENT, mixed


class Common(cases.VolumeTestCase):
    """Runs for each kind, see the classes below."""

    def test_the_target_and_its_bus(self) -> None:
        for dev, bus in (('vda', 'virtio'), ('vdaa', 'virtio'), ('sdb', 'scsi'), ('hdc', 'ide')):
            disk = self.disk(target_dev=dev)
            self.assertEqual((dev, bus), (disk.target_dev, disk.bus))
        self.assertEqual('xen', self.disk(target_dev='xvda').bus)

    def test_discard(self) -> None:
        for given in mixed(True, 'true', 1):
            self.assertEqual('unmap', self.disk(discard=given).driver.discard)
        for given in mixed(False, 'false', 0, None, ABSENT):
            self.assertIsNone(self.disk(discard=given).driver.discard)
        self.refused(discard='perhaps')

    def test_detect_zeroes_from_the_option(self) -> None:
        conf = cases.options(detect_zeroes=True)
        self.assertEqual('unmap', self.disk(conf=conf, discard=True).driver.detect_zeroes)
        self.assertIsNone(self.disk(conf=conf, discard=False).driver.detect_zeroes)
        self.assertIsNone(self.disk(discard=True).driver.detect_zeroes)

    def test_detect_zeroes_from_the_volume(self) -> None:
        conf = cases.options(detect_zeroes=True)
        for given, expected in (('on', 'on'), ('unmap', 'unmap'), (True, 'unmap'), ('off', 'off')):
            disk = self.disk(conf=conf, discard=True, detect_zeroes=given)
            self.assertEqual(expected, disk.driver.detect_zeroes)
        disk = self.disk(discard=False, detect_zeroes='unmap')
        self.assertEqual('on', disk.driver.detect_zeroes)
        self.assertIn('does not allow discard', ' '.join(disk.notes))
        self.refused(detect_zeroes='zero')

    def test_access_mode(self) -> None:
        for given, readonly in (('rw', False), ('ro', True), (None, False), (ABSENT, False)):
            self.assertEqual(readonly, self.disk(access_mode=given).readonly)
        for given in mixed('RO', 'w', 5, True):
            self.refused(access_mode=given)

    def test_cacheable(self) -> None:
        self.assertEqual('writeback', self.disk(cacheable=True).driver.cache)
        for given in mixed(False, None, ABSENT):
            self.assertEqual('none', self.disk(cacheable=given).driver.cache)

    def test_block_sizes(self) -> None:
        disk = self.disk(logical_block_size='512', physical_block_size='4096')
        self.assertEqual(
            (Bytes(512), Bytes(4096)), (disk.logical_block_size, disk.physical_block_size)
        )
        for given in mixed(None, '', '0', 0, ABSENT):
            self.assertIsNone(self.disk(logical_block_size=given).logical_block_size)

    def test_block_sizes_that_qemu_refuses(self) -> None:
        for given in mixed('256', '513', '1000', -512, '4194304', 'x', '4096.0', True, [512]):
            with self.subTest(given):
                self.assertIn('logical_block_size', str(self.refused(logical_block_size=given)))
        self.refused(logical_block_size='4096', physical_block_size='512')

    def test_serial(self) -> None:
        self.assertEqual('s 1', self.disk({'serial': 's 1'}).serial)
        self.assertEqual('s-1', self.disk(serial='s-1').serial)
        self.assertEqual(cases.VOLUME_ID, self.disk(volume_id=cases.VOLUME_ID).serial)
        self.assertIsNone(self.disk(volume_id=ABSENT).serial)
        for given in mixed('a/b', 'ü', ' a', 5, 'a\n'):
            self.refused(serial=given)

    def test_volume_id(self) -> None:
        self.assertEqual(cases.VOLUME_ID, self.disk(volume_id=cases.VOLUME_ID).volume_id)
        disk = self.disk(volume_id='odd/id')
        self.assertEqual(('odd/id', None), (disk.volume_id, disk.serial))
        self.refused(volume_id=5)

    def test_multiattach(self) -> None:
        """It is marked, so that the plan refuses it."""
        for given in mixed(True, 'True', 1):
            self.assertTrue(self.disk({'multiattach': given}).shareable)
            self.assertTrue(self.disk(multiattach=given).shareable)
        for given in mixed(False, None, ABSENT):
            self.assertFalse(self.disk(multiattach=given).shareable)

    def test_encrypted(self) -> None:
        for given in mixed(True, 'true', '1'):
            self.refused(exception.EncryptedVolume, encrypted=given)
        for given in mixed(False, 'False', None, ABSENT):
            self.assertIsNone(self.disk(encrypted=given).encryption)
        self.refused(encrypted='luks')

    def test_encrypted_with_its_key(self) -> None:
        """The XML cites the passphrase, which is in no text; the other secrets stay."""
        key = Secret('sesame/passphrase')
        plain = self.disk()
        for given in (True, False):
            data = {**cases.DATA[self.kind], 'encrypted': given}
            info = {'driver_volume_type': self.kind, 'data': data}
            disk = disk_for(info, 'vda', conf=cases.options(), key=key)
            self.assertEqual((*plain.secrets, key), (*disk.secrets[:-1], disk.secrets[-1].value))
            self.assertIn('<encryption format="luks" engine="qemu">', disk.to_xml())
            self.assertNotIn('sesame', disk.to_xml() + repr(disk))
        for bad in ('', 'x' * 8193):
            with self.assertRaises(exception.UsageError):
                disk_for(info, 'vda', conf=cases.options(), key=Secret(bad))


class TestRbd(Common):
    kind = 'rbd'


class TestIscsi(Common):
    kind = 'iscsi'


class TestNfs(Common):
    kind = 'nfs'


class TestQos(cases.VolumeTestCase):
    kind = 'nfs'

    def tune(self, specs: object) -> IoTune | None:
        return self.disk(qos_specs=specs).iotune

    def test_limits(self) -> None:
        specs = {
            'read_bytes_sec': '1048576',
            'write_bytes_sec': 2097152,
            'total_iops_sec': '500',
            'read_bytes_sec_max': '4194304',
            'total_iops_sec_max': 1000,
            'size_iops_sec': '4096',
        }
        numbers = {key: int(value) for key, value in specs.items()}  # type: ignore[call-overload]
        self.assertEqual(IoTune(**numbers), self.tune(specs))

    def test_none(self) -> None:
        for specs in mixed(None, {}, {'total_bytes_sec': '0'}, {'total_iops_sec': None}, ABSENT):
            self.assertIsNone(self.tune(specs))

    def test_other_keys_are_noted(self) -> None:
        disk = self.disk(
            qos_specs={'total_iops_sec': '5', 'maxIOPS': '9', 'read_iops_sec_per_gb': '1'}
        )
        self.assertEqual(IoTune(total_iops_sec=5), disk.iotune)
        self.assertIn('2 keys', disk.notes[0])

    def test_what_libvirt_refuses(self) -> None:
        for specs in mixed(
            {'total_bytes_sec': 1, 'read_bytes_sec': 1},
            {'total_iops_sec': 1, 'write_iops_sec': 1},
            {'total_iops_sec_max': 1},
            {'total_iops_sec': 5, 'total_iops_sec_max': 4},
            {'read_iops_sec': 1, 'total_iops_sec_max': 1},
            {'total_bytes_sec': '-1'},
            {'total_bytes_sec': 'fast'},
            {'total_bytes_sec': 10**16},
            {'total_bytes_sec': 1.5},
            {'total_bytes_sec': True},
            {5: 5},
            [],
            'x',
            5,
        ):
            with self.subTest(specs):
                self.assertIn('data.qos_specs', str(self.refused(qos_specs=specs)))


del Common
