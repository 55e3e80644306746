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
"""What the hypervisor tells us, as frozen values on a queue.

A libvirt callback copies its arguments into one of these and does nothing else. Numbers
are those of libvirt's ``libvirt-domain.h``; a value that a newer libvirt may add becomes
``UNKNOWN``, since nothing may raise inside a callback.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias


class BlockJobStatus(enum.Enum):
    """``virConnectDomainEventBlockJobStatus``."""

    UNKNOWN = -1
    COMPLETED = 0
    FAILED = 1
    CANCELED = 2
    READY = 3

    @classmethod
    def _missing_(cls, _value: object) -> BlockJobStatus:
        return cls.UNKNOWN


class Lifecycle(enum.Enum):
    """``virDomainEventType``; what :class:`LifecycleEvent` reports."""

    UNKNOWN = -1
    DEFINED = 0
    UNDEFINED = 1
    STARTED = 2
    SUSPENDED = 3
    RESUMED = 4
    STOPPED = 5
    SHUTDOWN = 6
    PMSUSPENDED = 7
    CRASHED = 8

    @classmethod
    def _missing_(cls, _value: object) -> Lifecycle:
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True)
class BlockJobEvent:
    """A block job of ``dev`` (``vda``) changed its status.

    ``job_type`` is libvirt's ``virDomainBlockJobType``: 2 is a copy. ``reason`` is why it
    failed, empty where that is not told: libvirt never does.
    """

    domain_uuid: str
    dev: str
    job_type: int
    status: BlockJobStatus
    reason: str = ''


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """The guest started, stopped, was paused or the like; ``detail`` is libvirt's."""

    domain_uuid: str
    event: Lifecycle
    detail: int


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection broke; what happens until :class:`Reconnected` is not told."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reconnected:
    """A new connection is up; events between were lost, so look at the state.

    ``generation`` counts the connections of this process, from 1.
    """

    generation: int


HypervisorEvent: TypeAlias = BlockJobEvent | LifecycleEvent | ConnectionLost | Reconnected
