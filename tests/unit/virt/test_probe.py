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
"""The probe: what it starts, what it makes of the outcome, and that it cleans up."""

from __future__ import annotations

import threading
import time
import uuid as uuids
from itertools import cycle
from typing import Any
from unittest import mock

import libvirt
import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, Disk, Driver, FileSource, RbdSource, Seconds
from blockmirror_driver.virt import probe, throwaway
from blockmirror_driver.virt.calls import CallPool
from blockmirror_driver.xml import probe as xml_probe
from tests.unit.virt.stand_ins import Recorder, libvirt_error, setting

LONG = Seconds(30.0)
NO_DOMAIN = libvirt_error(42, 'Domain not found')


class Connect(Recorder):
    def isAlive(self) -> int:  # noqa: N802 - libvirt's name
        return 1


class ProbeCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.dom = Recorder(blockInfo=[1 << 30, 1, 4096])
        self.owner = Connect(createXML=self.dom_of)
        self.reaper = Connect(lookupByUUIDString=self.dom_of)
        patcher = mock.patch.object(libvirt, 'open', side_effect=cycle([self.owner, self.reaper]))
        patcher.start()
        self.addCleanup(patcher.stop)
        self.disk = Disk(RbdSource('pool', 'image'), target_dev='vdb')
        self.places = throwaway.Places('stand-in:///', CallPool(), CallPool())

    def dom_of(self, *args: Any) -> Any:
        return self.dom

    def probe(self, timeout: Seconds = LONG, **kwargs: Any) -> probe.ProbeResult:
        return probe.probe(
            self.places,
            self.disk,
            like_xml=None,
            timeout=timeout,
            **kwargs,
        )

    def failing(self, *messages: str, number: int = 1) -> list[str]:
        """Let ``createXML`` fail with each message in turn, and then succeed; returns the rest."""
        left = list(messages)

        def create(_text: str, _flags: int) -> Any:
            if left:
                raise libvirt_error(number, left.pop(0))
            return self.dom

        self.owner.answers['createXML'] = create
        self.reaper.answers['lookupByUUIDString'] = NO_DOMAIN
        return left

    def created(self) -> tuple[str, int]:
        return next((c[1], c[2]) for c in self.owner.calls if c[0] == 'createXML')

    def assert_cleaned_up(self) -> None:
        """The domain was ended by the second connection, and both were closed."""
        self.assertIn('lookupByUUIDString', [call[0] for call in self.reaper.calls])
        self.assertIn(('close',), self.owner.calls)
        self.assertIn(('close',), self.reaper.calls)


