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
"""Tempest's own scenarios of a volume in use, on servers without a network.

Theirs log in by SSH to leave a time stamp on the disk. Here the identity of what the guest writes
takes the stamp's place; it is only given when no block was wrong.
"""

from __future__ import annotations

from typing import Any

from tempest import config
from tempest.scenario import test_volume_migrate_attached as upstream

from blockmirror_driver.tempest_plugin.scenario.console import ConsoleMixin

CONF = config.CONF
#: Tempest's name for the volume that a server was booted from is None.
_BOOT_DISK = 'vda'


class MigrateRetypeAttachedConsoleTest(ConsoleMixin, upstream.TestVolumeMigrateRetypeAttached):
    """Their four tests."""

    @classmethod
    def skip_checks(cls) -> None:
        """Skip with images that do not print."""
        super().skip_checks()
        if CONF.blockmirror.image_ref != CONF.compute.image_ref:
            raise cls.skipException('[compute] image_ref is not [blockmirror] image_ref')

    def create_security_group(self, *_args: object, **_keywords: object) -> dict[str, str]:
        """Name the one that is always there."""
        return {'name': 'default'}

    def get_server_ip(self, server: dict[str, Any], **_keywords: object) -> str:
        """What the two methods below get as an address."""
        return str(server['id'])

    def create_timestamp(
        self, ip_address: str, dev_name: str | None = None, **_keywords: object
    ) -> str:
        """The identity of what a disk holds, once it is written to."""
        device = dev_name or _BOOT_DISK
        beat = self._wait(ip_address, lambda one: device in one.disks, f'has no {device}')
        disk = beat.disks[device]
        assert disk.faultless, disk
        return disk.run

    def get_timestamp(
        self, ip_address: str, dev_name: str | None = None, **_keywords: object
    ) -> str:
        """The same."""
        return self.create_timestamp(ip_address, dev_name)
