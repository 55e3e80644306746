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
"""How each volume was connected to this host, so that it is disconnected the same way.

Two ways: *native*, QEMU opens the volume by itself, through our drivers; *host*, Nova's own
driver makes it a device or a mounted file of the host (or, for rbd, a network disk as well).

What counts is the record on this host, in the journal, made before the volume is connected
and deleted after it was disconnected. Nova fetches connection_info anew before a reboot, and
a changed option must not let that decide. Beside it the way stands in the connection_info
itself, which Nova keeps in the block device mapping: the XML is built from it, also by
another host, where a live migration comes from.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable, Collection
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.model import Disk
from blockmirror_driver.swap.attachments import Attachment, AttachmentStore

LOG = logging.getLogger(__name__)

#: The key beside ``data``; Nova and os-brick leave it alone.
MARK = 'blockmirror'

ConnectionInfo = dict[str, Any]

#: The same volume in the same guest has the same secrets after a reboot, which disconnects and
#: connects it while the stored definition cites them. Never change it.
_OWNERS = uuid.UUID('c1b7a8f2-4a55-5d0e-8b64-7be2a3d90c11')


class How(enum.Enum):
    """The way a volume is connected; the values are written, so they never change."""

    NATIVE = 'native'
    """QEMU opens it, through our driver."""

    HOST = 'host'
    """Nova's own driver."""


def marked(connection_info: ConnectionInfo) -> How | None:
    """Return the way that stands in a connection_info; ``None`` when none does."""
    mark = connection_info.get(MARK)
    try:
        return How(mark.get('how')) if isinstance(mark, dict) else None
    except ValueError:
        return None


def owner_of(connection_info: ConnectionInfo) -> str | None:
    """Return the owner of the secrets that a native volume was connected with."""
    mark = connection_info.get(MARK)
    owner = mark.get('owner') if isinstance(mark, dict) else None
    return owner if isinstance(owner, str) else None


