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
"""Making a running copy synchronous: the guest's writes go to both sides before they are done.

libvirt has that as a flag of the start only. QEMU can change its mind in a running job
(``block-job-change``), so that a copy which its guest outruns need not begin anew.
"""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.virt.monitor import Monitor

#: The first QEMU with ``block-job-change``.
MIN_QEMU = 8_002_000


def make_synchronous(domain: Domain, dev: str) -> None:
    """Change the copy of a disk that libvirt has started; doing it again changes nothing.

    libvirt taints the domain.

    :raise Refused: QEMU would not; the copy goes on as it was.
    :raise WrongState: QEMU has no such job.
    :raise DomainNotFound: HypervisorUnavailable: see :meth:`Monitor.execute`.
    """
    monitor = Monitor(domain)
    # libvirt's name of the job: what it does, on which disk, and to which node.
    jobs = [
        str(job['device'])
        for job in monitor.execute('query-block-jobs')
        if str(job['device']).startswith(f'copy-{dev}-')
    ]
    if len(jobs) != 1:
        raise exception.WrongState(f'QEMU has no copy of {dev} that libvirt has started')
    change = {'id': jobs[0], 'type': 'mirror', 'copy-mode': 'write-blocking'}
    monitor.execute('block-job-change', change)
