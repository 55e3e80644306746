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
"""Data types of libvirt's RELAX NG schemas (``basictypes.rng``, ``domaincommon.rng``).

libvirt's own parser takes more than its schemas. What we write keeps to the schemas, so
that it passes ``virt-xml-validate`` and an editor of the domain does not stumble over it.
"""

from __future__ import annotations

import ipaddress
import re
import uuid

#: Buses by the prefix of the target's name, as libvirt itself derives them.
BUS_OF_PREFIX = {'xvd': 'xen', 'vd': 'virtio', 'sd': 'scsi', 'hd': 'ide', 'fd': 'fdc'}
BUSES = frozenset({'ide', 'fdc', 'scsi', 'virtio', 'xen', 'usb', 'sata', 'sd'})
#: ``storageFormat`` of storagecommon.rng.
FORMATS = frozenset(
    {'raw', 'dir', 'bochs', 'cloop', 'dmg', 'iso', 'vpc', 'vdi', 'fat', 'vhd', 'ploop', 'luks'}
    | {'cow', 'qcow', 'qcow2', 'qed', 'vmdk'}
)
#: Largest value of ``unsignedLong``.
UINT64_MAX = (1 << 64) - 1

_DNS_NAME = re.compile(r'[a-zA-Z0-9.-]{1,253}')
_GENERIC_NAME = re.compile(r'[a-zA-Z0-9_+-]+')
_OBJECT_NAME = re.compile(r'[^/\n]+')
_SERIAL = re.compile(r'[A-Za-z0-9_.+-](?:[A-Za-z0-9_.+ -]*[A-Za-z0-9_.+-])?')
_TARGET_DEV = re.compile(r'(?:ioemu:)?(?:fd|hd|sd|vd|xvd|ubd)[a-zA-Z0-9_]+')
_UUID = re.compile(r'[a-fA-F0-9]{32}|[a-fA-F0-9]{8}-(?:[a-fA-F0-9]{4}-){3}[a-fA-F0-9]{12}')
_DECIMAL = re.compile(r'[0-9]{1,20}')


def is_address(text: str) -> bool:
    """Tell whether the text is an IPv6 address without a zone; libvirt knows no zones."""
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


def is_host(text: str) -> bool:
    """``dnsName`` or ``ipAddr``; a dotted quad beyond 255 counts as a name, as there."""
    return bool(_DNS_NAME.fullmatch(text)) or is_address(text)


def is_generic_name(text: str) -> bool:
    """``genericName``: user names of ``<auth>``, of ``<identity>``."""
    return bool(_GENERIC_NAME.fullmatch(text))


def is_object_name(text: str) -> bool:
    """``objectName``: the usage of a secret."""
    return bool(_OBJECT_NAME.fullmatch(text))


def is_serial(text: str) -> bool:
    """``diskSerial``, without blanks at its ends, which readers like to strip."""
    return bool(_SERIAL.fullmatch(text))


def is_target_dev(text: str) -> bool:
    """``diskTargetDev``."""
    return bool(_TARGET_DEV.fullmatch(text))


def uuid_text(text: str) -> str | None:
    """Return a ``UUID`` the way libvirt prints it, or ``None`` when it is not one."""
    return str(uuid.UUID(text)) if _UUID.fullmatch(text) else None


def unsigned(text: str | None, limit: int = UINT64_MAX) -> int | None:
    """Return a decimal number from 0 to ``limit``, or ``None`` when it is not one."""
    if text is None or not _DECIMAL.fullmatch(text):
        return None
    value = int(text)
    return value if value <= limit else None


def bus_of(target_dev: str) -> str | None:
    """Return the bus that libvirt derives from a target's name."""
    for prefix, bus in BUS_OF_PREFIX.items():
        if target_dev.startswith(prefix):
            return bus
    return None
