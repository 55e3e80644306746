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
"""P1, P2, P5: every pair of backends, while the guest writes."""

from __future__ import annotations

import testtools

from tests.functional.base import LabTestCase

NATIVE = ('rbd', 'iscsi', 'nfs')


class PairsTest(LabTestCase):
    def _pair(self, from_kind: str, to_kind: str) -> None:
        """The guest ends on the destination and every acknowledged write is there."""
        source = self.volume(from_kind, filled=True)
        destination = self.volume(to_kind)
        guest = self.writing_guest(source)
        result = self.swap(guest, destination)
        self.assert_ok(result)
        self.assert_on(guest, destination)
        self.assertEqual(source.id, self.source_of(guest).findtext('serial'))
        # It goes on writing, to the new volume only.
        guest.wait_acked(20)
        self.assert_survived(guest, destination)
        self.assert_nothing_left(guest)


def _add(from_kind: str, to_kind: str) -> None:
    def test(self: PairsTest) -> None:
        self._pair(from_kind, to_kind)

    test.__doc__ = f'{from_kind} to {to_kind}: nothing lost, nothing foreign.'
    setattr(PairsTest, f'test_{from_kind}_to_{to_kind}', test)


for _from in (*NATIVE, 'file'):
    for _to in NATIVE:
        _add(_from, _to)


class OtherKindsTest(LabTestCase):
    """Devices of the host and NBD exports, to and from network disks."""

    def _there_and_back(self, kind: str, **options: bool) -> None:
        """A guest on NFS is moved there, and on to rbd."""
        first, last = self.volume('nfs', filled=True), self.volume('rbd')
        between = self.volume(kind, **options)
        guest = self.writing_guest(first)
        for destination in (between, last):
            self.assert_ok(self.swap(guest, destination))
            self.assert_on(guest, destination)
            guest.wait_acked(20)
        self.assert_survived(guest, last)
        self.assert_nothing_left(guest)

    def test_a_device_of_the_host(self) -> None:
        self._there_and_back('block')

    def test_a_file_of_a_share(self) -> None:
        self._there_and_back('file')

    def test_nbd(self) -> None:
        self._there_and_back('nbd')

    def test_nbd_over_a_socket(self) -> None:
        self._there_and_back('nbd', unix=True)

    def test_an_export_that_is_not_there(self) -> None:
        source, destination = self.volume('file', filled=True), self.volume('nbd')
        guest = self.writing_guest(source)
        result = self.swap(guest, destination, export='nope')
        self.assert_error(result, 3, 'export')
        self.assert_on(guest, source)
        self.assert_survived(guest, source)
        self.assert_nothing_left(guest)


class LimitsTest(LabTestCase):
    def test_the_limits_follow_the_volume(self) -> None:
        """Cinder's front-end QoS of the destination, live and stored; nothing before the pivot."""
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        guest.domain.setBlockIoTune('vda', {'read_bytes_sec': 64 << 20}, 3)
        specs = {'total_iops_sec': '700', 'total_bytes_sec': '83886080', 'consumer': 'front-end'}
        self.assert_ok(self.swap(guest, destination, qos_specs=specs))
        self.assert_on(guest, destination)
        for flags in (1, 2):  # VIR_DOMAIN_AFFECT_LIVE, _CONFIG
            tuned = guest.domain.blockIoTune('vda', flags)
            tuned.pop('group_name', None)  # QEMU's own, of the running guest
            limits = {key: value for key, value in tuned.items() if value}
            self.assertEqual({'total_iops_sec': 700, 'total_bytes_sec': 80 << 20}, limits)
        guest.wait_acked(20)
        self.assert_survived(guest, destination)
        self.assert_nothing_left(guest)

    def test_a_destination_without_limits_leaves_those_of_the_disk(self) -> None:
        source, destination = self.volume('rbd', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        guest.domain.setBlockIoTune('vda', {'total_iops_sec': 900}, 3)
        self.assert_ok(self.swap(guest, destination))
        self.assertEqual(900, guest.domain.blockIoTune('vda', 1)['total_iops_sec'])
        self.assert_survived(guest, destination)


class PairsTableTest(testtools.TestCase):
    def test_all_twelve_pairs_are_there(self) -> None:
        tests = [name for name in dir(PairsTest) if '_to_' in name]
        self.assertEqual(12, len(tests))
