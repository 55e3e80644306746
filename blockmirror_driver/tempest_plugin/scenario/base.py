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
"""What the scenarios have in common: servers that write, moves, and a judge."""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
from collections.abc import Collection
from typing import Any

from tempest import config
from tempest.common import waiters
from tempest.lib.common import api_microversion_fixture
from tempest.lib.common.utils import test_utils
from tempest.scenario import manager

from blockmirror_driver.tempest_plugin.heartbeat import DiskReport
from blockmirror_driver.tempest_plugin.scenario.console import ConsoleMixin

CONF = config.CONF
#: From 2.89 on Nova's list of attachments has the id of Cinder's attachment.
_ATTACHMENTS = '2.89'
#: Blocks that a guest has to get acknowledged for a test to believe that it writes.
_ENOUGH = 20
#: States of the journal in which a swap has ended on its destination, and on its source.
_MOVED, _REVERTED = 'cleaned', 'reverted'
#: Cinder's ``migration_status`` while a move goes on.
_MOVING = ('starting', 'migrating', 'completing')
#: Looks at a volume that show no move before there is none. When the scheduler finds no place for
#: a retype nothing else is to be seen; but for a moment that is so as well before a success.
_QUIET = 5
_HOST_COMMAND_S = 180


class MoveTest(ConsoleMixin, manager.ScenarioTest):
    """A class of scenarios that move volumes of running servers."""

    credentials = ('primary', 'admin')

    @classmethod
    def skip_checks(cls) -> None:
        """Skip without Cinder, a second backend or a guest that writes."""
        super().skip_checks()
        if not CONF.service_available.cinder:
            raise cls.skipException('Cinder is not available')
        if len(cls.backends()) < 2:
            raise cls.skipException('[volume] backend_names has less than two backends')
        if not CONF.blockmirror.image_ref:
            raise cls.skipException('[blockmirror] image_ref is not set')

    @classmethod
    def setup_clients(cls) -> None:
        """Add the administrator's clients."""
        super().setup_clients()
        cls.admin_volumes = cls.os_admin.volumes_client_latest
        cls.admin_servers = cls.os_admin.servers_client

    @staticmethod
    def backends() -> list[str]:
        """The backends' names, in the order of the configuration, each once."""
        return list(dict.fromkeys(CONF.volume.backend_names or ()))

    # -- doing -------------------------------------------------------------------------

    def types(self) -> dict[str, str]:
        """Make a volume type for each backend; their names by the backends'."""
        return {
            name: str(self.create_volume_type(backend_name=name)['name'])
            for name in self.backends()
        }

    def writing_server(self, volume: dict[str, Any] | None = None) -> dict[str, Any]:
        """Boot a server, from a volume if one is given, and wait until it prints."""
        given: dict[str, Any] = {'image_id': CONF.blockmirror.image_ref}
        if volume is not None:
            mapping = {'boot_index': 0, 'uuid': volume['id'], 'delete_on_termination': False}
            mapping |= {'source_type': 'volume', 'destination_type': 'volume'}
            given = {'image_id': '', 'block_device_mapping_v2': [mapping]}
        server: dict[str, Any] = self.create_server(**given)
        self.fresh_heartbeat(server['id'])
        return server

    def boot_volume(self, volume_type: str) -> dict[str, Any]:
        """A volume that a server can be booted from."""
        made: dict[str, Any] = self.create_volume(
            imageRef=CONF.blockmirror.image_ref, volume_type=volume_type
        )
        return made

    def written_volume(self, server: dict[str, Any], volume_type: str) -> dict[str, Any]:
        """A new volume that a server writes to."""
        volume = self.create_volume(volume_type=volume_type)
        attached: dict[str, Any] = self.nova_volume_attach(server, volume)
        self.fresh_report(server['id'], volume['id'], _ENOUGH)
        return attached

    def start_retype(self, volume_id: str, volume_type: str) -> None:
        """Ask for another type, which may mean another backend."""
        self._forget_move(volume_id)
        self.admin_volumes.retype_volume(
            volume_id, new_type=volume_type, migration_policy='on-demand'
        )

    def slow_type(self, backend: str) -> str:
        """Make a type that is copied to slowly; its name.

        Tempest deletes a type's volumes with it, and what was made later before: so it has to be
        made before the server that will have such a volume.
        """
        specs = {'blockmirror:bandwidth': str(CONF.blockmirror.slow_bandwidth)}
        return str(self.create_volume_type(backend_name=backend, extra_specs=specs)['name'])

    def start_slow_copy(self, server: dict[str, Any], volume_id: str, slow: str) -> str:
        """Ask for a copy that takes its time, and wait until it runs; the swap's id."""
        self.start_retype(volume_id, slow)
        return self.wait_state(server, 'copying')

    def wait_state(self, server: dict[str, Any], state: str) -> str:
        """Wait until our journal has a swap of the server's in a state; return the swap's id."""
        found: list[str] = []

        def reached() -> bool:
            found[:] = [one['swap_id'] for one in self.swaps(server) if one['state'] == state]
            return bool(found)

        if not test_utils.call_until_true(reached, CONF.compute.build_timeout, 1):
            self.fail(f'no swap is {state}: {self.swaps(server)}')
        return found[-1]

    def start_migration(self, volume_id: str, backend: str) -> None:
        """Ask for another backend."""
        pools = self.os_admin.volume_scheduler_stats_client_latest.list_pools(detail=True)['pools']
        hosts = [
            one['name']
            for one in pools
            if one['capabilities'].get('volume_backend_name') == backend
        ]
        self.assertTrue(hosts, f'Cinder has no backend {backend}')
        self._forget_move(volume_id)
        self.admin_volumes.migrate_volume(volume_id, host=hosts[0])

    def _forget_move(self, volume_id: str) -> None:
        """So that the end of an earlier move is not taken for that of the next."""
        self.admin_volumes.reset_volume_status(volume_id, migration_status='none')

    def wait_move_ended(self, volume_id: str) -> dict[str, Any]:
        """Wait until a move has ended, well or badly."""
        found: list[dict[str, Any]] = []
        quiet = itertools.count(1)

        def ended() -> bool:
            volume = self.admin_volumes.show_volume(volume_id)['volume']
            found[:] = [volume]
            if volume['status'] not in ('in-use', 'available', 'error'):
                return False
            if volume['migration_status'] in ('success', 'error'):
                return True
            return volume['migration_status'] not in _MOVING and next(quiet) >= _QUIET

        if not test_utils.call_until_true(ended, CONF.blockmirror.move_timeout, 1):
            self.fail(f'the move of volume {volume_id} does not end: {found}')
        return found[0]

    def reboot(self, server: dict[str, Any], kind: str) -> None:
        """Reboot, ``SOFT`` or ``HARD``, and wait for a line of the new boot."""
        before = self.fresh_heartbeat(server['id'])
        self.servers_client.reboot_server(server['id'], type=kind)
        waiters.wait_for_server_status(self.servers_client, server['id'], 'ACTIVE')
        self._wait(server['id'], lambda beat: beat.boot != before.boot, 'did not boot again')

    def stop_and_start(self, server: dict[str, Any]) -> None:
        """Stop, start, and wait for a line of the new boot."""
        before = self.fresh_heartbeat(server['id'])
        self.servers_client.stop_server(server['id'])
        waiters.wait_for_server_status(self.servers_client, server['id'], 'SHUTOFF')
        self.servers_client.start_server(server['id'])
        waiters.wait_for_server_status(self.servers_client, server['id'], 'ACTIVE')
        self._wait(server['id'], lambda beat: beat.boot != before.boot, 'did not boot again')

    # -- judging -----------------------------------------------------------------------

    def assert_moved(
        self, server: dict[str, Any], volume_id: str, backend: str, before: DiskReport
    ) -> DiskReport:
        """The volume is on another backend, by our driver, and nothing is missing.

        :param before: the guest's report from before the move
        """
        volume = self.wait_move_ended(volume_id)
        self.assertEqual(
            ('in-use', 'success'), (volume['status'], volume['migration_status']), volume
        )
        self.assertIn(f'@{backend}#', volume['os-vol-host-attr:host'])
        self._assert_moved_by_us(server, volume)
        return self.assert_intact(server, volume_id, before)

    def assert_intact(
        self, server: dict[str, Any], volume_id: str, before: DiskReport
    ) -> DiskReport:
        """A volume of a server is written to, has its old content, and all records agree.

        :param before: an earlier report on the volume, by this guest or another
        """
        report = self.fresh_report(server['id'], volume_id, _ENOUGH)
        self.assertTrue(report.faultless, report)
        self.assertEqual(before.run, report.run)
        self.assertGreaterEqual(report.acked, before.acked)
        self._assert_attached_once(server, volume_id)
        return report

    def assert_kept(self, server: dict[str, Any], volume_id: str, before: DiskReport) -> None:
        """Another boot, or another server, finds all blocks that the one before had acknowledged.

        The new guest has compared every block when it first looked at the disk.
        """
        report = self.assert_intact(server, volume_id, before)
        self.assertGreaterEqual(report.found, before.acked)

    def _assert_attached_once(self, server: dict[str, Any], volume_id: str) -> None:
        attachments = self.admin_volumes.show_volume(volume_id)['volume']['attachments']
        self.assertEqual([server['id']], [one['server_id'] for one in attachments])
        with api_microversion_fixture.APIMicroversionFixture(compute_microversion=_ATTACHMENTS):
            listed = self.admin_servers.list_volume_attachments(server['id'])
        found = [one for one in listed['volumeAttachments'] if one['volumeId'] == volume_id]
        self.assertEqual(
            [attachments[0]['attachment_id']], [one['attachment_id'] for one in found]
        )

    # -- the compute host --------------------------------------------------------------

    def require_command(self, option: str) -> None:
        """Skip a test that needs a command, given by one of our options."""
        if not CONF.blockmirror[option]:
            self.skipTest(f'[blockmirror] {option} is not set')

    def blockmirror(self, *words: str) -> str:
        """Run a command of ours on the compute host, and return what it printed."""
        return self._command(CONF.blockmirror.host_command, *words)

    def compute(self, what: str) -> None:
        """Do something to nova-compute; see the option ``compute_command``."""
        self._command(CONF.blockmirror.compute_command, what)

    def backend(self, what: str, *words: str) -> str:
        """Do something to a backend; see the option ``backend_command``."""
        return self._command(CONF.blockmirror.backend_command, what, *words)

    def _command(self, line: str, *words: str) -> str:
        argv = [*shlex.split(line), *words]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_HOST_COMMAND_S, check=False
        )
        self.assertEqual(0, done.returncode, f'{argv}: {done.stderr[-1000:]}')
        return done.stdout

    def swaps(self, server: dict[str, Any]) -> list[dict[str, str]]:
        """Our journal's swaps of a server, oldest first."""
        shown = self.admin_servers.show_server(server['id'])['server']
        domain = shown['OS-EXT-SRV-ATTR:instance_name']
        rows: list[dict[str, str]] = json.loads(self.blockmirror('list', '-f', 'json'))
        return [one for one in rows if one['domain'] == domain]

    def _assert_moved_by_us(self, server: dict[str, Any], volume: dict[str, Any]) -> None:
        """Our journal has a swap to where the volume is now, as far as the host can be asked."""
        if not CONF.blockmirror.host_command:
            return
        name = volume['os-vol-mig-status-attr:name_id'] or volume['id']
        found = [one['state'] for one in self.swaps(server) if name in one['destination']]
        self.assertEqual([_MOVED], found, f'no swap of ours to {name}')

    def assert_reverted(
        self, server: dict[str, Any], volume_id: str, source: Collection[str], before: DiskReport
    ) -> None:
        """A move came to nothing: the server goes on with the volume that it had.

        :param source: type and backend that the volume had
        """
        volume_type, backend = source
        volume = self.wait_move_ended(volume_id)
        self.assertEqual(
            ('in-use', 'error', volume_type),
            (volume['status'], volume['migration_status'], volume['volume_type']),
        )
        self.assertIn(f'@{backend}#', volume['os-vol-host-attr:host'])
        if CONF.blockmirror.host_command:
            self.assertEqual([_REVERTED], [one['state'] for one in self.swaps(server)][-1:])
        self.assert_intact(server, volume_id, before)
