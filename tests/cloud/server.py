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
"""A server of the cloud, seen through the APIs, libvirt and the agent in its guest."""

from __future__ import annotations

import contextlib
import functools
import pathlib
from typing import Any, Protocol

import libvirt
from lxml import etree

from tests.lab.deadline import wait_until
from tests.lab.guest.agent import Agent
from tests.lab.guest.console import AgentError, Console

#: Seconds: a server boots under software emulation on a busy machine.
BOOT_S = 120.0
#: The agent's serial port; port 0 is the kernel's console.
_AGENT_PORT = '1'


class Host(Protocol):
    """What a server runs on."""

    def connect(self) -> Any:
        """A ``libvirt.virConnect`` to its libvirtd."""


class Server(Agent):
    """One server. A hard reboot gives it other ports: call :meth:`reconnect` after one.

    :ivar journal: where the driver on its host keeps swaps
    """

    def __init__(self, host: Host, journal: pathlib.Path, server_id: str, domain: str) -> None:
        super().__init__(domain, Console(('', 0)))
        self._host = host
        self.journal = journal
        self.id = server_id

    @property
    def domain(self) -> Any:
        """The ``libvirt.virDomain``."""
        return self._host.connect().lookupByName(self.name)

    def came_to(self, host: Host, journal: pathlib.Path) -> None:
        """Look for it on another host from now on, and wait for its agent."""
        self._host, self.journal = host, journal
        self.reconnect()

    def reconnect(self, boot_s: float = BOOT_S) -> None:
        """Find the agent's port, and wait until it answers.

        :raise AgentSilent: it does not in time
        """
        self.console.close()
        self.console = Console(self._agent_address())
        self.console.wait_ready(boot_s)

    def _agent_address(self) -> tuple[str, int]:
        tree = self.xml()
        for serial in tree.iterfind("./devices/serial[@type='tcp']"):
            target, source = serial.find('target'), serial.find('source')
            if target is not None and target.get('port') == _AGENT_PORT and source is not None:
                return source.get('host', ''), int(source.get('service', '0'))
        raise AssertionError(f'{self.name} has no second serial port')

    def xml(self, *, inactive: bool = False) -> etree._Element:
        """The domain's XML, the live one or the stored one."""
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0
        return etree.fromstring(self.domain.XMLDesc(flags))

    def disk(self, dev: str, *, inactive: bool = False) -> etree._Element | None:
        """The ``<disk>`` with this target, if there is one."""
        for disk in self.xml(inactive=inactive).iter('disk'):
            target = disk.find('target')
            if target is not None and target.get('dev') == dev:
                return disk
        return None

    def wait_disk(self, dev: str, seconds: float = 30) -> None:
        """Wait until the guest's kernel has found a disk.

        :raise LabError: it has not in time
        """
        wait_until(functools.partial(self._has, dev), seconds, f'{dev} appears in {self.name}')

    def _has(self, dev: str) -> bool:
        with contextlib.suppress(AgentError):
            return self.size(dev) > 0
        return False
