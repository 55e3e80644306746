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
"""The way to copy that knows everything: ``virDomainBlockCopy``."""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Disk
from blockmirror_driver.virt.domain import CopyFlag, Domain


def flags(options: CopyOptions) -> CopyFlag:
    """Return the ``virDomainBlockCopyFlags`` that these options stand for.

    ``TRANSIENT_JOB`` matters to a persistent domain only: libvirt refuses it a copy that
    would be lost by a restart of the guest, unless told that this is known.
    """
    chosen = {
        CopyFlag.SHALLOW: options.shallow,
        CopyFlag.REUSE_EXT: options.reuse_external,
        CopyFlag.TRANSIENT_JOB: options.transient_job,
        CopyFlag.SYNCHRONOUS_WRITES: options.synchronous_writes,
        CopyFlag.TARGET_ZEROED: options.target_zeroed,
    }
    result = CopyFlag.NONE
    for flag, on in chosen.items():
        result |= flag if on else CopyFlag.NONE
    return result


class BlockCopy:
    """``virDomainBlockCopy``: all destinations, all options."""

    name = 'blockcopy'

    def check(self, domain: Domain, dev: str, destination: Disk, options: CopyOptions) -> None:
        """Refuse what libvirt accepts although it loses data.

        :raise Refused: a shallow copy to a format without backing files: libvirt reports
            success, and everything in the backing files is lost.
        """
        check_shallow(domain, dev, destination, options)

    def start(self, domain: Domain, dev: str, destination: Disk, options: CopyOptions) -> None:
        """Start the copy; see :meth:`CopyMethod.start` and :meth:`Domain.block_copy`."""
        domain.block_copy(
            dev,
            destination.to_xml(),
            bandwidth=options.bandwidth,
            granularity=options.granularity,
            buf_size=options.buf_size,
            flags=flags(options),
        )


def check_shallow(domain: Domain, dev: str, destination: Disk, options: CopyOptions) -> None:
    """Refuse a shallow copy that can't be one.

    :raise Refused: the source has backing files, and the destination's format has none.
    """
    if not options.shallow or destination.driver.format != 'raw':
        return
    if domain.live_disk(dev).has_backing:
        raise exception.Refused(
            'a shallow copy to a raw destination would lose what the backing files hold',
            hint='copy without shallow, or to a qcow2 whose backing file is the same',
        )
