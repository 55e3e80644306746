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
"""What a migration left over is deleted after its attachments have moved: Cinder's own rows.

Cinder's completion runs as it is, on a database of its own, and the service that it asks for the
deletion is quicker than it: the worst that a quick backend and a busy host can do.
"""

import threading
import uuid
from pathlib import Path
from typing import Any
from unittest import mock

import fixtures
import testtools
from cinder import context, coordination, objects
from cinder import exception as cinder_exception
from cinder.db import api as db
from cinder.db import models
from cinder.volume import manager as stock
from cinder.volume import rpcapi
from oslo_config import cfg
from oslo_config import fixture as config_fixture
from oslo_db.sqlalchemy import enginefacade

from blockmirror_driver.cinder import manager

PROJECT = 'a-project'


class LeftoverTest(testtools.TestCase):
    """A migrated volume of a running server, at the moment when Nova says that it is done."""

    def setUp(self) -> None:
        super().setUp()
        objects.register_all()
        self.ctxt = context.RequestContext('user', PROJECT, is_admin=True)
        self._database()
        self._type = self._make(models.VolumeType, name='any')
        self.old = self._volume(status='retyping', migration_status='migrating')
        self.new = self._volume(status='available', migration_status=f'target:{self.old.id}')
        # As Nova leaves them: the old attachment is deleted, and the new one complete.
        self.old.update({'status': 'available', 'attach_status': 'detached'})
        self.old.save()
        self.new.update({'status': 'in-use', 'attach_status': 'attached'})
        self.new.save()
        values = {
            'volume_id': self.new.id,
            'attach_status': 'attached',
            'instance_uuid': str(uuid.uuid4()),
        }
        self.attachment = db.volume_attach(self.ctxt, values)
        coordination.COORDINATOR.start()
        self.addCleanup(coordination.COORDINATOR.stop)
        self.api = self.useFixture(fixtures.MockPatchObject(rpcapi, 'VolumeAPI')).mock.return_value

    def _database(self) -> None:
        """Cinder's tables in a file of the test's."""
        folder = Path(self.useFixture(fixtures.TempDir()).path)
        path = folder / 'cinder.sqlite'
        settings = self.useFixture(config_fixture.Config(cfg.CONF))
        settings.config(backend_url=f'file://{folder}', group='coordination')
        facade = enginefacade.transaction_context()
        facade.configure(connection=f'sqlite:///{path}')
        self.addCleanup(db.main_context_manager.patch_factory(facade._factory))
        models.BASE.metadata.create_all(db.get_engine())

    def _make(self, model: Any, **values: Any) -> str:
        row = model(id=str(uuid.uuid4()), **values)
        with db.main_context_manager.writer.using(self.ctxt) as session:
            session.add(row)
        return str(row.id)

    def _volume(self, **values: Any) -> objects.Volume:
        made = self._make(
            models.Volume,
            project_id=PROJECT,
            size=1,
            use_quota=False,
            host='node@backend#pool',
            previous_status='in-use',
            volume_type_id=self._type,
            **values,
        )
        return objects.Volume.get_by_id(self.ctxt, made)

    def manager_of(self, base: Any) -> Any:
        """A manager whose backend is at work, without what its start would need."""

        made = base.__new__(base)
        made.driver = mock.Mock(initialized=True)
        made.configuration = mock.Mock()
        self.useFixture(fixtures.MockPatchObject(base, '_check_is_our_resource'))
        return made

    def complete(self, owner: Any, quick: Any) -> None:
        self.api.delete_volume.side_effect = quick
        owner.migrate_volume_completion(self.ctxt, self.old, self.new)

    def attachments(self, volume_id: str) -> list[str]:
        found = objects.VolumeAttachmentList.get_all_by_volume_id(self.ctxt, volume_id)
        return [one.id for one in found]

    def test_stock_cinder_loses_the_attachment(self) -> None:
        """The reason for all this: should this test fail, Cinder has mended it."""
        owner = self.manager_of(stock.VolumeManager)
        self.complete(owner, owner.delete_volume)
        self.assertEqual([], self.attachments(self.old.id))

    def test_ours_deletes_afterwards(self) -> None:
        owner = self.manager_of(manager.VolumeManager)
        began = threading.Event()
        threads: list[threading.Thread] = []
        looked = objects.VolumeAttachmentList.get_all_by_volume_id

        def look(ctxt: Any, volume_id: str) -> Any:
            found = looked(ctxt, volume_id)
            began.set()
            return found

        def quick(ctxt: Any, volume: Any) -> None:
            threads.append(threading.Thread(target=owner.delete_volume, args=(ctxt, volume)))
            threads[0].start()
            # It has looked, and found them, before Cinder goes on.
            self.assertTrue(began.wait(30))

        self.useFixture(
            fixtures.MockPatchObject(objects.VolumeAttachmentList, 'get_all_by_volume_id', look)
        )
        self.complete(owner, quick)
        threads[0].join(60)
        self.assertFalse(threads[0].is_alive())
        self.assertEqual([self.attachment['id']], self.attachments(self.old.id))
        self.assertRaises(
            cinder_exception.VolumeNotFound, objects.Volume.get_by_id, self.ctxt, self.new.id
        )

    def test_they_never_move(self) -> None:
        """Cinder died in between: nothing is deleted."""
        self.useFixture(fixtures.MockPatchObject(manager, '_MOVED_WITHIN', 0.0))
        owner = self.manager_of(manager.VolumeManager)
        self.new.update({'status': 'deleting', 'migration_status': 'deleting'})
        self.new.save()
        self.assertRaises(
            cinder_exception.VolumeAttached, owner.delete_volume, self.ctxt, self.new
        )
        self.assertEqual([self.attachment['id']], self.attachments(self.new.id))

    def test_others_are_not_waited_for(self) -> None:
        owner = self.manager_of(manager.VolumeManager)
        owner.delete_volume(self.ctxt, self.old)
        self.assertRaises(
            cinder_exception.VolumeNotFound, objects.Volume.get_by_id, self.ctxt, self.old.id
        )
