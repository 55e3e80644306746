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
"""Our manager of volumes on Cinder's own class: what is copied by whom, and what is left."""

import logging
from types import SimpleNamespace
from typing import Any
from unittest import mock

import fixtures
import testtools
from cinder import context
from cinder import exception as cinder_exception
from cinder.volume import manager as stock
from oslo_config import cfg
from oslo_config import fixture as config_fixture

from blockmirror_driver import exception
from blockmirror_driver.cinder import manager
from blockmirror_driver.model import (
    Bytes,
    BytesPerSecond,
    IscsiSource,
    NfsSource,
    RbdSource,
    Seconds,
    Secret,
    SecretUsage,
)
from blockmirror_driver.qemu import copy

SOURCE_ID = '0a7f7c10-5f1c-4d0c-9c1b-000000000001'
TARGET_ID = '0a7f7c10-5f1c-4d0c-9c1b-000000000002'
CANARY = 'chap-canary-password'
KEYS = {'old-key': b'\x0a', 'new-key': b'\x0b'}
LUKS = {
    'provider': 'luks',
    'control_location': 'front-end',
    'cipher': 'aes-xts-plain64',
    'key_size': 256,
}
NFS: dict[str, Any] = {
    'driver_volume_type': 'nfs',
    'data': {'export': '192.0.2.1:/export', 'name': f'volume-{SOURCE_ID}', 'format': 'raw'},
}
ISCSI: dict[str, Any] = {
    'driver_volume_type': 'iscsi',
    'data': {
        'target_portal': '192.0.2.1:3260',
        'target_iqn': f'iqn.2026-01.example:volume-{TARGET_ID}',
        'target_lun': 1,
        'auth_method': 'CHAP',
        'auth_username': 'user',
        'auth_password': CANARY,
    },
}
RBD: dict[str, Any] = {
    'driver_volume_type': 'rbd',
    'data': {
        'name': f'volumes/volume-{TARGET_ID}',
        'hosts': ['192.0.2.1'],
        'ports': ['6789'],
        'cluster_name': 'ceph',
        'auth_enabled': True,
        'auth_username': 'cinder',
        'secret_uuid': '6cd1ba1c-2a4b-4c3f-9d3a-111111111111',
    },
}


def volume(volume_id: str, **fields: Any) -> SimpleNamespace:
    """A volume's row."""
    defaults = {
        'id': volume_id,
        'host': 'node@backend#pool',
        'migration_status': 'migrating',
        'encryption_key_id': None,
        'service_topic_queue': 'node@backend',
    }
    return SimpleNamespace(**{**defaults, **fields})


