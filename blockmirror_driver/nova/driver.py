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
"""Nova's libvirt driver, with volumes moved and opened by our engine.

Loaded by ``compute_driver = blockmirror.LibvirtDriver``. As little as possible is overridden:
how a volume is connected and swapped, and the start and the end of the process.
"""

from __future__ import annotations

import threading
from typing import Any

import nova.conf
from nova import exception as nova_exception
from nova import utils as nova_utils
from nova.virt.block_device import get_volume_id
from oslo_log import log as logging

from blockmirror_driver import conf as our_conf
from blockmirror_driver import exception
from blockmirror_driver.nova import audit, credentials, encryption, strays
from blockmirror_driver.nova.attached import Attached, ConnectionInfo, How, marked
from blockmirror_driver.nova.disks import NativeDisk, ZeroDetectingDisk
from blockmirror_driver.nova.duties import NovaDuties
from blockmirror_driver.nova.engine import Engine
from blockmirror_driver.nova.gated import GatedDriver
from blockmirror_driver.nova.guard import Guard, guard
from blockmirror_driver.nova.native import NativeVolumeDriver
from blockmirror_driver.nova.notifications import Notifier
from blockmirror_driver.nova.reconciler import Reconciler
from blockmirror_driver.nova.volume_swap import VolumeSwap
from blockmirror_driver.swap.attachments import AttachmentStore
from blockmirror_driver.volume import initiator

LOG = logging.getLogger(__name__)

CONF = nova.conf.CONF


