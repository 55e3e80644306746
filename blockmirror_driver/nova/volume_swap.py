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
"""One call of ``swap_volume``: what Nova's manager asks for, done by our engine.

Before the switch a failure is raised as what the manager expects, with the reason in it, and
the new volume is disconnected, unless its block job may still run. After it nothing raises:
the manager would answer by deleting the volume that the guest is on.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import nova.conf
from nova import exception as nova_exception
from nova import objects
from nova.virt.block_device import get_volume_id
from nova.virt.libvirt import blockinfo
from nova.volume import cinder
from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Disk, IoTune
from blockmirror_driver.nova import encryption, preflight, settings
from blockmirror_driver.nova.attached import ConnectionInfo
from blockmirror_driver.nova.context import SwapContext
from blockmirror_driver.swap.ledger import Observer
from blockmirror_driver.swap.record import Outcome, SwapEvent
from blockmirror_driver.swap.request import SwapRequest
from blockmirror_driver.swap.states import SWITCHED
from blockmirror_driver.xml import disk as xml_disk

if TYPE_CHECKING:
    from blockmirror_driver.nova.driver import LibvirtDriver

LOG = logging.getLogger(__name__)

#: Cinder's API of attachments that are completed.
_ATTACHMENTS = '3.44'
#: Seconds between two lines of progress in the log.
_PROGRESS_EVERY = 30.0


class VolumeSwap:
    """One disk of one guest, from one volume to another. One thread uses it, once."""

    def __init__(  # noqa: PLR0917 - in the order of Nova's call
        self,
        driver: LibvirtDriver,
        context: Any,
        instance: Any,
        mountpoint: str,
        old_connection_info: ConnectionInfo,
        new_connection_info: ConnectionInfo,
    ) -> None:
        self._driver = driver
        self._context = context
        self._instance = instance
        self._mountpoint = mountpoint
        self._dev = mountpoint.rpartition('/')[2]
        self._old_connection_info = old_connection_info
        self._new_connection_info = new_connection_info
        self._old_id = str(get_volume_id(old_connection_info))
        self._new_id = str(get_volume_id(new_connection_info))
        self._luks = False
        self._swap_id = ''
        self._shown = 0.0
        self._notify: Observer = lambda _event: None

    def run(self) -> None:
        """Move the guest to the new volume.

        :raise VolumeRebaseFailed: the guest is on the old volume, or nobody can tell yet:
            then the reason says so, and both volumes stay.
        """
        self._driver.guard.uncover()
        try:
            options = self._preflight()
            self._notify = self._driver.notifier.observer(self._ids)
            destination = self._connect()
        except exception.BlockmirrorError as error:
            raise self._failed(error) from error
        request = SwapRequest(
            self._instance.uuid,
            self._dev,
            destination,
            options,
            door=self._ids.to_json(),
        )
        try:
            outcome = self._driver.engine.run(request, self._observe)
        except Exception as error:
            if self._is_on(destination):
                LOG.exception(
                    'Swap %s: the guest is on volume %s all the same',
                    self._swap_id,
                    self._new_id,
                    instance=self._instance,
                )
                self._switched()
                return
            self._not_switched()
            if isinstance(error, exception.BlockmirrorError):
                raise self._failed(error) from error
            raise
        if outcome.state not in SWITCHED:
            raise self._left(outcome)
        self._switched()

    # -- before ------------------------------------------------------------------------

    def _preflight(self) -> CopyOptions:
        """Check what can be told without touching anything; return the copy's options."""
        driver, context = self._driver, self._context
        if driver.engine.journal.draining:
            raise exception.HostDraining('this host takes no new swaps')
        old = driver.volume_api.get(context, self._old_id)
        new = driver.volume_api.get(context, self._new_id)
        preflight.check_migration(old, new)
        mapping = objects.BlockDeviceMapping.get_by_volume_and_instance(
            context, self._old_id, self._instance.uuid
        )
        attachments = preflight.check_attachments(mapping.attachment_id, self._new_attachment_id())
        self._ids = SwapContext(
            self._instance.uuid, self._mountpoint, self._old_id, self._new_id, *attachments
        )
        options = settings.copy_options(
            nova.conf.CONF, self._extra_specs(new.get('volume_type_id'))
        )
        was_luks = driver.is_luks(context, 'old', self._old_connection_info)
        self._luks = driver.is_luks(context, 'new', self._new_connection_info)
        if was_luks or self._luks:
            domain = driver.engine.hypervisor.domain(self._instance.uuid)
            encryption.check_live(encrypted=domain.live_disk(self._dev).encrypted, luks=was_luks)
        # The plain type that Cinder was asked for is what allows it.
        return dataclasses.replace(options, decrypt=was_luks and not self._luks)

    def _new_attachment_id(self) -> str | None:
        """Return the attachment that Nova's API made; the call that we serve leaves it out.

        A volume shows only attachments that are complete, so Cinder is asked for all.
        """
        filters = {'volume_id': self._new_id, 'instance_id': self._instance.uuid}
        client = cinder.cinderclient(self._context, microversion=_ATTACHMENTS)
        found = client.attachments.list(search_opts={**filters, 'all_tenants': True})
        return str(found[0].id) if len(found) == 1 else None

    def _extra_specs(self, type_name: str | None) -> dict[str, str]:
        """Return the extra specs of a volume type; none when Cinder does not tell."""
        if not type_name:
            return {}
        try:
            types = cinder.cinderclient(self._context).volume_types.list(is_public=None)
        except Exception as error:  # noqa: BLE001 - whatever keystoneauth and cinderclient raise
            LOG.warning(
                'The extra specs of volume type %s are not known, so the options of nova.conf '
                'count: %s',
                type_name,
                error,
                instance=self._instance,
            )
            return {}
        for volume_type in types:
            if type_name in (volume_type.name, volume_type.id):
                return dict(volume_type.extra_specs)
        return {}

    def _connect(self) -> Disk:
        """Connect the new volume the way its kind asks for, and return it as a disk."""
        driver, dev = self._driver, self._dev
        virt_type = nova.conf.CONF.libvirt.virt_type
        disk_info = {
            'dev': dev,
            'bus': blockinfo.get_disk_bus_for_disk_dev(virt_type, dev),
            'type': 'disk',
        }
        driver.adopt(self._old_connection_info, self._instance)
        driver.connect_volume(self._context, self._new_connection_info, self._instance)
        try:
            config = driver.volume_config(self._new_connection_info, disk_info)
            disk = xml_disk.parse(config.to_xml())
            if (disk.encryption is not None) != self._luks:
                raise exception.EncryptedVolume(
                    "Nova's disk of the new volume is not encrypted as Cinder says",
                    hint="see nova-compute's log on the volume's key",
                )
        except Exception:
            self._disconnect_new()
            raise
        if disk.iotune is None and self._old_connection_info.get('data', {}).get('qos_specs'):
            # The limits that the guest has came from the old volume's type.
            return dataclasses.replace(disk, iotune=IoTune())
        return disk

    # -- after -------------------------------------------------------------------------

    def _switched(self) -> None:
        """Tell Nova and Cinder, and let go of the old volume; what fails is done later."""
        self._settle()

    def _not_switched(self) -> None:
        """Let go of the new volume, unless a block job may still hold it."""
        if self._swap_id:
            self._settle()  # nothing is owed of a swap that has not ended
        else:
            self._disconnect_new()

    def _settle(self) -> None:
        connections = {
            self._old_id: self._old_connection_info,
            self._new_id: self._new_connection_info,
        }
        self._driver.duties.settle(self._swap_id, context=self._context, connections=connections)

    def _disconnect_new(self) -> None:
        """Undo :meth:`_connect`; a failure must not hide the reason for it."""
        try:
            self._driver.disconnect_volume(
                self._context, self._new_connection_info, self._instance
            )
        except Exception:
            LOG.exception(
                'Volume %s could not be disconnected', self._new_id, instance=self._instance
            )

    def _is_on(self, destination: Disk) -> bool:
        """Whether the guest's own XML names the new volume, whatever an error says."""
        try:
            domain = self._driver.engine.hypervisor.domain(self._instance.uuid)
            source = domain.live_disk(self._dev).disk.source
        except exception.BlockmirrorError:
            return False
        return xml_disk.same_volume(source, destination.source)

    # -- what is told ------------------------------------------------------------------

    def _observe(self, event: SwapEvent) -> None:
        self._swap_id = event.swap_id
        self._notify(event)
        if event.event == 'plan':
            # From here on the end of the swap decides what Cinder is told.
            self._driver.guard.cover(self._ids)
            self._driver.duties.owe(event.swap_id)
        if event.event == 'start':
            LOG.info(
                'Swap %s: %s, volume %s to volume %s, %s',
                event.swap_id,
                self._dev,
                self._old_id,
                self._new_id,
                event.detail,
                instance=self._instance,
            )
        elif event.event in ('ready', 'end', 'error'):
            LOG.info(
                'Swap %s: %s, %s %s',
                event.swap_id,
                event.event,
                event.state.value,
                event.detail,
                instance=self._instance,
            )
        elif event.progress is not None and time.monotonic() - self._shown >= _PROGRESS_EVERY:
            self._shown = time.monotonic()
            LOG.info(
                'Swap %s: %d of %d bytes, %d bytes/s',
                event.swap_id,
                event.progress.cur,
                event.progress.end,
                event.progress.rate,
                instance=self._instance,
            )

    def _failed(self, error: exception.BlockmirrorError) -> nova_exception.VolumeRebaseFailed:
        swap = f' (swap {self._swap_id})' if self._swap_id else ''
        hint = f'; {error.hint}' if error.hint else ''
        return nova_exception.VolumeRebaseFailed(reason=f'{error.message}{hint}{swap}')

    def _left(self, outcome: Outcome) -> nova_exception.VolumeRebaseFailed:
        return nova_exception.VolumeRebaseFailed(
            reason=f'swap {outcome.swap_id} was left running, {outcome.state.value}; it is taken '
            'up when nova-compute starts again'
        )
