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
"""What libvirt and QEMU have to be at least, for any copy and for some options of one."""

from __future__ import annotations

from blockmirror_driver.mirror import copy_mode
from blockmirror_driver.mirror.options import QMP, SYNCHRONOUS, CopyOptions
from blockmirror_driver.swap.methods import Refusal
from blockmirror_driver.virt.capabilities import Versions

#: SYNCHRONOUS_WRITES came with it; Nova 34 asks for it as well.
MIN_LIBVIRT = 8_000_000
#: CVE-2021-4145: an older QEMU can be crashed through the mirror job.
MIN_QEMU = 6_002_000
#: TARGET_ZEROED of libvirt, and ``target-is-zero`` of QEMU's ``blockdev-mirror``.
MIN_LIBVIRT_ZEROED = 12_002_000
MIN_QEMU_ZEROED = 10_001_000


def refusal(have: Versions, options: CopyOptions) -> Refusal | None:
    """Return why these versions can't copy so; ``None`` when they can."""
    if options.convergence == SYNCHRONOUS and have.qemu < copy_mode.MIN_QEMU:
        return Refusal(
            f'QEMU {dotted(have.qemu)} can not make a running copy synchronous, '
            f'{dotted(copy_mode.MIN_QEMU)} can',
            'use --synchronous-writes from the start, or --convergence abort',
        )
    for what, version, least in (
        ('libvirt', have.libvirt, MIN_LIBVIRT),
        ('QEMU', have.qemu, MIN_QEMU),
    ):
        if version < least:
            return Refusal(f'{what} is {dotted(version)}', f'needs {dotted(least)}')
    for what, version, least in (
        # A copy by qmp passes libvirt by.
        ('libvirt', have.libvirt, 0 if options.method == QMP else MIN_LIBVIRT_ZEROED),
        ('QEMU', have.qemu, MIN_QEMU_ZEROED),
    ):
        if options.target_zeroed and version < least:
            return Refusal(
                f'{what} {dotted(version)} can not be told that a destination is zeroed, '
                f'{dotted(least)} can',
                'leave out --target-zeroed',
            )
    return None


def dotted(version: int) -> str:
    """Return a version as people write it."""
    return f'{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}'
