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
"""Which backend a volume is on, as far as its address tells: what shares servers, or spindles."""

from __future__ import annotations

import functools
from pathlib import Path

from blockmirror_driver import exception
from blockmirror_driver.model import (
    FileSource,
    IscsiSource,
    NbdSource,
    NfsSource,
    RbdSource,
    Source,
)
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.xml import disk as xml_disk


def name_of(source: Source) -> str:
    """Return a name that volumes of one backend have in common, and others have not.

    rbd: its monitors and the pool; iscsi, nbd: the portal's host; nfs: the export; files: their
    directory; all block devices of the host are one. What is before the first colon is its kind;
    the rest holds addresses, and is not for users.
    """
    where = ''
    match source:
        case RbdSource():
            where = f'{",".join(sorted(str(host) for host in source.hosts))}/{source.pool}'
        case IscsiSource():
            where = source.portal.name
        case NfsSource():
            where = f'{source.host.name}:{source.export}'
        case NbdSource():
            where = source.host.name if source.host else str(source.socket)
        case FileSource():
            where = str(Path(source.path).parent)
    return f'{source.describe().partition(":")[0]}:{where}'


def of_record(record: SwapRecord) -> str:
    """Return the name of the backend that a swap goes to; empty when nobody can read it."""
    return _of_xml(record.destination_xml)


@functools.lru_cache(maxsize=256)
def _of_xml(text: str) -> str:
    # Swaps that share a budget look at each other every few seconds.
    try:
        return name_of(xml_disk.parse(text).source)
    except exception.BlockmirrorError:
        return ''