class Case(testtools.TestCase):
    """The manager without what its start would need; Cinder's ends are stand-ins."""

    def setUp(self) -> None:
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.settings = self.useFixture(config_fixture.Config(cfg.CONF))
        self.ctxt = context.get_admin_context()
        self.manager = manager.VolumeManager.__new__(manager.VolumeManager)
        self.manager.key_manager = mock.Mock()
        self.manager.key_manager.get = lambda _ctxt, key_id: mock.Mock(
            **{'get_encoded.return_value': KEYS[key_id]}
        )
        self.provider = self.module('volume_utils.db.volume_encryption_metadata_get')
        self.provider.return_value = {'provider': 'plain'}
        self.manager.configuration = mock.Mock(
            use_multipath_for_image_xfer=False, enforce_multipath_for_image_xfer=False
        )
        self.stock = self.replace(stock.VolumeManager, '_copy_volume_data')
        self.detached = self.replace(stock.VolumeManager, '_detach_volume')
        self.here = self.replace(stock.VolumeManager, 'initialize_connection')
        self.here.return_value = NFS
        self.there = self.module('rpcapi.VolumeAPI').return_value
        self.there.initialize_connection.return_value = ISCSI
        self.there.get_capabilities.return_value = {'sparse_copy_volume': True}
        connector = self.module('volume_utils.brick_get_connector_properties')
        connector.return_value = {'initiator': 'iqn.x:y'}
        self.copied = self.replace(copy, 'copy')
        self.copied.return_value = copy.Copied(Bytes(1 << 30), Seconds(2.0))
        self.source = volume(SOURCE_ID)
        self.target = volume(TARGET_ID, migration_status=f'target:{SOURCE_ID}')

    def replace(self, owner: Any, name: str) -> mock.Mock:
        patched: mock.Mock = self.useFixture(fixtures.MockPatchObject(owner, name)).mock
        return patched

    def module(self, name: str) -> mock.Mock:
        """Stand in for what the module under test has imported."""
        path = f'blockmirror_driver.cinder.manager.{name}'
        patched: mock.Mock = self.useFixture(fixtures.MockPatch(path)).mock
        return patched

    def option(self, **values: Any) -> None:
        self.settings.config(group='blockmirror', **values)

    def run_copy(self, remote: str | None = 'dest') -> None:
        self.manager._copy_volume_data(self.ctxt, self.source, self.target, remote)

    def wished(self) -> copy.Wishes:
        self.assertEqual(1, self.copied.call_count)
        wishes: copy.Wishes = self.copied.call_args.args[2]
        return wishes

    def assert_detached(self) -> None:
        """Both, the way they came, and without a device that was never there."""
        told = [(call.args[2].id, call.kwargs['remote']) for call in self.detached.mock_calls]
        self.assertEqual([(SOURCE_ID, False), (TARGET_ID, True)], told)
        for call in self.detached.mock_calls:
            self.assertIsNone(call.args[1])
            self.assertTrue(call.kwargs['force'])


class TestCopy(Case):
    def test_copied(self) -> None:
        """The source here, the destination by its own service; no secret in the log."""
        self.run_copy()
        source, to = self.copied.call_args.args[:2]
        self.assertIsInstance(source.source, NfsSource)
        self.assertIsInstance(to.source, IscsiSource)
        self.assertEqual(0, self.stock.call_count)
        self.assert_detached()
        self.assertIn('was copied to', self.log.output)
        self.assertNotIn(CANARY, self.log.output)

    def test_wishes(self) -> None:
        self.option(bandwidth=7, offline_verify=True, copy_timeout=60.0, probe_timeout=5.0)
        self.run_copy()
        self.assertEqual(
            copy.Wishes(
                target_is_zero=True,
                bandwidth=BytesPerSecond(7),
                verify=True,
                timeout=Seconds(60.0),
                open_timeout=Seconds(5.0),
            ),
            self.wished(),
        )

    def test_zero_only_where_true(self) -> None:
        """An iscsi backend has to say so; and only what was made for the copy is new."""
        for info, told, status, expected in (
            (ISCSI, {'sparse_copy_volume': True}, f'target:{SOURCE_ID}', True),
            (ISCSI, {'sparse_copy_volume': False}, f'target:{SOURCE_ID}', False),
            (ISCSI, {}, f'target:{SOURCE_ID}', False),
            (ISCSI, None, f'target:{SOURCE_ID}', False),
            (ISCSI, {'sparse_copy_volume': True}, None, False),
            (ISCSI, {'sparse_copy_volume': True}, 'target:another', False),
            (RBD, None, f'target:{SOURCE_ID}', True),
            (RBD, None, None, False),
            (NFS, None, f'target:{SOURCE_ID}', True),
        ):
            with self.subTest(kind=info['driver_volume_type'], told=told, status=status):
                self.copied.reset_mock()
                self.there.initialize_connection.return_value = info
                self.there.get_capabilities.return_value = told
                self.target.migration_status = status
                self.run_copy()
                self.assertIs(expected, self.wished().target_is_zero)

    def test_encrypted(self) -> None:
        """Each is opened with its own key; what is behind a key is not known to be zero."""
        self.provider.return_value = LUKS
        self.there.initialize_connection.return_value = RBD
        for before, after in ((None, 'new-key'), ('old-key', 'new-key'), ('old-key', None)):
            with self.subTest(before=before, after=after):
                self.copied.reset_mock()
                self.source.encryption_key_id, self.target.encryption_key_id = before, after
                self.run_copy()
                for disk, key_id in zip(self.copied.call_args.args, (before, after), strict=False):
                    expected = [] if key_id is None else [Secret(KEYS[key_id].hex())]
                    found = [one.value for one in disk.secrets if one.type is SecretUsage.VOLUME]
                    self.assertEqual(expected, found)
                    self.assertEqual(key_id is not None, disk.encryption is not None)
                self.assertIs(after is None, self.wished().target_is_zero)

    def test_initiator(self) -> None:
        """The backends hear the name that QEMU logs in by, also on a host without any."""
        connector = self.module('volume_utils.brick_get_connector_properties')
        connector.return_value = {'ip': '192.0.2.9'}
        self.option(iscsi_initiator_name='iqn.2026-01.example:cinder')
        self.run_copy()
        told = self.there.initialize_connection.call_args.args[2]
        self.assertEqual('iqn.2026-01.example:cinder', told['initiator'])
        to = self.copied.call_args.args[1].source
        self.assertEqual('iqn.2026-01.example:cinder', to.initiator)

    def test_ceph_conf_of_the_backend(self) -> None:
        """librados is given the file that this host's cinder.conf names for the backend."""
        self.there.initialize_connection.return_value = RBD
        known = mock.Mock()
        known.safe_get.return_value = '/etc/ceph/other.conf'
        found = self.module('volume_utils.get_backend_configuration')
        found.return_value = known
        self.run_copy()
        to = self.copied.call_args.args[1].source
        self.assertIsInstance(to, RbdSource)
        self.assertEqual('/etc/ceph/other.conf', to.config_file)
        self.assertEqual('backend', found.call_args.args[0])
        found.side_effect = cinder_exception.ConfigNotFound(path='')
        self.run_copy()
        self.assertIsNone(self.copied.call_args.args[1].source.config_file)

    def test_local(self) -> None:
        """Cinder reverts to a snapshot through the same step, both volumes here."""
        self.run_copy(remote=None)
        self.assertEqual(0, self.there.initialize_connection.call_count)
        self.assertEqual([False, False], [c.kwargs['remote'] for c in self.detached.mock_calls])


