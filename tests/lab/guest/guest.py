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
"""A running guest whose agent writes, counts and reports."""

import contextlib
import json
from typing import Any, Self

from tests.lab.deadline import wait_until
from tests.lab.guest.agent import Agent
from tests.lab.guest.console import AgentError, Console
from tests.lab.guest.domain import Domain
from tests.lab.lab import Lab
from tests.lab.layout import LabError

#: Seconds from power on to the agent's first answer on a slow, busy host.
BOOT_S = 90.0


class Guest(Agent):
    """A domain of the lab with the agent in it; ``with Guest(...) as guest`` cleans up.

    Libvirt errors come through as they are.  One thread at a time.
    """

    def __init__(self, lab: Lab, domain: Domain, *, persistent: bool = True) -> None:
        self._socket = lab.layout.guests / f'{domain.name}.sock'
        super().__init__(domain.name, Console(self._socket))
        self.lab = lab
        self.description = domain
        self.persistent = persistent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()

    @property
    def xml(self) -> str:
        """The domain XML that the guest is made from."""
        return self.description.xml(self.lab.layout.guests, self._socket)

    @property
    def domain(self) -> Any:
        """The ``libvirt.virDomain``, on a connection that works even if libvirtd was restarted.

        Untyped, since the stubs hold no more than the calls that the driver may make.
        """
        return self.lab.connect().lookupByName(self.name)

    def start(self, boot_s: float = BOOT_S) -> Self:
        """Define (unless it is transient) and start the domain, and wait for the agent.

        :raise AgentSilent: the guest did not come up within `boot_s` seconds
        """
        connection = self.lab.connect()
        if self.persistent:
            connection.defineXML(self.xml).create()
        else:
            connection.createXML(self.xml, 0)
        self._wait_booted(boot_s)
        return self

    def boot(self, boot_s: float = BOOT_S) -> None:
        """Start the defined domain again, as it is stored now, and wait for the agent."""
        self.console.close()
        self.domain.create()
        self._wait_booted(boot_s)

    def _wait_booted(self, seconds: float) -> None:
        """Wait for the agent, and for the disks: SCSI ones are found some time later."""
        self.console.wait_ready(seconds)
        for device in self.description.devices_inside():

            def found(device: str = device) -> bool:
                try:
                    return self.size(device) > 0
                except AgentError:
                    return False

            wait_until(found, seconds, f'{device} appears in {self.name}')

    def poweroff(self, timeout_s: float = 30) -> None:
        """Have the guest power off, and wait until the domain does not run any more.

        :raise LabError: it still runs after `timeout_s`
        """
        self.console.ask('poweroff')
        self.console.close()
        wait_until(lambda: not self.active(), timeout_s, f'{self.name} powers off')

    def monitor(self, command: str, **arguments: Any) -> Any:
        """What QEMU itself answers."""
        import libvirt_qemu

        asked = json.dumps({'execute': command, 'arguments': arguments})
        answer = json.loads(libvirt_qemu.qemuMonitorCommand(self.domain, asked, 0))
        if 'error' in answer:
            raise LabError('monitor', str(answer['error']))
        return answer['return']

    def active(self) -> bool:
        """Whether the domain runs or is paused."""
        import libvirt

        with contextlib.suppress(libvirt.libvirtError):
            return bool(self.domain.isActive())
        return False

    def destroy(self) -> None:
        """Power off hard and undefine; nothing happens if the domain is gone."""
        import libvirt

        self.console.close()
        for call in ('destroy', 'undefine'):
            with contextlib.suppress(libvirt.libvirtError):
                getattr(self.domain, call)()
        self._socket.unlink(missing_ok=True)