class Attached:
    """Decides and remembers. Any thread may call.

    :param read: makes a disk of a connection_info, or refuses to.
    :param supported: whether this hypervisor can open network disks at all.
    """

    def __init__(
        self,
        store: AttachmentStore,
        conf: cfg.ConfigOpts,
        read: Callable[[ConnectionInfo], Disk],
        *,
        supported: bool = True,
    ) -> None:
        self._store = store
        self._conf = conf
        self._read = read
        self._supported = supported

    def connecting(self, connection_info: ConnectionInfo, instance_uuid: str) -> bool:
        """Decide how a volume is connected, record it, and mark the connection_info.

        One that is recorded already goes the way it went: nobody has disconnected it. Return
        whether it was not.

        :raise JournalUnusable: a native way could not be recorded.
        """
        disk = self._disk(connection_info)
        if disk is None:
            self._mark(connection_info, How.HOST)
            return False
        volume = disk.source.describe()
        try:
            found = self._store.get(instance_uuid, volume)
        except exception.JournalUnusable as error:
            LOG.warning('How %s was connected can not be read: %s', volume, error)
            found = None
        how = How(found.how) if found else self._chosen(connection_info)
        owner = str(uuid.uuid5(_OWNERS, f'{instance_uuid} {volume}'))
        attachment = found or Attachment(instance_uuid, volume, how.value, owner)
        if found is None:
            self._record(attachment)
        self._mark(connection_info, how, attachment.owner)
        return found is None

    def connected(
        self,
        connection_info: ConnectionInfo,
        instance_uuid: str,
        evidence: Callable[[], How | None] = lambda: None,
    ) -> How:
        """Return how a volume was connected, and mark the connection_info with it.

        Asked in this order: the record, the mark, the guest's XML. One that nothing tells
        of was connected by Nova's own driver, before ours was there.

        :param evidence: what the guest's XML says of it, if it says anything.
        """
        found = self._find(connection_info, instance_uuid)
        if found is not None:
            how = How(found.how)
            self._mark(connection_info, how, found.owner)
            return how
        how = marked(connection_info) or evidence() or How.HOST
        self._mark(connection_info, how, owner_of(connection_info))
        return how

    def adopt(
        self,
        connection_info: ConnectionInfo,
        instance_uuid: str,
        evidence: Callable[[], How | None],
    ) -> None:
        """Record a volume that has no record, as long as the guest's XML still tells of it."""
        how = self.connected(connection_info, instance_uuid, evidence)
        disk = self._disk(connection_info)
        if disk is None or self._find(connection_info, instance_uuid) is not None:
            return
        owner = owner_of(connection_info) or str(uuid.uuid4())
        try:
            volume = disk.source.describe()
            self._store.put(Attachment(instance_uuid, volume, how.value, owner))
        except exception.JournalUnusable as error:
            LOG.warning('How %s is connected is not recorded: %s', volume, error)

    def disconnected(self, connection_info: ConnectionInfo, instance_uuid: str) -> None:
        """Forget a volume that is connected no more. Never raises."""
        connection_info.pop(MARK, None)
        disk = self._disk(connection_info)
        if disk is None:
            return
        volume = disk.source.describe()
        try:
            self._store.delete(instance_uuid, volume)
        except exception.JournalUnusable as error:
            LOG.warning('That %s was disconnected could not be recorded: %s', volume, error)

    def check(
        self, network_disks: Callable[[str], Collection[str]], busy: Collection[str]
    ) -> None:
        """Forget records that the guests' XML belies: Nova's own driver was here meanwhile.

        Volumes without a record are judged by that XML when they are disconnected.

        :param network_disks: tells of a guest which volumes QEMU opens in it.
        :param busy: volumes that are being moved, and may not be in any XML now.
        :raise JournalUnusable: some may be forgotten.
        :raise HypervisorUnavailable: some may be forgotten.
        """
        for found in self._store.all():
            if found.volume in busy:
                continue
            is_network = found.volume in network_disks(found.instance_uuid)
            if found.how == How.NATIVE.value:
                holds = is_network
            else:
                # Nova's own driver makes a network disk of rbd as well.
                holds = not is_network or found.volume.startswith('rbd:')
            if not holds:
                LOG.info('%s is not connected as it was (%s)', found.volume, found.how)
                self._store.delete(found.instance_uuid, found.volume)

    def _chosen(self, connection_info: ConnectionInfo) -> How:
        native = self._supported and self._is_native(connection_info)
        return How.NATIVE if native else How.HOST

    def _is_native(self, connection_info: ConnectionInfo) -> bool:
        kind = connection_info.get('driver_volume_type')
        return kind in self._conf.blockmirror.native_protocols

    def _find(self, connection_info: ConnectionInfo, instance_uuid: str) -> Attachment | None:
        disk = self._disk(connection_info)
        if disk is None:
            return None
        try:
            return self._store.get(instance_uuid, disk.source.describe())
        except exception.JournalUnusable as error:
            LOG.warning('How a volume was connected can not be read: %s', error)
            return None

    def _record(self, attachment: Attachment) -> None:
        try:
            self._store.put(attachment)
        except exception.JournalUnusable as error:
            if attachment.how == How.NATIVE.value:
                raise
            LOG.warning('How %s is connected is not recorded: %s', attachment.volume, error)

    def _disk(self, connection_info: ConnectionInfo) -> Disk | None:
        """Return the disk as our driver sees it; ``None``: no driver of ours can open it."""
        try:
            return self._read(connection_info)
        except exception.Refused as error:
            unusual = self._is_native(connection_info) and not isinstance(
                error, exception.EncryptedVolume | exception.UnknownVolumeType
            )
            LOG.log(
                logging.WARNING if unusual else logging.DEBUG,
                "A volume of type %s is left to Nova's own driver: %s",
                connection_info.get('driver_volume_type'),
                error,
            )
            return None

    @staticmethod
    def _mark(connection_info: ConnectionInfo, how: How, owner: str | None = None) -> None:
        mark = {'how': how.value}
        if owner is not None:
            mark['owner'] = owner
        connection_info[MARK] = mark
