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
"""One guest, through the few libvirt calls that a swap may make.

What is not a method here is never called on a guest's domain: no destroy, no undefine, no
save, no snapshot. Every method may be called from any thread and is bounded by the
hypervisor's call timeout. Unless a method says more, it raises

- :class:`~blockmirror_driver.exception.DomainNotFound` when the domain is gone, or has to
  run and does not;
- :class:`~blockmirror_driver.exception.DiskNotFound` for an unknown ``dev``;
- :class:`~blockmirror_driver.exception.HypervisorUnavailable` for everything else; its
  ``outcome_unknown`` says that the call may have had its effect all the same.
"""

from __future__ import annotations

import dataclasses
import enum
import uuid as uuids
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import libvirt

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, BytesPerSecond, IoTune, Seconds
from blockmirror_driver.virt import definitions, errors, handles
from blockmirror_driver.virt.counters import WriteCounters
from blockmirror_driver.xml import domain as xml_domain
from blockmirror_driver.xml import metadata as xml_metadata

if TYPE_CHECKING:
    from blockmirror_driver.virt.connection import Hypervisor

_T = TypeVar('_T')


class CopyFlag(enum.IntFlag):
    """``virDomainBlockCopyFlags``; SYNCHRONOUS_WRITES needs libvirt 8.0, TARGET_ZEROED 12.2."""

    NONE = 0
    SHALLOW = 1
    REUSE_EXT = 2
    TRANSIENT_JOB = 4
    SYNCHRONOUS_WRITES = 8
    TARGET_ZEROED = 16


class RebaseFlag(enum.IntFlag):
    """``virDomainBlockRebaseFlags``."""

    NONE = 0
    SHALLOW = 1
    REUSE_EXT = 2
    COPY_RAW = 4
    COPY = 8
    RELATIVE = 16
    COPY_DEV = 32
    BANDWIDTH_BYTES = 64


class DomainState(enum.Enum):
    """``virDomainState``."""

    NOSTATE = 0
    RUNNING = 1
    BLOCKED = 2
    PAUSED = 3
    SHUTDOWN = 4
    SHUTOFF = 5
    CRASHED = 6
    PMSUSPENDED = 7


@dataclass(frozen=True, slots=True)
class JobInfo:
    """What libvirt says of a running block job; ``type`` 2 is a copy.

    ``end`` grows with the guest's writes, so that ``cur == end`` proves nothing.
    """

    type: int
    bandwidth: BytesPerSecond
    cur: int
    end: int


def is_uuid(text: str) -> bool:
    """Tell whether a text is a uuid as libvirt writes it, in either case."""
    try:
        return str(uuids.UUID(text)) == text.lower()
    except ValueError:
        return False


def _affected(dom: libvirt.virDomain) -> int:
    """Flags for the running guest and its stored definition, as far as they are there."""
    flags = libvirt.VIR_DOMAIN_AFFECT_LIVE if dom.isActive() else 0
    return flags | (libvirt.VIR_DOMAIN_AFFECT_CONFIG if dom.isPersistent() else 0)


