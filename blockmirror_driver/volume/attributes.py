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
"""What all volumes have in common, whatever their protocol: the guest's side of a disk."""

from __future__ import annotations

from oslo_config import cfg

from blockmirror_driver import model
from blockmirror_driver.conf import GROUP
from blockmirror_driver.model import Bytes, Disk, Driver
from blockmirror_driver.volume.connection_info import ConnectionInfo
from blockmirror_driver.volume.qos import iotune
from blockmirror_driver.xml import grammar

#: What QEMU allows (MIN_BLOCK_SIZE, MAX_BLOCK_SIZE of hw/core/qdev-properties-system.c).
_MIN_BLOCK_SIZE, _MAX_BLOCK_SIZE = 512, 2 * 1024 * 1024


def disk(
    info: ConnectionInfo,
    source: model.Source,
    target_dev: str,
    conf: cfg.ConfigOpts,
    *,
    image_format: model.disk.Format = 'raw',
    secrets: tuple[model.SecretSpec, ...] = (),
    readonly: bool = False,
    notes: tuple[str, ...] = (),
) -> Disk:
    """Put a disk together from a driver's source and the common keys.

    Keys: ``access_mode``, ``cacheable``, ``discard``, ``detect_zeroes``,
    ``multiattach``, ``qos_specs``, ``serial``, ``volume_id``, block sizes.

    :raise InvalidConnectionInfo: when a key's value makes no sense.
    """
    driver, driver_notes = _driver(info, conf, image_format)
    tune, qos_notes = iotune(info)
    logical, physical = _block_sizes(info)
    return Disk(
        source=source,
        target_dev=target_dev,
        bus=grammar.bus_of(target_dev),
        driver=driver,
        serial=_serial(info),
        readonly=readonly or _access_mode(info) == 'ro',
        shareable=bool(info.flag('multiattach')),
        logical_block_size=logical,
        physical_block_size=physical,
        iotune=tune,
        secrets=secrets,
        volume_id=info.text('volume_id'),
        notes=(*notes, *driver_notes, *qos_notes),
    )


def _driver(
    info: ConnectionInfo, conf: cfg.ConfigOpts, image_format: model.disk.Format
) -> tuple[Driver, list[str]]:
    notes: list[str] = []
    discard = bool(info.flag('discard'))
    zeroes = _detect_zeroes(info, discard and bool(conf[GROUP].detect_zeroes))
    if zeroes == 'unmap' and not discard:
        # QEMU refuses unmap without discard.
        zeroes = 'on'
        notes.append("detect_zeroes='on' for 'unmap': the volume does not allow discard")
    driver = Driver(
        format=image_format,
        cache='writeback' if info.flag('cacheable') else 'none',
        discard='unmap' if discard else None,
        detect_zeroes=zeroes,
    )
    return driver, notes


def _detect_zeroes(info: ConnectionInfo, default: bool) -> model.disk.DetectZeroes | None:
    match info.get('detect_zeroes'):
        case None:
            return 'unmap' if default else None
        case 'unmap':
            return 'unmap'
        case 'on':
            return 'on'
        case _:
            return 'unmap' if info.flag('detect_zeroes') else 'off'


def _access_mode(info: ConnectionInfo) -> str:
    mode = info.text('access_mode') or 'rw'
    if mode not in ('rw', 'ro'):
        raise info.error('access_mode', 'is neither rw nor ro')
    return mode


def _serial(info: ConnectionInfo) -> str | None:
    """Return the serial that Nova sets, else the volume's id, which is what Nova takes."""
    serial = info.text('serial')
    if serial is not None and not grammar.is_serial(serial):
        raise info.error('serial', "holds characters that libvirt's schema does not allow")
    if serial is not None:
        return serial
    volume_id = info.text('volume_id')
    return volume_id if volume_id is not None and grammar.is_serial(volume_id) else None


def _block_sizes(info: ConnectionInfo) -> tuple[Bytes | None, Bytes | None]:
    logical = _block_size(info, 'logical_block_size')
    physical = _block_size(info, 'physical_block_size')
    # QEMU takes 512 for a logical size that is not given.
    if physical is not None and physical < (logical or _MIN_BLOCK_SIZE):
        raise info.error('physical_block_size', 'is smaller than logical_block_size')
    return logical, physical


def _block_size(info: ConnectionInfo, key: str) -> Bytes | None:
    value = info.number(key, high=_MAX_BLOCK_SIZE)
    if not value:
        return None
    if value < _MIN_BLOCK_SIZE or value & (value - 1):
        raise info.error(key, f'is not a power of two of at least {_MIN_BLOCK_SIZE}')
    return Bytes(value)
