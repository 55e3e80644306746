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
"""The ways to start a copy; what follows the start is the same for all of them.

============= ======================= ======================= ==============================
way           libvirt call            destinations            domains
============= ======================= ======================= ==============================
``blockcopy`` ``virDomainBlockCopy``  all that libvirt opens  all (persistent ones with
                                                              ``TRANSIENT_JOB``)
``rebase``    ``virDomainBlockRebase`` local raw files and    transient only
                                      block devices
``qmp``       ``virDomainQemuMonitor  all that QEMU opens     all; it taints them, and a
              Command``                                       pivot is hidden from libvirt
============= ======================= ======================= ==============================

``auto`` is ``blockcopy``: wherever ``rebase`` works, so does it. Each is registered in the
stevedore namespace ``blockmirror.copy_methods``, where another package can add its own.
"""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.mirror.methods.base import CopyMethod
from blockmirror_driver.mirror.options import NAMESPACE

__all__ = ('CopyMethod', 'choose')


def choose(method: str) -> CopyMethod:
    """Return the way to copy of that name.

    :raise UsageError: there is none, or it can't be loaded.
    """
    # stevedore reads the metadata of all installed packages; only who copies pays for it.
    from stevedore import DriverManager

    name = 'blockcopy' if method == 'auto' else method
    try:
        found: object = DriverManager(NAMESPACE, name, invoke_on_load=True).driver
    except Exception as error:
        # What a third party's module raises when it is loaded is anyone's guess.
        raise exception.UsageError(
            f'the way to copy {name[:40]!r} can not be loaded: {type(error).__name__}'
        ) from error
    assert isinstance(found, CopyMethod)
    return found
