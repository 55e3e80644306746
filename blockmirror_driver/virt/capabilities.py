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
"""What this libvirt and its QEMU are able to do."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

import libvirt

from blockmirror_driver.xml import document

#: Where distributions put QEMU's loadable modules; ``*`` is the multiarch directory.
_MODULE_DIRS = ('lib/*/qemu', 'lib/qemu', 'lib64/qemu', 'lib64/qemu-kvm', 'libexec/qemu')


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions as libvirt counts: ``major * 1000000 + minor * 1000 + release``."""

    libvirt: int
    qemu: int


def versions(conn: libvirt.virConnect) -> Versions:
    """Ask the daemon for its own and for QEMU's version."""
    return Versions(libvirt=conn.getLibVersion(), qemu=conn.getVersion())


def emulator(conn: libvirt.virConnect) -> str:
    """Return the path of the emulator that libvirt uses by default."""
    return document.parse(conn.getDomainCapabilities()).findtext('path') or ''


def has_block_driver(
    emulator_path: str, protocol: str, *, root: Path = Path('/usr')
) -> bool | None:
    """Tell whether this QEMU can open a protocol that may be a loadable module.

    A modular QEMU lists the names of its modules in the binary, installed or not; then
    the module's file decides. None: the driver is built in or was left out, or the binary
    is not ours to read.
    """
    module = f'block-{protocol}'
    if any(next(root.glob(f'{where}/{module}.so'), None) for where in _MODULE_DIRS):
        return True
    try:
        with (
            Path(emulator_path).open('rb') as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary,
        ):
            return False if binary.find(b'\0' + module.encode() + b'\0') >= 0 else None
    except (OSError, ValueError):
        return None
