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
"""A service that does what a test says, and a way to run the command with it."""

from __future__ import annotations

import io
import json
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import testtools
from oslo_config import cfg

from blockmirror_driver import exception
from blockmirror_driver.cli import main
from blockmirror_driver.cli.app import BlockmirrorApp
from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.model import Bytes, BytesPerSecond, Seconds
from blockmirror_driver.swap.checks import Check
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.owner import Owner
from blockmirror_driver.swap.plan import Plan
from blockmirror_driver.swap.record import Outcome, RecoverResult, SwapEvent, SwapRecord
from blockmirror_driver.swap.request import Ending, SwapRequest
from blockmirror_driver.swap.service import SwapService
from blockmirror_driver.swap.states import SwapState

Observer = Callable[[SwapEvent], None]

SWAP_ID = '3f2a1c00-0000-4000-8000-000000000001'
CANARY = 'c4n4ry-do-not-print-me'

RBD: dict[str, Any] = {
    'driver_volume_type': 'rbd',
    'data': {
        'name': 'volumes/volume-1',
        'hosts': ['192.0.2.1'],
        'ports': ['6789'],
        'auth_enabled': False,
        'auth_username': None,
        'secret_type': 'ceph',
        'secret_uuid': None,
        'volume_id': '11111111-2222-4333-8444-555555555555',
    },
}

ISCSI: dict[str, Any] = {
    'driver_volume_type': 'iscsi',
    'data': {
        'target_portal': '192.0.2.2:3260',
        'target_iqn': 'iqn.2010-10.org.openstack:volume-1',
        'target_lun': 1,
        'auth_method': 'CHAP',
        'auth_username': 'user',
        'auth_password': CANARY,
        'volume_id': '11111111-2222-4333-8444-555555555555',
    },
}

PROGRESS = Progress(
    cur=Bytes(1 << 20),
    end=Bytes(4 << 20),
    rate=BytesPerSecond(1 << 20),
    dirty_rate=BytesPerSecond(1 << 10),
    eta=Seconds(3.0),
)


def event(kind: str, state: SwapState, *, at: float = 1000.0, **more: Any) -> SwapEvent:
    return SwapEvent(at, SWAP_ID, kind, state, **more)


def outcome(state: SwapState = SwapState.CLEANED, code: int = 0, **more: Any) -> Outcome:
    values: dict[str, Any] = {
        'swap_id': SWAP_ID,
        'state': state,
        'domain': 'guest',
        'dev': 'vda',
        'source': 'nfs:volume-0',
        'destination': 'rbd:volumes/volume-1',
        'bytes_moved': 4 << 20,
        'seconds': 1.5,
        'exit_code': code,
        'pivot_seconds': 0.01,
        'notes': ('a note',),
    }
    return Outcome(**{**values, **more})


def record(state: SwapState = SwapState.COPYING, **more: Any) -> SwapRecord:
    values: dict[str, Any] = {
        'id': SWAP_ID,
        'domain_name': 'guest',
        'domain_uuid': '99999999-2222-4333-8444-555555555555',
        'dev': 'vda',
        'state': state,
        'ending': Ending.PIVOT,
        'source_xml': '<disk/>',
        'destination_xml': '<disk/>',
        'source_desc': 'nfs:volume-0',
        'destination_desc': 'rbd:volumes/volume-1',
        'size': 4 << 20,
        'serial': None,
        'bandwidth': 0,
        'hold': False,
        'pivot_requested': False,
        'owner': Owner.current(),
        'created_at': 1000.0,
        'updated_at': 1001.0,
        'cur': 1 << 20,
        'end': 4 << 20,
        'detail': 'starting the block job',
    }
    return SwapRecord(**{**values, **more})


