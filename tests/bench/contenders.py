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
import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from blockmirror_driver.model import Disk, IscsiSource, NfsSource, Seconds
from blockmirror_driver.model.disk import Identity
from blockmirror_driver.qemu import blockdev, tool
from blockmirror_driver.volume.registry import disk_for
from tests.bench import cases, measured
from tests.bench.programs import Program
from tests.cloud.environment import SERVICES
from tests.lab.guest.guest import Guest
from tests.lab.lab import Lab
from tests.lab.layout import LabError, write_private
from tests.lab.volumes import FileVolume, Volume

#: Seconds that one copy may take.
DEADLINE = 900.0
_INITIATOR = 'iqn.2026-11.org.blockmirror:bench'
_CONF = """\
[blockmirror]
journal_path = {journal}
iscsi_initiator_name = {initiator}
nfs_uid = 0
nfs_gid = 0
max_concurrent_swaps = 64
"""


@dataclass(frozen=True)
class Took:
    """One copy.

    :ivar seconds: from the start of the command, or of the call, to its end
    :ivar cpu_s: CPU time of the process that drove it, where it is known
    :ivar peak_kib: the most memory that it took
    :ivar eta: what it said after a fifth that the rest takes, over what it took
    """

    seconds: float
    cpu_s: float | None = None
    peak_kib: int | None = None
    eta: float | None = None


class Contender(abc.ABC):
    """One way. One thread uses it; :meth:`close` it at the end."""

    name: ClassVar[str]
    #: Whether the guest runs on the destination afterwards, and its writes count.
    moves_guest: ClassVar[bool] = True
    #: What QEMU needed for a write of the guest before the copy, seconds; 0 of an idle guest.
    idle_write_s: float = 0.0

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.home = lab.layout.scratch / f'bench-{self.name.replace(" ", "-").lower()}'
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)

    def fits(self, case: cases.Case) -> bool:
        """Whether it tells anything of a case."""
        return self.moves_guest or not case.writing

    @abc.abstractmethod
    def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
        """Copy all of the source.

        :raise LabError: it failed
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """End what was started."""

    def configure(self) -> Path:
        """Write the configuration that ours runs with, and return its path."""
        path = self.home / 'blockmirror.conf'
        journal = self.home / 'journal' / 'journal.sqlite'
        path.write_text(_CONF.format(journal=journal, initiator=_INITIATOR))
        return path


class Limit(Contender):
    """What the storage and QEMU's own copier can do, without a guest."""

    name = cases.LIMIT
    moves_guest = False
    _command: tuple[str, ...] = ('qemu-img', 'convert', '-n', '-W', '-m', '16', '-t', 'none')

    def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
        """Copy as fast as it goes; nobody writes meanwhile."""
        images = [
            blockdev.of(_disk(volume), prefix)
            for volume, prefix in ((source, 'source'), (destination, 'destination'))
        ]
        command = [*self._command, '-f', 'raw', '-O', 'raw']
        begun = time.monotonic()
        ended = tool.run(command, images, tool.Limits(Seconds(DEADLINE)))
        took = time.monotonic() - begun
        if ended.code:
            raise LabError(self.name, ended.reason)
        return Took(took)


class Direct(Limit):
    """The same, with the source opened as the guest has it: not from the host's page cache."""

    name = cases.DIRECT
    _command = (*Limit._command, '-T', 'none')

    def fits(self, case: cases.Case) -> bool:
        """What a server holds is in no cache of ours."""
        return super().fits(case) and case.source == 'file'


class Cp(Contender):
    """What copies a file, holes left out, until it is on the disk."""

    name = cases.CP
    moves_guest = False

    def fits(self, case: cases.Case) -> bool:
        """Between two files."""
        return super().fits(case) and (case.source, case.destination) == ('file', 'file')

    def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
        """Copy; nobody writes meanwhile."""
        assert isinstance(source, FileVolume)
        assert isinstance(destination, FileVolume)
        begun = time.monotonic()
        measured.run(self._argv(str(source.path), str(destination.path)), DEADLINE)
        with destination.path.open('rb') as written:
            os.fsync(written.fileno())
        return Took(time.monotonic() - begun)

    def _argv(self, source: str, destination: str) -> list[str]:
        return ['cp', '--sparse=always', source, destination]


class Dd(Cp):
    """The same past the host's page cache, as the guest's disk is opened."""

    name = cases.DD

    def _argv(self, source: str, destination: str) -> list[str]:
        flags = ['iflag=direct', 'oflag=direct', 'conv=notrunc,sparse', 'status=none']
        return ['dd', f'if={source}', f'of={destination}', 'bs=4M', *flags]


