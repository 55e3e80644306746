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
"""A domain that is thrown away: QEMU with some disks open, and no guest in it.

It runs on the same libvirtd as the guest, with the same emulator, user, labels and secrets;
libvirt can use the value of a private secret, which nobody can read. It ends with our
connection at the latest. What hangs in it hangs nobody else.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
import uuid as uuids
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

import libvirt
from oslo_log import log

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, Disk, Seconds
from blockmirror_driver.virt import errors
from blockmirror_driver.virt.calls import CallPool, beside
from blockmirror_driver.virt.link import Link
from blockmirror_driver.xml import domain as xml_domain
from blockmirror_driver.xml import probe as xml_probe

LOG = log.getLogger(__name__)
_T = TypeVar('_T')

NAME_PREFIX = 'blockmirror-probe-'

#: libvirtd keeps a log file per name for ever, so names are reused; this many may run at a
#: time on one host.
_SLOTS = 64
#: Seconds for ending the domain: libvirt waits 10 s between TERM and KILL.
_DESTROY_TIMEOUT = Seconds(20.0)
#: Seconds for unplugging its disk: libvirt waits 5 s for the device to be gone.
_UNPLUG_TIMEOUT = Seconds(10.0)
#: Seconds for opening and closing one of its own connections.
_CONNECT_TIMEOUT = Seconds(10.0)
#: Seconds to wait for a place: others open theirs meanwhile.
_PATIENCE = Seconds(120.0)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of one disk: what a guest would see, and what the storage says it holds."""

    capacity: Bytes
    physical: Bytes


