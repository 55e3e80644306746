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
"""Cinder's front-end ``qos_specs`` as ``<iotune>``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from blockmirror_driver.model import IoTune
from blockmirror_driver.volume.connection_info import ConnectionInfo

#: QEMU_BLOCK_IOTUNE_MAX of libvirt (src/qemu/qemu_driver.c).
_MAX = 1_000_000_000_000_000
_FIELDS = tuple(f.name for f in dataclasses.fields(IoTune))
_STEMS = ('bytes_sec', 'iops_sec')


def iotune(info: ConnectionInfo) -> tuple[IoTune | None, list[str]]:
    """Return the limits, or ``None`` without any, and a note for each key left out.

    Keys that are not limits of a guest's disk (a back end's own, ``*_per_gb``, which Cinder
    works out itself) are left out with a note.

    :raise InvalidConnectionInfo: for a value that is no number, and for limits that libvirt
        refuses together: total beside read or write, a burst without or below its limit.
    """
    specs = info.mapping('qos_specs')
    values = {}
    for name in _FIELDS:
        value = info.as_number(specs.get(name), f'qos_specs.{name}', high=_MAX)
        if value:
            values[name] = value
    for stem in _STEMS:
        _check(info, values, stem)
        _check(info, values, f'{stem}_max')
    others = sorted(key for key in specs if key not in _FIELDS)
    notes = [f'qos_specs: {len(others)} keys that are not limits of a disk ignored'] * bool(others)
    return (IoTune(**values) if values else None), notes


def _check(info: ConnectionInfo, values: Mapping[str, int], stem: str) -> None:
    directions = ('total', 'read', 'write')
    total, read, write = (values.get(f'{direction}_{stem}') for direction in directions)
    if total and (read or write):
        raise info.error(f'qos_specs.total_{stem}', f'excludes read_{stem} and write_{stem}')
    for direction in directions:
        burst = values.get(f'{direction}_{stem}')
        if not stem.endswith('_max') or burst is None:
            continue
        limit = values.get(f'{direction}_{stem.removesuffix("_max")}', 0)
        if not 0 < limit <= burst:
            raise info.error(
                f'qos_specs.{direction}_{stem}', 'has no limit of its own, or one above it'
            )
