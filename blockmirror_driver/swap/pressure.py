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
"""How much a copy may have in flight beside a guest that writes.

A swap opens its destination elsewhere before it copies, which takes a moment. A guest that writes
within it will write while it is copied, too, and each of its writes waits for what is in flight.
"""

from __future__ import annotations

from dataclasses import replace

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror import tuning
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Source, format_bytes
from blockmirror_driver.swap.checks import Check, passed
from blockmirror_driver.swap.request import SwapRequest
from blockmirror_driver.virt.domain import Domain

LOG = logging.getLogger(__name__)


class Pressure:
    """Of one disk, from its making to :meth:`judge`. One thread uses it.

    libvirt is asked only where it makes a difference.
    """

    def __init__(self, domain: Domain, source: Source, request: SwapRequest) -> None:
        self._domain = domain
        self._dev = request.dev
        self._options, self._calm = request.options, replace(request.options, calm=True)
        ends = source, request.destination.source
        self._usual = tuning.tuned(self._options, *ends).buf_size
        differs = self._usual != tuning.tuned(self._calm, *ends).buf_size
        self._before = self._writes() if differs else None

    def judge(self) -> tuple[list[Check], CopyOptions]:
        """Return the check ``in-flight``, which refuses nothing, and the options that suit.

        No check where it makes no difference, or where libvirt does not tell.
        """
        if self._before is None or (after := self._writes()) is None:
            return [], self._options
        if after == self._before:
            told = f'{format_bytes(self._usual)}, since the guest did not write just now'
            return [passed('in-flight', told)], self._options
        told = f'{format_bytes(tuning.DEFAULT_BUF_SIZE)} only, since the guest writes'
        return [passed('in-flight', told)], self._calm

    def _writes(self) -> int | None:
        try:
            return self._domain.write_counters(self._dev).writes
        except exception.BlockmirrorError as error:
            LOG.debug('what %s writes is not known: %s', self._domain.name, error)
            return None
