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
"""The same moves by Nova's own driver and by ours: a table in ``build/side-by-side.csv``.

What is compared and printed is no claim about other hardware; what a test requires is only
that the volume is moved whole, and that ours, as it is configured by default, leaves thin what
can be thin. Through QEMU's own client of NFS nothing can: it tells no holes and makes none.
"""

from __future__ import annotations

import csv
import dataclasses
import time

from tests.cloud import site as places
from tests.cloud.api import Record
from tests.cloud.base import FILLED, FILLED_FROM
from tests.cloud.interrupted import RECOVERY_S, InterruptedTestCase
from tests.cloud.storage import allocated
from tests.lab.namespace import REPOSITORY
from tests.lab.process import run

_PAIRS = (('rbd1', 'rbd2'), ('nfs1', 'nfs2'), ('nfs1', 'rbd1'))
#: How each is configured; the default of ours leaves NFS to Nova's own driver.
_DRIVERS = {
    'stock': ('stock',),
    'ours': ('ours', '--native', 'rbd'),
    'ours, detect_zeroes': ('ours', '--native', 'rbd', '--set', 'detect_zeroes=true'),
    'ours, all native': ('ours',),
}
_OUT = REPOSITORY / 'build' / 'side-by-side.csv'
#: Zeros that the source has written and allocated, after the data.
_ZEROS_FROM, _ZEROS = FILLED_FROM + FILLED, 128 << 20
_MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Row:
    """One move.

    :ivar total_s: from the request to Cinder's word that it is done
    :ivar stall_s: the longest that a write of the guest took
    :ivar allocated_mib: what the destination has taken of its storage
    """

    move: str
    driver: str
    total_s: str
    stall_s: str
    source_mib: str
    allocated_mib: str


class SideBySideTest(InterruptedTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.cloud, 'driver', 'ours')

    def test_every_pair(self) -> None:
        rows = []
        taken: dict[tuple[str, str], int] = {}
        for driver, words in _DRIVERS.items():
            self.cloud('driver', *words)
            for source, destination in _PAIRS:
                move = f'{source} to {destination}'
                row, taken[move, driver] = self._measure(driver, source, destination)
                rows.append(row)
        rows.sort(key=lambda row: row.move)
        _OUT.parent.mkdir(exist_ok=True)
        with _OUT.open('w', newline='') as out:
            writer = csv.writer(out, lineterminator='\n')
            writer.writerow([field.name for field in dataclasses.fields(Row)])
            writer.writerows(dataclasses.astuple(row) for row in rows)
        print(_OUT.read_text(), flush=True)
        for move in dict.fromkeys(row.move for row in rows):
            # What the guest writes meanwhile differs a little from run to run.
            self.assertLess(taken[move, 'ours'], 1.1 * taken[move, 'stock'], move)
        # Where the backend takes discards, zeros that were allocated can be left behind.
        thin = 'rbd1 to rbd2'
        self.assertLess(taken[thin, 'ours, detect_zeroes'], taken[thin, 'stock'] - _ZEROS / 2)

    def _measure(self, driver: str, source: str, destination: str) -> tuple[Row, int]:
        server = self.server()
        volume = self.volume(source)
        self._write(volume)
        before = allocated(self.api.site, volume.backend, volume.name)
        dev = self.api.attach(server, volume)
        self.addCleanup(self._detach, server, volume)
        self.writing(server, dev)
        server.reset()
        begun = time.monotonic()
        self.api.retype(volume, destination)
        moved = self.api.wait_moved(volume.id, RECOVERY_S)
        total = time.monotonic() - begun
        stall = server.stat().longest_us / 1e6
        self.assertEqual(('success', destination), (moved.migration_status, moved.backend))
        self.assertEqual(driver != 'stock', bool(self.our_swaps(server)))
        self.assert_survived(server, moved, dev)
        after = allocated(self.api.site, moved.backend, moved.name)
        row = Row(
            f'{source} to {destination}',
            driver,
            f'{total:.1f}',
            f'{stall:.2f}',
            str(before // _MIB),
            str(after // _MIB),
        )
        self.api.detach(server, moved)  # by the driver that attached it
        self.api.delete_server(server)  # the host has no room for all of them,
        self.api.delete_volume(moved.id)  # and the project is allowed ten
        return row, after

    def _image(self, volume: Record) -> str:
        pool, _user = places.RBD[volume.backend]
        return f'{pool}/{volume.name}'

    def _write(self, volume: Record) -> None:
        """Data and zeros, both allocated."""
        rbd = volume.backend in places.RBD
        where = f'rbd:{self._image(volume)}' if rbd else str(self.api.read_back(volume))
        writes = (f'write -P 7 {FILLED_FROM} {FILLED}', f'write -P 0 {_ZEROS_FROM} {_ZEROS}')
        run(['qemu-io', '-f', 'raw', *(word for one in writes for word in ('-c', one)), where])