class Domain:
    """A guest, named by its uuid across reconnects and restarts of libvirtd.

    Made by :meth:`Hypervisor.domain`; holds no libvirt object.
    """

    def __init__(self, hypervisor: Hypervisor, *, name: str, uuid: str) -> None:
        self.hypervisor = hypervisor
        self.name = name
        self.uuid = uuid

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.name!r}, {self.uuid})'

    # What it is

    def is_active(self) -> bool:
        """Tell whether the guest runs (or is paused)."""
        return bool(self._call('isActive', lambda dom: dom.isActive()))

    def is_persistent(self) -> bool:
        """Tell whether libvirt keeps a stored definition."""
        return bool(self._call('isPersistent', lambda dom: dom.isPersistent()))

    def state(self) -> DomainState:
        """Return the state; answers even while a block job hangs."""
        return DomainState(self._call('state', lambda dom: dom.state())[0])

    def xml(self, *, inactive: bool = False) -> str:
        """Return the live definition, or the stored one; never with secrets.

        Without ``inactive`` a guest that does not run gives its stored definition.
        """
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0
        return self._call('XMLDesc', lambda dom: dom.XMLDesc(flags))

    def live_disk(self, dev: str) -> xml_domain.DomainDisk:
        """Return the disk that the running guest has now.

        :raise DomainNotFound: also when the guest does not run: then there is no live
            disk, and the stored one must not be taken for it.
        """
        return definitions.live_disk(self.xml(), self.name, dev)

    def stored_disk(self, dev: str) -> xml_domain.DomainDisk | None:
        """Return the disk of the stored definition, None for a transient domain."""
        text = self._call('XMLDesc', definitions.stored)
        return None if text is None else xml_domain.find(text, dev)

    def disks(self, dev: str) -> tuple[xml_domain.DomainDisk | None, xml_domain.DomainDisk]:
        """Return the stored disk, None where there is none, and the live one; by one call.

        Errors are those of :meth:`live_disk`, whose answer is the newer one.
        """
        stored, live = self._call('XMLDesc', definitions.both)
        return definitions.stored_disk(stored, dev), definitions.live_disk(live, self.name, dev)

    def capacity(self, dev: str) -> Bytes:
        """Return the exact bytes that the guest sees; the guest must run."""
        return self._block_info(dev)[0]

    def allocation(self, dev: str) -> Bytes:
        """Return the bytes that the volume takes, the whole where its backend does not tell."""
        return self._block_info(dev)[2]

    def _block_info(self, dev: str) -> list[Bytes]:
        def info(dom: libvirt.virDomain) -> list[int]:
            if not dom.isActive():
                raise exception.DomainNotFound(f'domain {self.name} is not running')
            return dom.blockInfo(dev)

        return [Bytes(number) for number in self._call('blockInfo', info)]

    def write_counters(self, dev: str) -> WriteCounters:
        """Return what the guest has written; a copy's own work is not counted."""

        def read(dom: libvirt.virDomain) -> WriteCounters:
            told = dom.blockStatsFlags(dev)
            nanoseconds = told['wr_total_times'] + told.get('flush_total_times', 0)
            return WriteCounters(told['wr_operations'], nanoseconds / 1e9)

        return self._call('blockStatsFlags', read)

    # Its block job

    def job(self, dev: str) -> JobInfo | None:
        """Return the running job of the disk, None when there is none.

        None says nothing of how a job ended: done, failed and cancelled look alike.
        """
        flags = libvirt.VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES
        info = self._call('blockJobInfo', lambda dom: dom.blockJobInfo(dev, flags))
        if not info:
            return None
        return JobInfo(
            type=info['type'],
            bandwidth=BytesPerSecond(info['bandwidth']),
            cur=info['cur'],
            end=info['end'],
        )

    def block_copy(
        self,
        dev: str,
        disk_xml: str,
        *,
        bandwidth: BytesPerSecond = BytesPerSecond(0),
        granularity: int = 0,
        buf_size: int = 0,
        flags: CopyFlag = CopyFlag.NONE,
    ) -> None:
        """Start a copy to the disk; returns when the hypervisor has opened it.

        Sizes are bytes; 0 leaves each to the hypervisor. A destination that does not
        answer freezes the guest: probe it before.

        :raise DestinationUnusable: the hypervisor could not open it; no job was started.
        :raise DiskBusy: the disk has a job already.
        """
        params = {
            libvirt.VIR_DOMAIN_BLOCK_COPY_BANDWIDTH: int(bandwidth),
            libvirt.VIR_DOMAIN_BLOCK_COPY_GRANULARITY: granularity,
            libvirt.VIR_DOMAIN_BLOCK_COPY_BUF_SIZE: buf_size,
        }
        given = {name: value for name, value in params.items() if value}
        self._call(
            'blockCopy',
            lambda dom: dom.blockCopy(dev, disk_xml, given, int(flags)),
            translate=errors.translate_opening,
        )

    def block_rebase(
        self,
        dev: str,
        path: str,
        *,
        bandwidth: BytesPerSecond = BytesPerSecond(0),
        flags: RebaseFlag = RebaseFlag.NONE,
    ) -> None:
        """Start a copy to a local path; transient domains only, says libvirt.

        ``bandwidth`` is bytes/s; the flag that says so is added here. Errors as in
        :meth:`block_copy`.
        """
        every = int(flags | RebaseFlag.BANDWIDTH_BYTES)
        self._call(
            'blockRebase',
            lambda dom: dom.blockRebase(dev, path, int(bandwidth), every),
            translate=errors.translate_opening,
        )

    def pivot(self, dev: str) -> None:
        """Ask for the switch; returns before it has happened.

        :raise DiskBusy: the job is not ready yet, or is being ended already.
        :raise HypervisorUnavailable: with ``code`` 8 (``VIR_ERR_INVALID_ARG``) when the
            disk has no job.
        """
        flags = libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT | libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC
        self._call('blockJobAbort', lambda dom: dom.blockJobAbort(dev, flags))

    def abort(self, dev: str) -> None:
        """Ask for the job's end without a switch; errors as in :meth:`pivot`.

        Asynchronous always: a synchronous abort hangs as long as the destination does.
        """
        flags = libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC
        self._call('blockJobAbort', lambda dom: dom.blockJobAbort(dev, flags))

    def set_speed(self, dev: str, bytes_per_second: BytesPerSecond) -> None:
        """Limit the running job; 0 lifts the limit. Errors as in :meth:`pivot`."""
        flags = libvirt.VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES
        self._call(
            'blockJobSetSpeed',
            lambda dom: dom.blockJobSetSpeed(dev, int(bytes_per_second), flags),
        )

    # Its file systems

    def freeze(self, timeout: Seconds) -> int:
        """Have the guest's agent flush and freeze its file systems; return how many.

        :raise HypervisorUnavailable: there is no agent, or it did not; with
            ``outcome_unknown`` they may be frozen: :meth:`thaw` them.
        """
        return self._call('fsFreeze', lambda dom: dom.fsFreeze(), timeout=timeout)

    def thaw(self) -> int:
        """Let them go on; return how many were frozen. Harmless when none was."""
        return self._call('fsThaw', lambda dom: dom.fsThaw())

    # Its vCPUs

    def suspend(self) -> None:
        """Stop them; QEMU flushes all disks. One that stands already is left so.

        :raise HypervisorUnavailable: with ``outcome_unknown`` they may stand: :meth:`resume`.
        """
        self._call('suspend', lambda dom: dom.suspend())

    def resume(self) -> None:
        """Let them go on; harmless when they run."""
        self._call('resume', lambda dom: dom.resume())

    # What we write into it

    def set_iotune(self, dev: str, limits: IoTune) -> None:
        """Set all limits of a disk, live and stored, as far as there are such; 0 lifts one."""

        def tune(dom: libvirt.virDomain) -> None:
            dom.setBlockIoTune(dev, dataclasses.asdict(limits), _affected(dom))

        self._call('setBlockIoTune', tune)

    def resize(self, dev: str, size: Bytes) -> None:
        """Tell the guest of a larger disk; the volume has these bytes already.

        :raise HypervisorUnavailable: also where it can't be done.
        """
        flags = libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES
        self._call('blockResize', lambda dom: dom.blockResize(dev, int(size), flags))

    def set_mark(self, text: str | None) -> None:
        """Set our element in the domain's metadata, live and stored; None removes it."""

        def mark(dom: libvirt.virDomain) -> None:
            flags = _affected(dom)
            key = None if text is None else xml_metadata.KEY
            kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
            try:
                dom.setMetadata(kind, text, key, xml_metadata.NAMESPACE, flags)
            except libvirt.libvirtError as error:
                if text is not None or not errors.is_no_metadata(error):
                    raise

        self._call('setMetadata', mark)

    def mark(self) -> str | None:
        """Return our element of the metadata (the live one, if it runs), or None."""

        def read(dom: libvirt.virDomain) -> str | None:
            kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
            try:
                return dom.metadata(kind, xml_metadata.NAMESPACE)
            except libvirt.libvirtError as error:
                if errors.is_no_metadata(error):
                    return None
                raise

        return self._call('metadata', read)

    def rewrite_stored(self, edit: Callable[[str], str]) -> None:
        """Replace the stored definition by what ``edit`` makes of it.

        The definition handed to ``edit`` is complete, with the graphics passwords that
        :meth:`xml` leaves out and that a plain read and define would lose: ``edit`` must
        not log or keep it.

        :raise WrongState: the domain is transient; defining would make it persistent.
        """

        def rewrite(conn: libvirt.virConnect) -> None:
            dom = conn.lookupByUUIDString(self.uuid)
            if not dom.isPersistent():
                raise exception.WrongState(f'domain {self.name} is transient')
            flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
            conn.defineXML(edit(dom.XMLDesc(flags)))

        self.hypervisor.run('defineXML', rewrite, key=self.uuid)

    def _call(
        self,
        name: str,
        method: Callable[[libvirt.virDomain], _T],
        *,
        timeout: Seconds | None = None,
        translate: errors.Translation = errors.translate,
    ) -> _T:
        def look_up(conn: libvirt.virConnect) -> _T:
            return method(handles.of(conn, self.uuid))

        return self.hypervisor.run(
            name, look_up, key=self.uuid, timeout=timeout, translate=translate
        )