class Endings:
    """Throwaway domains that end while their makers go on. Any thread may call.

    libvirt looks only five times a second whether an emulator that it has told to end is gone
    (virProcessKillPainfullyDelay, src/util/virprocess.c).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[Future[None]] = set()

    def begin(self, domain: Throwaway) -> None:
        """Have a domain closed, by a thread of its own."""
        ending = beside(domain.close)
        with self._lock:
            self._under_way.add(ending)
        ending.add_done_callback(self._forget)

    def wait(self) -> None:
        """Return when all that were begun before are over; each ends, or is left to libvirt."""
        with self._lock:
            under_way = tuple(self._under_way)
        for ending in under_way:
            ending.result()

    def _forget(self, ending: Future[None]) -> None:
        with self._lock:
            self._under_way.discard(ending)


@dataclass(frozen=True, slots=True)
class Places:
    """Where it is made: ``opening`` is for what may hang, ``upkeep`` for what ends it."""

    uri: str
    opening: CallPool
    upkeep: CallPool
    endings: Endings = field(default_factory=Endings)


class Throwaway:
    """A paused domain that has disks open, and the connections that own and end it.

    One thread uses it. Its vCPUs never run. Close it, whatever :meth:`open` came to.

    :param like_xml: the guest's definition, whose emulator, machine and labels count.
    :param pluggable: :meth:`let_go` will be asked for; then there is one disk, and it has the
        name of a SCSI disk.
    """

    def __init__(
        self,
        places: Places,
        disks: Sequence[Disk],
        like_xml: str | None,
        *,
        read_only: bool,
        pluggable: bool = False,
    ) -> None:
        self._places = places
        self._started = False
        #: Seconds that opening took.
        self.elapsed = Seconds(0.0)
        self._disks = tuple(disks)
        self._like_xml = like_xml
        self._read_only = read_only
        self._pluggable = pluggable
        self._sparing = True
        self.uuid = dated_uuid(time.time())
        # AUTODESTROY ties the domain to the first; while its createXML hangs, only
        # another client can end the domain.
        self._owner = Link(places.uri)
        self._reaper = Link(places.uri)

    def open(self, timeout: Seconds) -> list[Sizes]:
        """Open the disks, and return what each has.

        :param timeout: seconds that opening may take. What a busy host lets us wait before is
            not counted: it says nothing of a storage server.
        :raise DestinationUnusable: DestinationSilent: SecretUnavailable:
            HypervisorUnavailable: see :func:`blockmirror_driver.virt.probe.probe`.
        """
        for link in (self._owner, self._reaper):
            self._call('open', link.open, _CONNECT_TIMEOUT)
        try:
            self._started = True
            try:
                return self._open_within(timeout)
            except libvirt.libvirtError as error:
                if not errors.gives_no_reason(error):
                    raise
            # An operator needs the reason, so it is asked for once more. Here, where the
            # call is known to have returned in time: one that we ended gives no reason either.
            return self._open_within(Seconds(max(0.0, timeout - self.elapsed)))
        except libvirt.libvirtError as error:
            raise errors.translate_opening(error, 'probe') from error
        except exception.HypervisorUnavailable as error:
            if not error.outcome_unknown:
                raise  # no place in the pool: nothing was started
            raise exception.DestinationSilent(
                f'{self._described()} did not answer in time'
            ) from error

    def let_go(self) -> bool:
        """Unplug the disk: it is closed, and its labels are what they were, though QEMU runs.

        :returns: ``False`` when it may be open until :meth:`close` returns.
        """
        if not self._pluggable:
            return False
        (disk,) = self._disks
        text = xml_probe.disk_of(disk, read_only=self._read_only, pluggable=True)

        def unplug(conn: libvirt.virConnect) -> bool:
            dom = conn.lookupByUUIDString(self.uuid)
            dom.detachDeviceFlags(text, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            # libvirt returns without an error when QEMU has not let go of it in time.
            return not xml_domain.disks(dom.XMLDesc())

        try:
            return self._call('detachDevice', lambda: self._owner.call(unplug), _UNPLUG_TIMEOUT)
        except exception.BlockmirrorError as error:
            LOG.debug('a throwaway domain does not let go of its disk: %s', error)
            return False

    def close(self) -> None:
        """End the domain if there is one, and close both connections; never raises."""
        try:
            if self._started:
                self._call('destroy', lambda: self._reaper.call(self._destroy), _DESTROY_TIMEOUT)
        except exception.BlockmirrorError as error:
            LOG.warning('a throwaway domain was left to libvirt to end: %s', error)
        for link in (self._owner, self._reaper):
            with contextlib.suppress(exception.BlockmirrorError):
                self._call('close', link.close, _CONNECT_TIMEOUT)

    def _open_within(self, timeout: Seconds) -> list[Sizes]:
        return self._places.opening.call(
            'probe',
            lambda: self._owner.call(self._open),
            timeout=timeout,
            patience=_PATIENCE,
        )

    def _open(self, conn: libvirt.virConnect) -> list[Sizes]:
        began = time.monotonic()
        try:
            dom = self._create(conn)
            found = []
            for disk in self._disks:
                capacity, _allocation, physical = dom.blockInfo(disk.target_dev)
                found.append(Sizes(Bytes(capacity), Bytes(physical)))
            return found
        finally:
            self.elapsed = Seconds(time.monotonic() - began)

    def _described(self) -> str:
        return ' or '.join(disk.source.describe() for disk in self._disks)

    def _create(self, conn: libvirt.virConnect) -> libvirt.virDomain:
        try:
            return self._create_in_a_slot(conn)
        except libvirt.libvirtError as error:
            if not self._sparing or not errors.blames_the_definition(error, xml_probe.SPARED):
                raise
            LOG.info('a throwaway domain is defined more plainly: %s', errors.clean(error))
        # This libvirt does not know what it is to do without, or this QEMU no SCSI.
        self._sparing = self._pluggable = False
        return self._create_in_a_slot(conn)

    def _create_in_a_slot(self, conn: libvirt.virConnect) -> libvirt.virDomain:
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
            *self._disks,
            name=f'{NAME_PREFIX}{slot}',
            uuid=self.uuid,
            like_domain_xml=self._like_xml,
            read_only=self._read_only,
            pluggable=self._pluggable,
            sparing=self._sparing,
        )

    def _destroy(self, conn: libvirt.virConnect) -> None:
        try:
            conn.lookupByUUIDString(self.uuid).destroyFlags()
        except libvirt.libvirtError as error:
            if not errors.is_no_domain(error):
                raise

    def _call(self, name: str, function: Callable[[], _T], timeout: Seconds) -> _T:
        try:
            return self._places.upkeep.call(name, function, timeout=timeout, patience=_PATIENCE)
        except libvirt.libvirtError as error:
            raise errors.translate(error, name) from error


def dated_uuid(epoch: float) -> str:
    """Return a random uuid that tells when it was made (version 7 of RFC 9562)."""
    value = (int(epoch * 1000) & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76 | random.getrandbits(12) << 64 | 0b10 << 62 | random.getrandbits(62)
    return str(uuids.UUID(int=value))
