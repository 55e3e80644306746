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
"""Servers that are watched by what they print, instead of by SSH."""

from __future__ import annotations

from typing import Any

from tempest import config
from tempest.lib.common.utils import test_utils

from blockmirror_driver.tempest_plugin import heartbeat
from blockmirror_driver.tempest_plugin.heartbeat import DiskReport, Heartbeat

CONF = config.CONF
#: Lines of the console to ask for: some heartbeats, and what a kernel may have said meanwhile.
_LINES = 20
_INTERVAL_S = 1


class ConsoleMixin:
    """For classes of tempest's ``ScenarioTest``."""

    #: Set by tempest.
    os_primary: Any
    fail: Any

    def heartbeat(self, server_id: str) -> Heartbeat | None:
        """The newest heartbeat of a server; None if it has not printed one yet."""
        told = self.os_primary.servers_client.get_console_output(server_id, length=_LINES)
        return heartbeat.newest(told['output'])

    def fresh_heartbeat(self, server_id: str) -> Heartbeat:
        """A heartbeat that is printed after this call began.

        Fails the test when none comes in tempest's time for a server to boot.
        """
        return self._wait(server_id, lambda _beat: True, 'tells nothing')

    def fresh_report(self, server_id: str, volume_id: str, acked: int = 0) -> DiskReport:
        """The guest's report on a volume, printed after this call began.

        :param acked: wait until that many blocks more are acknowledged than at the first look

        Fails the test when none comes in time.
        """
        least: list[int] = []

        def enough(beat: Heartbeat) -> bool:
            disk = beat.of_volume(volume_id)
            if disk is None:
                return False
            if not least:
                least.append(disk.acked + acked)
            return disk.acked >= least[0]

        found = self._wait(server_id, enough, f'has not written enough to {volume_id}')
        disk = found.of_volume(volume_id)
        assert disk is not None
        return disk

    def _wait(self, server_id: str, wanted: Any, complaint: str) -> Heartbeat:
        first = self.heartbeat(server_id)
        found: list[Heartbeat] = []

        def printed() -> bool:
            beat = self.heartbeat(server_id)
            if beat is None or (first is not None and not beat.is_later_than(first)):
                return False
            if not wanted(beat):
                return False
            found.append(beat)
            return True

        if not test_utils.call_until_true(printed, CONF.compute.build_timeout, _INTERVAL_S):
            self.fail(
                f'server {server_id} {complaint}; its last line: {self.heartbeat(server_id)}'
            )
        return found[0]
