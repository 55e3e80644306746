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
"""The ways to start a copy: what they send, and what they refuse before."""

from __future__ import annotations

import unittest
from dataclasses import replace
from typing import Any

from blockmirror_driver import exception
from blockmirror_driver.mirror import methods
from blockmirror_driver.mirror.methods import blockcopy, rebase
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import BlockSource, Bytes, BytesPerSecond, Disk, Driver, FileSource
from blockmirror_driver.virt.domain import CopyFlag, RebaseFlag
from tests.unit.fakes import FakeDomain, FakeHypervisor
from tests.unit.mirror.pieces import DESTINATION, live

FILE = Disk(source=FileSource('/volumes/new'))
DEVICE = Disk(source=BlockSource('/dev/loop7'))
NETWORK = Disk(source=DESTINATION)
OURS = CopyFlag.REUSE_EXT | CopyFlag.TRANSIENT_JOB


def guest(*, persistent: bool = True) -> FakeDomain:
    domain = FakeHypervisor().add(FakeDomain())
    domain.persistent = persistent
    return domain


class BlockCopyFlags(unittest.TestCase):
    """One flag per option."""

    def test_always(self) -> None:
        """TRANSIENT_JOB and REUSE_EXT, unless the caller wants virsh's bare call."""
        self.assertEqual(blockcopy.flags(CopyOptions()), OURS)
        bare = CopyOptions(reuse_external=False, transient_job=False)
        self.assertEqual(blockcopy.flags(bare), CopyFlag.NONE)

    def test_on_request(self) -> None:
        """SHALLOW, SYNCHRONOUS_WRITES and TARGET_ZEROED."""
        options = CopyOptions(shallow=True, synchronous_writes=True)
        wanted = OURS | CopyFlag.SHALLOW | CopyFlag.SYNCHRONOUS_WRITES
        self.assertEqual(blockcopy.flags(options), wanted)
        zeroed = CopyOptions(target_zeroed=True)
        self.assertEqual(blockcopy.flags(zeroed), OURS | CopyFlag.TARGET_ZEROED)


class Start(unittest.TestCase):
    """What reaches the domain."""

    def test_blockcopy(self) -> None:
        """The whole destination, and each parameter in its own unit: bytes, bytes/s."""
        domain = guest()
        options = CopyOptions(
            bandwidth=BytesPerSecond(1), granularity=Bytes(512), buf_size=Bytes(3)
        )
        methods.choose('auto').start(domain, 'vda', NETWORK, options)
        self.assertEqual(
            domain.calls, [('block_copy', ('vda', NETWORK.to_xml(), 1, 512, 3, OURS))]
        )

    def test_rebase(self) -> None:
        """A file, and a device with COPY_DEV; the format is never left to a guess."""
        flags = RebaseFlag.COPY | RebaseFlag.COPY_RAW | RebaseFlag.REUSE_EXT
        for disk, path, more in (
            (FILE, '/volumes/new', RebaseFlag.NONE),
            (DEVICE, '/dev/loop7', RebaseFlag.COPY_DEV),
        ):
            domain = guest(persistent=False)
            way = methods.choose('rebase')
            options = CopyOptions(bandwidth=BytesPerSecond(9))
            way.check(domain, 'vda', disk, options)
            way.start(domain, 'vda', disk, options)
            self.assertEqual(domain.calls[-1], ('block_rebase', ('vda', path, 9, flags | more)))

    def test_rebase_to_a_file_that_is_created(self) -> None:
        """REUSE_EXT is the caller's to leave out."""
        flags = rebase.flags(FILE, CopyOptions(reuse_external=False))
        self.assertEqual(flags, RebaseFlag.COPY | RebaseFlag.COPY_RAW)


class Refused(unittest.TestCase):
    """Before libvirt is called."""

    def check(self, method: str, disk: Disk, words: str, **options: Any) -> None:
        domain = guest(persistent=options.pop('persistent', False))
        domain.live['vda'] = replace(live(), has_backing=True)
        with self.assertRaisesRegex(exception.Refused, words):
            methods.choose(method).check(domain, 'vda', disk, CopyOptions(**options))
        self.assertEqual(domain.count('block_copy') + domain.count('block_rebase'), 0)

    def test_a_shallow_copy_to_raw(self) -> None:
        """libvirt would pivot and lose the backing data."""
        self.check('blockcopy', FILE, 'shallow', shallow=True)
        self.check('rebase', FILE, 'shallow', shallow=True)

    def test_a_shallow_copy_to_qcow2(self) -> None:
        """Can be one; so can one of a source that has one layer."""
        domain = guest()
        domain.live['vda'] = live()
        methods.choose('blockcopy').check(domain, 'vda', FILE, CopyOptions(shallow=True))
        disk = replace(FILE, driver=Driver(format='qcow2'))
        methods.choose('blockcopy').check(guest(), 'vda', disk, CopyOptions(shallow=True))

    def test_rebase_onto_the_network(self) -> None:
        """The call takes a local path."""
        self.check('rebase', NETWORK, 'local')

    def test_rebase_to_qcow2(self) -> None:
        """The call would probe the format."""
        self.check('rebase', replace(FILE, driver=Driver(format='qcow2')), 'format')

    def test_rebase_with_options_that_it_lacks(self) -> None:
        """They are not dropped in silence."""
        self.check('rebase', FILE, 'granularity', granularity=512)
        self.check('rebase', FILE, 'buf_size', buf_size=512)
        self.check('rebase', FILE, 'synchronous_writes', synchronous_writes=True)
        self.check('rebase', FILE, 'target_zeroed', target_zeroed=True)

    def test_rebase_of_a_persistent_domain(self) -> None:
        """The call has no flag for a transient job."""
        self.check('rebase', FILE, 'transient', persistent=True)
