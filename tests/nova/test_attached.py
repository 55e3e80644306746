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
"""A volume is disconnected the way it was connected, whatever the options say now."""

from __future__ import annotations

from typing import Any
from unittest import mock

from nova import exception as nova_exception
from nova.virt.libvirt import config as vconfig

from blockmirror_driver import exception
from blockmirror_driver.model import RbdSource
from blockmirror_driver.swap.attachments import Attachment, AttachmentStore
from tests.nova.base import (
    INSTANCE_UUID,
    ISCSI,
    NFS,
    OLD_ID,
    RBD,
    NovaGuest,
    NovaTestCase,
    info_of,
)


class AttachedCase(NovaTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.stock = self.novas_own('iscsi')
        self.store = AttachmentStore(self.world.journal.path)

    def connect(self, info: dict[str, Any]) -> dict[str, Any]:
        self.driver._connect_volume(mock.sentinel.context, info, self.instance)
        return info

    def disconnect(self, info: dict[str, Any]) -> None:
        self.driver._disconnect_volume(mock.sentinel.context, info, self.instance)

    def seen(self, source_type: str, protocol: str | None = None) -> None:
        """Let the guest's XML show the disk."""
        conf = vconfig.LibvirtConfigGuestDisk()
        conf.serial, conf.source_type, conf.source_protocol = OLD_ID, source_type, protocol
        self.nova_guest = NovaGuest(conf)


class TestWays(AttachedCase):
    def test_by_default_rbd_alone_is_native(self) -> None:
        self.assertEqual('host', self.connect(info_of(ISCSI))['blockmirror']['how'])
        self.assertEqual('native', self.connect(info_of(RBD))['blockmirror']['how'])
        self.assertEqual(['connect'], self.stock.calls)

    def test_an_operator_opts_in(self) -> None:
        self.native('iscsi')
        self.assertEqual('native', self.connect(info_of(ISCSI))['blockmirror']['how'])
        self.assertEqual([], self.stock.calls)

    def test_an_encrypted_volume_is_left_to_nova(self) -> None:
        stock = self.novas_own('rbd')
        with mock.patch.object(self.driver, '_attach_encryptor'):
            self.connect(info_of(RBD, encrypted=True))
        self.assertEqual(['connect'], stock.calls)

    def test_a_kind_without_a_driver_of_ours_is_left_to_nova(self) -> None:
        stock = self.novas_own('fibre_channel')
        self.native('fibre_channel')
        info = info_of({'driver_volume_type': 'fibre_channel', 'data': {}, 'serial': OLD_ID})
        self.connect(info)
        self.disconnect(info)
        self.assertEqual(['connect', 'disconnect'], stock.calls)


class TestChanges(AttachedCase):
    def test_switched_off_the_native_one_is_disconnected_natively(self) -> None:
        self.native('iscsi')
        self.connect(info_of(ISCSI))
        self.native('rbd')
        self.disconnect(info_of(ISCSI))
        self.assertEqual([], self.stock.calls)
        self.connect(info_of(ISCSI))
        self.assertEqual(['connect'], self.stock.calls)

    def test_switched_on_the_hosts_device_is_disconnected(self) -> None:
        self.connect(info_of(ISCSI))
        self.native('iscsi')
        self.disconnect(info_of(ISCSI))
        self.assertEqual(['connect', 'disconnect'], self.stock.calls)

    def test_connecting_once_more_goes_the_recorded_way(self) -> None:
        self.connect(info_of(ISCSI))
        self.native('iscsi')
        self.connect(info_of(ISCSI))
        self.assertEqual(['connect', 'connect'], self.stock.calls)

    def test_a_connect_that_failed_is_not_remembered(self) -> None:
        self.stock.fails['connect'] = nova_exception.InternalError('no target')
        self.assertRaises(nova_exception.InternalError, self.connect, info_of(ISCSI))
        self.assertEqual((), self.store.all())

    def test_a_disconnect_that_failed_is_remembered(self) -> None:
        self.connect(info_of(ISCSI))
        self.stock.fails['disconnect'] = OSError('busy')
        self.assertRaises(OSError, self.disconnect, info_of(ISCSI))
        self.assertEqual(['host'], [found.how for found in self.store.all()])

    def test_the_id_that_cinder_gives_a_migrated_volume_does_not_matter(self) -> None:
        self.native('iscsi')
        info = self.connect(info_of(ISCSI))
        self.native()
        renamed = info_of(ISCSI)
        renamed['serial'] = renamed['data']['volume_id'] = 'another-id'
        self.disconnect(renamed)
        self.assertEqual([], self.stock.calls)
        self.assertEqual((), self.store.all())
        self.assertIn('blockmirror', info)

    def test_guests_do_not_mix(self) -> None:
        self.store.put(
            Attachment('another-guest', f'iscsi:{ISCSI["data"]["target_iqn"]}/1', 'x', 'o')
        )
        self.connect(info_of(ISCSI))
        self.disconnect(info_of(ISCSI))
        self.assertEqual(['another-guest'], [found.instance_uuid for found in self.store.all()])


class TestWithoutARecord(AttachedCase):
    """Connected before we were installed, or the journal is lost."""

    def test_the_mark_of_the_mapping(self) -> None:
        info = info_of(ISCSI)
        info['blockmirror'] = {'how': 'native', 'owner': 'someone'}
        self.disconnect(info)
        self.assertEqual([], self.stock.calls)

    def test_a_network_disk_in_the_guests_xml(self) -> None:
        self.seen('network', 'iscsi')
        self.disconnect(info_of(ISCSI))
        self.assertEqual([], self.stock.calls)

    def test_a_device_in_the_guests_xml(self) -> None:
        self.seen('block')
        self.native('iscsi')
        self.disconnect(info_of(ISCSI))
        self.assertEqual(['disconnect'], self.stock.calls)

    def test_no_guest_at_all(self) -> None:
        self.nova_guest = None
        self.native('iscsi')
        self.disconnect(info_of(ISCSI))
        self.assertEqual(['disconnect'], self.stock.calls)

    def test_rbd_is_novas_own(self) -> None:
        self.seen('network', 'rbd')
        stock = self.novas_own('rbd')
        self.disconnect(info_of(RBD))
        self.assertEqual(['disconnect'], stock.calls)

    def test_a_mark_that_makes_no_sense(self) -> None:
        for mark in ('native', {'how': 'x'}, {'how': ['native']}, {}, None, 7):
            info = info_of(ISCSI)
            info['blockmirror'] = mark
            self.disconnect(info)
        self.assertEqual(['disconnect'] * 6, self.stock.calls)


class TestAfterNovasOwnDriver(AttachedCase):
    """It connected volumes meanwhile, and knows nothing of our records."""

    def check(self, *network: str, busy: tuple[str, ...] = ()) -> list[str]:
        self.driver._attached.check(lambda _uuid: network, busy)
        return [found.volume for found in self.store.all()]

    def record(self, volume: str, how: str) -> None:
        self.store.put(Attachment(INSTANCE_UUID, volume, how, 'owner'))

    def test_a_native_one_that_is_no_network_disk_is_forgotten(self) -> None:
        self.record('nfs:a', 'native')
        self.record('nfs:b', 'native')
        self.assertEqual(['nfs:b'], self.check('nfs:b', 'nfs:c'))

    def test_a_hosts_one_that_is_a_network_disk_is_forgotten(self) -> None:
        self.record('nfs:a', 'host')
        self.record('nfs:b', 'host')
        self.record('rbd:p/c', 'host')
        self.assertEqual(['nfs:b', 'rbd:p/c'], self.check('nfs:a', 'rbd:p/c'))

    def test_what_is_being_moved_stays(self) -> None:
        self.record('nfs:a', 'native')
        self.assertEqual(['nfs:a'], self.check(busy=('nfs:a',)))

    def test_the_engine_looks_into_both_definitions_and_at_copies(self) -> None:
        engine = self.driver.engine
        self.assertEqual(set(), engine.network_disks('no-such-guest'))
        self.guest.live_source = RbdSource('p', 'live')
        self.guest.stored_source = RbdSource('p', 'stored')
        self.guest.mirrored = (RbdSource('p', 'copy'), 'no')
        self.assertEqual(
            {'rbd:p/live', 'rbd:p/stored', 'rbd:p/copy'}, engine.network_disks(self.guest.uuid)
        )


class TestJournal(AttachedCase):
    def setUp(self) -> None:
        super().setUp()
        full = exception.JournalUnusable('disk is full')
        for name in ('put', 'get', 'delete'):
            patched = mock.patch.object(AttachmentStore, name, side_effect=full)
            patched.start()
            self.addCleanup(patched.stop)

    def test_the_hosts_way_works_without_it(self) -> None:
        info = self.connect(info_of(ISCSI))
        self.disconnect(info)
        self.assertEqual(['connect', 'disconnect'], self.stock.calls)

    def test_a_native_way_is_not_gone_without_it(self) -> None:
        """Nobody could tell later whose secrets they are."""
        self.native('iscsi')
        error = self.assertRaises(nova_exception.InternalError, self.connect, info_of(ISCSI))
        self.assertIn('disk is full', str(error))

    def test_a_native_one_is_disconnected_all_the_same(self) -> None:
        info = info_of(NFS)
        info['blockmirror'] = {'how': 'native', 'owner': INSTANCE_UUID}
        self.disconnect(info)
        self.assertNotIn('blockmirror', info)
