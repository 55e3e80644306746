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
"""The first bytes of an image, read before any hypervisor opens it.

QEMU follows an external data file that a qcow2 header names, so that even the probe's open
would be too late to look.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from blockmirror_driver import exception
from blockmirror_driver.model import BlockSource, Disk, FileSource, NfsSource, Seconds, Source
from blockmirror_driver.volume import format as image

#: All that a qcow2 header and its extensions may take: one cluster of at most 2 MiB
#: (docs/interop/qcow2.txt of QEMU).
HEADER_SIZE = 2 * 1024 * 1024


def check(disk: Disk, timeout: Seconds) -> None:
    """Refuse an image that is not what it is declared to be, or that names other files.

    So is each layer that the disk declares below. Raw images are not looked
    at: their content belongs to the guest.

    :raise UnsupportedVolume: see :func:`blockmirror_driver.volume.format.check`.
    :raise DestinationUnusable: the header can't be read; DestinationSilent: not within
        ``timeout`` seconds.
    """
    _check(disk.source, disk.driver.format, timeout, declared=disk.backing is not None)
    for layer in disk.layers:
        _check(layer.source, layer.format, timeout, declared=layer.below is not None)


def _check(source: Source, image_format: str, timeout: Seconds, *, declared: bool) -> None:
    if image_format == 'raw':
        return
    if isinstance(source, FileSource | BlockSource):
        image.check_file(Path(source.path), image_format, backing_declared=declared)
    elif isinstance(source, NfsSource):
        image.check([_read_nfs(source, timeout)], image_format, backing_declared=declared)
    else:
        raise exception.UnsupportedVolume(
            f'{image_format} is not supported on {source.describe()}'
        )


def _read_nfs(source: NfsSource, timeout: Seconds) -> bytes:
    """Let QEMU's own client read the bytes, as raw ones, in a process that can be killed."""
    with tempfile.TemporaryDirectory(prefix='blockmirror-') as scratch:
        copy = Path(scratch) / 'header'
        argv = ['qemu-img', 'dd', '--image-opts', '-O', 'raw', 'bs=64k']
        argv += [f'count={HEADER_SIZE // 65536}', f'if={_options(source)}', f'of={copy}']
        try:
            subprocess.run(argv, check=True, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise exception.DestinationSilent(
                f'{source.describe()} did not answer in time'
            ) from error
        except FileNotFoundError as error:
            raise exception.DestinationUnusable(
                'qemu-img is needed to look into a qcow2 image', hint='install qemu-utils'
            ) from error
        except subprocess.CalledProcessError as error:
            reason = error.stderr.strip().splitlines()[-1:] or ['']
            raise exception.DestinationUnusable(
                f"{source.describe()}: the image's header can't be read:"
                f' {reason[0].rpartition(": ")[2]}'
            ) from error
        return copy.read_bytes()


def _options(source: NfsSource) -> str:
    """Write the source as QEMU's image options; a comma in a value is doubled."""
    values = {
        'driver': 'raw',
        'file.driver': 'nfs',
        'file.server.type': 'inet',
        'file.server.host': source.host.name,
        'file.path': source.name,
    }
    identity = source.identity
    if identity is not None and identity.user is not None:
        values['file.user'] = str(identity.user)
    if identity is not None and identity.group is not None:
        values['file.group'] = str(identity.group)
    return ','.join(f'{name}={value.replace(",", ",,")}' for name, value in values.items())
