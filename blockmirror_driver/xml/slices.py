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
"""``<slices>`` of a source: the part of a volume that is used, where that is not all of it."""

from __future__ import annotations

from lxml import etree

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes
from blockmirror_driver.xml import document, grammar

TAG = 'slices'


def build(source: etree._Element, size: int | None) -> None:
    """Append ``<slices>`` to a ``<source>``: its first ``size`` bytes.

    :raise InvalidDisk: when that is not a positive number of 64 bits.
    """
    if size is None:
        return
    if not 0 < size <= grammar.UINT64_MAX:
        raise exception.InvalidDisk('the size of a slice is not a number of bytes')
    element = document.child(source, TAG)
    document.child(element, 'slice', {'type': 'storage', 'offset': '0', 'size': str(size)})


def parse(disk: etree._Element) -> Bytes | None:
    """Return how many bytes of a ``<disk>``'s volume are used; ``None``: all. Never raises."""
    element = disk.find(f'source/{TAG}')
    return None if element is None else read(element)


def read(element: etree._Element) -> Bytes | None:
    """Return the size that a ``<slices>`` tells, ``None`` where it says anything else."""
    if len(element) != 1:
        return None
    part = element[0]
    if (part.get('type'), part.get('offset')) != ('storage', '0'):
        return None
    size = grammar.unsigned(part.get('size', ''))
    return Bytes(size) if size else None
