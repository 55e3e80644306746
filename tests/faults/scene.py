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
"""Where a fault strikes: the lab, the guest with its volumes, the command that runs."""

from __future__ import annotations

import contextlib
import copy
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lxml import etree

from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.record import SwapRecord
from tests.faults.catalogue import Cell
from tests.functional.command import Command, Running
from tests.lab.guest.guest import Guest
from tests.lab.lab import Lab
from tests.lab.volumes import FileVolume, Volume

MIB = 1 << 20
SIZE = 24 * MIB
#: XML of the stored domain (``VIR_DOMAIN_XML_INACTIVE``).
STORED = 2


class Violation(Exception):
    """A promise is broken."""


class FaultCommand(Command):
    """The command in a process of :mod:`tests.faults.station`."""

    def argv(self, *args: object, crash: str = '') -> list[str]:
        """The command line."""
        plain = super().argv(*args)
        station = [sys.executable, '-m', 'tests.faults.station', crash]
        return [*station, *plain[3:]] if crash else plain


@dataclass
class Scene:
    """One cell while it is run.

    :ivar exact: whether what the guest has acknowledged is known to the last write
    :ivar anew: whether the guest begins anew, and its latencies with it
    :ivar lasted: seconds from the strike until it was mended
    :ivar ours: the third volumes that a fault made
    :ivar stored: the stored ``<disk>`` before anybody changed it
    """

    lab: Lab
    cell: Cell
    guest: Guest
    source: Volume
    destination: Volume
    command: FaultCommand
    journal_path: Path
    exact: bool = True
    anew: bool = False
    lasted: float = 0.0
    ours: list[Volume] = field(default_factory=list)
    swap_id: str = ''
    running: Running | None = None
    stored: etree._Element | None = None
    parts: dict[str, Any] = field(default_factory=dict)

    @property
    def process(self) -> Running:
        """The command that runs."""
        assert self.running is not None
        return self.running

    def third(self) -> Volume:
        """Another volume, of the same size."""
        self.ours.append(FileVolume(self.lab).create(SIZE))
        return self.ours[-1]

    def records(self) -> list[SwapRecord]:
        """The swaps of the guest in the journal as it is on disk now, oldest first."""
        with contextlib.closing(Journal(self.journal_path)) as journal:
            found = journal.records()
        return [one for one in found if one.domain_name == self.guest.name]

    def name_swap(self, record: int) -> None:
        """Learn the swap's id from the journal; a lost one tells nothing new."""
        found = self.records()[record:]
        self.swap_id = found[0].id if found else self.swap_id

    def ask(self, kind: Any) -> None:
        """Leave a request for the owner of the swap."""
        with contextlib.closing(Journal(self.journal_path)) as journal:
            journal.ask(self.swap_id, kind)

    def guest_goes(self) -> None:
        """Read the guest's counters once more: from now on it may write what nobody counts."""
        self.guest.stat()
        self.exact, self.anew = False, True

    def freeze(self) -> None:
        """Let the command stand still."""
        self.process.kill(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.kill(signal.SIGCONT)

    def disk(self, flags: int = 0) -> etree._Element:
        """The ``<disk>`` of ``vda``, live or stored."""
        return disk_of(etree.fromstring(self.guest.domain.XMLDesc(flags)))

    def keep_stored(self) -> None:
        """Take note of the stored ``<disk>``."""
        self.stored = copy.deepcopy(self.disk(STORED))

    def store(self, volume: Volume | None) -> None:
        """Redefine the domain with this volume; None puts back what was kept."""
        if volume is None:
            assert self.stored is not None
            wanted = self.stored
        else:
            wanted = etree.fromstring(volume.disk_xml('vda'))
        tree = etree.fromstring(self.guest.domain.XMLDesc(STORED))
        disk = disk_of(tree)
        disk.set('type', str(wanted.get('type')))
        old, new = disk.find('source'), wanted.find('source')
        assert old is not None and new is not None
        disk.replace(old, copy.deepcopy(new))
        self.lab.connect().defineXML(etree.tostring(tree).decode())


def disk_of(tree: etree._Element) -> etree._Element:
    """The ``<disk>`` of ``vda``."""
    for disk in tree.iter('disk'):
        target = disk.find('target')
        if target is not None and target.get('dev') == 'vda':
            return disk
    raise Violation('P2: the guest has no vda any more')
