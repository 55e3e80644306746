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
"""A copy by QEMU's own commands ("passthrough"), seen as if libvirt knew of it.

libvirt does not: it tells no job, no ``<mirror>`` and no events of it. So a guest with such a
copy is seen through :class:`Passthrough`, which asks QEMU instead and answers in libvirt's
terms; the machine, the witness and the swap are the same as for any other copy. What ended is
told from the job itself, which stays ``concluded`` until it is dismissed, so that no process
can miss it.

Node and job names are derived from the swap's id: another process finds them again.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from oslo_log import log

from blockmirror_driver import exception
from blockmirror_driver.mirror.events import JOB_TYPE_COPY
from blockmirror_driver.mirror.options import QMP, CopyOptions
from blockmirror_driver.model import BytesPerSecond, Disk, Seconds
from blockmirror_driver.qemu import blockdev, secrets
from blockmirror_driver.virt.domain import Domain, JobInfo
from blockmirror_driver.virt.events import BlockJobEvent, BlockJobStatus
from blockmirror_driver.virt.monitor import Monitor
from blockmirror_driver.xml import domain as xml_domain
from blockmirror_driver.xml.domain import DomainDisk, MirrorState, Readiness

if TYPE_CHECKING:
    from blockmirror_driver.virt.connection import Hypervisor

LOG = log.getLogger(__name__)

#: No event wakes anybody, so the job is looked at this often (seconds), at least.
POLL_INTERVAL = Seconds(1.0)
#: ``JobStatus`` of QEMU's QAPI: the job is over, and waits to be dismissed.
CONCLUDED = 'concluded'
#: Cache modes of a disk that keep the host's page cache out of it.
_DIRECT = frozenset({'none', 'directsync'})


@dataclass(frozen=True, slots=True)
class Names:
    """What the parts of one copy are called in QEMU, which takes 31 characters."""

    #: What no other tool's names begin with.
    PREFIX: ClassVar[str] = 'bm-'

    swap_id: str

    @property
    def job(self) -> str:
        """The block job, and what the other names begin with."""
        return f'{self.PREFIX}{self.swap_id[:8]}'

    @property
    def node(self) -> str:
        """The destination, as the guest's disk would be it."""
        return f'{self.job}-format'

    @property
    def protocol(self) -> str:
        """The storage below it."""
        return f'{self.job}-storage'


def attach(hypervisor: Hypervisor, domain_uuid: str, view: View, options: CopyOptions) -> None:
    """See a guest through this copy from now on, wherever its :class:`Domain` comes from.

    Only a copy by ``qmp`` needs that; for all others nothing happens.
    """
    if options.method == QMP:
        hypervisor.see(domain_uuid, functools.partial(Passthrough, view))


def options_for(options: CopyOptions) -> CopyOptions:
    """Return the options with the pace of a copy that no event tells of."""
    if options.method != QMP:
        return options
    return replace(options, poll_interval=min(options.poll_interval, POLL_INTERVAL))


@dataclass(slots=True)
class View:
    """One copy, for as long as this process has to do with it.

    ``destination`` has the values of its secrets only in the process that begins the copy.
    """

    swap_id: str
    dev: str
    destination: Disk
    asked: Readiness | None = None
    told: bool = False

    @property
    def names(self) -> Names:
        """What QEMU calls its parts."""
        return Names(self.swap_id)


