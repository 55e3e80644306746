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
"""What may become of the encryption of a disk that moves."""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.model import Disk
from blockmirror_driver.volume.encryption import FORMATS
from blockmirror_driver.xml.domain import DomainDisk


def judge(live: DomainDisk, destination: Disk, *, decrypt: bool) -> str:
    """Return what becomes of it, in a few words.

    :param decrypt: data that is encrypted may be stored in the clear.
    :raise EncryptedVolume: one side is encrypted in a way that we do not open, or the
        destination would hold in the clear what the source does not.
    """
    before, after = live.disk.encryption, destination.encryption
    if live.encrypted and (before is None or before.format != 'luks'):
        raise exception.EncryptedVolume(
            "the guest's disk is encrypted by something else than LUKS of QEMU",
            hint='move it offline',
        )
    if after is not None and destination.driver.format not in FORMATS:
        raise exception.EncryptedVolume(
            f'LUKS in a {destination.driver.format} image is not supported',
            hint='use a raw volume',
        )
    if after is not None:
        how = 'LUKS on both sides' if live.encrypted else 'plain to LUKS'
        return f'{how}; zeros are written encrypted, so the destination will not be thin'
    if not live.encrypted:
        return 'neither side is encrypted'
    if not decrypt:
        raise exception.EncryptedVolume(
            "the guest's disk is encrypted and the destination is not",
            hint='give the key of an encrypted destination (--key-file, --key-id), or --decrypt',
        )
    return 'LUKS to plain: the data is stored in the clear, as was asked for'
