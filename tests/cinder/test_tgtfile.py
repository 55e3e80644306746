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
"""The file-backed iSCSI driver, with Cinder's own classes and without a tgtd."""

import logging
import pathlib
import re
import stat
from typing import Any
from unittest import mock

import fixtures
import testtools
from cinder import exception
from cinder.interface import volume_driver
from cinder.volume import configuration, manager
from oslo_concurrency import processutils
from oslo_config import cfg
from oslo_config import fixture as config_fixture

from blockmirror_driver.cinder import tgtfile
from blockmirror_driver.cinder.target import FileTarget
from blockmirror_driver.conf import cinder as conf

VOLUME_ID = '0a7f7c10-5f1c-4d0c-9c1b-000000000001'
OTHER_ID = '0a7f7c10-5f1c-4d0c-9c1b-000000000002'
PREFIX = 'iqn.2026-01.example.test:'


class Record(dict[str, Any]):
    """A row, as Cinder's objects show it to drivers."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def volume(volume_id: str = VOLUME_ID, **fields: Any) -> Record:
    """A volume's row."""
    return Record(
        {
            'id': volume_id,
            'name': f'volume-{volume_id}',
            'size': 1,
            'attach_status': 'detached',
            'volume_attachment': [],
            'provider_auth': None,
            'provider_location': None,
            '_name_id': None,
            **fields,
        }
    )


def names(directory: pathlib.Path) -> list[str]:
    """What is in a directory."""
    return [path.name for path in directory.iterdir()]


class Tgt:
    """tgt-admin and tgtadm, as far as Cinder's privsep functions call them."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.targets: list[str] = []
        self.fails = False

    def update(self, name: str, force: bool = False) -> tuple[str, str]:
        if self.fails:
            raise processutils.ProcessExecutionError(exit_code=1, stderr='tgtd is not there')
        assert (self.directory / name.split(':')[1]).read_text().startswith(f'<target {name}>')
        self.targets.append(name)
        return '', ''

    def show(self) -> tuple[str, str]:
        return '\n'.join(
            f'Target {n}: {name}\n        LUN: 0\n        LUN: 1'
            for n, name in enumerate(dict.fromkeys(self.targets), 1)
        ), ''

    def delete(self, name: str, force: bool = False) -> None:
        self.targets = [one for one in self.targets if one != name]


class Case(testtools.TestCase):
    """A driver whose directories are its own."""

    def setUp(self) -> None:
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.files, self.targets = self.root / 'files', self.root / 'targets'
        self.tgt = Tgt(self.targets)
        for name, fake in {
            'tgtadmin_update': self.tgt.update,
            'tgtadmin_show': self.tgt.show,
            'tgtadmin_delete': self.tgt.delete,
        }.items():
            self.useFixture(fixtures.MockPatch(f'cinder.privsep.targets.tgt.{name}', fake))
        self.settings = self.useFixture(config_fixture.Config(cfg.CONF))
        options = configuration.Configuration(manager.volume_backend_opts, config_group='tf')
        options.append_config_values(conf.BACKEND_OPTS)
        self.configuration = options
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.driver = self.make()
        self.driver.do_setup(None)
        self.driver.check_for_setup_error()

    def make(self, **overrides: Any) -> tgtfile.TgtFileDriver:
        values = {
            'tgtfile_directory': str(self.files),
            'volumes_dir': str(self.targets),
            'target_prefix': PREFIX,
            'target_ip_address': '192.0.2.1',
            **overrides,
        }
        made = tgtfile.TgtFileDriver(
            configuration=self.configuration,
            db=mock.Mock(),
            host='host@tf',
            execute=processutils.execute,
        )
        for name, value in values.items():
            self.settings.config(group='tf', **{name: value})
        made.target_driver = FileTarget(configuration=self.configuration)
        made.target_driver.db = mock.Mock()
        made.target_driver.db.volume_get.side_effect = lambda _context, _id: self.row
        return made

    row: Record = volume()

    def path(self, record: Record | None = None) -> pathlib.Path:
        """A volume's file."""
        return pathlib.Path(self.driver.local_path(record or volume()))

    def put(self, record: Record, data: bytes = b'data', at: int = 1 << 20) -> pathlib.Path:
        """Write into a volume's file."""
        path = self.path(record)
        with path.open('r+b') as stream:
            stream.seek(at)
            stream.write(data)
        return path


