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
"""Disks as Nova handles them: objects of its own class, whose XML has more to say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nova.virt.libvirt import config as vconfig

from blockmirror_driver.model import Disk, IscsiSource, NfsSource, RbdSource
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml import document

#: Elements of a ``<disk>`` that are Nova's to decide, and that Nova writes.
_NOVAS = ('alias', 'boot', 'address', 'encryption')

#: Nova's word for a cache mode that is left to the hypervisor.
_CACHE: dict[Any, None] = {'default': None}


class NativeDisk(vconfig.LibvirtConfigGuestDisk):
    """A network disk that Nova handles like its own, and whose XML is ours.

    Nova reads and sets its attributes (cache mode, serial, alias, address); all of them
    count when the XML is built.
    """

    def __init__(self, disk: Disk, common: vconfig.LibvirtConfigGuestDisk) -> None:
        super().__init__()
        self.__dict__.update(vars(common))
        self._disk = disk
        self.driver_format = disk.driver.format
        self.driver_cache = disk.driver.cache
        self.driver_io = disk.driver.io
        self.driver_discard = disk.driver.discard
        self.readonly = disk.readonly
        self.shareable = disk.shareable
        self.source_type = 'network'
        self.source_path = None
        _show_source(self, disk)

    def format_dom(self) -> Any:
        """Return the ``<disk>``: what our room builds, and what is Nova's to add."""
        element = document.parse(xml_disk.build(self._current()), 'disk')
        novas = super().format_dom()
        for tag in _NOVAS:
            for node in novas.findall(tag):
                element.append(node)
        return element

    def _current(self) -> Disk:
        disk = self._disk
        is_lun = self.source_device == 'lun'
        driver = replace(
            disk.driver,
            # Nova's disk_cachemodes know 'default' for none at all.
            cache=_CACHE.get(self.driver_cache, self.driver_cache),
            io=self.driver_io,
        )
        return replace(
            disk,
            driver=driver,
            device=self.source_device,
            target_dev=self.target_dev,
            bus=self.target_bus,
            serial=None if is_lun else self.serial,
            readonly=bool(self.readonly),
            shareable=bool(self.shareable),
            # QEMU's scsi-block takes no block sizes.
            logical_block_size=None if is_lun else disk.logical_block_size,
            physical_block_size=None if is_lun else disk.physical_block_size,
        )


def _show_source(conf: vconfig.LibvirtConfigGuestDisk, disk: Disk) -> None:
    """Set what Nova's code reads of a network source."""
    source = disk.source
    hosts = source.hosts if isinstance(source, RbdSource) else ()
    if isinstance(source, IscsiSource):
        hosts = (source.portal,)
    elif isinstance(source, NfsSource):
        hosts = (source.host,)
    conf.source_protocol = source.describe().partition(':')[0]
    conf.source_name = getattr(source, 'name', None)
    conf.source_hosts = [host.name for host in hosts]
    conf.source_ports = [None if host.port is None else str(host.port) for host in hosts]


class ZeroDetectingDisk(vconfig.LibvirtConfigGuestDisk):
    """A disk of Nova's own driver, in which zeros that the guest writes become holes.

    Libvirt keeps this from the disk that the guest has when the volume is swapped, so it has
    to be there from the start.
    """

    def __init__(self, novas: vconfig.LibvirtConfigGuestDisk) -> None:
        super().__init__()
        self.__dict__.update(vars(novas))

    def format_dom(self) -> Any:
        """Return Nova's ``<disk>`` with the one attribute that Nova does not know."""
        element = super().format_dom()
        # QEMU takes unmap only where discard is on.
        if self.driver_discard == 'unmap':
            element.find('driver').set('detect_zeroes', 'unmap')
        return element
