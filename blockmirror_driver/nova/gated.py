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
"""What would start or move a guest from records that may be wrong is refused meanwhile.

After a swap that was interrupted, Nova's block device mapping may name the volume that the
guest has left. A hard reboot would boot it: an old state, and every write since the switch
lost. So these operations ask the reconciler first, which mends what it can at once.
"""

from __future__ import annotations

from typing import Any

from nova import exception as nova_exception
from nova.virt.libvirt import driver as libvirt_driver
from oslo_log import log as logging

from blockmirror_driver.nova.attached import ConnectionInfo, How, marked

LOG = logging.getLogger(__name__)


class GatedDriver(libvirt_driver.LibvirtDriver):
    """Nova's driver, asking :meth:`blocked` before a guest is started or moved."""

    def blocked(self, instance_uuid: str) -> str:
        """Return why the records of a guest can't be trusted; empty when they can."""
        return ''

    def reboot(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        """Reboot, soft or hard.

        :raise InstanceRebootFailure: refused; the guest goes on.
        """
        self._require_agreement(instance, nova_exception.InstanceRebootFailure)
        super().reboot(context, instance, *args, **kwargs)

    def _hard_reboot(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        # Also how a guest is powered on, and started after a boot of the host.
        self._require_agreement(instance, nova_exception.InstanceRebootFailure)
        super()._hard_reboot(context, instance, *args, **kwargs)

    def resume(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        """Resume a suspended guest.

        :raise InstanceResumeFailure: refused; the guest stays suspended.
        """
        self._require_agreement(instance, nova_exception.InstanceResumeFailure)
        super().resume(context, instance, *args, **kwargs)

    def rescue(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> None:
        """Boot the guest into its rescue image, with its volumes.

        :raise InstanceRescueFailure: refused.
        """
        self._require_agreement(instance, nova_exception.InstanceRescueFailure)
        super().rescue(context, instance, *args, **kwargs)

    def migrate_disk_and_power_off(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Stop the guest and let go of its volumes, to be started on another host.

        :raise InstanceFaultRollback: refused; the guest goes on.
        """
        reason = self.blocked(instance.uuid)
        if reason:
            error = nova_exception.MigrationError(reason=reason)
            raise nova_exception.InstanceFaultRollback(inner_exception=error)
        return super().migrate_disk_and_power_off(context, instance, *args, **kwargs)

    def check_can_live_migrate_source(
        self, context: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Check before a live migration.

        :raise MigrationPreCheckError: refused; the guest stays here.
        """
        self._require_agreement(instance, nova_exception.MigrationPreCheckError)
        return super().check_can_live_migrate_source(context, instance, *args, **kwargs)

    def live_migration(  # noqa: PLR0917 - Nova's signature
        self,
        context: Any,
        instance: Any,
        dest: str,
        post_method: Any,
        recover_method: Any,
        block_migration: bool = False,
        migrate_data: Any = None,
    ) -> None:
        """Move the guest, unless the other host has connected a volume another way.

        Nova replaces what is in each ``<disk>`` and keeps its type, so that a network disk
        can't become a device on the way. Refused, the other host lets go of the volumes.
        """
        refusal = self._other_way(instance, migrate_data)
        if refusal:
            LOG.error('Not migrated to %s: %s', dest, refusal, instance=instance)
            recover_method(context, instance, dest, migrate_data)
            return
        super().live_migration(
            context,
            instance,
            dest,
            post_method,
            recover_method,
            block_migration,
            migrate_data,
        )

    def _require_agreement(self, instance: Any, error: Any) -> None:
        reason = self.blocked(instance.uuid)
        if reason:
            raise error(reason=reason)

    def _other_way(self, instance: Any, migrate_data: Any) -> str:
        """Return which volume the other host has connected another way, empty for none."""
        bdms = getattr(migrate_data, 'bdms', None) or []
        disks = {disk.serial: disk for disk in self._host.get_guest(instance).get_all_disks()}
        for bdm in bdms:
            disk = disks.get(bdm.serial)
            if disk is None:
                continue
            here, there = disk.source_type == 'network', _is_network(bdm.connection_info)
            if here != there:
                ways = {True: 'a network disk of QEMU', False: 'a device or file of the host'}
                return (
                    f'volume {bdm.serial} is {ways[here]} here and {ways[there]} there; set '
                    '[blockmirror] native_protocols alike on both hosts, then reboot it hard once'
                )
        return ''


def _is_network(connection_info: ConnectionInfo) -> bool:
    """Tell whether the host that connected a volume makes a network disk of it."""
    # Nova's own driver does so for rbd, and for nothing else.
    kind = connection_info.get('driver_volume_type')
    return kind == 'rbd' or marked(connection_info) is How.NATIVE
