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
"""What Nova and Cinder are told after a swap: the truth, once, whatever fails on the way."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, RbdSource
from blockmirror_driver.nova.context import SwapContext
from blockmirror_driver.nova.duties import KEPT, SWITCHED
from blockmirror_driver.nova.guard import Guard, guard
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.xml.domain import DomainDisk
from tests.nova.base import INSTANCE_UUID, NEW_ID, OLD_ID, RBD, info_of
from tests.nova.test_swap_volume import HOST_DEVICE, SwapCase

FORWARD = [
    ('complete', 'attachment-new'),
    ('delete', 'attachment-old'),
    ('completion', OLD_ID, NEW_ID, False),
]
BACKWARD = [('delete', 'attachment-new'), ('completion', OLD_ID, NEW_ID, True)]


class DutiesCase(SwapCase):
    def setUp(self) -> None:
        super().setUp()
        self.cinder.connections = {
            'attachment-old': info_of(HOST_DEVICE),
            'attachment-new': info_of(RBD, NEW_ID),
        }
        self.guard = self.driver.guard
        self.duties = self.driver.engine.journal.duties

    def owed(self) -> list[str]:
        return [duty.name for duty in self.duties.owed()]

    def say(self, *, failed: bool) -> dict[str, str]:
        """What the manager goes on to say to Cinder, in the same thread."""
        if failed:
            self.guard.roll_detaching(None, OLD_ID)
            self.guard.attachment_delete(None, 'attachment-new')
        else:
            self.guard.attachment_complete(None, 'attachment-new')
            self.guard.attachment_delete(None, 'attachment-old')
        found: dict[str, str] = self.guard.migrate_volume_completion(
            None, OLD_ID, NEW_ID, error=failed
        )
        return found

    def again(self) -> bool:
        """As the reconciler does, in another process: nothing in memory, no user."""
        return self.driver.duties.settle(self.world.id)


class TestSwitched(DutiesCase):
    def test_all_is_done_before_the_manager_goes_on(self) -> None:
        self.swap()
        self.assertEqual(FORWARD, self.cinder.told)
        self.assertEqual([], self.owed())
        self.assertEqual('attachment-new', self.mapping.attachment_id)
        saved = json.loads(self.mapping.connection_info)
        self.assertEqual((OLD_ID, OLD_ID), (saved['serial'], saved['data']['volume_id']))
        self.assertEqual('native', saved['blockmirror']['how'])
        self.assertEqual({'save_volume_id': OLD_ID}, self.say(failed=False))
        self.assertEqual(FORWARD, self.cinder.told)

    def test_a_larger_volume_is_grown_into_at_the_end(self) -> None:
        live = self.guest.live_disk
        sliced = mock.Mock(side_effect=lambda dev: _sliced(live(dev)))
        with (
            mock.patch.object(self.guest, 'live_disk', sliced),
            mock.patch('blockmirror_driver.nova.duties.growth.grow') as grow,
        ):
            grow.side_effect = exception.HypervisorUnavailable('libvirt is away')
            self.swap()
            self.assertEqual((FORWARD, ['grow']), (self.cinder.told, self.owed()))
            # So it reads once it is done, whoever did it.
            grow.side_effect = exception.WrongState('vda has 164 bytes, as its volume has')
            self.assertTrue(self.again())
        self.assertEqual(INSTANCE_UUID, grow.call_args.args[2])
        self.assertEqual([], self.owed())

    def test_what_is_no_part_of_a_volume_is_not_grown(self) -> None:
        with mock.patch('blockmirror_driver.nova.duties.growth.grow') as grow:
            self.swap()
        grow.assert_not_called()
        self.assertEqual([], self.owed())

    def test_cinder_away(self) -> None:
        """The volume that the guest is on is not deleted; it is told when Cinder is back."""
        away = ConnectionError('cinder is away')
        self.cinder.fails = {'complete': away, 'delete': away, 'completion': away}
        self.swap()
        self.assertEqual({'save_volume_id': OLD_ID}, self.say(failed=False))
        self.assertEqual([], self.cinder.told)
        self.assertEqual(list(SWITCHED[1:]), self.owed())
        self.assertFalse(self.again())
        self.cinder.fails = {}
        self.assertTrue(self.again())
        self.assertEqual(FORWARD, self.cinder.told)

    def test_the_answer_of_the_completion_is_lost(self) -> None:
        """It had its effect: it is not asked for twice."""
        self.cinder.loses = {'completion': ConnectionError('reset by peer')}
        self.swap()
        self.again()
        self.assertEqual(FORWARD, self.cinder.told)
        self.assertEqual([], self.owed())

    def test_cinder_is_at_it(self) -> None:
        self.cinder.fails = {'completion': ConnectionError('timed out')}
        self.swap()
        self.cinder.fails = {}
        self.cinder.volumes[OLD_ID]['migration_status'] = 'completing'
        self.assertFalse(self.again())
        self.assertNotIn('completion', [told[0] for told in self.cinder.told])

    def test_a_cinder_that_finds_nothing_is_not_believed(self) -> None:
        """A wrong address answers 404 to everything: nothing is done by that."""
        away = ConnectionError('cinder is away')
        self.cinder.fails = {'complete': away, 'delete': away, 'completion': away}
        self.swap()
        self.cinder.fails = {}
        volumes, self.cinder.volumes = self.cinder.volumes, {}
        self.assertFalse(self.again())
        self.assertEqual([], self.cinder.told)
        self.assertEqual(list(SWITCHED[1:]), self.owed())
        self.cinder.volumes = volumes
        self.assertTrue(self.again())
        self.assertEqual(FORWARD, self.cinder.told)

    def test_an_old_volume_that_stays_connected_keeps_its_attachment(self) -> None:
        """A device that is left could show another volume's data (CVE-2023-2088)."""
        self.host_driver.fails['disconnect'] = OSError('rmdir: busy')
        self.swap()
        self.assertEqual(['complete'], [told[0] for told in self.cinder.told])
        self.assertEqual(list(SWITCHED[2:]), self.owed())
        self.host_driver.fails.clear()
        self.assertTrue(self.again())
        self.assertEqual(FORWARD, self.cinder.told)

    def test_the_mapping_can_not_be_saved(self) -> None:
        def away() -> None:
            self.mapping.attachment_id = 'attachment-old'  # as it is read again
            raise ConnectionError('conductor is away')

        self.mapping.save.side_effect = away
        self.swap()
        self.assertEqual(list(SWITCHED), self.owed())
        reason = self.driver.blocked(INSTANCE_UUID)
        self.assertIn('mapping', reason)
        self.mapping.save.side_effect = None
        self.assertEqual('', self.driver.blocked(INSTANCE_UUID))
        self.assertEqual(FORWARD, self.cinder.told)