class LibvirtDriver(GatedDriver):
    """The compute driver.

    :param virtapi: leads to nova-compute's manager, whose calls to Cinder after a swap are
        guarded.
    """

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only)
        our_conf.register_opts(CONF)
        self.engine = Engine(self._uri(), CONF)
        self._native = NativeVolumeDriver(self._host, self.engine, CONF)
        self._attached = Attached(
            AttachmentStore(self.engine.journal.path),
            CONF,
            self._native.disk,
            supported=CONF.libvirt.virt_type in ('kvm', 'qemu'),
        )
        self.guard = Guard(self._volume_api)
        self.duties = NovaDuties(self)
        self.notifier = Notifier(CONF)
        self._reconciler = Reconciler(
            self.engine, self.duties, CONF, self._first_look, self.notifier
        )

    # -- the process -------------------------------------------------------------------

    def init_host(self, host: str) -> None:
        """Start, after Nova's own driver has.

        :raise InvalidConfiguration: this nova-compute can't swap safely; it must not start,
            since recovery would not run either.
        """
        _refuse_eventlet()
        manager = self._manager()
        super().init_host(host)
        try:
            self.engine.open()
            self._attached.check(self.engine.network_disks, self.engine.moving())
        except exception.BlockmirrorError as error:
            raise _invalid(f'{error.message}. {error.hint}'.strip()) from error
        self.guard = guard(manager)
        for sentence in credentials.missing(CONF):
            LOG.warning('%s', sentence)
        self._leave_at_shutdown(manager)
        self._reconciler.start()

    def cleanup_host(self, host: str) -> None:
        """Stop: running copies are left running, to be taken up at the next start."""
        self._leave()
        super().cleanup_host(host)

    def _first_look(self) -> None:
        """Take back what was never begun, then tell what disagrees all the same."""
        strays.take_back(self)
        audit.tell(self)

    def _leave(self) -> None:
        self._reconciler.stop()
        self.engine.leave()

    def blocked(self, instance_uuid: str) -> str:
        """Return why a guest must be neither started nor moved; empty when it may."""
        return self._reconciler.blocked(instance_uuid)

    def _manager(self) -> Any:
        """Return nova-compute's manager.

        :raise InvalidConfiguration: this release of Nova hides it.
        """
        manager = getattr(self.virtapi, '_compute', None)
        if not hasattr(manager, 'volume_api'):
            raise _invalid(
                'this release of Nova gives no way from the driver to its manager, which has to '
                'be kept from deleting a volume that a guest runs on'
            )
        return manager

    def _leave_at_shutdown(self, manager: Any) -> None:
        """Leave the swaps as soon as a stop begins: Nova waits for them before its clean-up."""
        stopping = getattr(manager, '_shutdown_in_progress', None)
        if not isinstance(stopping, threading.Event):
            return

        def watch() -> None:
            stopping.wait()
            self._leave()

        threading.Thread(target=watch, name='blockmirror-shutdown', daemon=True).start()

    # -- volumes -----------------------------------------------------------------------

    def swap_volume(  # noqa: PLR0917 - Nova's signature
        self,
        context: Any,
        old_connection_info: ConnectionInfo,
        new_connection_info: ConnectionInfo,
        instance: Any,
        mountpoint: str,
        resize_to: int,
    ) -> None:
        """Move a disk of a running guest to another volume; see :class:`VolumeSwap`.

        ``resize_to`` decides nothing: the plan compares the sizes to the byte.
        """
        VolumeSwap(
            self, context, instance, mountpoint, old_connection_info, new_connection_info
        ).run()

    def get_volume_connector(self, instance: Any) -> dict[str, Any]:
        """Return what Cinder is told of this host; the initiator is the one that QEMU uses."""
        connector: dict[str, Any] = super().get_volume_connector(instance)
        if 'iscsi' in CONF.blockmirror.native_protocols:
            name, _note = initiator.name(CONF)
            if name is not None:
                connector['initiator'] = name
        return connector

    def _get_volume_config(self, connection_info: ConnectionInfo, disk_info: Any) -> Any:
        config = super()._get_volume_config(connection_info, disk_info)
        if CONF.blockmirror.detect_zeroes and not isinstance(config, NativeDisk):
            return ZeroDetectingDisk(config)
        return config

    def _get_volume_driver(self, connection_info: ConnectionInfo) -> Any:
        if marked(connection_info) is How.NATIVE:
            return self._native
        return super()._get_volume_driver(connection_info)

    def _connect_volume(
        self, context: Any, connection_info: ConnectionInfo, instance: Any, encryption: Any = None
    ) -> None:
        try:
            is_new = self._attached.connecting(connection_info, instance.uuid)
        except exception.JournalUnusable as error:
            raise nova_exception.InternalError(str(error)) from error
        try:
            super()._connect_volume(context, connection_info, instance, encryption=encryption)
        except Exception:
            if is_new:
                self._attached.disconnected(connection_info, instance.uuid)
            raise

    def _disconnect_volume(  # noqa: PLR0917 - Nova's signature
        self,
        context: Any,
        connection_info: ConnectionInfo,
        instance: Any,
        encryption: Any = None,
        destroy_secrets: bool = True,
        force: bool = False,
    ) -> None:
        self._look_up(connection_info, instance)
        super()._disconnect_volume(
            context,
            connection_info,
            instance,
            encryption=encryption,
            destroy_secrets=destroy_secrets,
            force=force,
        )
        self._attached.disconnected(connection_info, instance.uuid)

    def _extend_volume(
        self, connection_info: ConnectionInfo, instance: Any, requested_size: int
    ) -> Any:
        self._look_up(connection_info, instance)
        return super()._extend_volume(connection_info, instance, requested_size)

    def _look_up(self, connection_info: ConnectionInfo, instance: Any) -> How:
        """Find out how a volume was connected, and mark its connection_info with that."""
        return self._attached.connected(
            connection_info, instance.uuid, lambda: self._seen(connection_info, instance)
        )

    def _seen(self, connection_info: ConnectionInfo, instance: Any) -> How | None:
        """Return what the guest's XML tells of how a volume was connected."""
        volume_id = get_volume_id(connection_info)
        kind = connection_info.get('driver_volume_type')
        try:
            disks = self._host.get_guest(instance).get_all_disks()
        except nova_exception.NovaException:
            return None
        for disk in disks:
            if disk.serial == volume_id:
                # Nova's own driver makes a network disk of rbd as well.
                network = disk.source_type == 'network' and disk.source_protocol == kind
                return How.NATIVE if network and kind != 'rbd' else How.HOST
        return None

    # -- for the modules beside this one -----------------------------------------------

    @property
    def volume_api(self) -> Any:
        """Nova's client of Cinder, not guarded."""
        return self._volume_api

    def connect_volume(self, context: Any, connection_info: ConnectionInfo, instance: Any) -> None:
        """Connect a volume to this host."""
        self._connect_volume(context, connection_info, instance)

    def disconnect_volume(
        self, context: Any, connection_info: ConnectionInfo, instance: Any
    ) -> None:
        """Disconnect a volume from this host, the way it was connected."""
        self._disconnect_volume(context, connection_info, instance)

    def mark_connected(self, connection_info: ConnectionInfo, instance: Any) -> None:
        """Mark a connection_info with how its volume was connected."""
        self._look_up(connection_info, instance)

    def adopt(self, connection_info: ConnectionInfo, instance: Any) -> None:
        """Record how a volume of the guest is connected, before it leaves the guest's XML."""
        self._attached.adopt(
            connection_info, instance.uuid, lambda: self._seen(connection_info, instance)
        )

    def volume_config(self, connection_info: ConnectionInfo, disk_info: dict[str, Any]) -> Any:
        """Return the disk that Nova would put into the guest's XML."""
        return self._get_volume_config(connection_info, disk_info)

    def is_luks(self, context: Any, which: str, connection_info: ConnectionInfo) -> bool:
        """Return whether QEMU encrypts a volume, by what Cinder says; see :mod:`.encryption`."""
        metadata = self._get_volume_encryption(context, connection_info)
        native = self._allow_native_luksv1(encryption=metadata)
        return encryption.is_luks(which, connection_info, metadata, native=native)

    def take_over_secret(self, volume_id: str, made_for: str, cited: str | None) -> None:
        """Let a volume's passphrase go by another id; see :func:`.encryption.take_over`."""
        encryption.take_over(self._host, volume_id, made_for, cited)


def _refuse_eventlet() -> None:
    if not nova_utils.concurrency_mode_threading():
        raise _invalid(
            'nova-compute runs in eventlet mode, where one call that hangs stops all others; set '
            '[DEFAULT] concurrency_backend to threading (and unset '
            'OS_NOVA_DISABLE_EVENTLET_PATCHING, which goes before it)'
        )


def _invalid(reason: str) -> nova_exception.InvalidConfiguration:
    return nova_exception.InvalidConfiguration(f'compute_driver blockmirror: {reason}')
