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
"""Opening a destination somewhere else first, within a deadline.

QEMU opens the destination of a copy in its main loop: one that does not answer freezes the
guest. So a paused throwaway domain opens it before, on the same libvirtd, with the same
emulator, user, labels and secrets; libvirt can use the value of a private secret, which
nobody can read. Its vCPUs never run, and it ends with our connection at the latest.

What remains is the window between the probe and the copy's own opening.

A raw destination may be probed ``writable``: QEMU opens it for writing, which proves the
permission (an export or a key that only reads is refused), and writes nothing, since no
vCPU runs and raw has no header. qcow2 is opened read-only always: QEMU may touch the
header of an image that it opens for writing.
"""

from __future__ import annotations

import contextlib
import random
import time
import uuid as uuids
from collections.abc import Callable
from dataclasses import dataclass

import libvirt
from oslo_log import log

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, Disk, Seconds
from blockmirror_driver.virt import errors
from blockmirror_driver.virt.calls import CallPool
from blockmirror_driver.virt.link import Link
from blockmirror_driver.xml import probe as xml_probe

LOG = log.getLogger(__name__)

NAME_PREFIX = 'blockmirror-probe-'

#: libvirtd keeps a log file per name for ever, so names are reused; this many probes may
#: run at a time on one host.
_SLOTS = 16
#: Seconds for ending the throwaway domain: libvirt waits 10 s between TERM and KILL.
_DESTROY_TIMEOUT = Seconds(20.0)
#: Seconds for opening and closing one of the probe's own connections.
_CONNECT_TIMEOUT = Seconds(10.0)
#: Seconds after which no probe can be anybody's any more.
_ABANDONED_AFTER = 3600.0


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the probe saw.

    ``capacity`` is what a guest would see, to the byte; ``physical`` the bytes that the
    storage says it holds (0 from nfs, which does not tell); ``elapsed`` the time until
    the answer, without the time for ending the throwaway domain.
    """

    capacity: Bytes
    physical: Bytes
    elapsed: Seconds


@dataclass(frozen=True, slots=True)
class Places:
    """Where a probe runs: ``opening`` is for what may hang, ``upkeep`` for what ends it."""

    uri: str
    opening: CallPool
    upkeep: CallPool


def probe(
    places: Places,
    disk: Disk,
    *,
    like_xml: str | None,
    timeout: Seconds,
    writable: bool = False,
) -> ProbeResult:
    """Open the disk in a throwaway domain, and return its exact size.

    Never probe the disk that a guest uses now: libvirt would take its labels away.
    Blocks for ``timeout`` seconds, and at the deadline for the time that libvirt takes to
    end the domain; any thread may call.

    :param like_xml: the guest's definition, whose emulator, machine and labels count.
    :raise DestinationUnusable: it does not open, with libvirt's reason.
    :raise DestinationSilent: it did not answer in time. The throwaway domain has been
        ended, or is being ended by libvirt.
    :raise SecretUnavailable: libvirt does not have the secret that the disk cites.
    :raise HypervisorUnavailable: libvirt itself can't be asked.
    """
    started = time.monotonic()
    attempt = _Attempt(places, disk, like_xml, read_only=not _opens_for_writing(disk, writable))
    try:
        capacity, physical = attempt.run(Seconds(started + timeout))
        elapsed = Seconds(time.monotonic() - started)
    finally:
        attempt.close()
    return ProbeResult(capacity, physical, elapsed)


def sweep(conn: libvirt.virConnect) -> tuple[str, ...]:
    """Destroy probes older than an hour, which only a killed libvirtd leaves behind."""
    swept = []
    for dom in _abandoned(conn):
        with contextlib.suppress(libvirt.libvirtError):  # it ended by itself
            dom.destroyFlags()
            swept.append(dom.name())
    return tuple(swept)


def leftover(conn: libvirt.virConnect) -> tuple[str, ...]:
    """Return the names of what :func:`sweep` would destroy."""
    return tuple(dom.name() for dom in _abandoned(conn))


def _abandoned(conn: libvirt.virConnect) -> list[libvirt.virDomain]:
    return [
        dom
        for dom in conn.listAllDomains()
        if dom.name().startswith(NAME_PREFIX) and _age(dom.UUIDString()) > _ABANDONED_AFTER
    ]


class _Attempt:
    """One throwaway domain, and the connections that own and end it."""

    def __init__(
        self, places: Places, disk: Disk, like_xml: str | None, *, read_only: bool
    ) -> None:
        self._places = places
        self._started = False
        self._disk = disk
        self._like_xml = like_xml
        self._read_only = read_only
        self._uuid = dated_uuid(time.time())
        # AUTODESTROY ties the domain to the first; while its createXML hangs, only
        # another client can end the domain.
        self._owner = Link(places.uri)
        self._reaper = Link(places.uri)

    def run(self, deadline: Seconds) -> tuple[Bytes, Bytes]:
        remaining = self._remaining(deadline)
        for link in (self._owner, self._reaper):
            self._call('open', link.open, min(remaining, _CONNECT_TIMEOUT))
        try:
            self._started = True
            try:
                return self._open_by(deadline)
            except libvirt.libvirtError as error:
                if not errors.gives_no_reason(error):
                    raise
            # An operator needs the reason, so it is asked for once more. Here, where the
            # call is known to have returned in time: one that we ended gives no reason either.
            return self._open_by(deadline)
        except libvirt.libvirtError as error:
            raise errors.translate_opening(error, 'probe') from error
        except exception.HypervisorUnavailable as error:
            if not error.outcome_unknown:
                raise  # no place in the pool: nothing was started
            raise exception.DestinationSilent(
                f'{self._disk.source.describe()} did not answer in time'
            ) from error

    def close(self) -> None:
        """End the domain if there is one, and close both connections; never raises."""
        try:
            if self._started:
                self._call('destroy', lambda: self._reaper.call(self._destroy), _DESTROY_TIMEOUT)
        except exception.BlockmirrorError as error:
            LOG.warning('a probe was left to libvirt to end: %s', error)
        for link in (self._owner, self._reaper):
            with contextlib.suppress(exception.BlockmirrorError):
                self._call('close', link.close, _CONNECT_TIMEOUT)

    def _open_by(self, deadline: Seconds) -> tuple[Bytes, Bytes]:
        return self._places.opening.call(
            'probe', lambda: self._owner.call(self._open), timeout=self._remaining(deadline)
        )

    def _open(self, conn: libvirt.virConnect) -> tuple[Bytes, Bytes]:
        dom = self._create(conn)
        capacity, _allocation, physical = dom.blockInfo(self._disk.target_dev)
        return Bytes(capacity), Bytes(physical)

    def _create(self, conn: libvirt.virConnect) -> libvirt.virDomain:
        flags = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY
        slots = random.sample(range(_SLOTS), _SLOTS)
        for slot in slots[:-1]:
            try:
                return conn.createXML(self._definition(slot), flags)
            except libvirt.libvirtError as error:
                if not errors.is_name_taken(error):
                    raise
        return conn.createXML(self._definition(slots[-1]), flags)

    def _definition(self, slot: int) -> str:
        return xml_probe.build(
            self._disk,
            name=f'{NAME_PREFIX}{slot}',
            uuid=self._uuid,
            like_domain_xml=self._like_xml,
            read_only=self._read_only,
        )

    def _destroy(self, conn: libvirt.virConnect) -> None:
        try:
            conn.lookupByUUIDString(self._uuid).destroyFlags()
        except libvirt.libvirtError as error:
            if not errors.is_no_domain(error):
                raise

    def _call(self, name: str, function: Callable[[], None], timeout: Seconds) -> None:
        try:
            self._places.upkeep.call(name, function, timeout=timeout)
        except libvirt.libvirtError as error:
            raise errors.translate(error, name) from error

    @staticmethod
    def _remaining(deadline: Seconds) -> Seconds:
        return Seconds(max(0.0, deadline - time.monotonic()))


def dated_uuid(epoch: float) -> str:
    """Return a random uuid that tells when it was made (version 7 of RFC 9562)."""
    value = (int(epoch * 1000) & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76 | random.getrandbits(12) << 64 | 0b10 << 62 | random.getrandbits(62)
    return str(uuids.UUID(int=value))


def _age(uuid: str) -> float:
    return time.time() - (uuids.UUID(uuid).int >> 80) / 1000


def _opens_for_writing(disk: Disk, writable: bool) -> bool:
    return writable and disk.driver.format == 'raw' and not disk.readonly
