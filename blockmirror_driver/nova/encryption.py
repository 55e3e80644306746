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
"""Volumes that QEMU encrypts by itself with LUKS, as Nova has them.

Nova keeps the passphrase of such a volume in a libvirt secret whose usage is the volume's id. It
makes the secret when it connects the volume, and looks it up by that id ever after: to build the
disk, to migrate the guest, and to take it away with the volume. A swap connects the new volume
by an id that is Cinder's for the time of the move only, so that afterwards the secret that the
guest cites has to go by the id that stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.nova.attached import ConnectionInfo
from blockmirror_driver.volume.encryption import FRONT_END

LOG = logging.getLogger(__name__)

#: The usage of Nova's secrets of volumes; see ``create_secret`` in nova/virt/libvirt/host.py.
_VOLUME = 'volume'


def is_luks(
    which: str, connection_info: ConnectionInfo, metadata: Mapping[str, Any], *, native: bool
) -> bool:
    """Return whether QEMU encrypts a volume; it is plain otherwise.

    :param which: ``old`` or ``new``, for the error.
    :param metadata: Cinder's encryption of the volume, empty for none.
    :param native: what Nova says of the metadata: its provider is one that QEMU does.
    :raise EncryptedVolume: something else encrypts it. Nothing was touched.
    """
    if not metadata:
        if connection_info.get('data', {}).get('encrypted'):
            raise _refused(f'the {which} volume is encrypted, and Cinder does not say how')
        return False
    location = metadata.get('control_location') or FRONT_END
    if not native or location != FRONT_END:
        provider = metadata.get('provider')
        raise _refused(f'the {which} volume is encrypted by {provider} ({location}), not by QEMU')
    return True


def check_live(*, encrypted: bool, luks: bool) -> None:
    """Check that the guest's disk is what Cinder says of its volume.

    :param encrypted: what the guest's XML says.
    :param luks: what Cinder says.
    :raise EncryptedVolume: nothing was touched.
    """
    if encrypted != luks:
        told = ('is not', 'is') if luks else ('is', 'is not')
        raise _refused(
            f"the guest's disk {told[0]} encrypted by QEMU, and Cinder says that its volume "
            f'{told[1]}'
        )


def take_over(host: Any, volume_id: str, made_for: str, cited: str | None) -> None:
    """Let the secret that the guest's disk cites go by the id of the volume; repeating is safe.

    libvirt changes no secret's usage, so it is undefined and defined anew, with the same UUID.
    Meanwhile another one holds the value: whoever dies here leaves it to the next attempt.

    :param host: Nova's, with its connection to libvirt.
    :param made_for: the id that the new volume was connected by.
    :param cited: the UUID of the secret that the guest's disk cites; ``None`` for none.
    :raise libvirtError: it is to be done again.
    """
    spare = f'{made_for}-moved'
    kept = host.find_secret(_VOLUME, spare)
    found = kept or host.find_secret(_VOLUME, made_for)
    if found is None:
        return
    if cited is not None:
        value = found.value()
        if kept is None:
            host.create_secret(_VOLUME, spare, password=value)
        host.delete_secret(_VOLUME, volume_id)
        host.delete_secret(_VOLUME, made_for)
        host.create_secret(_VOLUME, volume_id, password=value, uuid=cited)
        LOG.info('Secret %s goes by the id of volume %s', cited, volume_id)
    host.delete_secret(_VOLUME, made_for)
    host.delete_secret(_VOLUME, spare)


def _refused(message: str) -> exception.EncryptedVolume:
    return exception.EncryptedVolume(message, hint='move it while it is detached')
