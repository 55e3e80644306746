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
"""What the machine of one block job is fed: frozen values, from three sides.

From the hypervisor: :class:`ReadyEvent`, :class:`CompletedEvent`, :class:`FailedEvent`,
:class:`CanceledEvent`, :class:`GuestStopped`, ``Reconnected``, ``ConnectionLost``. They may be
lost, late or doubled, so an event that ends a job only causes a reading.
From our own looking: :class:`Reading` (the authority) and :class:`Tick`.
From whoever drives the job: :class:`Accepted`, :class:`Asked`, :class:`PivotRequested`,
:class:`PivotRefused`, :class:`Answered`, :class:`AbortRequested`, :class:`AbortRefused`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal, TypeAlias

from blockmirror_driver.model import Seconds
from blockmirror_driver.virt.domain import JobInfo
from blockmirror_driver.virt.events import (
    BlockJobEvent,
    BlockJobStatus,
    ConnectionLost,
    HypervisorEvent,
    Lifecycle,
    LifecycleEvent,
    Reconnected,
)
from blockmirror_driver.xml.domain import MirrorState

#: ``VIR_DOMAIN_BLOCK_JOB_TYPE_COPY`` (libvirt-domain.h).
JOB_TYPE_COPY = 2


class Evidence(enum.Enum):
    """What a reading shows, in one word."""

    #: The guest does not run.
    GUEST_GONE = 'guest-gone'
    #: A job holds the disk which is not ours.
    FOREIGN = 'foreign'
    #: Our job is there and copies.
    COPYING = 'copying'
    #: Our job is there, ``<mirror ready='yes'>``.
    READY = 'ready'
    #: Our job is there and was told to pivot, ``<mirror ready='pivot'>``.
    PIVOTING = 'pivoting'
    #: Our job is there and was told to end, ``<mirror ready='abort'>``.
    ABORTING = 'aborting'
    #: No ``<mirror>``, and the live source is the destination.
    SWITCHED = 'switched'
    #: No ``<mirror>``, no job, and the live source is the old one.
    ENDED = 'ended'
    #: No ``<mirror>``, no job, and the live source is neither.
    CHANGED = 'changed'
    #: The job and the XML contradict each other: read between two steps of libvirt's.
    TORN = 'torn'


_READY: dict[str, Evidence] = {
    'no': Evidence.COPYING,
    'yes': Evidence.READY,
    'pivot': Evidence.PIVOTING,
    'abort': Evidence.ABORTING,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the live XML and the job, taken at ``at`` (seconds, our own clock).

    The job was read before the XML, so where they differ the XML is the newer. ``foreign``:
    the job there is not a copy to our destination.
    """

    at: Seconds
    guest: Literal['running', 'gone']
    live_source: Literal['source', 'destination', 'other'] = 'source'
    mirror: MirrorState | None = None
    job: JobInfo | None = None
    foreign: bool = False

    @property
    def evidence(self) -> Evidence:
        """Reduce the reading to one word."""
        if self.guest == 'gone':
            return Evidence.GUEST_GONE
        if self.mirror is not None and self.mirror.is_over:
            return Evidence.TORN
        if self.foreign:
            return Evidence.FOREIGN
        return self._of_copy() if self.mirror is None else _READY[self.mirror.ready]

    def _of_copy(self) -> Evidence:
        """Tell what became of our job where there is no ``<mirror>``."""
        if self.live_source == 'destination':
            return Evidence.SWITCHED
        if self.job is not None:
            return Evidence.TORN
        return Evidence.ENDED if self.live_source == 'source' else Evidence.CHANGED


@dataclass(frozen=True, slots=True)
class Accepted:
    """The hypervisor has accepted the copy."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The copy was asked for, and no answer came: it may start, have started, or not."""


@dataclass(frozen=True, slots=True)
class ReadyEvent:
    """The hypervisor says that the two sides hold the same."""


@dataclass(frozen=True, slots=True)
class CompletedEvent:
    """The hypervisor says that a job on the disk was completed: someone pivoted."""


@dataclass(frozen=True, slots=True)
class FailedEvent:
    """The hypervisor says that a job on the disk failed; ``reason`` is mostly empty."""

    reason: str = ''


@dataclass(frozen=True, slots=True)
class CanceledEvent:
    """The hypervisor says that a job on the disk was cancelled."""


@dataclass(frozen=True, slots=True)
class GuestStopped:
    """The guest stopped; no event of its jobs will come."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. ``stalled``: the cursor stood still for longer than allowed."""

    stalled: bool


@dataclass(frozen=True, slots=True)
class PivotRequested:
    """We are about to ask for the pivot."""


@dataclass(frozen=True, slots=True)
class Answered:
    """No start or pivot of ours is under way any more; what came of it is not known yet."""


@dataclass(frozen=True, slots=True)
class PivotRefused:
    """The call that asks for the pivot was answered with an error, for certain."""

    reason: str


@dataclass(frozen=True, slots=True)
class AbortRequested:
    """We are about to ask for the end of the job."""


@dataclass(frozen=True, slots=True)
class AbortRefused:
    """The request to end the job did not arrive, for certain."""


MirrorEvent: TypeAlias = (
    Accepted
    | Asked
    | ReadyEvent
    | CompletedEvent
    | FailedEvent
    | CanceledEvent
    | GuestStopped
    | Reading
    | Tick
    | PivotRequested
    | Answered
    | PivotRefused
    | AbortRequested
    | AbortRefused
    | Reconnected
    | ConnectionLost
)

_BY_STATUS: dict[BlockJobStatus, MirrorEvent] = {
    BlockJobStatus.READY: ReadyEvent(),
    BlockJobStatus.COMPLETED: CompletedEvent(),
    BlockJobStatus.CANCELED: CanceledEvent(),
}

__all__ = (
    'JOB_TYPE_COPY',
    'AbortRefused',
    'AbortRequested',
    'Accepted',
    'Answered',
    'Asked',
    'CanceledEvent',
    'CompletedEvent',
    'ConnectionLost',
    'Evidence',
    'FailedEvent',
    'GuestStopped',
    'MirrorEvent',
    'PivotRefused',
    'PivotRequested',
    'Reading',
    'ReadyEvent',
    'Reconnected',
    'Tick',
    'translate',
)


def translate(event: HypervisorEvent, uuid: str, dev: str) -> MirrorEvent | None:
    """Turn what the hypervisor says into what concerns this disk; ``None`` for the rest."""
    match event:
        case BlockJobEvent(domain_uuid=u, dev=d, job_type=t):
            ours = u == uuid and d == dev and t == JOB_TYPE_COPY
            return _of_job(event) if ours else None
        case LifecycleEvent(domain_uuid=u, event=Lifecycle.STOPPED | Lifecycle.CRASHED):
            return GuestStopped() if u == uuid else None
        case LifecycleEvent():
            return None
        case _:
            return event


def _of_job(event: BlockJobEvent) -> MirrorEvent | None:
    if event.status is BlockJobStatus.FAILED:
        return FailedEvent(event.reason)
    return _BY_STATUS.get(event.status)
