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
"""What the tests of encrypted volumes have in common: types, and where the passphrases are."""

from __future__ import annotations

from lxml import etree

from tests.cloud.api import Record
from tests.cloud.base import CloudTestCase
from tests.cloud.server import Host, Server

#: Types whose volumes QEMU encrypts, their backends and the sizes of their keys. Cinder makes a
#: new key when it moves a volume between types of different sizes.
LUKS = {'rbd1-luks-128': ('rbd1', 128), 'rbd2-luks-256': ('rbd2', 256)}
#: To derive a key takes two seconds of a processor, which a busy machine may not have soon.
PATIENT = {'blockmirror:probe_timeout': '90'}
#: Seconds for a move: each byte of the gibibyte is encrypted, the zeros too.
MOVED_S = 600.0
#: How libvirt shows that a secret is for a volume.
_VOLUME = "<usage type='volume'>"
#: What the usages of our own secrets begin with.
_OURS = 'blockmirror/'


def passphrases(host: Host) -> dict[str, str]:
    """Nova's secrets of volumes on a host: the volume of each by its UUID."""
    found = host.connect().listAllSecrets()
    names = {one.UUIDString(): one.usageID() for one in found if _VOLUME in one.XMLDesc()}
    return {uuid: name for uuid, name in names.items() if not name.startswith(_OURS)}


class EncryptedTestCase(CloudTestCase):
    """A test that moves volumes to types that are encrypted, and back."""

    def setUp(self) -> None:
        super().setUp()
        for name, (backend, bits) in LUKS.items():
            specs = {'volume_backend_name': backend, **PATIENT}
            self.api.volume_type(name, specs, luks_bits=bits)
        #: All passphrases that were seen.
        self.seen: set[str] = set()
        self.before = passphrases(self.api.lab)

    def retyped(self, server: Server, volume: Record, dev: str, volume_type: str) -> Record:
        """Retype a volume that the guest writes to; nothing is lost, and its secret is right."""
        self.writing(server, dev)
        self.api.retype(volume, volume_type)
        self.api.wait_moved(volume.id, MOVED_S)
        volume = self.assert_moved(server, volume, dev, volume_type.partition('-')[0])
        self.assertEqual(volume_type, volume.volume_type)
        self.assert_kept(server, volume, dev)
        return volume

    def assert_kept(self, server: Server, volume: Record, dev: str) -> None:
        """An encrypted volume has one secret, by the volume's id, and both definitions cite it."""
        found = passphrases(self.api.lab)
        new = {uuid: name for uuid, name in found.items() if uuid not in self.before}
        luks = self.api.key_id(volume.id) is not None
        self.assertEqual([volume.id] if luks else [], list(new.values()))
        for inactive in (False, True):
            disk = server.disk(dev, inactive=inactive)
            assert disk is not None
            cited = [one.get('uuid') for one in disk.iter('encryption', 'secret')]
            self.assertEqual(list(new), [one for one in cited if one in found], _shown(disk))
        for uuid in new:
            passphrase = self.api.passphrase(volume.id)
            self.seen.add(passphrase)
            secret = self.api.lab.connect().secretLookupByUUIDString(uuid)
            self.assertEqual(passphrase, secret.value().decode())

    def assert_not_told(self) -> None:
        """No log has a passphrase, and neither has the journal."""
        site = self.api.site
        for path in (*site.layout.logs.glob('*.log*'), *site.journal.parent.iterdir()):
            data = path.read_bytes()
            self.assertEqual([], [1 for one in self.seen if one.encode() in data], path.name)


def _shown(disk: etree._Element) -> str:
    return etree.tostring(disk, encoding='unicode')
