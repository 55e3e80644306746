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
"""Looks at a guest's disk and says what is there: the authority over events."""

from __future__ import annotations

from typing import Literal

from blockmirror_driver import exception
from blockmirror_driver.mirror.events import JOB_TYPE_COPY, Reading
from blockmirror_driver.model import Seconds, Source
from blockmirror_driver.virt.domain import Domain, JobInfo
from blockmirror_driver.xml.disk import same_volume
from blockmirror_driver.xml.domain import MirrorState

#: What :meth:`Domain.job` is called in the list of hanging calls.
_JOB_CALL = 'blockJobInfo'


class Witness:
    """Takes readings of one disk, for one thread; nothing is changed.

    :param source: what the guest's disk was when the copy began.
    :param destination: where the copy goes.
    """

    def __init__(self, domain: Domain, dev: str, *, source: Source, destination: Source) -> None:
        self._domain = domain
        self._dev = dev
        self._source = source
        self._destination = destination
        self._asked_in_vain = False

    def read(self, at: Seconds, *, with_job: bool = True) -> Reading:
        """Take a full reading; ``at`` (seconds of the caller's clock) is noted in it.

        The job is read first: if it ends between the two calls, the XML, which is the
        authority, is the newer. A job that can't be asked for is taken as absent: the XML
        alone tells enough.

        :param with_job: false while a call of ours may hang in libvirt: it would hold the
            lock that asking for the job needs, whereas the XML can be read all the same.
        :raise HypervisorUnavailable: the XML can't be read.
        """
        try:
            job = self._job_if_it_answers() if with_job else None
            disk = self._domain.live_disk(self._dev)
        except exception.DomainNotFound:
            return Reading(at=at, guest='gone')
        except exception.DiskNotFound:
            # Taken out of the guest, which libvirt refuses while a job is on it.
            return Reading(at=at, guest='running', live_source='other')
        return Reading(
            at=at,
            guest='running',
            live_source=self._side(disk.disk.source),
            mirror=disk.mirror,
            job=job,
            foreign=self._is_foreign(disk.mirror, job),
        )

    def cursor(self) -> JobInfo | None:
        """Return the job's cursor alone, one cheap call; ``None`` when there is no answer.

        :raise DomainNotFound: the guest does not run.
        """
        return self._job_if_it_answers()

    def _job_if_it_answers(self) -> JobInfo | None:
        if self._job_hangs():
            # Each call that hangs takes a place of those that libvirt allows us.
            return None
        try:
            self._asked_in_vain = False
            return self._domain.job(self._dev)
        except exception.HypervisorUnavailable as error:
            self._asked_in_vain = error.outcome_unknown
            return None
        except exception.DiskBusy:
            return None

    def _job_hangs(self) -> bool:
        hanging = self._domain.hypervisor.hanging
        return self._asked_in_vain and any(call.name == _JOB_CALL for call in hanging)

    def _side(self, live: Source) -> Literal['source', 'destination', 'other']:
        if same_volume(live, self._source):
            return 'source'
        return 'destination' if same_volume(live, self._destination) else 'other'

    def _is_foreign(self, mirror: MirrorState | None, job: JobInfo | None) -> bool:
        if mirror is None:
            # Pull, commit and backup leave no <mirror>, and are none of ours.
            return job is not None and job.type != JOB_TYPE_COPY
        if mirror.is_over:
            return False  # it says nothing any more
        if mirror.job != 'copy' or mirror.source is None:
            return True
        return not same_volume(mirror.source, self._destination)


def is_unready(job: JobInfo) -> bool:
    """Tell whether the cursor alone proves that a copy was not ready when it was asked for.

    libvirt takes one byte from a cursor that has arrived while QEMU does not say that the job
    is ready (qemuBlockJobInfoTranslate, src/qemu/qemu_driver.c); QEMU moves whole sectors.
    """
    return job.end > 1 and job.end - job.cur == 1