class TestInterface(testtools.TestCase):
    def test_core(self) -> None:
        """It has all that Cinder asks of a driver, by Cinder's own check."""
        self.assertTrue(issubclass(tgtfile.TgtFileDriver, volume_driver.VolumeDriverCore))
        names = {option.name for option in tgtfile.TgtFileDriver.get_driver_options()}
        self.assertLessEqual({'tgtfile_directory', 'target_prefix', 'volumes_dir'}, names)


class TestSetup(Case):
    def test_private(self) -> None:
        """The directory of the volumes is for nobody else."""
        self.assertEqual(0o700, stat.S_IMODE(self.files.stat().st_mode))

    def test_refused(self) -> None:
        """Values that would mean something else in tgtd's configuration."""
        for name, value in {
            'tgtfile_directory': 'relative',
            'volumes_dir': '/a/../b',
            'target_prefix': 'iqn.2026-01.example',
        }.items():
            with self.subTest(name):
                driver = self.make(**{name: value})
                self.assertRaises(
                    exception.VolumeBackendAPIException, driver.check_for_setup_error
                )
        driver = self.make(tgtfile_directory='/a b>\n<c')
        self.assertRaises(exception.VolumeBackendAPIException, driver.check_for_setup_error)


class TestVolumes(Case):
    def test_create(self) -> None:
        """A volume is sparse, of its exact size, and nobody else's to read."""
        self.driver.create_volume(volume())
        found = self.path().stat()
        self.assertEqual((1 << 30, 0), (found.st_size, found.st_blocks))
        self.assertEqual(0o600, stat.S_IMODE(found.st_mode))

    def test_create_again(self) -> None:
        """What is there is never reused: it would hold someone's data."""
        self.driver.create_volume(volume())
        self.assertRaises(exception.VolumeBackendAPIException, self.driver.create_volume, volume())

    def test_names(self) -> None:
        """No name leaves the directory."""
        for name in ('../x', 'a/b', '.hidden', '', 'a b', 'x\n', '-x'):
            self.assertRaises(
                exception.VolumeBackendAPIException, self.driver.local_path, {'name': name}
            )

    def test_delete(self) -> None:
        """Deleting twice is fine."""
        self.driver.create_volume(volume())
        self.driver.delete_volume(volume())
        self.driver.delete_volume(volume())
        self.assertEqual([], names(self.files))

    def test_extend(self) -> None:
        """It grows, and never shrinks."""
        self.driver.create_volume(volume())
        self.driver.extend_volume(volume(), 2)
        self.assertEqual(2 << 30, self.path().stat().st_size)
        self.assertRaises(
            exception.VolumeBackendAPIException, self.driver.extend_volume, volume(), 1
        )

    def test_clone(self) -> None:
        """A clone has the data, its own size, and the holes."""
        self.driver.create_volume(volume())
        self.put(volume())
        clone = volume(OTHER_ID, size=2)
        self.driver.create_cloned_volume(clone, volume())
        path = self.path(clone)
        with path.open('rb') as stream:
            stream.seek(1 << 20)
            self.assertEqual(b'data', stream.read(4))
        self.assertEqual(2 << 30, path.stat().st_size)
        self.assertLess(path.stat().st_blocks * 512, 1 << 20)
        self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))

    def test_snapshot(self) -> None:
        """A snapshot keeps what the volume was."""
        self.driver.create_volume(volume())
        self.put(volume(), b'before')
        taken = Record(id=OTHER_ID, name=f'snapshot-{OTHER_ID}', volume=volume())
        taken['volume_name'] = volume().name
        self.driver.create_snapshot(taken)
        self.put(volume(), b'after!')
        made = volume(OTHER_ID)
        self.driver.create_volume_from_snapshot(made, taken)
        self.driver.delete_snapshot(taken)
        with self.path(made).open('rb') as stream:
            stream.seek(1 << 20)
            self.assertEqual(b'before', stream.read(6))

    def test_copy_of_attached(self) -> None:
        """Without reflinks an attached volume is refused, and nothing is left."""
        self.driver.create_volume(volume())
        self.driver._execute = mock.Mock(side_effect=processutils.ProcessExecutionError)
        used = volume(attach_status='attached')
        error = self.assertRaises(
            exception.VolumeBackendAPIException,
            self.driver.create_cloned_volume,
            volume(OTHER_ID),
            used,
        )
        self.assertIn('no reflinks', str(error))
        self.assertEqual(1, self.driver._execute.call_count)
        self.assertEqual([volume().name], names(self.files))

    def test_image(self) -> None:
        """A volume made of an image has its own size again afterwards."""
        self.driver.create_volume(volume())

        def fetch(*args: Any, **_kwargs: Any) -> None:
            pathlib.Path(args[3]).write_bytes(b'image')

        with mock.patch('cinder.image.image_utils.fetch_to_raw', fetch):
            self.driver.copy_image_to_volume(None, volume(), None, 'image')
        self.assertEqual(1 << 30, self.path().stat().st_size)

    def test_upload(self) -> None:
        """An image service gets the volume's bytes, by Cinder's own code for it."""
        self.driver.create_volume(volume())
        self.put(volume(), b'data', at=0)
        service, got = mock.Mock(), []

        def update(_context: Any, _id: str, _meta: Any, stream: Any, **_kwargs: Any) -> None:
            got.append(stream.read(4))

        service.update.side_effect = update
        meta = {'id': OTHER_ID, 'disk_format': 'raw', 'container_format': 'bare'}
        kind = Record(extra_specs={})
        uploaded = volume(volume_type=kind, glance_metadata=None)
        self.driver.copy_volume_to_image(None, uploaded, service, meta)
        self.assertEqual([b'data'], got)

    def test_stats(self) -> None:
        """Room is the file system's, what is promised is counted, and the rest is honest."""
        self.driver.create_volume(volume(size=3))
        stats = self.driver.get_volume_stats(refresh=True)
        self.assertEqual((3.0, 1), (stats['provisioned_capacity_gb'], stats['total_volumes']))
        self.assertGreater(stats['total_capacity_gb'], stats['free_capacity_gb'])
        self.assertFalse(stats['online_extend_support'] or stats['multiattach'])
        self.assertTrue(stats['thin_provisioning_support'] and stats['sparse_copy_volume'])


