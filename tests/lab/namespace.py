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
"""The network and mount namespaces that a lab lives in.

A holder process keeps both alive.  In the network namespace there is nothing but ``lo``, so
every daemon may use its standard port, and no lab sees another.  In the mount namespace the
directories that daemons use by name are bind-mounted from below the lab's root (`holder`).
"""

import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from tests.lab.layout import LabError, Layout
from tests.lab.process import Identity

#: Root of the source tree, where ``tests.lab`` can be imported.
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


class Namespace:
    """The namespaces of one lab, seen from inside or outside.

    :param kinds: what is made anew, as unshare and nsenter call it; always ``mount``
    :param holder: module of the first process, which gets the root directory
    """

    def __init__(
        self,
        layout: Layout,
        kinds: Sequence[str] = ('mount', 'net'),
        holder: str = 'tests.lab.holder',
    ) -> None:
        self._layout = layout
        self._options = [f'--{kind}' for kind in kinds]
        self._module = holder
        self._record = layout.pids / 'holder.json'

    @property
    def holder(self) -> Identity | None:
        """The process that keeps the namespaces alive, or None."""
        known = Identity.load(self._record)
        return known if known and known.alive() else None

    def inode(self) -> int | None:
        """Number of the mount namespace; None if no holder runs."""
        holder = self.holder
        return mount_inode(holder.pid) if holder else None

    def inside(self) -> bool:
        """Whether the calling process is in the lab already."""
        inode = self.inode()
        return inode is not None and inode == mount_inode(os.getpid())

    def open(self) -> None:
        """Make the namespaces, unless they exist.

        :raise LabError: the caller is not root, or a mount was refused
        """
        if self.holder:
            return
        if os.geteuid() != 0:
            raise LabError('namespace', 'only root may make mount and network namespaces')
        argv = ['unshare', *self._options, '--propagation', 'private', '--']
        argv += [sys.executable, '-m', self._module, str(self._layout.root)]
        with (self._layout.logs / 'holder.log').open('ab') as log:
            child = subprocess.Popen(
                argv,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert child.stdout is not None
        with child.stdout as answer:
            ready = answer.readline().strip() == b'ready'
        identity = Identity.of(child.pid)
        if not ready or identity is None:
            child.kill()
            child.wait()
            raise LabError('namespace', f'not made; see {self._layout.logs / "holder.log"}')
        identity.store(self._record)
        child.returncode = 0  # it stays: keep Popen from warning about a running child

    def command(self, argv: Sequence[str], directory: pathlib.Path) -> list[str]:
        """The command line that runs `argv` inside, in `directory`.

        :raise LabError: no holder runs
        """
        holder = self.holder
        if holder is None:
            raise LabError('namespace', f'the lab {self._layout.name!r} is not up')
        enter = ['nsenter', '--target', str(holder.pid), *self._options]
        return [*enter, f'--wdns={directory}', '--', *argv]


def mount_inode(pid: int) -> int:
    """Number of a process's mount namespace.

    :raise OSError: the process is gone
    """
    return pathlib.Path(f'/proc/{pid}/ns/mnt').stat().st_ino