@dataclass
class FakeService:
    """The service's methods. What a test sets is returned or raised; calls are noted."""

    result: Outcome | Exception = field(default_factory=outcome)
    events: Sequence[SwapEvent] = ()
    checks: tuple[Check, ...] = (Check('domain-runs', True, 'it runs'),)
    row: SwapRecord = field(default_factory=record)
    recovered: tuple[RecoverResult, ...] = ()
    taken_after: int = 0
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    requests: list[SwapRequest] = field(default_factory=list)
    left: bool = False
    read_only: bool = False

    def plan(self, request: SwapRequest) -> Plan:
        self.requests.append(request)
        if isinstance(self.result, Exception):
            raise self.result
        return Plan(request, self.checks)

    def run(
        self, request: SwapRequest, *, observer: Observer | None = None, plan: Plan | None = None
    ) -> Outcome:
        self.requests.append(request)
        for one in self.events:
            if observer is not None:
                observer(one)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def cancel_local(self) -> None:
        self.calls.append(('cancel_local',))

    def leave(self) -> None:
        self.calls.append(('leave',))
        self.left = True

    def record(self, swap_id: str) -> SwapRecord:
        if not self.row.id.startswith(swap_id):
            raise exception.SwapNotFound(f'no swap {swap_id!r}')
        return self.row

    def request_cancel(self, swap_id: str) -> int:
        return self._ask('cancel', swap_id)

    def request_pivot(self, swap_id: str) -> int:
        return self._ask('pivot', swap_id)

    def request_speed(self, swap_id: str, bandwidth: int) -> int:
        return self._ask('speed', swap_id, bandwidth)

    def request_hold(self, swap_id: str, on: bool) -> int:
        return self._ask('hold', swap_id, on)

    def _ask(self, *call: Any) -> int:
        self.calls.append(call)
        if isinstance(self.result, Exception):
            raise self.result
        return 7

    def was_taken(self, number: int) -> bool:
        self.calls.append(('was_taken', number))
        self.taken_after -= 1
        return self.taken_after < 0

    def recover(
        self,
        swap_id: str | None = None,
        *,
        action: str = 'resume',
        observer: Observer | None = None,
    ) -> tuple[RecoverResult, ...]:
        self.calls.append(('recover', swap_id, action))
        for one in self.events:
            if observer is not None:
                observer(one)
        return self.recovered

    def resolve(self, swap_id: str, side: str) -> SwapRecord:
        self.calls.append(('resolve', swap_id, side))
        if isinstance(self.result, Exception):
            raise self.result
        return self.row

    def doctor(self) -> tuple[Check, ...]:
        return self.checks

    def close(self) -> None:
        self.calls.append(('close',))


@dataclass
class InterruptedService(FakeService):
    """Copies until it is told to stop, as a real one does that only sees flags.

    :param hangs: the destination hangs: a cancel does not end the job.
    :param deaf: a call hangs that nothing interrupts: even leaving is not heard.
    """

    hangs: bool = False
    deaf: bool = False
    cancelled: bool = False
    wake: threading.Event = field(default_factory=threading.Event)

    def cancel_local(self) -> None:
        self.cancelled = True
        self.wake.set()

    def leave(self) -> None:
        self.left = True
        self.wake.set()

    def run(
        self, request: SwapRequest, *, observer: Observer | None = None, plan: Plan | None = None
    ) -> Outcome:
        assert observer is not None
        state = SwapState.COPYING
        observer(event('start', state, at=time.time(), detail='the copy runs'))
        while True:
            self.wake.wait()
            self.wake.clear()
            if self.left and self.deaf:
                observer(event('state', state, at=time.time(), detail='a call hangs'))
                continue
            if self.left:
                return outcome(state, 130)
            if not (self.hangs or self.deaf):
                raise exception.Cancelled('cancelled on request; the guest is on the source')
            state = SwapState.CANCELLING
            observer(event('state', state, at=time.time(), detail='the destination hangs'))


@dataclass
class Ran:
    """What a run of the command left."""

    code: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


class CommandTestCase(testtools.TestCase):
    """Runs the command in this process, with a fake service and a real, empty journal."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.journal = Journal(self.folder / 'journal' / 'journal.sqlite')
        self.addCleanup(self.journal.close)
        self.service = FakeService()

    def file(self, name: str, content: object) -> str:
        path = self.folder / name
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text)
        return str(path)

    def run_command(self, *argv: str, stdin: str = '') -> Ran:
        out, err = io.StringIO(), io.StringIO()
        app = BlockmirrorApp(
            stdin=io.StringIO(stdin), stdout=out, stderr=err, open_service=opener(self.service)
        )
        code = main.run(app, [*argv, '--journal', str(self.journal.path)])
        return Ran(code, out.getvalue(), err.getvalue())

    def refused(self, code: int, *argv: str, stdin: str = '') -> str:
        """Run a command that must fail: with the code, one line, and nothing on stdout."""
        ran = self.run_command(*argv, stdin=stdin)
        self.assertEqual((code, ''), (ran.code, ran.out), ran.err)
        self.assertTrue(ran.error_line.startswith('blockmirror: error: '), ran.err)
        return ran.error_line

    def journaled(self, row: SwapRecord) -> None:
        """Write a row, through the states that lead to its own."""
        self.journal.create(replace(row, exit_code=None))
        if row.exit_code is not None:
            self.journal.note(row.id, row.detail, exit_code=row.exit_code)


def opener(service: FakeService) -> Callable[..., SwapService]:
    def opened(_conf: cfg.ConfigOpts, *, read_only: bool) -> SwapService:
        service.read_only = read_only
        return cast(SwapService, service)

    return opened
