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
"""The fake guest of the unit tests beside the real one: the same things done, the same told.

Each scenario is written once, against :class:`~blockmirror_driver.virt.domain.Domain`, and runs
on both; what it notes down (answers, kinds of errors and their codes, events in their order)
has to be the same to the word.
"""

from __future__ import annotations

import abc
import queue
from collections.abc import Callable
from typing import Any

import fixtures

from blockmirror_driver import exception
from blockmirror_driver.model import BytesPerSecond, Disk, Seconds, Source
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import CopyFlag, Domain
from blockmirror_driver.virt.events import BlockJobEvent, Lifecycle, LifecycleEvent
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml.disk import same_volume
from tests.functional.base import MIB, LabTestCase
from tests.lab.guest.guest import Guest as LabGuest
from tests.unit.swap.guest import DESTINATION, SOURCE
from tests.unit.swap.world import World

FLAGS = CopyFlag.REUSE_EXT | CopyFlag.TRANSIENT_JOB
#: Seconds; whatever takes longer is broken.
LIMIT = 60.0


class Stage(abc.ABC):
    """A guest, its disk's two volumes, and what was noted down."""

    def __init__(self, hypervisor: Hypervisor, domain: Domain, source: Source, new: Disk) -> None:
        self.hypervisor = hypervisor
        self.domain = domain
        self.source = source
        self.new = new
        self.events = hypervisor.subscribe(domain.uuid)
        self.trace: list[tuple[str, object]] = []

    @abc.abstractmethod
    def kill(self) -> None:
        """Let the guest's process die."""

    def note(self, what: str, call: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Call, and write down the answer or the error."""
        told: object
        try:
            told = call(*args, **options)
        except exception.BlockmirrorError as error:
            told = (
                type(error).__name__,
                getattr(error, 'code', None),
                getattr(error, 'outcome_unknown', False),
            )
        self.trace.append((what, told))

    def copy(self, *, slowly: bool) -> None:
        """Start a copy."""
        self.note(
            'copy',
            self.domain.block_copy,
            'vda',
            self.new.to_xml(),
            bandwidth=BytesPerSecond(MIB if slowly else 0),
            flags=FLAGS,
        )

    def look(self) -> None:
        """Write down what the disk is, and its job."""
        self.note('live', lambda: self._told(self.domain.live_disk('vda')))
        self.note('stored', lambda: self._told(self.domain.stored_disk('vda')))
        self.note('job', lambda: getattr(self.domain.job('vda'), 'type', None))

    def _told(self, disk: Any) -> object:
        if disk is None:
            return None
        mirror = disk.mirror
        if mirror is None:
            return self._side(disk.disk.source)
        ours = mirror.source is not None and same_volume(mirror.source, self.new.source)
        return self._side(disk.disk.source), mirror.job, mirror.ready, ours

    def _side(self, source: Source) -> str:
        if same_volume(source, self.source):
            return 'source'
        return 'destination' if same_volume(source, self.new.source) else 'other'

    def wait(self, *kinds: str) -> None:
        """Wait for these events, in this order; others in between are written down too."""
        wanted = list(kinds)
        while wanted:
            try:
                event = self.events.queue.get(timeout=LIMIT)
            except queue.Empty:
                self.trace.append(('event', f'no {wanted[0]}'))
                return
            name = self._name(event)
            if name:
                self.trace.append(('event', name))
            if name == wanted[0]:
                wanted.pop(0)

    @staticmethod
    def _name(event: object) -> str:
        match event:
            case BlockJobEvent(dev='vda', status=status):
                return status.name
            case LifecycleEvent(event=Lifecycle.STOPPED):
                return 'STOPPED'
        return ''


class Fake(Stage):
    """What the unit tests believe in."""

    def __init__(self, world: World, *, persistent: bool) -> None:
        self.world = world
        self.guest = world.guest
        self.guest.persistent = persistent
        if not persistent:
            self.guest.stored_source = None
        self.guest.on('set_speed', self.guest.ready)
        super().__init__(world.hypervisor, self.guest, SOURCE, DESTINATION)

    def copy(self, *, slowly: bool) -> None:
        self.guest.ready_after = None if slowly else 1.0
        super().copy(slowly=slowly)

    def kill(self) -> None:
        if self.guest.active:
            self.guest.die()


class Real(Stage):
    """What libvirt and QEMU do."""

    def __init__(self, hypervisor: Hypervisor, guest: LabGuest, new: Disk) -> None:
        self.guest = guest
        domain = hypervisor.domain(guest.name)
        super().__init__(hypervisor, domain, domain.live_disk('vda').disk.source, new)

    def kill(self) -> None:
        if self.guest.active():
            self.guest.domain.destroy()


def without_a_job(stage: Stage) -> None:
    stage.look()
    stage.note('pivot', stage.domain.pivot, 'vda')
    stage.note('abort', stage.domain.abort, 'vda')
    stage.note('speed', stage.domain.set_speed, 'vda', BytesPerSecond(1))
    stage.note('no such disk', stage.domain.live_disk, 'vdz')
    stage.note('no such disk', stage.domain.stored_disk, 'vdz')


def pivot(stage: Stage) -> None:
    stage.copy(slowly=True)
    stage.look()
    stage.copy(slowly=True)
    stage.note('pivot', stage.domain.pivot, 'vda')
    stage.look()
    stage.note('speed', stage.domain.set_speed, 'vda', BytesPerSecond(0))
    stage.wait('READY')
    stage.look()
    stage.note('pivot', stage.domain.pivot, 'vda')
    stage.wait('COMPLETED')
    stage.look()
    stage.note('pivot', stage.domain.pivot, 'vda')


def abort_while_copying(stage: Stage) -> None:
    stage.copy(slowly=True)
    stage.note('abort', stage.domain.abort, 'vda')
    stage.wait('CANCELED')
    stage.look()
    stage.note('abort', stage.domain.abort, 'vda')


def abort_when_ready(stage: Stage) -> None:
    stage.copy(slowly=False)
    stage.wait('READY')
    stage.note('abort', stage.domain.abort, 'vda')
    stage.wait('CANCELED')
    stage.look()


def killed_while_copying(stage: Stage) -> None:
    stage.copy(slowly=True)
    stage.kill()
    stage.wait('STOPPED')
    stage.note('active', stage.domain.is_active)
    stage.look()
    stage.note('pivot', stage.domain.pivot, 'vda')
    stage.note('abort', stage.domain.abort, 'vda')
    stage.copy(slowly=True)


def killed_when_ready(stage: Stage) -> None:
    stage.copy(slowly=False)
    stage.wait('READY')
    stage.kill()
    stage.wait('STOPPED')
    stage.look()


def marked(stage: Stage) -> None:
    stage.note('mark', stage.domain.mark)
    stage.note('set', stage.domain.set_mark, '<swaps/>')
    stage.note('mark', lambda: 'swaps' in str(stage.domain.mark()))
    stage.note('unset', stage.domain.set_mark, None)
    stage.note('unset', stage.domain.set_mark, None)
    stage.note('mark', stage.domain.mark)


#: Each row is of one guest; only the last of a row may leave it changed.
PERSISTENT = (
    (without_a_job, marked, abort_while_copying, abort_when_ready, pivot),
    (killed_while_copying,),
    (killed_when_ready,),
)
TRANSIENT = ((without_a_job, pivot), (killed_while_copying,))
Scenarios = tuple[tuple[Callable[[Stage], None], ...], ...]


class TracesTest(LabTestCase):
    maxDiff = None

    def real(self, *, persistent: bool) -> Callable[[], Stage]:
        source, new = self.volume('file', filled=True), self.volume('rbd')
        guest = self.guest(source, persistent=persistent)
        hypervisor = Hypervisor(self.lab.uri, call_timeout=Seconds(20.0)).open()
        self.addCleanup(hypervisor.close)
        return lambda: Real(hypervisor, guest, xml_disk.parse(new.disk_xml('vda')))

    def fake(self, *, persistent: bool) -> Callable[[], Stage]:
        world = World(self.useFixture(fixtures.TempDir()).path)
        self.addCleanup(world.journal.close)
        return lambda: Fake(world, persistent=persistent)

    def compare(self, scenarios: Scenarios, *, persistent: bool) -> None:
        told: dict[str, list[str]] = {'real': [], 'fake': []}
        for row in scenarios:
            for name, stages in (
                ('real', self.real(persistent=persistent)),
                ('fake', self.fake(persistent=persistent)),
            ):
                for scenario in row:
                    stage = stages()
                    scenario(stage)
                    stage.events.close()
                    told[name] += [scenario.__name__, *(f'  {one}' for one in stage.trace)]
                stage.kill()
        self.assertEqual('\n'.join(told['real']), '\n'.join(told['fake']))

    def test_a_persistent_guest(self) -> None:
        self.compare(PERSISTENT, persistent=True)

    def test_a_transient_guest(self) -> None:
        self.compare(TRANSIENT, persistent=False)
