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
"""A program that swaps a disk with the code of Nova 34 as it is released.

It runs in the virtualenv of :mod:`tests.cloud`, since Nova is only there. Of the driver as much
is set up as ``_swap_volume`` uses: Nova's own connection to libvirt with its events, its guest,
its options. What Nova does before (connecting the volume, making its XML) and after is left out,
which is to its advantage.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import tests.nova  # noqa: F401 - it chooses native threads, before anything asks for others
from tests.bench.programs import own_stdout, serve


class _Config:
    """The destination as the driver looks at it."""

    def __init__(self, dev: str, xml: str) -> None:
        self.source_path = None
        self.target_dev = dev
        self._xml = xml

    def to_xml(self) -> str:
        return self._xml


def _spawn(function: Callable[[], None]) -> None:
    # Nova's own thread for lost connections never ends, and is waited for at exit.
    threading.Thread(target=function, daemon=True).start()


def _driver(uri: str) -> Any:
    """A driver of Nova's, initialized as far as this needs."""
    import nova.conf
    from nova.virt.libvirt import driver as stock

    conf = nova.conf.CONF
    conf([], project='nova', default_config_files=[])
    conf.set_override('virt_type', 'qemu', 'libvirt')
    conf.set_override('connection_uri', uri, 'libvirt')
    made = stock.LibvirtDriver(mock.Mock())
    with mock.patch('nova.virt.libvirt.host.thread_pool_factory.spawn', _spawn):
        made._host.initialize()
    # As init_host finds out.
    made._may_keep_vtpm = made._host.has_min_version(stock.MIN_VERSION_INT_FOR_KEEP_TPM)
    return made


def main(argv: list[str]) -> None:
    """Answer ``{"domain": NAME, "dev": TARGET, "xml": DISK}`` with the seconds that it took."""
    answers = own_stdout()
    driver = _driver(argv[0])
    from nova.virt.libvirt.guest import Guest

    def act(asked: dict[str, Any]) -> dict[str, Any]:
        domain = driver._host.get_connection().lookupByName(asked['domain'])
        config = _Config(asked['dev'], asked['xml'])
        begun = time.monotonic()
        driver._swap_volume(Guest(domain), asked['dev'], config, 0)
        return {'seconds': time.monotonic() - begun}

    serve(act, answers)


if __name__ == '__main__':
    main(sys.argv[1:])
