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
"""Whether the destination will take more than the source does, and how much.

QEMU leaves holes out of a copy where its driver of the source tells them, which libnfs does not,
and where that of the destination can make them, which libnfs and that of devices can't. Zeroes
that were written are data, unless the disk has ``detect_zeroes`` and ``discard``; a running one
can't be given them.
"""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import BlockSource, Bytes, Disk, NfsSource, format_bytes
from blockmirror_driver.swap.checks import Check, passed
from blockmirror_driver.virt.domain import Domain

_UNMAP = 'unmap'


def look(domain: Domain, source: Disk, destination: Disk, options: CopyOptions) -> Check:
    """Return the check ``thin``, which refuses nothing.

    :param domain: the guest, running.
    :param source: its live disk.
    """
    driver = source.driver
    finds = driver.detect_zeroes == driver.discard == _UNMAP
    if options.target_zeroed or options.shallow:
        return passed('thin', 'what is zero or below the top layer is not written')
    told = not isinstance(source.source, NfsSource)
    makes = not isinstance(destination.source, NfsSource | BlockSource)
    if makes and finds:
        return passed('thin', 'zeroes are found while they are copied, and left out')
    if makes and told:
        return passed(
            'thin',
            'holes that are told stay holes; other zeroes are data, for want of detect_zeroes',
        )
    if makes:
        why = 'nfs tells no holes, and the disk has no detect_zeroes'
        trim = f'virsh domfstrim {domain.name} gives it back afterwards'
        fix = trim if driver.discard == _UNMAP else ''
    else:
        why, fix = 'on nfs, and on a device of the host, zeroes are written', ''
    more = _more(domain, source)
    return Check('thin', None, f'{why}: {more}', fix)


def _more(domain: Domain, source: Disk) -> str:
    try:
        size, taken = domain.capacity(source.target_dev), domain.allocation(source.target_dev)
    except exception.BlockmirrorError as error:
        return f'how much more it takes is not known, {error.message}'
    if taken >= size:
        return f'all of its {format_bytes(size)} are allocated'
    inflated = format_bytes(Bytes(size - taken))
    return f'{inflated} more are allocated than the {format_bytes(taken)} of the source'
