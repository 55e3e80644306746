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
"""What tests have in common in which nova-compute, or what it talks to, goes away."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.states import ENDED
from tests.cloud.api import Record
from tests.cloud.base import CloudTestCase
from tests.cloud.openstack import OpenStack
from tests.cloud.proxy import COMPLETION, URL, Fault, Proxy
from tests.cloud.server import Server
from tests.lab.deadline import wait_until
from tests.lab.namespace import REPOSITORY
from tests.lab.process import Daemon

#: Seconds: nova-compute starts, looks, and takes the swap up; retries wait longer each time.
RECOVERY_S = 240.0
#: Seconds until a swap comes to the point where the process kills itself.
_REACHED_S = 300.0


class InterruptedTestCase(CloudTestCase):
    """Every swap ends on one volume that guest, Nova and Cinder agree upon."""

    def setUp(self) -> None:
        super().setUp()
        self.openstack = OpenStack(self.api.site)
        self.services = self.openstack.daemons
        self.addCleanup(self.restart)

    @property
    def compute(self) -> Daemon:
        """nova-compute, be it doomed or not."""
        return self.services['nova-compute']

    def cloud(self, *words: str) -> None:
        """Have the cloud do something, as an operator does."""
        name = self.api.lab.layout.name
        argv = [sys.executable, '-m', 'tests.cloud', '--name', name, *words]
        subprocess.run(argv, cwd=REPOSITORY, check=True)

    def restart(self) -> None:
        """Start nova-compute again if it does not run, and wait until it works."""
        if not self.compute.alive():
            self.cloud('restart', 'nova-compute')

    def doom(self, where: str) -> None:
        """Put a nova-compute in its place that kills itself there."""
        self.compute.kill()  # in order it would take longer, and nothing is under way
        self.cloud('restart', '--doom', where, 'nova-compute')

    def doom_recovery(self, where: str) -> None:
        """Start a nova-compute that kills itself there, and wait for that."""
        self.openstack.doomed(where).launch()
        self.await_death(where)

    def await_death(self, where: str) -> None:
        """Wait until nova-compute has killed itself there.

        :raise LabError: the swap never came there
        """
        wait_until(lambda: not self.compute.alive(), _REACHED_S, f'nova-compute dies {where}')
        last = [line for line in self._log().splitlines() if line.startswith('doomed: ')][-1:]
        self.assertEqual([f'doomed: {where.replace(":", " ")}'], last)

    def _log(self) -> str:
        return self.compute.log.read_text(errors='replace')

    def state(self, server: Server) -> str:
        """The state of the server's newest swap; empty while there is none."""
        return ''.join(one['state'] for one in self.our_swaps(server)[-1:])

    def moving(self, destination: str = 'rbd2') -> tuple[Server, Record, str]:
        """A volume on rbd1 that Cinder was just asked to move, the guest writing."""
        server, volume, dev = self.to_move()
        self.api.retype(volume, destination)
        return server, volume, dev

    def to_move(self) -> tuple[Server, Record, str]:
        """A volume on rbd1, the guest writing."""
        server = self.server()
        volume, dev = self.attached(server, 'rbd1')
        self.writing(server, dev)
        return server, volume, dev

    def owed(self, server: Server) -> list[str]:
        """What Nova and Cinder have not been told yet of the server's swaps."""
        mine = {one['swap_id'] for one in self.our_swaps(server)}
        duties = Journal(self.api.site.journal).duties.owed()
        return [duty.name for duty in duties if duty.swap_id in mine]

    def migration_targets(self) -> list[dict[str, Any]]:
        """Volumes that Cinder has made for moves that have not ended."""
        told = self.api.cloud.block_storage.get('/volumes/detail?all_tenants=1').json()['volumes']
        return [one for one in told if (one.get('migration_status') or '').startswith('target:')]

    def assert_settled(self, server: Server, volume: Record, dev: str) -> Record:
        """The move has ended, well or not; all records agree, and no write is lost."""
        settled = self.api.wait_moved(volume.id, RECOVERY_S)
        self.assertEqual('in-use', settled.status)
        wait_until(lambda: not self.owed(server), RECOVERY_S, 'nothing is owed')
        wait_until(lambda: not self.migration_targets(), RECOVERY_S, 'no volume is left over')
        for swap in self.our_swaps(server):
            self.assertIn(swap['state'], {state.value for state in ENDED})
        moved = settled.migration_status == 'success'
        self.assertEqual(moved, settled.backend != volume.backend)
        self.assertEqual(moved, settled.volume_type != volume.volume_type)
        server.wait_acked(20)
        self.assert_survived(server, settled, dev)
        self.assert_agreed(server, settled, dev)
        return settled


class ProxiedTestCase(InterruptedTestCase):
    """nova-compute reaches Cinder through a proxy of the test, which may fail."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = Proxy()
        self.proxy.start()
        self.addCleanup(self.proxy.stop)
        self.addCleanup(self.cloud, 'driver', 'ours')
        self.cloud('driver', 'ours', '--cinder', URL)

    def faulty(self, pattern: str, fault: Fault, times: int) -> None:
        """Move a volume while calls that match go wrong so many times; it ends well, once.

        :param pattern: see :mod:`tests.cloud.proxy`
        """
        server, volume, dev = self.to_move()
        # Attaching it has made such calls as well.
        self.proxy.fail(pattern, fault, times)
        self.api.retype(volume, 'rbd2')
        settled = self.assert_settled(server, volume, dev)
        self.assertEqual(('success', 'rbd2'), (settled.migration_status, settled.backend))
        failed = [one for one in self.proxy.calls(pattern) if one.fault]
        self.assertEqual([fault] * times, [one.fault for one in failed])
        completions = self.proxy.calls(COMPLETION)
        self.assertEqual([200], [one.status for one in completions if one.status == 200])
        for one in completions:
            self.assertNotIn('"error": true', one.text.lower())
        told = ', '.join(str(one.status or one.fault) for one in completions)
        print(f'{pattern} {fault.value} {times} times; completions: {told}', flush=True)