class TestFallback(Case):
    def test_never(self) -> None:
        self.option(offline_copy='never')
        self.run_copy()
        self.assertEqual((0, 1), (self.copied.call_count, self.stock.call_count))

    def test_what_we_do_not_know(self) -> None:
        """An unknown kind, one that QEMU does not encrypt or open, no qemu-img."""
        unknown = {'driver_volume_type': 'fibre_channel', 'data': {}}
        encrypted = {**ISCSI, 'data': {**ISCSI['data'], 'encrypted': True}}
        for info, key, error in (
            (unknown, None, None),
            (encrypted, None, None),
            (ISCSI, 'plain-key', None),
            (ISCSI, 'back-end-key', None),
            (ISCSI, None, exception.DestinationUnusable('no')),
            (ISCSI, None, exception.UsageError('no qemu-img')),
        ):
            for mode in ('auto', 'always'):
                with self.subTest(info=info['driver_volume_type'], key=key, error=error, m=mode):
                    self.option(offline_copy=mode)
                    self.stock.reset_mock()
                    self.detached.reset_mock()
                    self.there.initialize_connection.return_value = info
                    self.source.encryption_key_id = key
                    back = {**LUKS, 'control_location': 'back-end'}
                    self.provider.return_value = (
                        back if key == 'back-end-key' else {**LUKS, 'provider': 'plain'}
                    )
                    self.copied.side_effect = error
                    if mode == 'auto':
                        self.run_copy()
                        self.stock.assert_called_once_with(
                            self.ctxt, self.source, self.target, 'dest'
                        )
                    else:
                        self.assertRaises(cinder_exception.VolumeMigrationFailed, self.run_copy)
                        self.assertEqual(0, self.stock.call_count)
                    # What was opened for us is closed before Cinder opens it for itself.
                    opened = 0 if key else (2 if error else 1)
                    self.assertEqual(opened, self.detached.call_count)

    def test_half_a_copy_is_no_reason_for_another(self) -> None:
        """Once something was written the migration fails, and Cinder throws the new one away."""
        for error in (
            exception.CopyFailed('broke'),
            exception.TimedOut('slow'),
            exception.Cancelled('stop'),
        ):
            self.detached.reset_mock()
            self.copied.side_effect = error
            raised = self.assertRaises(cinder_exception.VolumeMigrationFailed, self.run_copy)
            self.assertIn(str(error), str(raised))
            self.assert_detached()
        self.assertEqual(0, self.stock.call_count)

    def test_source_does_not_connect(self) -> None:
        """What Cinder itself raises goes through, and the other end is closed."""
        self.here.side_effect = cinder_exception.VolumeBackendAPIException(data='no')
        self.assertRaises(cinder_exception.VolumeBackendAPIException, self.run_copy)
        self.assertEqual([TARGET_ID], [c.args[2].id for c in self.detached.mock_calls])

    def test_killed_copy_to_ceph(self) -> None:
        """Cinder deletes the image next; Ceph must have forgotten who had it open."""
        waits: list[float] = []
        event = self.module('threading.Event')
        event.return_value.wait.side_effect = waits.append
        self.there.initialize_connection.return_value = RBD
        self.copied.side_effect = exception.Cancelled('stop')
        self.assertRaises(cinder_exception.VolumeMigrationFailed, self.run_copy)
        self.assertEqual(1, len(waits))
        self.assertGreater(waits[0], 30)
        self.assert_detached()


