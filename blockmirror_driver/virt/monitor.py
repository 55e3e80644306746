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
"""QEMU's own monitor, reached through libvirt (``virDomainQemuMonitorCommand``).

What is done here libvirt does not see, and it says so by tainting the domain
(``custom-monitor``) at the first command. Nobody but whoever asked for it by an option of its
own gets here; no other part of this package imports libvirt's QEMU module.
"""

from __future__ import annotations

import json
import re
from typing import Any

import libvirt
import libvirt_qemu

from blockmirror_driver import exception
from blockmirror_driver.model import Seconds
from blockmirror_driver.virt.domain import Domain

#: What may be said to QEMU (its QMP reference manual), and nothing else. None of these ends
#: a guest or changes what it sees.
COMMANDS = frozenset(
    {
        'add-fd',
        'block-export-add',
        'block-job-cancel',
        'block-job-change',
        'block-job-complete',
        'block-job-set-speed',
        'blockdev-add',
        'blockdev-del',
        'blockdev-mirror',
        'blockdev-reopen',
        'getfd',
        'job-dismiss',
        'nbd-server-start',
        'object-add',
        'object-del',
        'query-block',
        'query-block-jobs',
        'query-named-block-nodes',
        'remove-fd',
    }
)

#: What may be said to its monitor for people (HMP); a job's name has nothing that it would parse.
HUMAN_COMMANDS = re.compile(
    r'info block-jobs'
    r'|block_job_cancel [A-Za-z][\w.-]*'
    r'|block_job_set_speed [A-Za-z][\w.-]* \d+B',
    re.ASCII,
)
#: Flag of ``virDomainQemuMonitorCommand``: the command is one of the monitor for people.
_HUMAN = 1


class Monitor:
    """The monitor of one guest. Any thread may call; each call is bounded as libvirt's are."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain

    def execute(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        *,
        files: tuple[int, ...] = (),
        timeout: Seconds | None = None,
    ) -> Any:
        """Run one of :data:`COMMANDS`, and return what QEMU returns.

        :param files: descriptors that go along.
        :raise Refused: QEMU did not do it, with its reason; nothing was changed.
        :raise DomainNotFound: the guest is gone.
        :raise HypervisorUnavailable: no answer; with ``outcome_unknown`` it may be done.
        """
        assert command in COMMANDS, command
        text = json.dumps({'execute': command, 'arguments': arguments or {}})

        def ask(conn: libvirt.virConnect) -> str:
            dom = self._running(conn)
            if files:
                answer, _ = libvirt_qemu.qemuMonitorCommandWithFiles(dom, text, list(files), 0)
                return answer
            return libvirt_qemu.qemuMonitorCommand(dom, text, 0)

        answer = self._domain.hypervisor.run(command, ask, key=self._domain.uuid, timeout=timeout)
        told = json.loads(answer)
        if 'error' in told:
            reason = exception.one_line(str(told['error'].get('desc', 'without a reason')))
            raise exception.Refused(f'QEMU refused {command}: {reason}')
        return told['return']

    def human(self, line: str, *, timeout: Seconds | None = None) -> str:
        """Run one of :data:`HUMAN_COMMANDS`, and return the text that QEMU prints.

        QEMU promises nothing about these texts; its version decides. Errors as in
        :meth:`execute`: an error of this monitor is a text that begins with ``Error``.
        """
        assert HUMAN_COMMANDS.fullmatch(line), line

        def ask(conn: libvirt.virConnect) -> str:
            dom = self._running(conn)
            return libvirt_qemu.qemuMonitorCommand(dom, line, _HUMAN)

        answer = self._domain.hypervisor.run(line, ask, key=self._domain.uuid, timeout=timeout)
        if answer.startswith('Error'):
            reason = exception.one_line(answer.removeprefix('Error:').strip())
            raise exception.Refused(f'QEMU refused {line.split(maxsplit=1)[0]}: {reason}')
        return answer

    def _running(self, conn: libvirt.virConnect) -> libvirt.virDomain:
        dom = conn.lookupByUUIDString(self._domain.uuid)
        if not dom.isActive():
            raise exception.DomainNotFound(f'domain {self._domain.name} is not running')
        return dom

    def nodes_in_use(self) -> dict[str, str]:
        """Return the node that each device of the guest is on, by the device's path in QEMU."""
        return {
            str(device.get('qdev', '')): str(device['inserted'].get('node-name', ''))
            for device in self.execute('query-block')
            if device.get('inserted')
        }

    def node_of(self, alias: str | None) -> str:
        """Return the node of a disk; with ``-blockdev`` there are no drives with names.

        :param alias: of the disk, as the live XML has it.
        :raise DiskNotFound: QEMU has no such device.
        """
        for qdev, node in self.nodes_in_use().items():
            if alias and alias in qdev.split('/'):
                return node
        raise exception.DiskNotFound(f'QEMU has no device of the name {alias}')

    def add_secret(self, name: str, descriptor: int) -> None:
        """Make a ``secret`` object of QEMU's, so that its value is in no text that anybody logs.

        :param descriptor: of a file that holds the value; QEMU opens it anew and reads it.

        Errors as in :meth:`execute`; after one there is no such object.
        """
        handed = self.execute('add-fd', files=(descriptor,))
        try:
            where = f'/proc/self/fd/{handed["fd"]}'
            self.execute('object-add', {'qom-type': 'secret', 'id': name, 'file': where})
        finally:
            self.execute('remove-fd', {'fdset-id': handed['fdset-id']})
