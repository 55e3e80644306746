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
"""A domain's definitions, the live one and the stored one, and the disk that each names."""

from __future__ import annotations

import libvirt

from blockmirror_driver import exception
from blockmirror_driver.xml import domain as xml_domain


def stored(dom: libvirt.virDomain) -> str | None:
    """Return the stored definition, None for a transient domain."""
    return dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) if dom.isPersistent() else None


def both(dom: libvirt.virDomain) -> tuple[str | None, str]:
    """Return the stored definition and then, as the newer one, the live one."""
    return stored(dom), dom.XMLDesc(0)


def stored_disk(text: str | None, dev: str) -> xml_domain.DomainDisk | None:
    """Return the disk of a stored definition; None where there is none of either."""
    try:
        return None if text is None else xml_domain.find(text, dev)
    except exception.DiskNotFound:
        return None


def live_disk(text: str, name: str, dev: str) -> xml_domain.DomainDisk:
    """Return the disk of a live definition.

    :param name: of the domain, for the message.
    :raise DomainNotFound: it is no live definition: the guest does not run.
    :raise DiskNotFound: there is no such disk in it.
    """
    # Only the definition of a running domain has an id. Asking isActive() beforehand would
    # leave a moment in which the guest dies and the stored disk passes as live.
    try:
        disk = xml_domain.find(text, dev)
        runs = disk.run is not None
    except exception.DiskNotFound:
        if xml_domain.run_id(text) is not None:
            raise
        runs = False
    if not runs:
        raise exception.DomainNotFound(f'domain {name} is not running')
    return disk
