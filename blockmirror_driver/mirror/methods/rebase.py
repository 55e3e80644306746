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
"""The older way to copy, which ``virsh blockcopy`` falls back to: ``virDomainBlockRebase``."""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.mirror.methods.blockcopy import check_shallow
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import BlockSource, Disk, FileSource
from blockmirror_driver.virt.domain import Domain, RebaseFlag


def flags(destination: Disk, options: CopyOptions) -> RebaseFlag:
    """Return the ``virDomainBlockRebaseFlags`` for this destination.

    ``COPY_RAW`` always: without it libvirt guesses the format of what is there.
    """
    result = RebaseFlag.COPY | RebaseFlag.COPY_RAW
    if options.reuse_external:
        result |= RebaseFlag.REUSE_EXT
    if options.shallow:
        result |= RebaseFlag.SHALLOW
    if isinstance(destination.source, BlockSource):
        result |= RebaseFlag.COPY_DEV
    return result


class Rebase:
    """``virDomainBlockRebase`` with ``COPY``: transient domains, local raw destinations."""

    name = 'rebase'

    def check(self, domain: Domain, dev: str, destination: Disk, options: CopyOptions) -> None:
        """Refuse what the call has no word for, before libvirt misunderstands it.

        :raise Refused: a network or qcow2 destination, a persistent domain, or an option
            that only ``blockcopy`` knows.
        :raise HypervisorUnavailable: whether the domain is persistent can't be told.
        """
        hint = 'use the blockcopy method'
        if not isinstance(destination.source, FileSource | BlockSource):
            raise exception.Refused('rebase copies to local files and devices only', hint=hint)
        if destination.driver.format != 'raw':
            raise exception.Refused(
                'rebase can name no format but raw, and would guess any other', hint=hint
            )
        only_blockcopy = [
            name for name in ('granularity', 'buf_size', 'synchronous_writes', 'target_zeroed')
            if getattr(options, name)
        ]  # fmt: skip
        if only_blockcopy:
            raise exception.Refused(f'rebase has no {", ".join(only_blockcopy)}', hint=hint)
        check_shallow(domain, dev, destination, options)
        if domain.is_persistent():
            raise exception.Refused(
                'rebase works on transient domains only: it has no flag for a transient job',
                hint=hint,
            )

    def start(self, domain: Domain, dev: str, destination: Disk, options: CopyOptions) -> None:
        """Start the copy; see :meth:`CopyMethod.start` and :meth:`Domain.block_rebase`."""
        source = destination.source
        assert isinstance(source, FileSource | BlockSource), 'check() was not called'
        domain.block_rebase(
            dev, source.path, bandwidth=options.bandwidth, flags=flags(destination, options)
        )
