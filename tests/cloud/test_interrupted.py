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
"""nova-compute, or what it talks to, goes away around a swap; the records must find the truth."""

from __future__ import annotations

import subprocess
import sys

from tests.cloud.base import SLOW_TYPE, CloudTestCase
from tests.cloud.openstack import OpenStack
from tests.cloud.server import Server
from tests.lab.deadline import wait_until
from tests.lab.namespace import REPOSITORY
from tests.lab.process import Daemon

#: Seconds: nova-compute starts, looks, and takes the swap up; retries wait longer each time.
_RECOVERY_S = 240.0


class InterruptedTest(CloudTestCase):
    """Every swap ends on one volume that guest, Nova and Cinder agree upon."""

    def setUp(self) -> None:
        super().setUp()
        self.services = OpenStack(self.api.site).daemons
        self.addCleanup(self.restart)

    @property
    def compute(self) -> Daemon:
        return self.services['nova-compute']

    def restart(self) -> None:
        """Start nova-compute again if it does not run, and wait until it works."""
        if self.compute.alive():
            return
        name = self.api.lab.layout.name
        argv = [sys.executable, '-m', 'tests.cloud', '--name', name, 'restart', 'nova-compute']
        subprocess.run(argv, cwd=REPOSITORY, check=True)

    def state(self, server: Server) -> str:
        """The state of the server's only swap; empty while there is none."""
        return ''.join(one['state'] for one in self.our_swaps(server)[-1:])

    def test_killed_while_copying(self) -> None:
        server, volume, dev, swap_id = self.slow_copy()
        self.compute.kill()
        self.assertEqual('copying', self.state(server))
        self.restart()
        self.api.wait_moved(volume.id, _RECOVERY_S)
        moved = self.assert_moved(server, volume, dev, 'rbd2')
        self.assertEqual(SLOW_TYPE, moved.volume_type)
        self.assertEqual([swap_id], [one['swap_id'] for one in self.our_swaps(server)])

    def test_cinder_is_away_after_the_pivot(self) -> None:
        """What Nova's manager has to tell Cinder is told later, and nothing is undone."""
        server, volume, dev, _swap_id = self.slow_copy()
        cinder = self.services['cinder-api']
        cinder.kill()
        self.addCleanup(cinder.start)
        wait_until(lambda: self.state(server) == 'cleaned', _RECOVERY_S, 'the guest switches')
        server.wait_acked(20)
        cinder.start()
        self.api.wait_moved(volume.id, _RECOVERY_S)
        self.assert_moved(server, volume, dev, 'rbd2')
