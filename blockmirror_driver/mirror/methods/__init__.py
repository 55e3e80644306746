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
============= ======================= ======================= ==============================

``auto`` is ``blockcopy``: wherever ``rebase`` works, so does it.
"""

from __future__ import annotations

from blockmirror_driver.mirror.methods import blockcopy, rebase
from blockmirror_driver.mirror.methods.base import CopyMethod
from blockmirror_driver.mirror.options import Method

_METHODS: dict[Method, CopyMethod] = {
    'auto': blockcopy.BlockCopy(),
    'blockcopy': blockcopy.BlockCopy(),
    'rebase': rebase.Rebase(),
}

__all__ = ('CopyMethod', 'choose')


def choose(method: Method) -> CopyMethod:
    """Return the way to copy of that name."""
    return _METHODS[method]
