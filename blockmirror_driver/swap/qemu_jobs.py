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
"""Block jobs that QEMU has and libvirt knows nothing of, and what an operator may do with them.

They are what is left of a copy behind libvirt: of a tool that died, or of a swap of ours whose
journal was lost. libvirt would let the disk be migrated, detached or copied once more beneath
them. What libvirt or a swap of ours knows of is left to it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror import passthrough
from blockmirror_driver.mirror.passthrough import CONCLUDED, Names
from blockmirror_driver.model import BytesPerSecond, Seconds
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.virt.monitor import Monitor
from blockmirror_driver.virt.qemu_jobs import MONITORS, QemuJob, QmpJobs

LOG = logging.getLogger(__name__)

#: What libvirt's names of jobs begin with (qemuBlockJobDiskNew… in its qemu_blockjob.c).
_LIBVIRTS = re.compile(r'(backup|commit|copy|create|pull)-')
_LIBVIRT, _NOBODY = 'libvirt', 'nobody'
#: Seconds between two looks whether a job has ended: no event of libvirt's tells of it.
_LOOK_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class OwnedJob:
    """A job, and whose it is: ``libvirt``, ``swap ID``, or ``nobody`` that we know of."""

    job: QemuJob
    owner: str

    @property
    def is_orphan(self) -> bool:
        """Whether neither libvirt nor an open swap of ours knows of it."""
        return self.owner == _NOBODY


class OrphanJobs:
    """The block jobs of one guest. One thread calls it.

    libvirt taints the domain (``custom-monitor``) at the first look.

    :param records: the journal's swaps that have not ended.
    :param monitor: a key of :data:`MONITORS`.
    :param patience: seconds that a job may take to end.
    :param clock: monotonic seconds; ``sleep`` takes seconds too.
    """

    def __init__(
        self,
        domain: Domain,
        records: Iterable[SwapRecord],
        *,
        monitor: str = 'qmp',
        patience: Seconds,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._domain = domain
        self._jobs = MONITORS[monitor](domain)
        self._swaps = {
            Names(record.id).job: record.id
            for record in records
            if record.domain_uuid == domain.uuid
        }
        self._patience = patience
        self._clock = clock
        self._sleep = sleep

    def owned(self) -> tuple[OwnedJob, ...]:
        """Return all block jobs that QEMU has, with their owners.

        :raise DomainNotFound: the guest is not running.
        """
        return tuple(OwnedJob(job, self._owner(job.id)) for job in self._jobs.jobs())

    def set_speed(self, name: str, bandwidth: BytesPerSecond) -> None:
        """Limit a job that nobody knows of, bytes/s; 0 lifts the limit.

        :raise WrongState: there is no such job.
        :raise DiskBusy: it is not nobody's.
        """
        self._orphan(name)
        self._jobs.set_speed(name, bandwidth)

    def cancel(self, name: str) -> None:
        """End a job that nobody knows of, and take away what it leaves in QEMU.

        The guest stays on the volume that it is on. Of a mirror that was ready a consistent
        copy stays.

        :raise WrongState: there is no such job.
        :raise DiskBusy: it is not nobody's.
        :raise TimedOut: it was asked to end, and has not ended yet; ask once more.
        """
        self._orphan(name)
        monitor = Monitor(self._domain)
        job = self._found(name)
        if job is not None and job.status != CONCLUDED:
            self._jobs.cancel(name)
            job = self._wait(name)
        if name.startswith(Names.PREFIX):
            passthrough.let_go(monitor, Names(name.removeprefix(Names.PREFIX)))
        elif job is not None:
            monitor.execute('job-dismiss', {'id': name})
        LOG.info('Domain %s: block job %s, which nobody owned, was ended', self._domain.name, name)

    def _wait(self, name: str) -> QemuJob | None:
        """Return the job once it is over, ``None`` when it dismissed itself."""
        deadline = self._clock() + self._patience
        while (job := self._found(name)) is not None and job.status != CONCLUDED:
            if self._clock() > deadline:
                raise exception.TimedOut(
                    f'block job {name} has not ended within {self._patience:g} s',
                    hint='its destination may have stopped answering; ask once more',
                )
            self._sleep(_LOOK_EVERY)
        return job

    def _found(self, name: str) -> QemuJob | None:
        # Only this monitor tells a job that is over from one that runs.
        jobs = QmpJobs(self._domain).jobs()
        return next((job for job in jobs if job.id == name), None)

    def _orphan(self, name: str) -> None:
        found = next((owned for owned in self.owned() if owned.job.id == name), None)
        if found is None:
            raise exception.WrongState(
                f'QEMU of domain {self._domain.name} has no block job {name[:40]!r}',
                hint=f'blockmirror qemu-jobs {self._domain.name} lists them',
            )
        if not found.is_orphan:
            fix = 'virsh blockjob' if found.owner == _LIBVIRT else 'blockmirror cancel or speed'
            raise exception.DiskBusy(f'block job {name} belongs to {found.owner}', hint=fix)

    def _owner(self, name: str) -> str:
        if name in self._swaps:
            return f'swap {self._swaps[name]}'
        return _LIBVIRT if _LIBVIRTS.match(name) else _NOBODY
