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
"""Move the block volume of a running guest between backends, with proof.

The public names; all else may change without notice. Importing this loads neither libvirt
nor any driver of volumes.
"""

from blockmirror_driver import exception
from blockmirror_driver.model import Disk, Secret
from blockmirror_driver.volume.base import Capabilities, VolumeDriver
from blockmirror_driver.volume.connection_info import ConnectionInfo
from blockmirror_driver.volume.registry import disk_for

__all__ = (
    'Capabilities',
    'ConnectionInfo',
    'Disk',
    'Secret',
    'VolumeDriver',
    'disk_for',
    'exception',
)
