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
"""The header of an image file: what it leads QEMU to open beside itself.

``<backingStore/>`` keeps libvirt and QEMU from following a backing file; an external data
file QEMU 7.2 follows all the same. So a qcow2 with either is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from blockmirror_driver import exception

_CHUNK = 64 * 1024


def check_file(path: Path, image_format: str, *, backing_declared: bool = False) -> None:
    """Check a file that this process can read; see :func:`check`.

    :raise DestinationUnusable: when it can't be read.
    """
    try:
        check(_chunks(path), image_format, backing_declared=backing_declared)
    except OSError as exc:
        raise exception.DestinationUnusable(
            f'the image file is not readable: {exc.strerror}'
        ) from exc


def check(chunks: Iterable[bytes], image_format: str, *, backing_declared: bool = False) -> None:
    """Check the beginning of an image against its declared format.

    A raw image may hold anything: its format is never probed.

    :param backing_declared: the connection_info says that it has a backing file.
    :raise UnsupportedVolume: a qcow2 that refers to other files, or is not one.
    """
    if image_format == 'raw':
        return
    # The module pulls cryptography in, which only these volumes need.
    from oslo_utils.imageutils import format_inspector

    inspector = format_inspector.QcowInspector()
    for chunk in chunks:
        inspector.eat_chunk(chunk)
        if inspector.complete:
            break
    if not inspector.complete or not inspector.format_match:
        raise exception.UnsupportedVolume('the image is not the qcow2 that it is declared to be')
    try:
        inspector.safety_check()
    except format_inspector.SafetyCheckFailed as exc:
        _refuse(set(exc.failures), backing_declared, exc)


def _refuse(failures: set[str], backing_declared: bool, cause: Exception) -> None:
    if failures - {'backing_file'}:
        raise exception.UnsupportedVolume(
            'the qcow2 image has an external data file or features that are not known',
            hint='convert it with qemu-img convert -f qcow2',
        ) from cause
    if not backing_declared:
        raise exception.UnsupportedVolume(
            'the qcow2 image has a backing file that was not declared',
            hint='remove the snapshots of the volume first, or flatten it',
        ) from cause


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open('rb') as file:
        while chunk := file.read(_CHUNK):
            yield chunk
