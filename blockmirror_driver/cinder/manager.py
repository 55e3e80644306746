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
"""Cinder's manager of volumes, with the copy of data done by QEMU's own tools.

Cinder lets an operator name the class (``volume_manager`` in cinder.conf), and this one replaces
one step of it: :meth:`VolumeManager._copy_volume_data`, which migrations and retypes of volumes
without a server end up in. It puts another in order: :meth:`VolumeManager.delete_volume`. Making
the new volume, finishing, quotas, names and the deletion itself all stay Cinder's, for every
driver that it has. Where we do not know a volume's kind Cinder's own step is taken: both volumes
attached to this host, and ``dd``.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import tenacity
from cinder import exception as cinder_exception
from cinder import objects
from cinder.volume import manager, rpcapi, volume_utils
from cinder.volume.drivers import rbd
from oslo_log import log

from blockmirror_driver import conf as configuration
from blockmirror_driver import exception
from blockmirror_driver.model import (
    BytesPerSecond,
    Disk,
    IscsiSource,
    NfsSource,
    RbdSource,
    Seconds,
    Secret,
)
from blockmirror_driver.qemu import copy
from blockmirror_driver.volume import initiator, portals
from blockmirror_driver.volume import key_manager as castellan_key
from blockmirror_driver.volume.encryption import FRONT_END
from blockmirror_driver.volume.registry import disk_for

LOG = log.getLogger(__name__)

#: Per cent between two lines of the log on one copy.
_STEP = 10.0
#: Seconds between two looks at whether the migration is still wanted.
_LOOK = 10.0
#: Seconds for which Ceph remembers a client that was killed, and refuses to delete what it had
#: open (osd_client_watch_timeout is 30).
_CEPH_FORGETS = 31.0
#: Seconds that Cinder may take from asking for a leftover's deletion to having moved its
#: attachments, which is one query, and between two looks.
_MOVED_WITHIN, _MOVED_LOOK = 60.0, 0.2


class VolumeManager(manager.VolumeManager):
    """Cinder's, but for how data gets from one volume to another, and in which order it ends."""

    def delete_volume(
        self, context: Any, volume: Any, unmanage_only: bool = False, cascade: bool = False
    ) -> Any:
        """Delete a volume; what a migration left over, only after its attachments have moved.

        ``migrate_volume_completion`` asks for the deletion first, and then points the attachments
        of the new volume, whose row has become that of the leftover, at the row that stays.
        Deleting a row deletes its attachments: a backend that is quick would take the only
        attachment of a volume that a server runs on with it.

        :raise VolumeAttached: the attachments did not move within a minute. Nothing is deleted;
            the next start of cinder-volume tries again.
        """
        if volume.migration_status == 'deleting' and not unmanage_only:
            _wait_for_attachments_to_move(context, volume)
        return super().delete_volume(context, volume, unmanage_only, cascade)

    def _copy_volume_data(
        self, ctxt: Any, src_vol: Any, dest_vol: Any, remote: str | None = None
    ) -> None:
        """Copy with qemu-img, or as Cinder does; see ``[blockmirror] offline_copy``.

        :raise VolumeMigrationFailed: the copy failed. Nothing is attached then, and Cinder
            deletes the new volume and keeps the old one.
        """
        options = configuration.CONF[configuration.GROUP]
        if options.offline_copy == 'never':
            super()._copy_volume_data(ctxt, src_vol, dest_vol, remote)
            return
        try:
            self._copy_by_qemu(ctxt, src_vol, dest_vol, remote)
        except (exception.Refused, exception.UsageError) as exc:
            # Nothing was written yet: a volume is not for us, or this host has no qemu-img.
            if options.offline_copy == 'always':
                raise _failed(exc) from exc
            LOG.warning("Volume %s is copied Cinder's way: %s", src_vol.id, exc)
            super()._copy_volume_data(ctxt, src_vol, dest_vol, remote)
        except exception.BlockmirrorError as exc:
            raise _failed(exc) from exc

    def _copy_by_qemu(self, ctxt: Any, src_vol: Any, dest_vol: Any, remote: str | None) -> None:
        key, key_to = (self._passphrase(ctxt, one) for one in (src_vol, dest_vol))
        properties = volume_utils.brick_get_connector_properties(
            self.configuration.use_multipath_for_image_xfer,
            self.configuration.enforce_multipath_for_image_xfer,
        )
        # A host without an initiator of its own has no name for os-brick to find; QEMU brings
        # one, and logs in by the name that is set for it.
        name, _note = initiator.name(configuration.CONF)
        if name:
            properties['initiator'] = name
        with (
            _Connected(self, ctxt, dest_vol, properties, remote in ('dest', 'both'), key_to) as to,
            _Connected(self, ctxt, src_vol, properties, remote in ('src', 'both'), key) as origin,
        ):
            wishes = self._wishes(ctxt, src_vol, dest_vol, to)
            try:
                copied = copy.copy(
                    origin,
                    to,
                    wishes,
                    progress=_Progress(src_vol.id),
                    cancelled=_cancelled(ctxt, src_vol),
                )
            except (exception.TimedOut, exception.Cancelled):
                if isinstance(to.source, RbdSource):
                    # Cinder is about to delete it, and does not try for that long.
                    threading.Event().wait(_CEPH_FORGETS)
                raise
        LOG.info('Volume %s was copied to %s: %s', src_vol.id, dest_vol.id, copy.describe(copied))

    def _passphrase(self, ctxt: Any, volume: Any) -> Secret | None:
        """Return what QEMU opens an encrypted volume with; ``None`` for a plain one.

        :raise EncryptedVolume: its type says that something else than QEMU encrypts it.
        """
        if not volume.encryption_key_id:
            return None
        try:
            metadata = volume_utils.check_encryption_provider(volume, ctxt.elevated())
        except cinder_exception.VolumeDriverException as exc:
            raise exception.EncryptedVolume(f'volume {volume.id}: {exc}', hint='') from exc
        if metadata.get('control_location', FRONT_END) != FRONT_END:
            raise exception.EncryptedVolume(f'volume {volume.id}: not by the {FRONT_END}', hint='')
        key = self.key_manager.get(ctxt, volume.encryption_key_id)
        return castellan_key.passphrase(key.get_encoded())

    def _wishes(self, ctxt: Any, src_vol: Any, dest_vol: Any, to: Disk) -> copy.Wishes:
        options = configuration.CONF[configuration.GROUP]
        return copy.Wishes(
            # What was not written yet reads as anything but zeros through a key.
            target_is_zero=_is_new(src_vol, dest_vol)
            and to.encryption is None
            and (isinstance(to.source, RbdSource | NfsSource) or _reads_zeros(ctxt, dest_vol)),
            bandwidth=BytesPerSecond(options.bandwidth),
            verify=options.offline_verify,
            timeout=Seconds(options.copy_timeout),
            open_timeout=Seconds(options.probe_timeout),
        )


