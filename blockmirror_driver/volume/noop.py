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
"""A volume that is a local file; for tests of what is built upon drivers."""

from __future__ import annotations

from oslo_config import cfg

from blockmirror_driver.model import Disk, FileSource
from blockmirror_driver.volume import attributes
from blockmirror_driver.volume.base import Capabilities, VolumeDriver
from blockmirror_driver.volume.connection_info import ConnectionInfo


class NoopVolumeDriver(VolumeDriver):
    """Needs no storage and no secret: ``data`` holds ``path``, absolute."""

    def describe(self) -> Capabilities:
        """Return what the driver can do."""
        return Capabilities(protocol='')

    def disk(self, connection_info: ConnectionInfo, target_dev: str, conf: cfg.ConfigOpts) -> Disk:
        """Return the disk; see :meth:`VolumeDriver.disk`. No I/O."""
        path = connection_info.required_text('path')
        if not path.startswith('/') or path == '/':
            raise connection_info.error('path', 'is not absolute')
        return attributes.disk(connection_info, FileSource(path), target_dev, conf)