class TestKept(DutiesCase):
    def setUp(self) -> None:
        super().setUp()
        self.old, self.new = info_of(RBD), info_of(HOST_DEVICE, NEW_ID)

    def test_a_failed_copy_goes_back(self) -> None:
        self.guest.pivots = ['fail']
        self.refused()
        self.assertEqual(BACKWARD, self.cinder.told)
        self.assertEqual([], self.owed())
        self.assertEqual({'save_volume_id': OLD_ID}, self.say(failed=True))
        self.assertEqual(BACKWARD, self.cinder.told)

    def test_a_volume_that_is_detaching_is_rolled_back(self) -> None:
        self.cinder.volumes[OLD_ID]['status'] = 'detaching'
        self.guest.pivots = ['fail']
        self.refused()
        self.assertIn(('roll', OLD_ID), self.cinder.told)

    def test_nobody_knows_nobody_is_told(self) -> None:
        self.guest.pivots = ['die']
        self.refused()
        self.assertEqual({'save_volume_id': OLD_ID}, self.say(failed=True))
        self.again()
        self.assertEqual([], self.cinder.told)
        self.assertIn('nobody can tell', self.driver.blocked(INSTANCE_UUID))

    def test_left_running_nobody_is_told(self) -> None:
        self.guest.ready_after = 100.0
        self.world.later(50.0, self.driver.engine.leave)
        self.refused()
        self.say(failed=True)
        self.assertEqual([], self.cinder.told)
        self.assertEqual('', self.driver.blocked(INSTANCE_UUID))

    def test_refused_before_anything_the_manager_speaks_for_itself(self) -> None:
        self.world.hypervisor.fail('probe', exception.DestinationSilent('silent'))
        self.refused()
        self.say(failed=True)
        self.assertEqual([('roll', OLD_ID), *BACKWARD], self.cinder.told)


class TestGuard(DutiesCase):
    def test_it_is_put_there_once(self) -> None:
        manager = mock.Mock(volume_api=self.cinder)
        first = guard(manager)
        self.assertIs(first, guard(manager))
        self.assertIs(first, manager.volume_api)
        self.assertIsInstance(first, Guard)

    def test_what_is_not_of_the_swap_goes_through(self) -> None:
        self.swap()
        self.cinder.told.clear()
        self.guard.attachment_delete(None, 'another')
        self.guard.attachment_complete(None, 'another')
        self.guard.roll_detaching(None, 'another')
        self.assertEqual(
            [('delete', 'another'), ('complete', 'another'), ('roll', 'another')], self.cinder.told
        )
        self.assertEqual(OLD_ID, self.guard.get(None, OLD_ID)['id'])

    def test_after_the_last_call_all_goes_through(self) -> None:
        self.swap()
        self.say(failed=False)
        self.cinder.told.clear()
        self.guard.attachment_delete(None, 'attachment-new')
        self.assertEqual([('delete', 'attachment-new')], self.cinder.told)


