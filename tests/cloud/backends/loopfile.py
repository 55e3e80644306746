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
"""A backend for the cloud's tests only: files as loop devices of this very host.

It stands for what os-brick connects as a device of the host: Nova's own driver hands the guest a
block device, and ours has to swap from, to and between such. cinder-volume finds it by the path
of this directory, in which nothing else may be.
"""

from __future__ import annotations

import pathlib
from typing import Any

from cinder import interface
from oslo_concurrency import processutils

from blockmirror_driver.cinder.tgtfile import TgtFileDriver


@interface.volumedriver
class LoopFileDriver(TgtFileDriver):
    """Files like those of its parent; a device in the place of a target."""

    def _devices(self, volume: Any) -> list[str]:
        told, _ = self._execute('losetup', '--noheadings', '-O', 'NAME', '-j', self._path(volume))
        return [str(line).strip() for line in told.splitlines() if line.strip()]

    def _path(self, volume: Any) -> str:
        # The kernel shows at most 63 bytes of a longer path, and losetup compares inodes then.
        return str(pathlib.Path(self.local_path(volume)).resolve())

    def ensure_export(self, context: Any, volume: Any) -> None:
        """Do nothing: a loop device outlives cinder-volume."""

    def create_export(self, context: Any, volume: Any, connector: Any) -> dict[str, str]:
        """Set a device up, unless there is one."""
        devices = self._devices(volume)
        if not devices:
            told, _ = self._execute('losetup', '--find', '--show', self._path(volume))
            devices = [str(told).strip()]
        return {'provider_location': devices[0]}

    def remove_export(self, context: Any, volume: Any) -> None:
        """Take the device down."""
        try:
            devices = self._devices(volume)
        except processutils.ProcessExecutionError:
            return  # the file is gone
        for device in devices:
            self._execute('losetup', '--detach', device)

    def initialize_connection(self, volume: Any, connector: Any, **kwargs: Any) -> dict[str, Any]:
        """Name the device."""
        data = {'device_path': volume['provider_location'], 'discard': True}
        return {'driver_volume_type': 'local', 'data': data}

    def validate_connector(self, connector: Any) -> bool:
        """Take every host: there is only this one."""
        return True
