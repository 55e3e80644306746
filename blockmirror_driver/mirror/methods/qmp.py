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
"""The way to copy that libvirt does not know of: QEMU's own ``blockdev-mirror``."""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.mirror.methods.blockcopy import check_shallow
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.mirror.passthrough import Passthrough
from blockmirror_driver.model import Disk
from blockmirror_driver.virt.domain import Domain


class Qmp:
    """``blockdev-mirror`` by ``virDomainQemuMonitorCommand``, which taints the domain.

    For destinations that libvirt can't name; its normal end is a consistent copy, not a pivot.
    """

    name = 'qmp'

    def check(self, domain: Domain, dev: str, destination: Disk, options: CopyOptions) -> None:
        """Refuse what can't be copied so.

        :raise Refused: the guest is not seen through :mod:`.passthrough`, or the destination
            has no backing files for a shallow copy.
        """
        check_shallow(domain, dev, destination, options)
        if not isinstance(domain, Passthrough):
            raise exception.Refused('a copy by passthrough needs a view of QEMU')

    def start(self, domain: Domain, dev: str, destination: Disk, options: CopyOptions) -> None:
        """Start the copy; see :meth:`CopyMethod.start` and :meth:`Passthrough.mirror`."""
        assert isinstance(domain, Passthrough), 'check() was not called'
        domain.mirror(options)
