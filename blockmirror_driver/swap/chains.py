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
"""Backing chains: flattened by a full copy, shared by a shallow one, and never guessed.

A shallow copy moves the top layer only. What it does not move has to be below the destination
already, to the letter; libvirt checks nothing of it, and a raw destination loses it.
"""

from __future__ import annotations

from typing import NamedTuple

from blockmirror_driver.model import Backing, Disk
from blockmirror_driver.xml.disk import same_volume


class Verdict(NamedTuple):
    """Whether it may be copied so, what is said of it, and what to do."""

    passed: bool
    detail: str
    fix: str = ''


def judge(source: Disk, destination: Disk, *, shallow: bool) -> Verdict:
    """Compare what is below the source with what is declared below the destination."""
    below, declared = source.layers, destination.layers
    needless = shallow and not below
    for wrong, why, fix in (
        (
            declared and not shallow,
            'a full copy needs no backing file',
            'leave <backingStore> out',
        ),
        (
            declared and needless,
            'the source has no backing file',
            'leave <backingStore> and --shallow out',
        ),
        (
            # libvirt accepts it, pivots, and the backing data is lost.
            shallow and below and destination.driver.format != 'qcow2',
            'a shallow copy to a raw volume loses the backing data',
            'leave out --shallow, or copy to qcow2',
        ),
        (
            shallow and below and not declared,
            'the destination declares no backing file',
            'name what is below the source in its <backingStore>',
        ),
        (
            shallow and not _same(below, declared),
            'the destination declares another backing chain than the source has',
            'name what is below the source, each layer with its format',
        ),
    ):
        if wrong:
            return Verdict(False, why, fix)
    if not below:
        return Verdict(True, 'the source has one layer')
    what = 'shared' if shallow else 'flattened'
    return Verdict(True, f'layers below the source that are {what}: {len(below)}')


def _same(one: tuple[Backing, ...], other: tuple[Backing, ...]) -> bool:
    return len(one) == len(other) and all(
        a.format == b.format and same_volume(a.source, b.source)
        for a, b in zip(one, other, strict=True)
    )
