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
"""Whether a destination reads as zeroes all over, so that a copy need not write any.

With ``target_zeroed`` QEMU leaves out what reads as zeroes on the source. What the destination
holds there instead would stay, and the guest would read it after the pivot. So nobody's word is
taken for it: what the storage knows to be empty counts as such, and everything else is read. What
could not be looked at in time has to be compared before the pivot.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Bytes, Disk, Seconds, format_bytes
from blockmirror_driver.swap import contents, images
from blockmirror_driver.swap.images import Image
from blockmirror_driver.swap.methods import Refusal
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain

_FIX = 'leave out --target-zeroed'


@dataclass(frozen=True, slots=True)
class Seen:
    """What was looked at, in bytes.

    :ivar read: of what the storage does not know to be empty
    :ivar left: what was not looked at, and ``why``
    :ivar first: where there is something else than a zero; ``None`` when none was found
    """

    size: Bytes
    read: Bytes = Bytes(0)
    left: Bytes = Bytes(0)
    why: str = ''
    first: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the plan says of it; ``None`` is a word that is checked before the pivot."""

    passed: bool | None
    detail: str
    fix: str = ''


def refusal(destination: Disk, options: CopyOptions) -> Refusal | None:
    """Return why a destination can't be said to be zeroed; ``None`` when it can, or is not."""
    unreadable = images.unreadable(destination)
    for wrong, why in (
        (not options.reuse_external, 'libvirt makes the destination, and QEMU sees what it is'),
        (options.method == 'rebase', 'blockRebase has no word for a destination that is zeroed'),
        (options.shallow, 'a shallow copy leaves out what is below it, not what is zero'),
        (destination.encryption is not None, 'what is encrypted never reads as zeroes'),
        (unreadable, f'the destination can not be looked at: {unreadable}'),
    ):
        if options.target_zeroed and wrong:
            return Refusal(why, _FIX)
    return None


def look(
    hypervisor: Hypervisor, domain: Domain, disk: Disk, size: Bytes, timeout: Seconds
) -> Seen:
    """Look for something else than zeroes within the first ``size`` bytes of a raw volume.

    :param domain: the guest that is to get it, whose emulator and labels count.
    :param disk: citing secrets that exist; no guest has it.
    :param timeout: seconds, for opening it and again for looking.

    What does not open is told in the result, as what was left.
    """
    try:
        with images.opened(hypervisor, domain, (disk,), timeout) as (image,):
            return _look(image, size, timeout)
    except exception.BlockmirrorError as error:
        return Seen(size, left=size, why=error.message)


def _look(image: Image, size: Bytes, timeout: Seconds) -> Seen:
    until = time.monotonic() + timeout
    spans = image.occupied(size, timeout)
    left = sum(end - start for start, end in spans)
    read = 0
    for low, high in spans:
        for start, end in contents.spans(low, high, contents.CHUNK):
            if time.monotonic() >= until:
                return Seen(size, Bytes(read), Bytes(left), f'{timeout:.0f} s were not enough')
            image.ask(start, end - start)
            found = image.answer()
            rest = found.lstrip(b'\0')
            if rest:
                return Seen(size, Bytes(read), Bytes(left), first=end - len(rest))
            read, left = read + end - start, left - (end - start)
    return Seen(size, Bytes(read))


def not_zeroed(seen: Seen) -> exception.DestinationUnusable:
    """Return the error for a destination that is not what was said of it."""
    return exception.DestinationUnusable(
        f'the destination is not zeroed: byte {seen.first} of {seen.size} is not 0',
        hint=f'take another volume, or {_FIX}',
    )


def judge(seen: Seen, options: CopyOptions, ending: Ending) -> Verdict:
    """Say whether a copy may begin on the strength of it; nothing but zeroes was found."""
    read = format_bytes(seen.read)
    if not seen.left:
        return Verdict(
            True, f'all {seen.size} bytes are 0; {read} were read, the storage knows of the rest'
        )
    detail = f'{format_bytes(seen.left)} could not be looked at: {seen.why}'
    if ending is Ending.ASYNC:
        return Verdict(False, detail, f'{_FIX}: nobody compares a copy that is left running')
    if not options.verify_contents:
        return Verdict(False, detail, f'add --verify-contents, or {_FIX}')
    return Verdict(None, f'{detail}; both sides are compared before the end')
