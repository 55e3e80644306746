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
"""Volumes whose data is encrypted with LUKS, by QEMU.

Cinder's connection_info says that a volume is ``encrypted``, and nothing of the key, which
whoever asks for the disk has to bring: it is in Barbican, or wherever castellan keeps it.
"""

from __future__ import annotations

from dataclasses import replace

from blockmirror_driver import exception
from blockmirror_driver.model import Disk, Encryption, Secret, SecretRef, SecretSpec, SecretUsage
from blockmirror_driver.volume import placeholder
from blockmirror_driver.volume.connection_info import ConnectionInfo

#: What LUKS takes (LUKS_PASSPHRASE limits of cryptsetup, 512 KiB) and more than any key has.
LARGEST_KEY = 8192
#: Who encrypts, in Cinder's words, where QEMU does it: the host of the guest.
FRONT_END = 'front-end'
#: A raw volume begins with the header; a qcow2 has it beside its own, and encrypts clusters.
FORMATS = ('raw', 'qcow2')


def applied(info: ConnectionInfo, disk: Disk, key: Secret | None) -> Disk:
    """Return the disk as it is encrypted, with the secret that opens it.

    :param key: the passphrase, byte for byte. With one, the volume is LUKS whatever the
        connection_info says of it: backends do not always know.
    :raise EncryptedVolume: it is encrypted, and no key was given.
    :raise UnsupportedVolume: the image's format knows no LUKS.
    :raise UsageError: the key is empty or longer than :data:`LARGEST_KEY`.
    """
    if key is None:
        if info.flag('encrypted'):
            raise exception.EncryptedVolume('the volume is encrypted, and its key is not given')
        return disk
    if not 0 < len(key) <= LARGEST_KEY:
        raise exception.UsageError(f'a key has 1 to {LARGEST_KEY} bytes')
    if disk.driver.format not in FORMATS:
        raise exception.UnsupportedVolume(
            f'LUKS in a {disk.driver.format} image is not supported', hint='use a raw volume'
        )
    # Only tells it from the disk's other secret; the store gives it its real name.
    usage = placeholder.name(SecretUsage.VOLUME, '', disk.source.describe())
    spec = SecretSpec(SecretUsage.VOLUME, usage, key)
    encryption = Encryption(SecretRef(SecretUsage.VOLUME, usage=usage))
    return replace(disk, encryption=encryption, secrets=(*disk.secrets, spec))
