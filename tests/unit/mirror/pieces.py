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
"""Small values that the tests of this room share."""

from __future__ import annotations

import queue
from dataclasses import replace
from typing import Literal

from blockmirror_driver.mirror import events as ev
from blockmirror_driver.mirror.machine import MirrorModel
from blockmirror_driver.mirror.states import JobState
from blockmirror_driver.model import (
    BytesPerSecond,
    Disk,
    FileSource,
    Host,
    RbdSource,
    Seconds,
    Source,
)
from blockmirror_driver.virt.domain import JobInfo
from blockmirror_driver.virt.events import HypervisorEvent
from blockmirror_driver.virt.subscriptions import Subscription
from blockmirror_driver.xml.domain import DomainDisk, MirrorState
from tests.unit.fakes import FakeDomain, FakeHypervisor

SOURCE = FileSource('/volumes/old')
DESTINATION = RbdSource('volumes', 'new', hosts=(Host('192.0.2.1', 6789),))
ELSEWHERE = FileSource('/volumes/elsewhere')

Ready = Literal['no', 'yes', 'pivot', 'abort']


def job(cur: int = 0, end: int = 100, *, bandwidth: int = 0, kind: int = 2) -> JobInfo:
    return JobInfo(kind, BytesPerSecond(bandwidth), cur, end)


def mirror(
    ready: Ready = 'no', *, source: Source | None = DESTINATION, kind: str = 'copy'
) -> MirrorState:
    return MirrorState(source=source, job=kind, ready=ready, format='raw')


def live(source: Source = SOURCE, mirror_state: MirrorState | None = None) -> DomainDisk:
    return DomainDisk(
        disk=Disk(source=source),
        alias='virtio-disk0',
        mirror=mirror_state,
        format='raw',
        encrypted=False,
        has_backing=False,
    )


def reading(evidence: ev.Evidence, at: float = 0.0) -> ev.Reading:
    """Return a reading that shows just this."""
    there = ev.Reading(at=Seconds(at), guest='running', job=job())
    gone = replace(there, job=None)
    made = {
        ev.Evidence.GUEST_GONE: replace(gone, guest='gone'),
        ev.Evidence.FOREIGN: replace(there, foreign=True),
        ev.Evidence.COPYING: replace(there, mirror=mirror('no')),
        ev.Evidence.READY: replace(there, mirror=mirror('yes')),
        ev.Evidence.PIVOTING: replace(there, mirror=mirror('pivot')),
        ev.Evidence.ABORTING: replace(there, mirror=mirror('abort')),
        ev.Evidence.SWITCHED: replace(gone, live_source='destination'),
        ev.Evidence.ENDED: gone,
        ev.Evidence.CHANGED: replace(gone, live_source='other'),
        ev.Evidence.TORN: there,
    }[evidence]
    assert made.evidence is evidence
    return made


def model_in(state: JobState) -> MirrorModel:
    """Return the plainest model in that state, as its own way there leaves it."""
    plain = MirrorModel(state=state)
    if state is JobState.PIVOTING:
        return replace(plain, may_have_switched=True)
    if state is JobState.ABORTING:
        return replace(plain, abort_asked=True)
    return plain


class Clock:
    """A clock that only the test, or a wait on the queue, moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TimedQueue(queue.SimpleQueue[HypervisorEvent]):
    """A queue whose wait takes no time of ours, but all of the fake clock's."""

    def __init__(self, clock: Clock, domain: ScriptedDomain) -> None:
        self._clock = clock
        self._domain = domain

    def get(self, block: bool = True, timeout: float | None = None) -> HypervisorEvent:
        try:
            return super().get(block=False)
        except queue.Empty:
            assert timeout is not None, 'a wait without an end'
            self._clock.now += timeout
            if timeout > 0:
                self._domain.time_passed(self._clock.now)
            return super().get(block=False)


class ScriptedHypervisor(FakeHypervisor):
    """Its subscriptions wait on the fake clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def subscribe(self, domain_uuid: str | None = None) -> Subscription:
        subscription = super().subscribe(domain_uuid)
        (domain,) = self.fake_domains.values()
        assert isinstance(domain, ScriptedDomain)
        subscription.queue = TimedQueue(self.clock, domain)
        return subscription


class ScriptedDomain(FakeDomain):
    """A guest whose disk ``vda`` a test moves on; ``later`` plans what happens when."""

    hypervisor: FakeHypervisor

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.plans: list[tuple[float, object]] = []
        self.live['vda'] = live()
        self.on('block_copy', lambda: self.shows('no'))
        self.on('block_rebase', lambda: self.shows('no'))

    def shows(self, ready: Ready | None, source: Source = SOURCE) -> None:
        """Set what the live XML says of the disk; ``None``: no mirror."""
        self.live['vda'] = live(source, mirror(ready) if ready else None)

    def ends(self, source: Source = SOURCE) -> None:
        """Let the job be gone, with this live source, and without an event."""
        self.jobs.pop('vda', None)
        self.shows(None, source)

    def moves(self, cur: int, end: int = 100, *, bandwidth: int = 0) -> None:
        self.jobs['vda'] = job(cur, end, bandwidth=bandwidth)

    def later(self, seconds: float, what: object) -> None:
        """Call ``what`` when the clock has come so far from now."""
        assert callable(what)
        self.plans.append((self.clock.now + seconds, what))

    def time_passed(self, now: float) -> None:
        due = [plan for plan in self.plans if plan[0] <= now]
        self.plans = [plan for plan in self.plans if plan[0] > now]
        for _when, what in sorted(due, key=lambda plan: plan[0]):
            assert callable(what)
            what()
