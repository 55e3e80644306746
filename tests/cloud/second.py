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
"""A second host for servers: a libvirtd and a nova-compute with a host name of their own.

It lives in namespaces within the lab's, shares the lab's network and Nova's directory of
instances, and has everything else that a host has to itself: libvirt's directories and
secrets, mounts of shares, a journal. Two libvirtds of one host name would not migrate a
guest to each other.
"""

from __future__ import annotations

import pathlib
import socket
import sys
from typing import Any

import libvirt

from tests.cloud import config
from tests.cloud import site as places
from tests.cloud.infrastructure import Infrastructure
from tests.cloud.site import Site
from tests.lab.holder import HYPERVISOR, hold
from tests.lab.lab import Lab
from tests.lab.layout import Credentials, Layout
from tests.lab.libvirtd import Libvirtd
from tests.lab.namespace import REPOSITORY, Namespace
from tests.lab.process import Daemon, end, members, run

_UUID = '5ec0bd4e-2c5f-4f3a-9a3b-6b1f0c9d7e21'
_MODULE = 'tests.cloud.second'


def _layout(lab: Layout) -> Layout:
    return Layout.at(lab.root / 'second')


class SecondHost:
    """Its methods are called inside the lab."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._layout = _layout(site.layout)
        self._namespace = Namespace(self._layout, ('mount', 'uts'), _MODULE)
        self._connection: Any = None

    def up(self) -> None:
        """Make the namespaces and start libvirtd, unless they are there.

        :raise LabError: something did not come up
        """
        for path in (self._layout.root, self._layout.hostdirs):
            path.mkdir(mode=0o711, exist_ok=True)
        for path in (self._layout.pids, self._layout.logs, self._layout.scratch):
            path.mkdir(mode=0o700, exist_ok=True)
        self._site.journal2.parent.mkdir(mode=0o700, exist_ok=True)
        (self._site.state / 'nova2').mkdir(exist_ok=True)
        self._namespace.open()
        run(self._inside([sys.executable, '-m', _MODULE, '--up', str(self._site.layout.root)]))
        link = self._site.sockets / places.HOST2
        link.unlink(missing_ok=True)
        link.symlink_to(self._layout.hostdirs / 'run/libvirt/libvirt-sock')

    def start_compute(self, choice: config.Choice) -> None:
        """Start nova-compute anew with a driver, and do not wait until it has reported."""
        config.write_second(self._site, choice)
        daemon = self._compute
        daemon.terminate(30)
        daemon.launch()

    def down(self) -> None:
        """End nova-compute and all that runs on this host."""
        holder = self._namespace.holder
        self._compute.terminate(30)
        if holder is None:
            return
        inode = self._namespace.inode()
        assert inode is not None
        self._connection = None
        for one in members(inode):
            if one != holder:
                end(one, 5)
        end(holder, 0)

    def connect(self) -> Any:
        """A ``libvirt.virConnect`` to this host's libvirtd."""
        if self._connection is None:
            path = self._site.sockets / places.HOST2
            self._connection = libvirt.open(f'qemu+unix:///system?socket={path}')
        return self._connection

    def shares(self) -> list[str]:
        """Directories that shares are mounted at on this host."""
        told = run(self._inside(['cat', '/proc/mounts']))
        base = f'{self._site.state / "nova2"}/mnt/'
        return [line.split()[1] for line in told.splitlines() if line.split()[1].startswith(base)]

    @property
    def _compute(self) -> Daemon:
        conf = self._site.etc / 'nova' / 'nova-compute2.conf'
        words = [*self._site.environment, 'PYTHONWARNINGS=ignore']
        argv = ['env', *words, 'nova-compute', '--config-file', str(conf)]
        return Daemon(self._layout, 'nova-compute', self._inside(argv), lambda: True)

    def _inside(self, argv: list[str]) -> list[str]:
        return self._namespace.command(argv, REPOSITORY)


def _up(lab: Layout) -> None:
    """Start libvirtd in the namespaces that this process is in."""
    Libvirtd(_layout(lab), Credentials.of(lab), _UUID).up()
    infrastructure = Infrastructure(Site(lab), Lab(lab))
    for _pool, user in places.RBD.values():
        infrastructure.define_secret(user)


if __name__ == '__main__':
    if sys.argv[1] == '--up':
        _up(Layout.at(pathlib.Path(sys.argv[2])))
    else:
        socket.sethostname(places.NODE2)
        hold(Layout.at(pathlib.Path(sys.argv[1])), HYPERVISOR)