class Virsh(Contender):
    """libvirt's own command, with the XML that its user has to write for himself."""

    name = cases.VIRSH

    def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
        """Copy and pivot."""
        path = self.home / 'destination.xml'
        write_private(path, destination.disk_xml(dev))
        words = ('--wait', '--pivot', '--transient-job', '--reuse-external')
        argv = ['virsh', '-q', 'blockcopy', guest.name, dev, '--xml', str(path), *words]
        used = measured.run(argv, DEADLINE)
        return Took(used.seconds, used.cpu_s, used.peak_kib)


class _Resident(Contender):
    """One that runs in a program which stays, started at the first copy."""

    _program: Program | None = None

    @abc.abstractmethod
    def _argv(self) -> list[str]: ...

    @property
    def program(self) -> Program:
        """It, running."""
        if self._program is None:
            self._program = Program(self.name, self._argv(), self.home / 'log')
        return self._program

    def close(self) -> None:
        """End the program."""
        if self._program is not None:
            self._program.close()
            self._program = None

    def _ask(self, command: dict[str, Any]) -> Took:
        program = self.program
        pid = program.process.pid
        before = measured.cpu_s(pid)
        try:
            answer = program.ask(command, DEADLINE)
        except LabError:
            # What it does next would be measured with what this left.
            with contextlib.suppress(OSError):
                self.close()
            raise
        if answer.get('errors'):
            raise LabError(self.name, answer['errors'][0])
        cpu = measured.cpu_s(pid) - before
        peak = measured.status(pid, 'VmHWM')
        return Took(answer['seconds'], cpu, peak, answer.get('eta'))


class Nova(_Resident):
    """Nova as it is released: ``LibvirtDriver._swap_volume``."""

    name = cases.NOVA

    def _argv(self) -> list[str]:
        return [str(SERVICES.python), '-m', 'tests.bench.stock_nova', self.lab.uri]

    def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
        """Undefine, copy, pivot, define."""
        xml = destination.disk_xml(dev)
        return self._ask({'domain': guest.name, 'dev': dev, 'xml': xml})


class Ours(Contender):
    """The ``blockmirror`` command, from its start to its end, with all of its checks."""

    name = cases.OURS

    def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
        """Plan, copy, pivot, verify, clean up."""
        config, connection = self.configure(), self.home / 'connection.json'
        write_private(connection, json.dumps(destination.connection_info()))
        command = str(Path(sys.executable).with_name('blockmirror'))
        words = ['swap', '--config-file', str(config), guest.name, dev, str(connection)]
        used = measured.run([command, *words], DEADLINE)
        return Took(used.seconds, used.cpu_s, used.peak_kib)


class Resident(_Resident):
    """The same swap in a process that runs already, as in nova-compute."""

    name = cases.RESIDENT

    def _argv(self) -> list[str]:
        return [sys.executable, '-m', 'tests.bench.resident', str(self.configure())]

    def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
        """Plan, copy, pivot, verify, clean up."""
        return self.swap(guest, dev, destination, {})

    def swap(self, guest: Guest, dev: str, destination: Volume, options: dict[str, Any]) -> Took:
        """Ask for a swap with some of the fields of ``CopyOptions``."""
        connection = destination.connection_info()
        swap = {'domain': guest.name, 'dev': dev, 'connection': connection}
        return self._ask({'swaps': [swap], 'options': options})


class Gentle(Resident):
    """The same with a limit that follows the guest: half as long again as without a copy."""

    name = cases.GENTLE
    _ALLOWED = 1.5

    def fits(self, case: cases.Case) -> bool:
        """It follows what the guest writes."""
        return case.writing

    def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
        """Plan, copy, pivot, verify, clean up."""
        target = self._ALLOWED * self.idle_write_s
        return self.swap(guest, dev, destination, {'latency_target': target})


class Limited(Resident):
    """The same with a limit that stays as it is."""

    name = cases.LIMITED

    def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
        """Plan, copy, pivot, verify, clean up."""
        return self.swap(guest, dev, destination, {'bandwidth': cases.BANDWIDTH})


def _disk(volume: Volume) -> Disk:
    """The volume as QEMU's tools open it, with the rights that a guest has."""
    disk = disk_for(volume.connection_info())
    source = disk.source
    if isinstance(source, IscsiSource):
        return disk.with_source(replace(source, initiator=_INITIATOR))
    if isinstance(source, NfsSource):
        return disk.with_source(replace(source, identity=Identity(0, 0)))
    return disk


CONTENDERS: tuple[type[Contender], ...] = (
    Limit, Direct, Cp, Dd, Virsh, Nova, Ours, Resident, Gentle,
)  # fmt: skip
