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
"""A volume of a running server that becomes an encrypted one."""

from __future__ import annotations

from tests.cloud.encrypted import EncryptedTestCase


class EncryptedTest(EncryptedTestCase):
    def test_plain_to_luks(self) -> None:
        """By Cinder's retype; Nova starts the server from it anew, with a secret of its own."""
        server = self.server()
        volume, dev = self.attached(server, 'rbd1')
        volume = self.retyped(server, volume, dev, 'rbd2-luks-256')
        checksum = server.crc(dev, 0, 64 << 20)
        self.api.reboot(server, 'HARD')
        self.assertEqual(checksum, server.crc(dev, 0, 64 << 20))
        self.assert_kept(server, volume, dev)
        self.assert_not_told()
