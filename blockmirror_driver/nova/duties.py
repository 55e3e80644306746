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
"""What Nova and Cinder have to be told once a swap has ended: each step once, in effect.

The steps are in the journal before the swap begins, for a guest that will have switched and for
one that will not. The driver does them before it returns to Nova's manager, whose own calls
are then held back (:mod:`blockmirror_driver.nova.guard`); what fails is done again later, also by
another process. So each looks at what is so before it acts, and a call whose answer was lost is
followed by a look, never by a blind repetition.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import nova.conf
from nova import exception as nova_exception
from nova import objects
from oslo_log import log as logging
from oslo_serialization import jsonutils

from blockmirror_driver import exception
from blockmirror_driver.nova import credentials
from blockmirror_driver.nova.attached import ConnectionInfo
from blockmirror_driver.nova.context import SwapContext
from blockmirror_driver.swap import growth
from blockmirror_driver.swap.duties import Duty, Side
from blockmirror_driver.xml import domain as xml_domain

if TYPE_CHECKING:
    from blockmirror_driver.nova.driver import LibvirtDriver

LOG = logging.getLogger(__name__)

MAPPING, GROW = 'mapping', 'grow'
#: In order. The old attachment goes only after the host has let go of the volume: a device that
#: is still there could show another's data (CVE-2023-2088). The secret of the new one takes the
#: place of the old one's, which goes with that volume. Nobody waits for the guest's new size.
SWITCHED = (MAPPING, 'complete', 'disconnect-old', 'secret', 'delete-old', 'completion', GROW)
KEPT = ('disconnect-new', 'roll-detaching', 'delete-new', 'completion-error')


class NovaDuties:
    """Does what is owed. Any thread may call; one swap is dealt with by one at a time."""

    def __init__(self, driver: LibvirtDriver) -> None:
        self._driver = driver
        self._locks: dict[str, threading.RLock] = collections.defaultdict(threading.RLock)

    def owe(self, swap_id: str) -> None:
        """Write down the steps of both ends, before anything is touched; again changes nothing.

        :raise JournalUnusable: not all of it is written.
        """
        journal = self._driver.engine.journal
        journal.duties.owe(swap_id, Side.SWITCHED, [(name, '') for name in SWITCHED])
        journal.duties.owe(swap_id, Side.KEPT, [(name, '') for name in KEPT])

    def settle(
        self,
        swap_id: str,
        *,
        context: Any = None,
        connections: Mapping[str, ConnectionInfo] | None = None,
    ) -> bool:
        """Do what is owed of a swap, up to the first step that fails. Never raises.

        :param context: of the request that asked for the swap, if there is one: its user has
            the rights.
        :param connections: connection_info by volume id, where the caller has them.
        :return: whether nothing is owed any more.
        """
        with self._locks[swap_id]:
            try:
                record = self._driver.engine.journal.record(swap_id)
                ids = SwapContext.from_json(record.door)
                if ids is None:
                    return True
                # Before the swap it may have failed; what is to be done follows from its end.
                self.owe(swap_id)
                steps = _Steps(self._driver, ids, context, connections or {})
                for duty in self._driver.engine.journal.duties.owed(swap_id):
                    if not self._do(duty, steps):
                        return False
            except exception.BlockmirrorError as error:
                LOG.warning('Swap %s: what is owed can not be read: %s', swap_id, error)
                return False
        return True

    def _do(self, duty: Duty, steps: _Steps) -> bool:
        duties = self._driver.engine.journal.duties
        try:
            steps.do(duty.name)
        except Exception as error:
            LOG.warning(
                'Swap %s: %s is to be done again later, %s: %s',
                duty.swap_id,
                duty.name,
                type(error).__name__,
                error,
            )
            LOG.debug('Swap %s: %s', duty.swap_id, duty.name, exc_info=True)
            duties.failed(duty, type(error).__name__)
            return False
        duties.done(duty.number)
        LOG.info('Swap %s: %s is done', duty.swap_id, duty.name)
        return True


class _Steps:
    """The steps of one swap."""

    def __init__(
        self,
        driver: LibvirtDriver,
        ids: SwapContext,
        context: Any,
        connections: Mapping[str, ConnectionInfo],
    ) -> None:
        self._driver = driver
        self._api = driver.volume_api
        self._ids = ids
        self._connections = connections
        self._is_right = False
        self._admin = credentials.admin_context()
        cinder = nova.conf.CONF.cinder
        #: Whose rights are tried, in order: a long copy outlives the token of its request.
        self._contexts = [] if context is None else [context]
        if context is None or cinder.auth_type or cinder.auth_section:
            self._contexts.append(self._admin)

    def do(self, name: str) -> None:
        """Do one step; what it raises says that it is to be done again."""
        steps: dict[str, Callable[[], None]] = {
            MAPPING: self._mapping,
            'complete': self._complete,
            'disconnect-old': lambda: self._disconnect(
                self._ids.old_volume_id, self._ids.old_attachment_id
            ),
            'secret': self._secret,
            'delete-old': lambda: self._delete(self._ids.old_attachment_id),
            'completion': lambda: self._completion(error=False),
            GROW: self._grow,
            'disconnect-new': lambda: self._disconnect(
                self._ids.new_volume_id, self._ids.new_attachment_id
            ),
            'roll-detaching': self._roll_detaching,
            'delete-new': lambda: self._delete(self._ids.new_attachment_id),
            'completion-error': lambda: self._completion(error=True),
        }
        if name not in (MAPPING, GROW):
            self._require_the_right_cinder()
        steps[name]()

    def _require_the_right_cinder(self) -> None:
        """Ask for the volume that is there in each end of a swap.

        "Not found" means a step that is done only from a Cinder that finds this one: a wrong
        address, or rights that reach nothing, look the same.

        :raise VolumeNotFound: Nova's; or what else keeps Cinder from answering.
        """
        if not self._is_right:
            self._ask('get', self._ids.old_volume_id)
            self._is_right = True

    def _ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call Cinder with the first rights that are good for it."""
        *others, last = self._contexts
        for context in others:
            try:
                return getattr(self._api, method)(context, *args, **kwargs)
            except (nova_exception.VolumeNotFound, nova_exception.VolumeAttachmentNotFound):
                raise
            except Exception as error:  # noqa: BLE001 - the next one may do
                LOG.debug('%s was refused with the rights of the request: %s', method, error)
        return getattr(self._api, method)(last, *args, **kwargs)

    def _connection_info(self, volume_id: str, attachment_id: str) -> ConnectionInfo | None:
        """Return how to connect a volume; ``None`` when its attachment is gone."""
        found = self._connections.get(volume_id)
        if found is None:
            try:
                found = self._ask('attachment_get', attachment_id)['connection_info']
            except nova_exception.VolumeAttachmentNotFound:
                return None
        if not found or not found.get('driver_volume_type'):
            return None
        found.setdefault('serial', volume_id)
        return found

    def _instance(self) -> Any:
        return objects.Instance.get_by_uuid(self._admin, self._ids.instance_uuid)

    def _mapping(self) -> None:
        """Let Nova's mapping name the new attachment; Cinder keeps the old volume's id."""
        ids = self._ids
        mapping = objects.BlockDeviceMapping.get_by_volume_and_instance(
            self._admin, ids.old_volume_id, ids.instance_uuid
        )
        if mapping.attachment_id == ids.new_attachment_id:
            return
        info = self._connection_info(ids.new_volume_id, ids.new_attachment_id)
        if info is None:
            raise nova_exception.VolumeAttachmentNotFound(attachment_id=ids.new_attachment_id)
        self._driver.mark_connected(info, self._instance())
        saved = {
            **info,
            'serial': ids.old_volume_id,
            'volume_id': ids.old_volume_id,
            'data': {**info['data'], 'volume_id': ids.old_volume_id},
        }
        mapping.connection_info = jsonutils.dumps(saved)
        mapping.attachment_id = ids.new_attachment_id
        mapping.save()

    def _complete(self) -> None:
        # Cinder only sets a status, so that repeating is safe.
        self._ask('attachment_complete', self._ids.new_attachment_id)

    def _disconnect(self, volume_id: str, attachment_id: str) -> None:
        info = self._connection_info(volume_id, attachment_id)
        if info is None:
            LOG.warning('Volume %s has no connection_info any more: not disconnected', volume_id)
            return
        self._driver.disconnect_volume(self._contexts[-1], info, self._instance())

    def _secret(self) -> None:
        """Let the passphrase of a new volume that is encrypted go by the id that Cinder keeps."""
        ids, dev = self._ids, self._ids.dev
        cited = None
        try:
            domain = self._driver.engine.hypervisor.domain(ids.instance_uuid)
            encryption = xml_domain.find(domain.xml(), dev).disk.encryption
        except (exception.DomainNotFound, exception.DiskNotFound):
            encryption = None
        if encryption is not None and encryption.secret is not None:
            cited = encryption.secret.uuid
        self._driver.take_over_secret(ids.old_volume_id, ids.new_volume_id, cited)

    def _grow(self) -> None:
        """Let the guest have all of a volume that is larger than its disk was.

        Nova makes each definition anew, without a part of a volume: what can't be done while
        the guest runs is so from its next hard reboot on.
        """
        engine, ids = self._driver.engine, self._ids
        try:
            if engine.hypervisor.domain(ids.instance_uuid).live_disk(ids.dev).disk.slice_size:
                growth.grow(engine.hypervisor, engine.journal, ids.instance_uuid, ids.dev)
        except (exception.DomainNotFound, exception.DiskNotFound):
            return
        except (exception.UnsupportedVolume, exception.WrongState) as error:
            LOG.info('The guest has the rest of its volume later, or has it: %s', error)

    def _delete(self, attachment_id: str) -> None:
        self._ask('attachment_delete', attachment_id)  # one that is gone is fine

    def _roll_detaching(self) -> None:
        if self._ask('get', self._ids.old_volume_id)['status'] == 'detaching':
            self._ask('roll_detaching', self._ids.old_volume_id)

    def _completion(self, *, error: bool) -> None:
        """Let Cinder end the migration, if it waits for that.

        An answer that was lost may have had its effect, so each attempt looks first.
        """
        ids = self._ids
        failure: Exception | None = None
        for context in self._contexts:
            if not self._is_awaited():
                return
            try:
                self._api.migrate_volume_completion(
                    context, ids.old_volume_id, ids.new_volume_id, error=error
                )
            except Exception as caught:  # noqa: BLE001 - raised below, or the next one may do
                failure = caught
            else:
                return
        if failure is not None:
            raise failure

    def _is_awaited(self) -> bool:
        """Tell whether Cinder waits for the end of this migration.

        :raise WrongState: it is just ending it.
        """
        ids = self._ids
        old = self._ask('get', ids.old_volume_id)
        try:
            new = self._ask('get', ids.new_volume_id)
        except nova_exception.VolumeNotFound:
            return False  # Cinder has exchanged the ids and deleted what was left over
        if old.get('migration_status') == 'completing':
            raise exception.WrongState(f'Cinder is completing the move of {ids.old_volume_id}')
        return bool(new.get('migration_status') == f'target:{ids.old_volume_id}')