class TestExports(Case):
    def export(self, **fields: Any) -> Record:
        self.driver.create_volume(volume(**fields))
        exported = volume(**fields)
        exported.update(self.driver.create_export(None, exported, {}))
        return exported

    def test_export(self) -> None:
        """CHAP without being asked for; the password in a private file and in no log."""
        exported = self.export()
        self.assertEqual(f'192.0.2.1:3260,1 {PREFIX}{exported.name} 1', exported.provider_location)
        method, _user, password = exported.provider_auth.split()
        self.assertEqual('CHAP', method)
        file = self.targets / exported.name
        self.assertEqual(0o600, stat.S_IMODE(file.stat().st_mode))
        self.assertIn(password, file.read_text())
        self.assertNotIn(password, self.log.output)
        self.assertEqual([exported.name], names(self.targets))

    def test_connection(self) -> None:
        """What Nova is told: address, CHAP, and that the unit takes discard."""
        exported = self.export()
        info = self.driver.initialize_connection(exported, {'initiator': 'iqn.x'})
        self.assertEqual('iscsi', info['driver_volume_type'])
        self.assertEqual(f'{PREFIX}{exported.name}', info['data']['target_iqn'])
        self.assertEqual(
            (1, True, 'CHAP'),
            (info['data']['target_lun'], info['data']['discard'], info['data']['auth_method']),
        )
        self.assertRaises(exception.InvalidConnectorException, self.driver.validate_connector, {})

    def test_a_target_in_use_by_two_hosts_is_kept(self) -> None:
        """As in a live migration; Cinder removes the export unless it is told."""
        here, there = Record({'connector': {'host': 'a'}}), Record({'connector': {'host': 'b'}})
        reserved = Record({'connector': None})
        for attachments, kept in (([here, there], True), ([here, reserved], False)):
            exported = volume(volume_attachment=attachments)
            self.assertIs(kept, self.driver.terminate_connection(exported, here.connector))

    def test_ensure(self) -> None:
        """After a restart the target is back, with the same password."""
        self.row = self.export()
        before = (self.targets / self.row.name).read_text()
        self.tgt.targets.clear()
        self.driver.ensure_export(None, self.row)
        self.assertEqual([f'{PREFIX}{self.row.name}'], self.tgt.targets)
        self.assertEqual(before, (self.targets / self.row.name).read_text())

    def test_remove(self) -> None:
        """Target and file are gone; once more is fine."""
        exported = self.export()
        self.driver.remove_export(None, exported)
        self.driver.remove_export(None, exported)
        self.assertEqual(([], []), (self.tgt.targets, names(self.targets)))

    def test_refused_by_tgtd(self) -> None:
        """No file is left of a target that was not made; one that was there stays."""
        self.driver.create_volume(volume())
        self.tgt.fails = True
        self.useFixture(fixtures.MockPatchObject(FileTarget, '_do_tgt_update', self.tgt.update))
        self.assertRaises(
            exception.ISCSITargetCreateFailed, self.driver.create_export, None, volume(), {}
        )
        self.assertEqual([], names(self.targets))
        self.assertIn('tgtd is not there', self.log.output)
        (self.targets / volume().name).write_text('known')
        self.assertRaises(
            exception.ISCSITargetCreateFailed, self.driver.create_export, None, volume(), {}
        )
        self.assertEqual([volume().name], names(self.targets))

    def test_never_without_chap(self) -> None:
        """A target that anybody could open is not made."""
        self.assertRaises(
            exception.ISCSITargetCreateFailed,
            self.driver.target_driver.create_iscsi_target,
            f'{PREFIX}x',
            0,
            1,
            '/x',
        )


class TestMigration(Case):
    def test_names(self) -> None:
        """In use or not, the record names the file that was made; no file is renamed."""
        new = volume(OTHER_ID, provider_location=f'192.0.2.1:3260,1 {PREFIX}new 1')
        self.driver.create_volume(new)
        for status in ('in-use', 'available'):
            told = self.driver.update_migrated_volume(None, volume(), new, status)
            self.assertEqual(
                {'_name_id': OTHER_ID, 'provider_location': new.provider_location}, told
            )
        again = volume(OTHER_ID, _name_id='third')
        told = self.driver.update_migrated_volume(None, volume(), again, 'available')
        self.assertEqual('third', told['_name_id'])
        self.assertEqual([new.name], names(self.files))


class TestTargetFile(Case):
    def test_form(self) -> None:
        """One target, one unit with UNMAP, one user."""
        self.driver.create_volume(volume())
        self.driver.create_export(None, volume(), {})
        text = (self.targets / volume().name).read_text()
        path = re.escape(self.driver.local_path(volume()))
        self.assertRegex(text, rf'<backing-store {path}>\n +params thin_provisioning=1\n')
        self.assertEqual(1, text.count('incominguser '))
