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
import time
import uuid as uuids
from dataclasses import dataclass, replace

import libvirt

from blockmirror_driver.model import Bytes, Disk, NetworkSource, Seconds
from blockmirror_driver.virt.throwaway import NAME_PREFIX, Places, Throwaway

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


def probe(
    places: Places,
    disk: Disk,
    *,
    like_xml: str | None,
    timeout: Seconds,
    writable: bool = False,
    lingers: bool = False,
) -> ProbeResult:
    """Open the disk in a throwaway domain, and return its exact size.

    Never probe the disk that a guest uses now: libvirt would take its labels away.
    Blocks for ``timeout`` seconds, and at the deadline for the time that libvirt takes to
    end the domain, and before while other probes have all the places; any thread may call.

    :param like_xml: the guest's definition, whose emulator, machine and labels count.
    :param lingers: return while a domain that has answered is still being ended, and may have
        the volume open until ``places.endings.wait()`` returns. A local volume is closed before:
        QEMU locks it, and libvirt has labels to restore there.
    :raise DestinationUnusable: it does not open, with libvirt's reason.
    :raise DestinationSilent: it did not answer in time. The throwaway domain has been
        ended, or is being ended by libvirt.
    :raise SecretUnavailable: libvirt does not have the secret that the disk cites.
    :raise HypervisorUnavailable: libvirt itself can't be asked.
    """
    read_only = not _opens_for_writing(disk, writable)
    unplugged = lingers and not isinstance(disk.source, NetworkSource)
    if unplugged:
        disk = replace(disk, target_dev='sda')
    domain = Throwaway(places, [disk], like_xml, read_only=read_only, pluggable=unplugged)
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(domain.close)
        (sizes,) = domain.open(timeout)
        if lingers and (not unplugged or domain.let_go()):
            at_the_end.pop_all()
            places.endings.begin(domain)
    return ProbeResult(sizes.capacity, sizes.physical, domain.elapsed)


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


def _age(uuid: str) -> float:
    return time.time() - (uuids.UUID(uuid).int >> 80) / 1000


def _opens_for_writing(disk: Disk, writable: bool) -> bool:
    return writable and disk.driver.format == 'raw' and not disk.readonly