def _wait_for_attachments_to_move(ctxt: Any, leftover: Any) -> None:
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(cinder_exception.VolumeAttached),
        stop=tenacity.stop_after_delay(_MOVED_WITHIN),
        wait=tenacity.wait_fixed(_MOVED_LOOK),
        reraise=True,
    ):
        with attempt:
            rows = objects.VolumeAttachmentList.get_all_by_volume_id(ctxt.elevated(), leftover.id)
            if rows:
                LOG.debug('Volume %s waits for its attachments to be moved', leftover.id)
                raise cinder_exception.VolumeAttached(volume_id=leftover.id)


class _Connected:
    """A volume that this host was allowed to open, as a disk; taken back at the end."""

    def __init__(  # noqa: PLR0917 - all of it is who, what and how
        self,
        owner: VolumeManager,
        ctxt: Any,
        volume: Any,
        properties: dict[str, Any],
        remote: bool,
        key: Secret | None,
    ) -> None:
        self._manager, self._ctxt, self._volume = owner, ctxt, volume
        self._properties, self._remote, self._key = properties, remote, key

    def __enter__(self) -> Disk:
        asked = rpcapi.VolumeAPI() if self._remote else self._manager
        info = asked.initialize_connection(self._ctxt, self._volume, self._properties)
        try:
            return self._disk(info)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        # Without what was attached to the host: nothing was.
        self._manager._detach_volume(  # noqa: SLF001 - we are its subclass's helper
            self._ctxt, None, self._volume, self._properties, force=True, remote=self._remote
        )

    def _disk(self, info: dict[str, Any]) -> Disk:
        options = configuration.CONF[configuration.GROUP]
        disk = disk_for(info, key=self._key)
        if isinstance(disk.source, IscsiSource):
            return portals.choose(disk, Seconds(options.iscsi_portal_timeout))
        if isinstance(disk.source, RbdSource):
            config_file = self._ceph_conf() or disk.source.config_file
            return disk.with_source(dataclasses.replace(disk.source, config_file=config_file))
        return disk

    def _ceph_conf(self) -> str | None:
        """Return the ceph.conf of the volume's backend, if this host's cinder.conf has it."""
        section = volume_utils.extract_host(self._volume.host, 'backend').partition('@')[2]
        try:
            known = volume_utils.get_backend_configuration(section, rbd.RBD_OPTS)
        except cinder_exception.ConfigNotFound:
            return None
        path: str | None = known.safe_get('rbd_ceph_conf')
        return path or None


class _Progress:
    """Writes a line for each tenth of the way."""

    def __init__(self, volume_id: str) -> None:
        self._volume_id = volume_id
        self._next: dict[str, float] = {}

    def __call__(self, what: str, percent: float) -> None:
        if percent >= self._next.get(what, _STEP):
            self._next[what] = percent - percent % _STEP + _STEP
            LOG.info('Volume %s: %s %.0f %%', self._volume_id, what, percent)


def _cancelled(ctxt: Any, volume: Any) -> Callable[[], bool]:
    """Tell whether an operator took the migration away (``reset-state``), or the volume."""
    if volume.migration_status != 'migrating':
        return lambda: False
    asked = time.monotonic()
    wanted = True

    def cancelled() -> bool:
        nonlocal asked, wanted
        if time.monotonic() - asked > _LOOK:
            asked = time.monotonic()
            try:
                now = objects.Volume.get_by_id(ctxt.elevated(), volume.id)
                wanted = now.migration_status == 'migrating'
            except cinder_exception.VolumeNotFound:
                wanted = False
            except Exception as exc:  # noqa: BLE001 - a database that is away cancels nothing
                LOG.debug('the state of volume %s is not known: %s', volume.id, type(exc))
        return not wanted

    return cancelled


def _is_new(src_vol: Any, dest_vol: Any) -> bool:
    """Tell whether Cinder made the destination for this copy, so that nothing was in it."""
    return bool(dest_vol.migration_status == f'target:{src_vol.id}')


def _reads_zeros(ctxt: Any, volume: Any) -> bool:
    """Ask the backend whether its new volumes read as zeros, as Cinder does for its dd."""
    told = rpcapi.VolumeAPI().get_capabilities(ctxt, volume.service_topic_queue, False)
    return bool(told and told.get('sparse_copy_volume'))


def _failed(error: exception.BlockmirrorError) -> Exception:
    LOG.error('%s: %s', type(error).__name__, error)
    failed: Exception = cinder_exception.VolumeMigrationFailed(reason=str(error))
    return failed
