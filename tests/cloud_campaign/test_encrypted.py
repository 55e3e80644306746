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
"""Encrypted volumes of running servers: to LUKS, to another key, back, and what is refused."""

from __future__ import annotations

from tests.cloud.encrypted import MOVED_S, PATIENT, EncryptedTestCase, passphrases
from tests.cloud.interrupted import InterruptedTestCase


class EncryptedTest(EncryptedTestCase):
    def test_around(self) -> None:
        """Plain, LUKS, LUKS by another key, restarted in every way, and plain again."""
        server, other = self.server(), self.server()
        volume, dev = self.attached(server, 'rbd1')
        for volume_type in ('rbd2-luks-256', 'rbd1-luks-128'):
            volume = self.retyped(server, volume, dev, volume_type)
        self.assertEqual(2, len(self.seen))
        checksum = server.crc(dev, 0, 256 << 20)
        for kind in ('SOFT', 'HARD'):
            self.api.reboot(server, kind)
            self.assertEqual(checksum, server.crc(dev, 0, 256 << 20))
            self.assert_kept(server, volume, dev)
        self.api.stop(server)
        self.api.start(server)
        self.assertEqual(checksum, server.crc(dev, 0, 256 << 20))
        self.assert_agreed(server, volume, dev)
        self.api.detach(server, volume)
        self.assertEqual(self.before, passphrases(self.api.lab))
        dev = self.api.attach(other, volume)
        self.addCleanup(self._detach, other, volume)
        self.assertEqual(checksum, other.crc(dev, 0, 256 << 20))
        self.retyped(other, volume, dev, 'rbd2')
        self.assert_not_told()

    def test_migrated_with_its_key(self) -> None:
        """Between backends, without a retype, the new volume has the key of the old one."""
        specs = {'storage_protocol': 'ceph', **PATIENT}
        self.api.volume_type('rbdany-luks', specs, luks_bits=256)
        server = self.server()
        volume, dev = self.attached(server, 'rbdany-luks')
        key_id = self.api.key_id(volume.id)
        backend = 'rbd2' if volume.backend == 'rbd1' else 'rbd1'
        self.writing(server, dev)
        self.api.migrate(volume, backend)
        self.api.wait_moved(volume.id, MOVED_S)
        volume = self.assert_moved(server, volume, dev, backend)
        self.assertEqual(key_id, self.api.key_id(volume.id))
        self.assert_kept(server, volume, dev)

    def test_without_a_server(self) -> None:
        """cinder-volume copies through the keys: to LUKS, to another key, and back."""
        server = self.server()
        volume, dev = self.attached(server, 'rbd1')
        self.writing(server, dev)
        server.stop_writers(dev)
        checksum = server.crc(dev, 0, 256 << 20)
        self.api.detach(server, volume)
        for volume_type in ('rbd2-luks-256', 'rbd1-luks-128', 'rbd2'):
            self.api.retype(volume, volume_type)
            volume = self.api.wait_moved(volume.id, MOVED_S)
            self.assertEqual(
                ('available', 'success', volume_type),
                (volume.status, volume.migration_status, volume.volume_type),
            )
            dev = self.api.attach(server, volume)
            self.assertEqual(checksum, server.crc(dev, 0, 256 << 20), volume_type)
            self.assert_kept(server, volume, dev)
            self.api.detach(server, volume)
        self.assert_not_told()

    def test_backends_whose_volumes_do_not_fit(self) -> None:
        """Refused, and all is as it was.

        Cinder's target class leaves formatting to os-brick, which has no device of a network
        disk. Its nfs driver makes an encrypted qcow2 and calls it raw, so that Nova formats the
        file once more.
        """
        server = self.server()
        volume, dev = self.attached(server, 'rbd1')
        for backend in ('iscsi1', 'nfs1'):
            name = f'{backend}-luks'
            specs = {'volume_backend_name': backend, **PATIENT}
            self.api.volume_type(name, specs, luks_bits=256)
            self.writing(server, dev)
            self.api.retype(volume, name)
            ended = self.api.wait_moved(volume.id, MOVED_S)
            self.assertEqual(
                ('in-use', 'error', 'rbd1'),
                (ended.status, ended.migration_status, ended.volume_type),
            )
            server.wait_acked(20)
            self.assert_survived(server, ended, dev)
            self.assert_agreed(server, ended, dev)
            self.assert_kept(server, ended, dev)


class KilledTest(EncryptedTestCase, InterruptedTestCase):
    def test_around_the_exchange_of_the_secrets(self) -> None:
        """nova-compute dies; the next one finds the secret that the guest needs."""
        server = self.server()
        volume, dev = self.attached(server, 'rbd1')
        for where, volume_type, ends in (
            ('after:disconnect-old', 'rbd2-luks-256', 'success'),
            ('before:planned', 'rbd1-luks-128', 'error'),
            ('after:secret', 'rbd1-luks-128', 'success'),
        ):
            self.doom(where)
            self.writing(server, dev)
            self.api.retype(volume, volume_type)
            self.await_death(where)
            server.wait_acked(20)
            self.restart()
            volume = self.assert_settled(server, volume, dev)
            self.assertEqual(ends, volume.migration_status)
            print(f'killed {where}: the move ended in {ends}', flush=True)
            self.assert_kept(server, volume, dev)