class TestReconciler(DutiesCase):
    """The same journal, after nova-compute was killed."""

    def setUp(self) -> None:
        super().setUp()
        self.reconciler = self.driver._reconciler
        started = mock.patch('blockmirror_driver.nova.reconciler.threading', AT_ONCE)
        started.start()
        self.addCleanup(started.stop)

    def interrupt(self, **guest: Any) -> None:
        """Leave a swap running, as a stop does; the guest is as ``guest`` says by then."""
        self.guest.ready_after = 100.0
        self.world.later(50.0, self.driver.engine.leave)
        self.refused()
        self.driver.engine._leaving = False
        self.guard.uncover()
        for name, value in guest.items():
            setattr(self.guest, name, value)

    def test_a_copy_is_taken_to_its_end(self) -> None:
        self.interrupt()
        self.world.later(60.0, self.guest.ready)
        self.reconciler.look()
        self.assertIsInstance(self.guest.live_source, RbdSource)
        self.assertEqual(SwapState.CLEANED, self.world.record().state)
        self.assertEqual(FORWARD, self.cinder.told)
        self.assertEqual([], self.owed())

    def test_a_copy_that_is_gone_is_reverted(self) -> None:
        self.interrupt(mirrored=None)
        self.guest.jobs.clear()
        self.reconciler.look()
        self.assertEqual(SwapState.REVERTED, self.world.record().state)
        self.assertEqual(BACKWARD, self.cinder.told)

    def test_a_step_that_fails_is_not_tried_again_at_once(self) -> None:
        """The steps behind it are due all the time, and wait for it."""
        self.cinder.fails = {'complete': ConnectionError('cinder is away')}
        self.swap()
        with (
            mock.patch('blockmirror_driver.nova.reconciler.is_run', lambda *_: False),
            mock.patch.object(self.driver.duties, 'settle') as settle,
        ):
            self.reconciler.look()
            settle.assert_not_called()
            self.assertGreater(self.reconciler._wait(), 1.0)
            with mock.patch('blockmirror_driver.nova.reconciler.time.time', lambda: 1e12):
                self.reconciler.look()
        settle.assert_called_once_with(self.world.id)

    def test_a_swap_of_the_command_is_not_ours(self) -> None:
        self.interrupt()
        with mock.patch.object(SwapContext, 'from_json', lambda _text: None):
            self.reconciler.look()
        self.assertEqual(SwapState.COPYING, self.world.record().state)

    def test_the_steps_are_known_even_when_they_could_not_be_written(self) -> None:
        with mock.patch.object(
            type(self.duties), 'owe', side_effect=exception.JournalUnusable('x')
        ):
            self.swap()
        self.assertEqual([], self.cinder.told)
        self.assertTrue(self.again())
        self.assertEqual(FORWARD, self.cinder.told)

    def test_a_journal_that_can_not_be_read_starts_no_guest(self) -> None:
        broken = exception.JournalUnusable('i/o error')
        with mock.patch.object(self.driver.engine.journal, 'records', side_effect=broken):
            self.assertIn('i/o error', self.driver.blocked(INSTANCE_UUID))


class Now:
    """A thread that has ended when it has started."""

    def __init__(self, target: Any, args: tuple[Any, ...] = (), **_: Any) -> None:
        self._target, self._args = target, args

    def start(self) -> None:
        self._target(*self._args)


#: For the name ``threading`` of one module: the module itself belongs to all.
AT_ONCE = SimpleNamespace(**{**vars(threading), 'Thread': Now})


def _sliced(disk: DomainDisk) -> DomainDisk:
    return replace(disk, disk=replace(disk.disk, slice_size=Bytes(100)))


class TestContext(DutiesCase):
    def test_both_ways(self) -> None:
        ids = SwapContext('i', '/dev/vdb', 'o', 'n', 'ao', 'an')
        self.assertEqual(ids, SwapContext.from_json(ids.to_json()))

    def test_what_is_none(self) -> None:
        for text in ('', '{}', '[]', 'null', '{"instance_uuid": "i"}', 'x'):
            self.assertIsNone(SwapContext.from_json(text))

    def test_each_end_has_its_steps(self) -> None:
        self.assertEqual(set(), set(SWITCHED) & set(KEPT))
