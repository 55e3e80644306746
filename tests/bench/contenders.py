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
"""Ways to get a volume's content to another, each timed as its user would see it."""

from __future__ import annotations

import abc
import json
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from blockmirror_driver.model import Disk, IscsiSource, NfsSource, Seconds
from blockmirror_driver.model.disk import Identity
from blockmirror_driver.qemu import blockdev, tool
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.volume.registry import disk_for
from tests.lab.guest.guest import Guest
from tests.lab.lab import Lab
from tests.lab.layout import LabError, write_private
from tests.lab.volumes import Volume

#: Seconds that one copy may take.
DEADLINE = 900.0
_INITIATOR = 'iqn.2026-11.org.blockmirror:bench'
_CONF = """\
[blockmirror]
journal_path = {journal}
iscsi_initiator_name = {initiator}
nfs_uid = 0
nfs_gid = 0
"""


@dataclass(frozen=True)
class Took:
    """One copy.

    :ivar seconds: from the start of the command to its end
    :ivar request_s: from READY to the request for the pivot, where it is known
    :ivar pivot_s: from that request to its end, where it is known
    """

    seconds: float
    request_s: float | None = None
    pivot_s: float | None = None


class Contender(abc.ABC):
    """One way. One thread uses it."""

    name: ClassVar[str]
    #: Whether the guest runs on the destination afterwards, and its writes count.
    moves_guest: ClassVar[bool] = True

    def __init__(self, lab: Lab) -> None:
        self.home = lab.layout.scratch / f'bench-{self.name}'
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)

    @abc.abstractmethod
    def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
        """Copy all of the source.

        :raise LabError: it failed
        """

    @staticmethod
    def timed(argv: list[str]) -> float:
        """Run a command; return the seconds that it took."""
        begun = time.monotonic()
        done = subprocess.run(
            argv, timeout=DEADLINE, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        took = time.monotonic() - begun
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors='replace').strip()
            raise LabError(Path(argv[0]).name, f'ended with {done.returncode}: {said[-300:]}')
        return took


class Limit(Contender):
    """What the storage and QEMU's own copier can do, without a guest."""

    name = 'qemu-img'
    moves_guest = False
    _COMMAND = ('qemu-img', 'convert', '-n', '-W', '-m', '16', '-t', 'none')

    def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
        """Copy as fast as it goes; nobody writes meanwhile."""
        images = [
            blockdev.of(_disk(volume), prefix)
            for volume, prefix in ((source, 'source'), (destination, 'destination'))
        ]
        command = [*self._COMMAND, '-f', 'raw', '-O', 'raw']
        begun = time.monotonic()
        ended = tool.run(command, images, tool.Limits(Seconds(DEADLINE)))
        took = time.monotonic() - begun
        if ended.code:
            raise LabError(self.name, ended.reason)
        return Took(took)


class Virsh(Contender):
    """libvirt's own command, with the XML that its user has to write for himself."""

    name = 'virsh'

    def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
        """Copy and pivot."""
        path = self.home / 'destination.xml'
        write_private(path, destination.disk_xml(dev))
        words = ('--wait', '--pivot', '--transient-job', '--reuse-external')
        argv = ['virsh', '-q', 'blockcopy', guest.name, dev, '--xml', str(path), *words]
        return Took(self.timed(argv))


class Ours(Contender):
    """The ``blockmirror`` command, from its start to its end, with all of its checks."""

    name = 'blockmirror'

    def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
        """Plan, copy, pivot, verify, clean up."""
        journal = self.home / f'{uuid.uuid4().hex[:8]}.sqlite'
        config, connection = self.home / 'blockmirror.conf', self.home / 'connection.json'
        config.write_text(_CONF.format(journal=journal, initiator=_INITIATOR))
        write_private(connection, json.dumps(destination.connection_info()))
        command = str(Path(sys.executable).with_name('blockmirror'))
        words = ['swap', '--config-file', str(config), guest.name, dev, str(connection)]
        took = self.timed([command, *words])
        at: dict[SwapState, float] = {}
        read = Journal(journal)
        (record,) = read.records()
        for step in read.steps(record.id):
            at.setdefault(step.state, step.at)
        return Took(
            took,
            at[SwapState.PIVOTING] - at[SwapState.READY],
            at[SwapState.PIVOTED] - at[SwapState.PIVOTING],
        )


def _disk(volume: Volume) -> Disk:
    """The volume as QEMU's tools open it, with the rights that a guest has."""
    disk = disk_for(volume.connection_info())
    source = disk.source
    if isinstance(source, IscsiSource):
        return disk.with_source(replace(source, initiator=_INITIATOR))
    if isinstance(source, NfsSource):
        return disk.with_source(replace(source, identity=Identity(0, 0)))
    return disk


CONTENDERS: tuple[type[Contender], ...] = (Limit, Virsh, Ours)
