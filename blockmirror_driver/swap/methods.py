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

from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import BlockSource, Disk, FileSource


class Refusal(NamedTuple):
    """A reason, and what to do."""

    why: str
    fix: str


def refusal(destination: Disk, options: CopyOptions, *, persistent: bool) -> Refusal | None:
    """Return why a destination can't be copied to so; ``None`` when it can.

    :param persistent: whether the guest's domain has a stored definition.
    """
    rebase, creates = options.method == 'rebase', not options.reuse_external
    encrypted = destination.encryption is not None
    partial = options.allow_larger or destination.slice_size is not None
    local = isinstance(destination.source, FileSource | BlockSource)
    for wrong, why, fix in (
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