class Passthrough(Domain):
    """A guest of which one disk is copied by QEMU's own commands.

    For every other disk it is the domain that it was made of. Methods raise what those of
    :class:`Domain` do.
    """

    def __init__(self, view: View, seen: Domain) -> None:
        super().__init__(seen.hypervisor, name=seen.name, uuid=seen.uuid)
        self._view = view
        self._seen = seen
        self._monitor = Monitor(seen)

    # -- what there is -----------------------------------------------------------------

    def job(self, dev: str) -> JobInfo | None:
        """Return the running job of the disk, QEMU's or libvirt's."""
        found = self._job() if dev == self._view.dev else None
        if found is None or found['status'] == CONCLUDED:
            return self._seen.job(dev)
        return JobInfo(
            type=JOB_TYPE_COPY,
            bandwidth=BytesPerSecond(found['speed']),
            cur=found['offset'],
            end=found['len'],
        )

    def live_disk(self, dev: str) -> DomainDisk:
        """Return the disk that the guest has now, with the mirror that libvirt knows not of."""
        disk = self._seen.live_disk(dev)
        if dev != self._view.dev:
            return disk
        job, destination = self._job(), self._view.destination
        if job is not None and job['status'] != CONCLUDED:
            ready: Readiness = self._view.asked or ('yes' if job['ready'] else 'no')
            mirror = MirrorState(destination.source, 'copy', ready, destination.driver.format)
            return replace(disk, mirror=mirror)
        switched = self._is_switched()
        if job is not None:
            self._tell(job, switched=switched)
        if not switched:
            return disk
        now = replace(disk.disk, source=destination.source, encryption=destination.encryption)
        return replace(disk, disk=now, format=destination.driver.format)

    def disks(self, dev: str) -> tuple[DomainDisk | None, DomainDisk]:
        """Return the stored and the live disk; by several calls, since QEMU is asked too."""
        try:
            stored = self._seen.stored_disk(dev)
        except exception.DiskNotFound:
            stored = None
        return stored, self.live_disk(dev)

    def xml(self, *, inactive: bool = False) -> str:
        """Return the definition; the live one as it would be if libvirt knew of a pivot."""
        text = self._seen.xml(inactive=inactive)
        if inactive or xml_domain.run_id(text) is None or not self._is_switched():
            return text
        disk = replace(self._view.destination, target_dev=self._view.dev)
        as_if = f'<domain><devices>{disk.to_xml()}</devices></domain>'
        return xml_domain.with_disk_source(text, self._view.dev, disk, live_xml=as_if)

    def _job(self) -> dict[str, Any] | None:
        for job in self._monitor.execute('query-block-jobs'):
            if job['device'] == self._view.names.job:
                return dict(job)
        return None

    def _is_switched(self) -> bool:
        return self._view.names.node in self._monitor.nodes_in_use().values()

    def _tell(self, job: dict[str, Any], *, switched: bool) -> None:
        """Say once how the job ended, as libvirt would by an event."""
        if self._view.told:
            return
        self._view.told = True
        reason, status = exception.one_line(job.get('error', '')), BlockJobStatus.CANCELED
        if reason:
            LOG.warning('Swap %s: the block job failed: %s', self._view.swap_id, reason)
            status = BlockJobStatus.FAILED
        elif switched:
            status = BlockJobStatus.COMPLETED
        self.hypervisor.publish(
            BlockJobEvent(self.uuid, self._view.dev, JOB_TYPE_COPY, status, reason)
        )

    # -- what is done ------------------------------------------------------------------

    def mirror(self, options: CopyOptions) -> None:
        """Open the destination in the guest's QEMU, and begin the copy.

        :raise DestinationUnusable: QEMU could not open it, or would not copy; all of it is
            taken away again.
        :raise DiskBusy: a copy of this name, or another job, is there.
        """
        names, disk = self._view.names, self._seen.live_disk(self._view.dev)
        device = self._monitor.node_of(disk.alias)
        if self._job() is not None or self._seen.job(self._view.dev) is not None:
            raise exception.DiskBusy(f'{self._view.dev} has a block job already')
        image = blockdev.of(self._view.destination, names.job)
        try:
            for name, value in image.secrets.items():
                with secrets.descriptor(value) as number:
                    self._monitor.add_secret(name, number)
            self._monitor.execute('blockdev-add', _node(image, names, disk.disk))
            self._monitor.execute('blockdev-mirror', _mirror(names, device, options))
        except exception.HypervisorUnavailable as error:
            if not error.outcome_unknown:
                self.let_go()
            raise
        except exception.Refused as error:
            self.let_go()
            raise exception.DestinationUnusable(error.message) from error

    def pivot(self, dev: str) -> None:
        """Ask for the switch; libvirt goes on to name the old volume."""
        if dev != self._view.dev:
            self._seen.pivot(dev)
            return
        self._monitor.execute('block-job-complete', {'device': self._view.names.job})
        self._view.asked = 'pivot'

    def abort(self, dev: str) -> None:
        """Ask for the job's end; of one that is ready a consistent copy stays."""
        if dev != self._view.dev:
            self._seen.abort(dev)
            return
        self._monitor.execute('block-job-cancel', {'device': self._view.names.job})
        self._view.asked = 'abort'

    def set_speed(self, dev: str, bytes_per_second: BytesPerSecond) -> None:
        """Limit the running job; 0 lifts the limit."""
        if dev != self._view.dev:
            self._seen.set_speed(dev, bytes_per_second)
            return
        self._monitor.execute(
            'block-job-set-speed', {'device': self._view.names.job, 'speed': int(bytes_per_second)}
        )

    def let_go(self) -> None:
        """Take away what the copy left in QEMU; see :func:`let_go`."""
        let_go(self._monitor, self._view.names)


def let_go(monitor: Monitor, names: Names) -> None:
    """Take away what a copy left in QEMU; what the guest is on stays, and so does a job.

    :raise HypervisorUnavailable: it could not be asked; call it again.
    """
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: monitor.execute('job-dismiss', {'id': names.job}),
        lambda: monitor.execute('blockdev-del', {'node-name': names.node}),
        *(
            functools.partial(monitor.execute, 'object-del', {'id': name})
            for name in blockdev.secret_ids(names.job)
        ),
    )
    for attempt in attempts:
        # Not there (any more), or in use: both are as they should be.
        with contextlib.suppress(exception.DomainNotFound):
            try:
                attempt()
            except exception.HypervisorUnavailable:
                raise
            except exception.Refused as error:
                LOG.debug('Copy %s: %s', names.job, error)


def _node(image: blockdev.Blockdev, names: Names, source: Disk) -> dict[str, Any]:
    """Return ``BlockdevOptions`` of the destination, with what a live disk can't change."""
    cache = {'direct': source.driver.cache in _DIRECT, 'no-flush': source.driver.cache == 'unsafe'}
    common = {'cache': cache, 'discard': 'unmap'}
    storage = {**image.options['file'], **common, 'node-name': names.protocol}
    node = {**image.options, **common, 'node-name': names.node, 'file': storage}
    if source.driver.detect_zeroes:
        node['detect-zeroes'] = source.driver.detect_zeroes
    return node


def _mirror(names: Names, device: str, options: CopyOptions) -> dict[str, Any]:
    """Return the arguments of ``blockdev-mirror``."""
    told: dict[str, Any] = {
        'job-id': names.job,
        'device': device,
        'target': names.node,
        'sync': 'top' if options.shallow else 'full',
        'auto-dismiss': False,
        'copy-mode': 'write-blocking' if options.synchronous_writes else 'background',
    }
    for name, value in (
        ('speed', options.bandwidth),
        ('granularity', options.granularity),
        ('buf-size', options.buf_size),
    ):
        if value:
            told[name] = int(value)
    if options.target_zeroed:
        told['target-is-zero'] = True  # an older QEMU has no such word
    return told
