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
"""The throwaway domain that opens a destination before the guest does, or beside it.

As like the guest as it takes for the same process with the same rights to open the same
address: type, machine, emulator and security labels; and as small as can be else.
"""

from __future__ import annotations

import copy
import platform
from dataclasses import replace

from lxml import etree

from blockmirror_driver import exception, model
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml import document, grammar

#: It never runs an instruction; QEMU needs some memory to start, on all machines.
MEMORY_KIB = 32 * 1024
#: Without it libvirt asks QEMU for the CPU's features as a whole (``feature-words``), rather than
#: for some 400 properties one by one (``qemuProcessFetchGuestCPU``, src/qemu/qemu_process.c),
#: which takes five times as long as all else. Nobody needs to know of a CPU that never runs.
SPARED = 'cpu-unavailable-features'
_QEMU = 'http://libvirt.org/schemas/domain/qemu/1.0'


def build(
    *disks: model.Disk,
    name: str,
    uuid: str,
    like_domain_xml: str | None,
    read_only: bool = True,
    pluggable: bool = False,
    sparing: bool = True,
) -> str:
    """Return the XML of a domain that has these disks only, with their target names.

    :param like_domain_xml: the live XML of the guest; without it a plain domain of the
        host's own architecture under software emulation.
    :param read_only: open the disks for reading only.
    :param pluggable: have the disks where unplugging needs no word of the guest, on SCSI.
    :param sparing: have libvirt do without :data:`SPARED`. It taints the domain, this one.
    :raise InvalidDisk: when a disk can't be built, or the guest's XML is not one.
    """
    if grammar.uuid_text(uuid) is None:
        raise exception.InvalidDisk('the uuid of the probe is not one')
    like = None if like_domain_xml is None else document.parse(like_domain_xml, 'domain')
    spaces = {'qemu': _QEMU} if sparing else None
    root = etree.Element('domain', {'type': _text(like, '@type') or 'qemu'}, spaces)
    document.child(root, 'name', text=name)
    document.child(root, 'uuid', text=uuid)
    document.child(root, 'memory', {'unit': 'KiB'}, str(MEMORY_KIB))
    document.child(root, 'vcpu', text='1')
    operating_system = document.child(root, 'os')
    attributes: dict[str, str | None] = {
        'arch': _text(like, 'os/type/@arch') or platform.machine(),
        'machine': _text(like, 'os/type/@machine'),
    }
    document.child(operating_system, 'type', attributes, 'hvm')
    for event in ('on_poweroff', 'on_reboot', 'on_crash'):
        document.child(root, event, text='destroy')
    devices = document.child(root, 'devices')
    emulator = _text(like, 'devices/emulator/text()')
    if emulator:
        document.child(devices, 'emulator', text=emulator)
    for disk in disks:
        devices.append(document.parse(disk_of(disk, read_only=read_only, pluggable=pluggable)))
    document.child(devices, 'controller', {'type': 'usb', 'model': 'none'})
    if pluggable:
        document.child(devices, 'controller', {'type': 'scsi', 'model': 'virtio-scsi'})
    document.child(devices, 'memballoon', {'model': 'none'})
    for label in [] if like is None else like.findall('seclabel'):
        _copy_label(root, label)
    if sparing:
        capabilities = document.child(root, f'{{{_QEMU}}}capabilities')
        document.child(capabilities, f'{{{_QEMU}}}del', {'capability': SPARED})
    return document.to_text(root)


def disk_of(disk: model.Disk, *, read_only: bool, pluggable: bool) -> str:
    """Return the ``<disk>``: what matters for opening the volume, not what does to a guest."""
    # virtio-blk, whatever the name: an IDE disk can't be read-only, SCSI needs a controller.
    plain = replace(
        disk,
        bus='scsi' if pluggable else 'virtio',
        device='disk',
        readonly=read_only,
        shareable=False,
        serial=None,
        iotune=None,
    )
    return xml_disk.build(plain)


def _text(like: etree._Element | None, path: str) -> str | None:
    if like is None:
        return None
    found = like.xpath(path)
    return str(found[0]).strip() if isinstance(found, list) and found else None


def _copy_label(root: etree._Element, label: etree._Element) -> None:
    """Run under the label that the guest runs under.

    A generated label (SELinux, AppArmor) belongs to one domain and is generated again; a
    DAC label is the user, which configuration may have changed since the guest started.
    """
    kind, text = label.get('type', 'dynamic'), label.find('label')
    if kind == 'dynamic' and label.get('model') == 'dac' and text is not None and text.text:
        element = document.child(
            root, 'seclabel', {'type': 'static', 'model': 'dac', 'relabel': 'yes'}
        )
        document.child(element, 'label', text=text.text)
    elif kind != 'dynamic':
        clone = copy.deepcopy(label)
        for image in clone.findall('imagelabel'):
            clone.remove(image)
        root.append(clone)
