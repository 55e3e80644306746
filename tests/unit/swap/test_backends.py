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
"""Which volumes share a backend."""

from __future__ import annotations

import testtools

from blockmirror_driver.model import (
    BlockSource,
    FileSource,
    Host,
    IscsiSource,
    NbdSource,
    NfsSource,
    RbdSource,
    Source,
)
from blockmirror_driver.swap import backends
from tests.unit.swap.records import record

ONE, TWO = Host('192.0.2.1', 3260), Host('192.0.2.2')
#: For each backend two volumes.
PAIRS: tuple[tuple[Source, Source], ...] = (
    (RbdSource('fast', 'a', (ONE, TWO)), RbdSource('fast', 'b', (TWO, ONE))),
    (RbdSource('slow', 'a', (ONE, TWO)), RbdSource('slow', 'b', (ONE, TWO))),
    (RbdSource('fast', 'a', (ONE,)), RbdSource('fast', 'b', (ONE,))),
    (IscsiSource('iqn.a', 1, ONE), IscsiSource('iqn.b', 2, Host('192.0.2.1', 3261))),
    (IscsiSource('iqn.a', 1, TWO), IscsiSource('iqn.a', 2, TWO)),
    (NfsSource(ONE, '/one', 'a'), NfsSource(ONE, '/one', 'b')),
    (NfsSource(ONE, '/two', 'a'), NfsSource(ONE, '/two', 'b')),
    (NbdSource('a', host=ONE), NbdSource('b', host=ONE)),
    (NbdSource('a', socket='/run/nbd'), NbdSource('b', socket='/run/nbd')),
    (FileSource('/one/a'), FileSource('/one/b')),
    (FileSource('/two/a'), FileSource('/two/b')),
    (BlockSource('/dev/a'), BlockSource('/dev/b')),
)


class NameTest(testtools.TestCase):
    def test_volumes_of_one_backend_and_of_others(self) -> None:
        names = [tuple(map(backends.name_of, pair)) for pair in PAIRS]
        for one, other in names:
            self.assertEqual(one, other)
        self.assertEqual(len(PAIRS), len({one for one, _other in names}))
        kinds = {one.partition(':')[0] for one, _other in names}
        self.assertEqual({'rbd', 'iscsi', 'nfs', 'nbd', 'file', 'block'}, kinds)

    def test_of_a_record(self) -> None:
        xml = "<disk type='block'><source dev='/dev/a'/><target dev='vda'/></disk>"
        self.assertEqual('block:', backends.of_record(record(destination_xml=xml)))
        self.assertEqual('', backends.of_record(record(destination_xml='<disk')))
