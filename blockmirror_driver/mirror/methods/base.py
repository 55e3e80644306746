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
"""What a way to start a copy must offer."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Disk
from blockmirror_driver.virt.domain import Domain


@runtime_checkable
class CopyMethod(Protocol):
    """A way to start a copy. Stateless; any thread may call."""

    name: str

    def check(self, domain: Domain, dev: str, destination: Disk, options: CopyOptions) -> None:
        """Check that this way can do what is asked; changes nothing.

        :raise Refused: it can't.
        :raise HypervisorUnavailable: the domain can't be asked.
        """

    def start(self, domain: Domain, dev: str, destination: Disk, options: CopyOptions) -> None:
        """Start the copy; returns when the hypervisor has accepted it.

        :raise DestinationUnusable: the hypervisor could not open it; no job was started.
        :raise DiskBusy: the disk has a job already.
        :raise HypervisorUnavailable: with ``outcome_unknown`` a job may have been started.
        """
