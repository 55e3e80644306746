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
"""``<disk>``: a :class:`~blockmirror_driver.model.Disk` to XML and back."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from lxml import etree

from blockmirror_driver import exception, model
from blockmirror_driver.model.quantity import Bytes
from blockmirror_driver.xml import backing, document, encryption, grammar, slices
from blockmirror_driver.xml import source as xml_source
from blockmirror_driver.xml.compare import same_volume

__all__ = ('build', 'parse', 'parse_source', 'same_volume')

parse_source = xml_source.parse


@dataclass(frozen=True)
class _Attribute:
    """One attribute of ``<driver>``: declared once, built and parsed from here."""

    field: str
    name: str
    values: frozenset[str]

    def read(self, element: etree._Element) -> str | None:
        # A value that a newer libvirt knows and we don't is its default to us.
        value = element.get(self.name)
        return value if value in self.values else None

    def write(self, value: str | None) -> str | None:
        if value is not None and value not in self.values:
            raise exception.InvalidDisk(f'<driver> knows no such value of {self.name}')
        return value


def _literal_values(cls: type, name: str) -> frozenset[str]:
    """Return the strings that the field's ``Literal`` allows."""
    hint = get_type_hints(cls)[name]
    return frozenset(value for arg in get_args(hint) for value in get_args(arg))


_DRIVER = tuple(
    _Attribute(name, name, _literal_values(model.Driver, name))
    for name in ('cache', 'io', 'discard', 'detect_zeroes')
)
_BLOCK_SIZES = ('logical_block_size', 'physical_block_size')
_IOTUNE = tuple(f.name for f in dataclasses.fields(model.IoTune))
_DEVICES = _literal_values(model.Disk, 'device') | {'disk', 'lun', 'cdrom', 'floppy'}


def build(disk: model.Disk) -> str:
    """Return the disk as a ``<disk>`` element; secrets appear only as references.

    Each text that is returned is valid by libvirt's schema and parses back to an equal
    disk.

    :raise InvalidDisk: when that can't be had: a value is outside the schema, XML can't
        hold it, or the source is one that we can only compare.
    """
    try:
        root = _element(disk)
        text = document.to_text(root)
    except (TypeError, AttributeError, ValueError) as exc:
        raise exception.InvalidDisk('a value of the disk has the wrong type') from exc
    if parse(text) != disk:
        raise exception.InvalidDisk('the disk would not be read back as it was written')
    return text


def _element(disk: model.Disk) -> etree._Element:
    if disk.device not in _DEVICES:
        raise exception.InvalidDisk('no such device of a disk')
    root = etree.Element('disk', {'type': '', 'device': disk.device})
    _build_driver(root, disk.driver)
    root.set('type', xml_source.build(root, disk.source))
    slices.build(root[-1], disk.slice_size)
    encryption.build(root[-1], disk.encryption)
    backing.build(root, disk.backing)
    _build_target(root, disk)
    _build_iotune(root, disk.iotune)
    if disk.readonly:
        document.child(root, 'readonly')
    if disk.shareable:
        document.child(root, 'shareable')
    if disk.serial is not None:
        if not grammar.is_serial(disk.serial):
            raise exception.InvalidDisk("libvirt's schema does not allow this serial")
        document.child(root, 'serial', text=disk.serial)
    sizes = {name: _decimal(getattr(disk, name), name) for name in _BLOCK_SIZES}
    if any(sizes.values()):
        document.child(root, 'blockio', sizes)
    return root


def _decimal(value: int | None, name: str) -> str | None:
    if value is None:
        return None
    if not 0 <= value <= grammar.UINT64_MAX:
        raise exception.InvalidDisk(f'{name} is not an unsigned number of 64 bits')
    return str(value)


def _build_driver(root: etree._Element, driver: model.Driver) -> None:
    if driver.format not in grammar.FORMATS:
        raise exception.InvalidDisk('no such format of a disk')
    attributes: dict[str, str | None] = {'name': 'qemu', 'type': driver.format}
    for attribute in _DRIVER:
        attributes[attribute.name] = attribute.write(getattr(driver, attribute.field))
    document.child(root, 'driver', attributes)


def _build_target(root: etree._Element, disk: model.Disk) -> None:
    if not grammar.is_target_dev(disk.target_dev):
        raise exception.InvalidDisk('the target is not the name of a guest disk, like vda')
    if disk.bus is not None and disk.bus not in grammar.BUSES:
        raise exception.InvalidDisk('no such bus of a disk')
    document.child(root, 'target', {'dev': disk.target_dev, 'bus': disk.bus})


def _build_iotune(root: etree._Element, iotune: model.IoTune | None) -> None:
    if iotune is None:
        return
    element = document.child(root, 'iotune')
    for name in _IOTUNE:
        value = getattr(iotune, name)
        if value:
            document.child(element, name, text=_decimal(value, name))
    for stem in ('bytes_sec', 'iops_sec', 'bytes_sec_max', 'iops_sec_max'):
        parts = getattr(iotune, f'read_{stem}') or getattr(iotune, f'write_{stem}')
        if parts and getattr(iotune, f'total_{stem}'):
            raise exception.InvalidDisk(f'total_{stem} excludes read_{stem} and write_{stem}')


def parse(xml: str | bytes | etree._Element) -> model.Disk:
    """Return what a ``<disk>`` says, as far as our values express it.

    A source that we can't build becomes an ``OtherSource``; elements that do not concern
    us (address, alias, boot, ...) are left out.

    :raise InvalidDisk: when it is not a ``<disk>`` with a target.
    """
    root = document.parse(xml, 'disk') if isinstance(xml, str | bytes) else xml
    target = root.find('target')
    dev = None if target is None else target.get('dev')
    if target is None or not dev:
        raise exception.InvalidDisk('a <disk> without a target')
    device: Any = root.get('device', 'disk')
    serial = root.find('serial')
    blockio = root.find('blockio')
    logical, physical = (
        None if blockio is None else _size(blockio.get(name), name) for name in _BLOCK_SIZES
    )
    return model.Disk(
        source=xml_source.parse(root),
        target_dev=dev,
        bus=target.get('bus'),
        driver=_parse_driver(root.find('driver')),
        serial=None if serial is None else serial.text,
        readonly=root.find('readonly') is not None,
        shareable=root.find('shareable') is not None,
        iotune=_parse_iotune(root.find('iotune')),
        encryption=encryption.parse(root),
        slice_size=slices.parse(root),
        backing=backing.parse(root),
        device=device if device in _DEVICES else 'disk',
        logical_block_size=logical,
        physical_block_size=physical,
    )


def _number(text: str | None, name: str) -> int:
    value = grammar.unsigned((text or '').strip())
    if value is None:
        raise exception.InvalidDisk(f'{name} is not an unsigned number of 64 bits')
    return value


def _size(text: str | None, name: str) -> Bytes | None:
    return None if text is None else Bytes(_number(text, name))


def _parse_driver(element: etree._Element | None) -> model.Driver:
    if element is None:
        return model.Driver()
    values: dict[str, Any] = {a.field: a.read(element) for a in _DRIVER}
    # libvirt always writes the type; where a user left it out, libvirt takes it for raw.
    return model.Driver(format=element.get('type', 'raw'), **values)


def _parse_iotune(element: etree._Element | None) -> model.IoTune | None:
    if element is None:
        return None
    return model.IoTune(
        **{
            str(node.tag): _number(node.text, str(node.tag))
            for node in element
            if node.tag in _IOTUNE
        }
    )
