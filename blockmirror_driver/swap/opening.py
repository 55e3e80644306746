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
"""The checks of a plan that open the destination; no guest has it yet."""

from __future__ import annotations

from dataclasses import replace

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, Disk, QemuSource
from blockmirror_driver.qemu import blockdev, copy
from blockmirror_driver.swap import sizes, zeroes
from blockmirror_driver.swap.checks import Check, Subject, failed, passed, unknown
from blockmirror_driver.volume import header


def _whole(subject: Subject, disk: Disk) -> Bytes:
    """Return the size of an encrypted volume with its header, as the storage has it."""
    timeout = subject.request.options.probe_timeout
    plain = replace(disk, encryption=None)
    return subject.hypervisor.probe(plain, like=subject.domain, timeout=timeout).capacity


def created_by_libvirt() -> Check:
    """Without REUSE_EXT there is nothing to open yet."""
    return unknown('destination-opens', 'libvirt creates the file')


def _opened_by_tools(subject: Subject, disk: Disk) -> list[Check]:
    """Open with QEMU's own tools what libvirt has no name for, and compare sizes."""
    try:
        size = copy.size(blockdev.of(disk, 'probe'), subject.request.options.probe_timeout)
    except exception.BlockmirrorError as error:
        return [failed('destination-opens', error)]
    told = sizes.judge(sizes.Sizes(subject.size, size, size), disk, allow_larger=False)
    opened = passed('destination-opens', f'opened by qemu-img as {disk.driver.format}')
    return [opened, Check('size', told.passed, told.detail, told.fix)]


def of_destination(subject: Subject, disk: Disk) -> list[Check]:
    """Look into the destination, open it in a throwaway domain, and compare sizes.

    What a server holds may be open there for a moment after this returns: until
    ``places.endings.wait()`` does. A local volume is not: QEMU locks it.

    :param disk: the destination, citing secrets that exist.
    """
    if isinstance(disk.source, QemuSource):
        return _opened_by_tools(subject, disk)
    try:
        header.check(disk, subject.request.options.probe_timeout)
    except exception.Refused as error:
        return [failed('image', error)]
    try:
        probe = subject.hypervisor.probe(
            disk,
            like=subject.domain,
            timeout=subject.request.options.probe_timeout,
            writable=True,
            lingers=True,
        )
    except exception.DestinationUnusable as error:
        return [failed('destination-opens', error)]
    looked = passed('image', f'{disk.driver.format}, and refers to no other file')
    opened = passed('destination-opens', f'opened in {probe.elapsed:.1f} s')
    whole = probe.capacity
    # A qcow2 has the LUKS header outside of what a guest sees.
    headed = disk.encryption is not None and disk.driver.format == 'raw'
    if headed and probe.capacity != subject.size:
        whole = _whole(subject, disk)
    found = sizes.Sizes(subject.size, probe.capacity, whole)
    told = sizes.judge(found, disk, allow_larger=subject.request.options.allow_larger)
    subject.slice_size = told.slice_size
    size = Check('size', told.passed, told.detail, told.fix)
    zeroed = _zeroed(subject, disk) if told.passed is not False else []
    return [looked, opened, size, *zeroed]


def _zeroed(subject: Subject, disk: Disk) -> list[Check]:
    """Look whether it is true that there are zeroes only, if that is what was said."""
    request = subject.request
    if not request.options.target_zeroed or subject.domain is None:
        return []
    timeout = request.options.probe_timeout
    seen = zeroes.look(subject.hypervisor, subject.domain, disk, subject.size, timeout)
    if seen.first is not None:
        return [failed('zeroed', zeroes.not_zeroed(seen))]
    told = zeroes.judge(seen, request.options, request.ending)
    return [Check('zeroed', told.passed, told.detail, told.fix)]