class TestCancel(Case):
    def asked(self, **found: Any) -> bool:
        """What the copy is told, ten seconds later."""
        clock = self.module('time.monotonic')
        clock.side_effect = [0.0, 11.0, 11.0, 12.0]
        get = self.module('objects.Volume.get_by_id')
        get.configure_mock(**found)
        cancelled = manager._cancelled(self.ctxt, self.source)
        first = cancelled()
        # Not asked again at once.
        self.assertEqual(first, cancelled())
        self.assertLessEqual(get.call_count, 1)
        return first

    def test_still_wanted(self) -> None:
        self.assertFalse(self.asked(return_value=volume(SOURCE_ID)))

    def test_reset(self) -> None:
        """``reset-state`` of the migration ends the copy."""
        self.assertTrue(self.asked(return_value=volume(SOURCE_ID, migration_status=None)))

    def test_deleted(self) -> None:
        missing = cinder_exception.VolumeNotFound(volume_id=SOURCE_ID)
        self.assertTrue(self.asked(side_effect=missing))

    def test_database_away(self) -> None:
        """Not knowing is no reason to end it."""
        self.assertFalse(self.asked(side_effect=OSError()))

    def test_no_migration(self) -> None:
        """A copy for something else is not asked about."""
        self.source.migration_status = None
        self.assertFalse(manager._cancelled(self.ctxt, self.source)())


class TestProgress(Case):
    def test_lines(self) -> None:
        """A line for each tenth, not for each look."""
        progress = manager._Progress(SOURCE_ID)
        for percent in (1.0, 9.9, 10.0, 10.5, 35.0, 39.0, 40.0, 100.0):
            progress('copy', percent)
        lines = [line for line in self.log.output.splitlines() if 'copy' in line]
        self.assertEqual(
            ['10 %', '35 %', '40 %', '100 %'], [line.split('copy ')[1] for line in lines]
        )


class TestName(testtools.TestCase):
    def test_cinder_can_name_it(self) -> None:
        """``volume_manager`` takes a dotted name, and the class is Cinder's kind."""
        from oslo_utils import importutils

        made = importutils.import_class('blockmirror_driver.cinder.manager.VolumeManager')
        self.assertTrue(issubclass(made, stock.VolumeManager))
        self.assertIn('volume_manager', cfg.CONF)
