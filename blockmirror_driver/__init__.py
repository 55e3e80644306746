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

The public names; all else may change without notice. Importing this loads what it stands on
(oslo.config, lxml) only when a name that needs it is used for the first time, and neither
libvirt nor any driver of volumes even then.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from blockmirror_driver import exception

if TYPE_CHECKING:
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

#: Where each name comes from; the command's start-up must not pay for what it does not use.
_HOMES = {
    'Capabilities': 'volume.base',
    'ConnectionInfo': 'volume.connection_info',
    'Disk': 'model',
    'Secret': 'model',
    'VolumeDriver': 'volume.base',
    'disk_for': 'volume.registry',
}


if not TYPE_CHECKING:  # for a type checker this would make every name a public one

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used (PEP 562)."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
        value = getattr(importlib.import_module(f'{__name__}.{home}'), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names, imported already or not."""
    return sorted({*globals(), *__all__})
