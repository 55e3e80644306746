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
"""The lab as its users see it: one object with a part for each service."""

import concurrent.futures
import contextlib
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from tests.lab.ceph import Ceph
from tests.lab.image import build
from tests.lab.iscsi import Iscsi
from tests.lab.layout import Credentials, LabError, Layout
from tests.lab.libvirtd import URI, Libvirtd
from tests.lab.namespace import Namespace
from tests.lab.nfs import Nfs

#: Environment variable that holds the root of the lab one is in.
VARIABLE = 'BLOCKMIRROR_LAB'


class Part(Protocol):
    """What every service of the lab can do; all of it may be repeated."""

    def up(self) -> None:
        """Start it, and wait until it answers."""

    def healthy(self) -> bool:
        """Whether it answers."""

    def stop(self) -> None:
        """Make it hang (SIGSTOP)."""

    def cont(self) -> None:
        """Let it go on after :meth:`stop`."""

    def kill(self) -> None:
        """End it with SIGKILL."""

    def start(self) -> None:
        """Start it after :meth:`kill`, with all that it had."""


class Lab:
    """A running lab, seen from inside its namespaces.

    Not bound to a thread; the libvirt connection that :meth:`connect` keeps may be shared.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.credentials = Credentials.of(layout)
        self.ceph = Ceph(layout, self.credentials)
        self.iscsi = Iscsi(layout, self.credentials)
        self.nfs = Nfs(layout)
        self.libvirtd = Libvirtd(layout, self.credentials)
        self._connection: Any = None

    @classmethod
    def from_env(cls) -> Self:
        """The lab that this process runs in.

        :raise LabError: it runs in none; start it with ``python -m tests.lab run -- ...``
        """
        root = os.environ.get(VARIABLE)
        if not root:
            raise LabError('lab', 'not inside; use: python -m tests.lab run -- COMMAND')
        layout = Layout.at(pathlib.Path(root))
        if not Namespace(layout).inside():
            raise LabError('lab', f'{VARIABLE} is set, but this process is not in its namespaces')
        return cls(layout)

    @property
    def artefacts_dir(self) -> pathlib.Path:
        """Directory for what a test leaves to its reader; goes with the lab."""
        return self.layout.artefacts

    @property
    def uri(self) -> str:
        """URI of the lab's libvirtd."""
        return URI

    @property
    def parts(self) -> Mapping[str, Part]:
        """All services by name."""
        return {
            'ceph': self.ceph,
            'iscsi': self.iscsi,
            'nfs': self.nfs,
            'libvirtd': self.libvirtd,
        }

    def secrets(self) -> list[str]:
        """Every secret value that the lab drew: what must be found in no log.

        Other spellings of them (base64, quoted) are left to whoever searches.
        """
        known = self.credentials
        return [known.cinder_key, known.chap_password, known.luks_passphrase]

    def connect(self) -> Any:
        """A ``libvirt.virConnect`` to libvirtd; a new one if the last one broke.

        :raise libvirt.libvirtError: libvirtd does not answer
        """
        import libvirt  # not at the top: bringing a lab up needs no libvirt-python

        known = self._connection
        if known is not None:
            # isAlive() only knows what a call has found out: after a restart of libvirtd
            # it still says yes.
            with contextlib.suppress(libvirt.libvirtError):
                known.getLibVersion()
                return known
        self._connection = libvirt.open(URI)
        return self._connection

    def up(self) -> None:
        """Start all parts, side by side where they do not need each other.

        :raise LabError: a part did not come up; the others are left running
        """

        def virtualisation() -> None:
            self.libvirtd.up()
            self.libvirtd.define_secrets()

        jobs: list[Callable[[], None]] = [self.ceph.up, virtualisation, self.iscsi.up]
        jobs.append(self.nfs.up)
        with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
            for done in [pool.submit(job) for job in jobs]:
                done.result()

    def status(self) -> dict[str, str]:
        """One word on each part: ``up`` or ``down``."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            told = {name: pool.submit(part.healthy) for name, part in self.parts.items()}
            status = {name: 'up' if one.result() else 'down' for name, one in told.items()}
        status['guest image'] = 'up' if build.installed(self.layout.guests) else 'down'
        return status

    def mend(self) -> None:
        """Bring every part back that a test has stopped or killed."""
        for daemon in (
            self.ceph.mon,
            self.ceph.mgr,
            self.ceph.osd,
            self.iscsi.daemon,
            self.nfs.ganesha,
            self.nfs.rpcbind,
            self.libvirtd.daemon,
            self.libvirtd.virtlogd,
        ):
            if daemon.alive():
                daemon.cont()
        self.up()
