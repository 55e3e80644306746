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
"""libvirt's handles of domains, each looked up once a connection.

Looking one up is a call of its own, and one that waits while libvirt writes the domain's state
to its disk. A handle names its domain by uuid: of a domain that is gone, or has been started
again, a call says so as it would with a new one.
"""

from __future__ import annotations

import libvirt

#: Of one connection; then all are looked up anew, so that those of old guests go.
_MOST = 64

_kept: dict[int, dict[str, libvirt.virDomain]] = {}


def keep(conn: libvirt.virConnect) -> None:
    """Begin to keep those of a connection; :func:`forget` them before it is closed."""
    _kept[id(conn)] = {}


def forget(conn: libvirt.virConnect) -> None:
    """Let go of those of a connection: each keeps it open."""
    _kept.pop(id(conn), None)


def of(conn: libvirt.virConnect, uuid: str) -> libvirt.virDomain:
    """Return the domain's handle. Any thread, as long as the connection is its own.

    :raise libvirt.libvirtError: there is no such domain, or libvirt does not answer.
    """
    kept = _kept.get(id(conn), {})
    if (found := kept.get(uuid)) is None:
        found = conn.lookupByUUIDString(uuid)
        if len(kept) >= _MOST:
            kept.clear()
        kept[uuid] = found
    return found
