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
"""Whether a destination has the right size, to the byte, and what is done with a larger one.

QEMU's mirror wants both sides to be of one size. Of a larger destination the part is used that
is as large as the source, so that the guest sees no other size: not now, and not after a cold
start, since the stored XML says so as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from blockmirror_driver.model import Bytes, Disk


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes: what the guest sees, what it would see of the destination, and the whole volume."""

    source: Bytes
    destination: Bytes
    whole: Bytes

    @property
    def header(self) -> int:
        """What is before the data of an encrypted volume."""
        return self.whole - self.destination


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the plan says of the size; ``slice_size`` is how much to use, ``None`` all."""

    passed: bool | None
    detail: str
    fix: str = ''
    slice_size: Bytes | None = None


def judge(found: Sizes, disk: Disk, *, allow_larger: bool) -> Verdict:
    """Compare what the guest sees with what it would see of the destination, ``disk``."""
    source, missing = found.source, found.source - found.destination
    if not missing:
        return Verdict(True, f'both are {source} bytes')
    fix = f'make it {source + found.header} bytes'
    if found.header:
        fix += f': the LUKS header takes {found.header}'
    if missing > 0:
        return Verdict(False, f'the destination is {missing} bytes too small', fix)
    if not allow_larger:
        detail = f'the destination is {-missing} bytes too large'
        return Verdict(False, detail, f'{fix}, or say --allow-larger')
    if disk.driver.format != 'raw':
        return Verdict(False, f'a part of a {disk.driver.format} image can not be used', fix)
    detail = f'the guest goes on to see {source} bytes, {-missing} are spare'
    return Verdict(None, detail, slice_size=Bytes(source + found.header))
