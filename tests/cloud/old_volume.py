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
"""The old volume can't be disconnected after a good pivot.

Nova's own driver then raises, Nova's manager takes that for a failed swap, and Cinder deletes
the volume that the guest runs on. Both drivers meet the same fault here.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys

from tests.cloud.api import Record
from tests.cloud.base import CloudTestCase
from tests.cloud.server import Server
from tests.lab.namespace import REPOSITORY
from tests.lab.process import run

#: Removing this from a directory that is mounted over takes more than unmounting.
_OBSTACLE = 'obstacle'


class OldVolumeTestCase(CloudTestCase):
    """From one share to another, both mounted, while a mount point can't be removed."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.driver, 'ours')

    def driver(self, *words: str) -> None:
        """Have nova-compute load another driver."""
        name = self.api.lab.layout.name
        argv = [sys.executable, '-m', 'tests.cloud', '--name', name, 'driver', *words]
        subprocess.run(argv, cwd=REPOSITORY, check=True)

    def moved(self) -> tuple[Server, Record, str]:
        """A volume that was moved, well or badly, with the guest writing before and after."""
        server = self.server()
        volume, dev = self.attached(server, 'nfs1')
        self.writing(server, dev)
        self._obstruct()
        self.api.retype(volume, 'nfs2')
        moved = self.api.wait_moved(volume.id)
        server.wait_acked(20)
        return server, moved, dev

    def _obstruct(self) -> None:
        """Put a file beneath the mount, so that the mount point can't be removed."""
        base = self.api.site.state / 'nova' / 'mnt'
        beneath = self.api.lab.layout.scratch / 'beneath'
        beneath.mkdir(exist_ok=True)
        run(['mount', '--bind', str(base), str(beneath)])
        self.addCleanup(self._clear)
        for mount_point in beneath.iterdir():
            (mount_point / _OBSTACLE).touch()

    def _clear(self) -> None:
        beneath = self.api.lab.layout.scratch / 'beneath'
        for obstacle in beneath.glob(f'*/{_OBSTACLE}'):
            obstacle.unlink()
            with contextlib.suppress(OSError):  # another share's, still mounted
                obstacle.parent.rmdir()
        run(['umount', str(beneath)])
