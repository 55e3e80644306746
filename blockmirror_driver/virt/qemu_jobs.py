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
"""The block jobs that a guest's QEMU has, by itself or by libvirt, seen from QEMU's monitors.

libvirt tells of the jobs that it began, and of no other. QEMU has two monitors that know of all:
the one for programs (QMP), and the one for people (HMP), which tells less and whose texts no
version is bound to. Each has a class here, and both have the same methods.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, BytesPerSecond
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.virt.monitor import Monitor

#: A line of ``info block-jobs`` (hmp_info_block_jobs in QEMU's block/monitor/block-hmp-cmds.c).
_LINE = re.compile(
    r'Type (?P<type>\S+), device (?P<id>\S*): Completed (?P<offset>\d+) of (?P<length>\d+) bytes, '
    r'speed limit (?P<speed>\d+) bytes/s',
    re.ASCII,
)
_NONE = 'No active jobs'
#: What QEMU takes for a job's name (id_wellformed in its util/id.c).
_NAME = re.compile(r'[A-Za-z][A-Za-z0-9._-]*', re.ASCII)


@dataclass(frozen=True, slots=True)
class QemuJob:
    """One block job; ``ready`` and ``status`` are ``None`` where the monitor does not tell."""

    id: str
    type: str
    offset: Bytes
    length: Bytes
    speed: BytesPerSecond
    ready: bool | None = None
    status: str | None = None
    error: str = ''


class QemuJobs(Protocol):
    """What both monitors can be asked.

    :raise DomainNotFound: by each method; the guest is not running.
    :raise Refused: by those that change something; QEMU did not do it.
    :raise HypervisorUnavailable: no answer; with ``outcome_unknown`` it may be done.
    """

    def jobs(self) -> tuple[QemuJob, ...]:
        """Return all of them, also those that have ended and were not dismissed (QMP only)."""

    def set_speed(self, name: str, bytes_per_second: BytesPerSecond) -> None:
        """Limit a job; 0 lifts the limit."""

    def cancel(self, name: str) -> None:
        """Ask for a job's end; what a mirror that is ready copied to stays consistent."""


class QmpJobs:
    """The jobs by the monitor for programs; see :class:`QemuJobs`."""

    def __init__(self, domain: Domain) -> None:
        self._monitor = Monitor(domain)

    def jobs(self) -> tuple[QemuJob, ...]:
        """Return all of them."""
        return tuple(_told(job) for job in self._monitor.execute('query-block-jobs'))

    def set_speed(self, name: str, bytes_per_second: BytesPerSecond) -> None:
        """Limit a job; 0 lifts the limit."""
        self._monitor.execute(
            'block-job-set-speed', {'device': name, 'speed': int(bytes_per_second)}
        )

    def cancel(self, name: str) -> None:
        """Ask for a job's end."""
        self._monitor.execute('block-job-cancel', {'device': name})


class HmpJobs:
    """The jobs by the monitor for people; see :class:`QemuJobs`.

    It can begin none that libvirt's guests could have: its ``drive_mirror`` names no job, and
    without a name QEMU takes that of the drive, which a guest by ``-blockdev`` has not.
    """

    def __init__(self, domain: Domain) -> None:
        self._monitor = Monitor(domain)

    def jobs(self) -> tuple[QemuJob, ...]:
        """Return those that run.

        :raise Refused: QEMU says it in words that we do not know.
        """
        return parse(self._monitor.human('info block-jobs'))

    def set_speed(self, name: str, bytes_per_second: BytesPerSecond) -> None:
        """Limit a job; 0 lifts the limit."""
        # Without a unit this monitor takes MiB.
        self._monitor.human(f'block_job_set_speed {_checked(name)} {int(bytes_per_second)}B')

    def cancel(self, name: str) -> None:
        """Ask for a job's end."""
        self._monitor.human(f'block_job_cancel {_checked(name)}')


#: The monitors by their names.
MONITORS: dict[str, type[QmpJobs | HmpJobs]] = {'qmp': QmpJobs, 'hmp': HmpJobs}


def parse(text: str) -> tuple[QemuJob, ...]:
    """Read what ``info block-jobs`` prints.

    :raise Refused: for other words than those that we know.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines == [_NONE]:
        return ()
    found = [_LINE.fullmatch(line) for line in lines]
    jobs = tuple(
        QemuJob(
            id=match['id'],
            type=match['type'],
            offset=Bytes(int(match['offset'])),
            length=Bytes(int(match['length'])),
            speed=BytesPerSecond(int(match['speed'])),
        )
        for match in found
        if match is not None
    )
    if not lines or len(jobs) < len(lines):
        unknown = next((line for line in lines if not _LINE.fullmatch(line)), text)
        raise exception.Refused(
            f"QEMU's monitor says {exception.one_line(unknown)[:80]!r}", hint='use --monitor qmp'
        )
    return jobs


def _told(job: dict[str, Any]) -> QemuJob:
    return QemuJob(
        id=str(job['device']),
        type=str(job['type']),
        offset=Bytes(job['offset']),
        length=Bytes(job['len']),
        speed=BytesPerSecond(job['speed']),
        ready=bool(job['ready']),
        status=str(job['status']),
        error=exception.one_line(str(job.get('error', ''))),
    )


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise exception.UsageError(f'not a name of a job: {name[:40]!r}')
    return name
