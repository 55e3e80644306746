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
"""Moves that Cinder waits for and nobody has begun: nova-compute died before the journal knew.

Cinder has no time limit of its own. Such a move is taken back: the guest never left its volume,
which is made sure of first. It is looked for at the start only, and acted upon under Nova's lock
of the instance: a request that is still on its way finds either all as it was, or no migration.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import nova.conf
from nova import objects
from nova import utils as nova_utils
from nova.volume import cinder
from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.nova import credentials
from blockmirror_driver.nova.context import SwapContext

if TYPE_CHECKING:
    from blockmirror_driver.nova.driver import LibvirtDriver

LOG = logging.getLogger(__name__)

#: Cinder's API that shows attachments, and their states.
_ATTACHMENTS = '3.44'
#: Volumes of these kinds carry Cinder's id in their name, so that the guest's XML tells them.
_NAMED = frozenset({'rbd', 'iscsi', 'nfs'})


def take_back(driver: LibvirtDriver) -> None:
    """Take back each stray of this host's guests, each guest's in a thread of its own.

    :raise Exception: of Nova's and Cinder's clients, from looking for them.
    """
    context = credentials.admin_context()
    for instance in objects.InstanceList.get_by_host(context, nova.conf.CONF.host):
        if _strays(driver, context, instance):
            threading.Thread(target=_locked, args=(driver, instance), daemon=True).start()


def _locked(driver: LibvirtDriver, instance: Any) -> None:
    context = credentials.admin_context()

    def act() -> None:
        for mapping in _strays(driver, context, instance):
            _take_back(driver, context, instance, mapping)

    try:
        nova_utils.synchronized(instance.uuid)(act)()
    except Exception:
        LOG.exception('A move that was never begun could not be taken back', instance=instance)


def _strays(driver: LibvirtDriver, context: Any, instance: Any) -> list[Any]:
    """Return the mappings of volumes that Cinder moves and the journal does not know."""
    known = _known(driver)
    mappings = objects.BlockDeviceMappingList.get_by_instance_uuid(context, instance.uuid)
    return [
        mapping
        for mapping in mappings
        if mapping.is_volume
        and mapping.volume_id
        and mapping.volume_id not in known
        and _is_migrating(driver, context, mapping.volume_id)
    ]


def _is_migrating(driver: LibvirtDriver, context: Any, volume_id: str) -> bool:
    return bool(driver.volume_api.get(context, volume_id).get('migration_status') == 'migrating')


def _known(driver: LibvirtDriver) -> set[str]:
    """Return the volumes of swaps that the journal takes care of."""
    journal = driver.engine.journal
    swaps = {record.id: record.door for record in journal.records(active_only=True)}
    for duty in journal.duties.owed():
        swaps[duty.swap_id] = journal.record(duty.swap_id).door
    found = [SwapContext.from_json(door) for door in swaps.values()]
    return {ids.old_volume_id for ids in found if ids is not None}


def attachments(context: Any, instance_uuid: str) -> list[Any]:
    """Return all that Cinder has attached to a server, complete or not."""
    client = cinder.cinderclient(context, microversion=_ATTACHMENTS)
    filters = {'instance_id': instance_uuid, 'all_tenants': True}
    found: list[Any] = client.attachments.list(detailed=True, search_opts=filters)
    return found


def _take_back(driver: LibvirtDriver, context: Any, instance: Any, mapping: Any) -> None:
    for attachment in attachments(context, instance.uuid):
        target = driver.volume_api.get(context, attachment.volume_id)
        if target.get('migration_status') != f'target:{mapping.volume_id}':
            continue
        if not _is_unused(driver, context, instance, attachment):
            LOG.warning(
                'Cinder waits for the move of volume %s to %s, which the guest may be on',
                mapping.volume_id,
                attachment.volume_id,
                instance=instance,
            )
            continue
        LOG.warning(
            'The move of volume %s to %s was never begun and is taken back',
            mapping.volume_id,
            attachment.volume_id,
            instance=instance,
        )
        driver.volume_api.attachment_delete(context, attachment.id)
        if driver.volume_api.get(context, mapping.volume_id)['status'] == 'detaching':
            driver.volume_api.roll_detaching(context, mapping.volume_id)
        driver.volume_api.migrate_volume_completion(
            context, mapping.volume_id, attachment.volume_id, error=True
        )


def _is_unused(driver: LibvirtDriver, context: Any, instance: Any, attachment: Any) -> bool:
    """Whether the guest has nothing of the new volume; it is disconnected then."""
    if attachment.status == 'reserved':
        return True  # this host was never told how to connect it
    info = driver.volume_api.attachment_get(context, attachment.id)['connection_info']
    if info.get('driver_volume_type') not in _NAMED:
        return False
    try:
        domain = driver.engine.hypervisor.domain(instance.uuid)
        texts = (domain.xml(), domain.xml(inactive=True))
    except exception.DomainNotFound:
        texts = ('', '')
    if any(attachment.volume_id in text for text in texts):
        return False
    info.setdefault('serial', attachment.volume_id)
    driver.disconnect_volume(context, info, instance)
    return True