class TestLocal(ProbeCase):
    """A local volume is closed before anything else opens it; its QEMU may take longer to end."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = Disk(FileSource('/v'), target_dev='vdq')
        self.owner.answers['lookupByUUIDString'] = self.dom_of
        self.may_end = threading.Event()
        self.dom.answers['destroyFlags'] = lambda: self.may_end.wait(LONG)
        self.dom.answers['XMLDesc'] = '<domain><devices/></domain>'
        self.addCleanup(self.places.endings.wait)
        self.addCleanup(self.may_end.set)

    def test_unplugged(self) -> None:
        self.assertEqual(Bytes(1 << 30), self.probe(lingers=True).capacity)
        (text, flags) = next(c[1:] for c in self.dom.calls if c[0] == 'detachDeviceFlags')
        self.assertIn('<target dev="sda" bus="scsi"/>', text)
        self.assertEqual(libvirt.VIR_DOMAIN_AFFECT_LIVE, flags)
        self.assertIn('<target dev="sda" bus="scsi"/>', self.created()[0])
        self.assertNotIn(('close',), self.owner.calls)
        self.may_end.set()
        self.places.endings.wait()
        self.assert_cleaned_up()

    def test_ended_where_it_is_not_let_go(self) -> None:
        self.may_end.set()
        for answers in (
            {'XMLDesc': self.created_with},
            {'detachDeviceFlags': libvirt_error(1, 'no')},
            {'XMLDesc': NO_DOMAIN},
        ):
            with self.subTest(answers):
                self.dom.calls.clear()
                self.dom.answers = {'blockInfo': [1 << 30, 1, 4096], **answers}
                self.probe(lingers=True)
                self.assertEqual('destroyFlags', self.dom.calls[-1][0])
                self.assert_cleaned_up()

    def test_ended_where_there_is_no_scsi(self) -> None:
        self.may_end.set()
        self.failing('unsupported configuration: no virtio-scsi', number=67)
        self.probe(lingers=True)
        self.assertNotIn('detachDeviceFlags', [call[0] for call in self.dom.calls])
        self.assert_cleaned_up()

    def test_ended_where_that_is_waited_for(self) -> None:
        self.may_end.set()
        self.probe()
        self.assertNotIn('detachDeviceFlags', [call[0] for call in self.dom.calls])
        self.assertIn('<target dev="vdq" bus="virtio"/>', self.created()[0])
        self.assert_cleaned_up()

    def created_with(self, _flags: int = 0) -> str:
        return self.created()[0]


class TestProbe(ProbeCase):
    def test_the_exact_size(self) -> None:
        result = self.probe()
        self.assertEqual((Bytes(1 << 30), Bytes(4096)), (result.capacity, result.physical))
        self.assertIn(('blockInfo', 'vdb'), self.dom.calls)
        self.assertIn(('destroyFlags',), self.dom.calls)
        self.assert_cleaned_up()

    def test_never_runs_and_ends_with_the_connection(self) -> None:
        self.probe()
        text, flags = self.created()
        self.assertEqual(
            libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY, flags
        )
        self.assertIn('blockmirror-probe-', text)

    def test_ends_while_its_maker_goes_on(self) -> None:
        may_end = threading.Event()
        self.dom.answers['destroyFlags'] = lambda: may_end.wait(LONG)
        result = self.probe(lingers=True)
        self.assertEqual(Bytes(1 << 30), result.capacity)
        self.assertNotIn(('close',), self.owner.calls)
        may_end.set()
        self.places.endings.wait()
        self.assert_cleaned_up()

    def test_a_definition_that_is_refused_is_made_plainer(self) -> None:
        for number, text in (
            (1, f"internal error: invalid qemu namespace capability '{xml_probe.SPARED}'"),
            (67, 'unsupported configuration: this QEMU has no virtio-scsi'),
            (9, "operation failed: guest CPU doesn't match specification"),
        ):
            with self.subTest(text):
                self.owner.calls.clear()
                self.failing(text, number=number)
                self.assertEqual(Bytes(1 << 30), self.probe().capacity)
                texts = [call[1] for call in self.owner.calls if call[0] == 'createXML']
                self.assertEqual([True, False], [xml_probe.SPARED in one for one in texts])

    def test_nothing_else_is_tried_again(self) -> None:
        left = self.failing('no such image', 'asked again')
        self.assertRaises(exception.DestinationUnusable, self.probe)
        self.assertEqual(['asked again'], left)

    def test_one_that_did_not_answer_is_ended_first(self) -> None:
        self.owner.answers['createXML'] = libvirt_error(66, 'Secret not found', 30)
        self.assertRaises(exception.SecretUnavailable, lambda: self.probe(lingers=True))
        self.assert_cleaned_up()

    def test_read_only_unless_writing_is_asked_for_and_harmless(self) -> None:
        raw, qcow2 = self.disk, Disk(FileSource('/v'), driver=Driver('qcow2'))
        for disk, writable, read_only in (
            (raw, False, True),
            (raw, True, False),
            (qcow2, True, True),
        ):
            self.assertIs(read_only, not probe._opens_for_writing(disk, writable))

    def test_does_not_open(self) -> None:
        self.owner.answers['createXML'] = libvirt_error(
            1, 'process exited while connecting to monitor: error reading header: No such file'
        )
        self.reaper.answers['lookupByUUIDString'] = NO_DOMAIN
        error = self.assertRaises(exception.DestinationUnusable, self.probe)
        self.assertIn('No such file', str(error))
        self.assertNotIsInstance(error, exception.DestinationSilent)
        self.assert_cleaned_up()

    def test_asks_once_more_when_no_reason_came(self) -> None:
        bare = 'internal error: qemu unexpectedly closed the monitor'
        self.failing(bare, f'{bare}: no such image')
        error = self.assertRaises(exception.DestinationUnusable, self.probe)
        self.assertIn('no such image', str(error))

    def test_asks_no_third_time_for_a_reason(self) -> None:
        bare = 'internal error: process exited while connecting to monitor: '
        left = self.failing(bare, bare, bare)
        self.assertRaises(exception.DestinationUnusable, self.probe)
        self.assertEqual([bare], left)

    def test_no_secret(self) -> None:
        self.owner.answers['createXML'] = libvirt_error(66, 'Secret not found', 30)
        self.assertRaises(exception.SecretUnavailable, self.probe)
        self.assert_cleaned_up()

    def test_silent(self) -> None:
        """At the deadline the other connection ends it, and createXML comes back."""
        ended, closed = threading.Event(), threading.Event()
        self.owner.answers['close'] = setting(closed)

        def hang(*_args: Any) -> Any:
            ended.wait()
            raise libvirt_error(1, 'internal error: qemu unexpectedly closed the monitor')

        self.owner.answers['createXML'] = hang
        self.dom.answers['destroyFlags'] = setting(ended)
        error = self.assertRaises(exception.DestinationSilent, self.probe, Seconds(0.2))
        self.assertEqual('rbd:pool/image did not answer in time', str(error))
        # The connection is closed by whoever leaves it last, here the call that hung.
        self.assertTrue(closed.wait(LONG))
        self.assert_cleaned_up()
        # It gave no reason since we ended it, and is not asked for one.
        self.assertEqual(1, [call[0] for call in self.owner.calls].count('createXML'))

    def test_silent_after_it_was_opened(self) -> None:
        released = threading.Event()
        self.addCleanup(released.set)
        self.dom.answers['blockInfo'] = lambda *_args: released.wait() and [0, 0, 0]
        self.dom.answers['destroyFlags'] = setting(released)
        self.assertRaises(exception.DestinationSilent, self.probe, Seconds(0.2))

    def test_takes_another_name_when_one_is_taken(self) -> None:
        taken = libvirt_error(9, "operation failed: domain 'x' already exists with uuid y")
        names: list[str] = []

        def create(text: str, _flags: int) -> Any:
            names.append(text.split('<name>')[1].split('<', maxsplit=1)[0])
            if len(names) < 3:
                raise taken
            return self.dom

        self.owner.answers['createXML'] = create
        self.probe()
        self.assertEqual(3, len(set(names)))

    def test_libvirt_is_away(self) -> None:
        with mock.patch.object(libvirt, 'open', side_effect=libvirt_error(38, 'refused', 7)):
            self.assertRaises(exception.HypervisorUnavailable, self.probe)

    def test_what_can_not_be_cleaned_up_does_not_hide_the_outcome(self) -> None:
        self.dom.answers['destroyFlags'] = libvirt_error(1, 'boom')
        self.assertEqual(Bytes(1 << 30), self.probe().capacity)


class TestSweep(testtools.TestCase):
    def domain(self, name: str, age: float) -> Recorder:
        return Recorder(name=name, UUIDString=throwaway.dated_uuid(time.time() - age))

    def test_ends_old_probes_only(self) -> None:
        old, young = (
            self.domain('blockmirror-probe-3', 7200),
            self.domain('blockmirror-probe-4', 9),
        )
        guest = self.domain('guest', 7200)
        gone = self.domain('blockmirror-probe-5', 7200)
        gone.answers['destroyFlags'] = NO_DOMAIN
        conn: Any = Recorder(listAllDomains=[old, young, guest, gone])
        self.assertEqual(('blockmirror-probe-3',), probe.sweep(conn))
        self.assertNotIn(('destroyFlags',), young.calls + guest.calls)

    def test_the_uuid_is_one(self) -> None:
        made = uuids.UUID(throwaway.dated_uuid(1_700_000_000.5))
        self.assertEqual((7, uuids.RFC_4122), (made.version, made.variant))
        self.assertEqual(1_700_000_000_500, made.int >> 80)
