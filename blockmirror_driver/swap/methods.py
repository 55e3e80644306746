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
"""What each way to copy can't do; libvirt says little of it, or nothing and does harm."""

from __future__ import annotations

from typing import NamedTuple

from blockmirror_driver.mirror.options import QMP, SYNCHRONOUS, CopyOptions
from blockmirror_driver.model import BlockSource, Disk, FileSource, QemuSource
from blockmirror_driver.swap.request import Ending


class Refusal(NamedTuple):
    """A reason, and what to do."""

    why: str
    fix: str


def refusal(
    destination: Disk, options: CopyOptions, ending: Ending, *, persistent: bool
) -> Refusal | None:
    """Return why a destination can't be copied to so; ``None`` when it can.

    :param persistent: whether the guest's domain has a stored definition.
    """
    rebase, creates = options.method == 'rebase', not options.reuse_external
    encrypted = destination.encryption is not None
    partial = options.allow_larger or destination.slice_size is not None
    local = isinstance(destination.source, FileSource | BlockSource)
    qmp, unnamed = options.method == QMP, isinstance(destination.source, QemuSource)
    pivots = ending is Ending.PIVOT
    carried = {spec.usage for spec in destination.secrets}
    for wrong, why, fix in (
        (
            unnamed and not qmp,
            'libvirt has no name for such a destination',
            'use --method qmp and --finish',
        ),
        (
            unnamed and pivots,
            'the stored XML could not name the destination after a pivot',
            'use --finish: the copy is kept, the guest stays',
        ),
        (
            qmp and pivots and not options.pivot_behind_libvirt,
            'libvirt does not see a pivot by qmp, so that its live XML would be wrong',
            'use --finish, or say --pivot-behind-libvirt',
        ),
        (
            qmp and ending is Ending.ASYNC,
            'nobody but us sees a copy by qmp, so that it can not be left running',
            'add --finish',
        ),
        (qmp and creates, 'QEMU creates no destination', 'make it, and add --reuse-external'),
        (
            qmp and any(ref.usage not in carried for ref in destination.cited),
            "QEMU can not be handed the value of libvirt's own secret",
            'give a connection_info that has the keyring or the password in it',
        ),
        (
            qmp and options.convergence == SYNCHRONOUS,
            'a copy by qmp does not change while it runs',
            'use --synchronous-writes',
        ),
        (qmp and partial, 'qmp knows no part of a volume', 'use --method blockcopy'),
        (
            # A path is all that it takes: a LUKS header would be written over.
            rebase and (encrypted or partial),
            'blockRebase knows neither LUKS nor a part of a volume',
            'use --method blockcopy',
        ),
        (rebase and not local, 'blockRebase takes local paths only', 'use --method blockcopy'),
        (
            rebase and persistent,
            'blockRebase works on transient domains only',
            'use blockcopy',
        ),
        (
            not rebase and persistent and not options.transient_job,
            'libvirt copies a persistent domain as a transient job only',
            'add --transient-job',
        ),
        (
            creates and encrypted,
            'what libvirt would create is not encrypted yet',
            'make it with blockmirror format-luks, and add --reuse-external',
        ),
        (
            creates and not isinstance(destination.source, FileSource),
            'libvirt creates local files only',
            'add --reuse-external',
        ),
    ):
        if wrong:
            return Refusal(why, fix)
    return None
