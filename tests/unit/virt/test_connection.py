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
"""The connection: opened, lost, replaced, closed; against scripted virConnects."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

import libvirt
import testtools
from oslo_config import cfg

from blockmirror_driver import conf, exception
from blockmirror_driver.model import Seconds
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.events import (
    BlockJobEvent,
    BlockJobStatus,
    ConnectionLost,
    HypervisorEvent,
    Lifecycle,
    LifecycleEvent,
    Reconnected,
)
from blockmirror_driver.virt.loop import EventLoop
from blockmirror_driver.virt.subscriptions import Subscription
from tests.unit.virt.stand_ins import CLOSED, QEMU, RPC, Recorder, libvirt_error, setting

LONG = Seconds(30.0)
UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
REFUSED = libvirt_error(38, "Failed to connect socket to '/run/x': Connection refused", RPC)


class Connect(Recorder):
    """A virConnect whose callbacks the test can fire."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(**answers)
        self.alive = 1
        self.on_close: Callable[[int], None] | None = None
        self.callbacks: dict[int, Callable[..., None]] = {}

    def isAlive(self) -> int:  # noqa: N802 - libvirt's name
        return self.alive

    def registerCloseCallback(self, callback: Any, opaque: Any) -> int:  # noqa: N802 - libvirt's
        self.calls.append(('registerCloseCallback',))
        self.on_close = lambda reason: callback(self, reason, opaque)
        return 0

    def domainEventRegisterAny(  # noqa: N802 - libvirt's name
        self, domain: Any, event_id: int, callback: Any, opaque: Any
    ) -> int:
        if isinstance(error := self.answers.get('domainEventRegisterAny'), Exception):
            raise error
        self.callbacks[event_id] = lambda *args: callback(self, *args, opaque)
        return event_id + 100

    def break_(self) -> None:
        """What the event thread does when libvirtd dies."""
        self.alive = 0
        assert self.on_close is not None
        self.on_close(1)


class TestHypervisor(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        #: What each libvirt.open for events gives, in order: a Connect, or an error.
        #: What a libvirt.open for a call gives.
        self.calling = Connect()
        self.opened_for_calls = 0
        self.openings: queue.SimpleQueue[Connect | Exception] = queue.SimpleQueue()
        patcher = mock.patch.object(libvirt, 'open', self.open_one)
        patcher.start()
        self.addCleanup(patcher.stop)
        self.hypervisor = Hypervisor(
            'stand-in:///system', loop=EventLoop(embedded=True), call_timeout=LONG
        )
        self.addCleanup(self.hypervisor.close)

    def open_one(self, uri: str) -> Connect:
        if threading.current_thread().name != 'blockmirror-open':
            self.opened_for_calls += 1
            return self.calling
        given = self.openings.get()
        if isinstance(given, Exception):
            raise given
        return given

    def opened(self, **answers: Any) -> Connect:
        """Open; the answers are those to calls."""
        conn = Connect(**answers)
        self.calling = Connect(**answers)
        self.openings.put(conn)
        self.hypervisor.open()
        return conn

    def next_event(self, subscription: Subscription) -> HypervisorEvent:
        return subscription.queue.get(timeout=LONG)

    # Opening

    def test_opens_with_keepalive_events_and_close_callback(self) -> None:
        conn = self.opened()
        self.assertEqual((1, True), (self.hypervisor.generation, self.hypervisor.is_alive))
        self.assertIn(('setKeepAlive', 5, 3), conn.calls)
        self.assertIn(('registerCloseCallback',), conn.calls)
        self.assertEqual(
            {
                libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
            },
            set(conn.callbacks),
        )

    def test_opening_twice_is_opening_once(self) -> None:
        self.opened()
        self.assertIs(self.hypervisor, self.hypervisor.open())

    def test_what_can_not_be_opened_raises_and_leaves_no_thread(self) -> None:
        self.openings.put(REFUSED)
        error = self.assertRaises(exception.HypervisorUnavailable, self.hypervisor.open)
        self.assertEqual((38, False), (error.code, error.outcome_unknown))
        self.assertIsNone(self.hypervisor._keeper)

    def test_a_failed_registration_closes_the_connection(self) -> None:
        conn = Connect(domainEventRegisterAny=libvirt_error(1, 'no', QEMU))
        self.openings.put(conn)
        self.assertRaises(exception.HypervisorUnavailable, self.hypervisor.open)
        self.assertIn(('close',), conn.calls)

    def test_drivers_without_keepalive_are_fine(self) -> None:
        """qemu:///embed and test:/// support neither keepalive nor close callbacks."""
        self.opened(setKeepAlive=libvirt_error(3, 'not supported by the connection driver', 0))
        self.assertTrue(self.hypervisor.is_alive)

    def test_a_silent_libvirtd_is_given_up_and_closed_when_it_answers(self) -> None:
        """The late connection must not stay registered behind our back."""
        hypervisor = Hypervisor(
            'stand-in:///', loop=EventLoop(embedded=True), call_timeout=Seconds(0.01)
        )
        error = self.assertRaises(exception.HypervisorUnavailable, hypervisor.open)
        self.assertTrue(error.outcome_unknown)
        self.assertEqual(['open'], [call.name for call in hypervisor.hanging])
        closed = threading.Event()
        self.openings.put(Connect(close=setting(closed)))
        self.assertTrue(closed.wait(LONG))

    def test_read_only(self) -> None:
        hypervisor = Hypervisor(
            'stand-in:///', read_only=True, loop=EventLoop(embedded=True), keepalive=(0, 1)
        )
        with mock.patch.object(libvirt, 'openReadOnly', return_value=Connect()) as opening:
            with hypervisor:
                opening.assert_called_once_with('stand-in:///')
            self.assertFalse(hypervisor.is_alive)

    def test_from_conf(self) -> None:
        options = cfg.ConfigOpts()
        conf.register_opts(options)
        options([])
        options.set_override('connection_uri', 'qemu:///x', group='blockmirror')
        options.set_override('keepalive_interval', 7, group='blockmirror')
        hypervisor = Hypervisor.from_conf(options, read_only=True)
        self.assertEqual('qemu:///x', hypervisor.uri)
        self.assertTrue(hypervisor.read_only)
        self.assertEqual((7, 3), hypervisor._keepalive)

    # Calls

    def test_calls_before_open_and_after_close_are_refused(self) -> None:
        self.assertRaises(exception.HypervisorUnavailable, self.hypervisor.domain, 'x')
        self.opened()
        self.hypervisor.close()
        self.assertRaises(exception.HypervisorUnavailable, self.hypervisor.domain, 'x')

    def test_looks_up_by_name_or_uuid(self) -> None:
        dom = Recorder(name='guest', UUIDString=UUID)
        self.opened()
        self.calling.answers = {
            'lookupByName': lambda _name: dom,
            'lookupByUUIDString': lambda _uuid: dom,
        }
        for text in ('guest', UUID, UUID.upper()):
            domain = self.hypervisor.domain(text)
            self.assertEqual(('guest', UUID), (domain.name, domain.uuid))
        self.assertIn(('lookupByName', 'guest'), self.calling.calls)
        self.assertIn(('lookupByUUIDString', UUID), self.calling.calls)

    def test_lists_domains_by_name(self) -> None:
        two = [Recorder(name=n, UUIDString=UUID) for n in ('b', 'a')]
        self.opened(listAllDomains=two)
        self.assertEqual(['a', 'b'], [domain.name for domain in self.hypervisor.domains()])

    def test_no_such_domain(self) -> None:
        self.opened(lookupByName=libvirt_error(42, 'Domain not found'))
        self.assertRaises(exception.DomainNotFound, self.hypervisor.domain, 'x')

    def test_versions(self) -> None:
        self.opened(getLibVersion=9_000_000, getVersion=7_002_022)
        versions = self.hypervisor.versions()
        self.assertEqual((9_000_000, 7_002_022), (versions.libvirt, versions.qemu))

    def test_calls_share_no_connection_with_the_events(self) -> None:
        events = self.opened(getLibVersion=9, getVersion=7)
        self.hypervisor.versions()
        self.assertNotIn(('getVersion',), events.calls)
        self.assertEqual({}, self.calling.callbacks)

    def test_a_connection_that_is_done_serves_the_next_call(self) -> None:
        self.opened(getLibVersion=9, getVersion=7)
        for _ in range(3):
            self.hypervisor.versions()
        self.assertEqual(1, self.opened_for_calls)

    def test_two_calls_at_a_time_have_two_connections(self) -> None:
        """libvirt's client may leave a request unsent while another one hangs."""
        self.opened(getLibVersion=9, getVersion=7)
        self.hypervisor.run('outer', lambda _conn: self.hypervisor.versions())
        self.assertEqual(2, self.opened_for_calls)

    def test_a_call_that_nobody_waits_for_is_not_made_any_more(self) -> None:
        """The connection came after the timeout: an abort or a pivot must not follow."""
        self.opened()
        opening, called = threading.Event(), threading.Event()
        done = threading.Event()
        release = threading.Event()

        def open_late(_uri: str) -> Connect:
            opening.set()
            release.wait()
            return Connect(close=setting(done))

        with mock.patch.object(libvirt, 'open', open_late):
            error = self.assertRaises(
                exception.HypervisorUnavailable,
                self.hypervisor.run,
                'pivot',
                lambda _conn: called.set(),
                timeout=Seconds(0.05),
            )
            self.assertTrue(error.outcome_unknown)
            self.assertTrue(opening.wait(LONG))
            release.set()
            self.hypervisor.close()
            self.assertTrue(done.wait(LONG))
        self.assertFalse(called.is_set())

    def test_no_connection_for_a_call(self) -> None:
        self.opened()
        with mock.patch.object(libvirt, 'open', side_effect=REFUSED):
            error = self.assertRaises(exception.HypervisorUnavailable, self.hypervisor.versions)
        self.assertEqual((38, False), (error.code, error.outcome_unknown))

    # Events

    def test_events_reach_subscriptions_as_values(self) -> None:
        conn = self.opened()
        with self.hypervisor.subscribe(UUID) as subscription:
            dom = Recorder(UUIDString=UUID)
            conn.callbacks[libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2](dom, 'vda', 2, 3)
            conn.callbacks[libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE](dom, 5, 1)
            conn.callbacks[libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE](
                Recorder(UUIDString='another'), 5, 1
            )
            self.assertEqual(
                [
                    BlockJobEvent(UUID, 'vda', 2, BlockJobStatus.READY),
                    LifecycleEvent(UUID, Lifecycle.STOPPED, 1),
                ],
                [self.next_event(subscription), self.next_event(subscription)],
            )
            self.assertTrue(subscription.queue.empty())

    # Losing the connection

    def test_a_lost_connection_is_replaced_and_subscribers_are_told(self) -> None:
        first = self.opened()
        second = Connect()
        with self.hypervisor.subscribe(UUID) as subscription:
            first.break_()
            self.assertEqual(ConnectionLost('end of file'), self.next_event(subscription))
            self.openings.put(second)
            self.assertEqual(Reconnected(2), self.next_event(subscription))
            self.assertTrue(subscription.queue.empty())
        self.assertEqual((2, True), (self.hypervisor.generation, self.hypervisor.is_alive))
        self.assertEqual(2, len(second.callbacks))
        self.assertIn(('setKeepAlive', 5, 3), second.calls)
        # What was registered on the old one is taken back, or it would never be freed.
        self.assertIn(('unregisterCloseCallback',), first.calls)
        self.assertEqual(2, len([c for c in first.calls if c[0] == 'domainEventDeregisterAny']))
        self.assertIn(('close',), first.calls)

    def test_connecting_again_is_repeated_until_it_works(self) -> None:
        first = self.opened()
        for _ in range(2):
            self.openings.put(REFUSED)
        self.openings.put(Connect())
        with self.hypervisor.subscribe() as subscription:
            first.break_()
            self.assertIsInstance(self.next_event(subscription), ConnectionLost)
            self.assertEqual(Reconnected(2), self.next_event(subscription))

    def test_a_call_that_fails_with_the_connection_starts_the_replacement(self) -> None:
        """The close callback may come late, or (without an event loop) never."""
        conn = self.opened(getLibVersion=CLOSED)
        with self.hypervisor.subscribe() as subscription:
            error = self.assertRaises(exception.HypervisorUnavailable, self.hypervisor.versions)
            self.assertTrue(error.outcome_unknown)
            self.assertIsInstance(self.next_event(subscription), ConnectionLost)
            self.calling = Connect(getLibVersion=9, getVersion=7)
            self.openings.put(Connect())
            self.assertEqual(Reconnected(2), self.next_event(subscription))
        self.assertEqual(9, self.hypervisor.versions().libvirt)
        conn.break_()  # the old callback, late: no second replacement
        self.assertEqual(9, self.hypervisor.versions().libvirt)
        self.assertEqual(2, self.hypervisor.generation)

    def test_calls_wait_for_the_new_connection(self) -> None:
        """A call in an outage succeeds when libvirtd is back within its timeout."""
        first = self.opened()
        first.alive = 0  # seen by the next call before any callback
        self.calling = Connect(getLibVersion=9, getVersion=7)
        self.openings.put(Connect())
        self.assertEqual(9, self.hypervisor.versions().libvirt)
        self.assertEqual(2, self.hypervisor.generation)

    def test_a_call_in_an_outage_fails_at_its_timeout_and_was_not_made(self) -> None:
        first = self.opened()
        first.alive = 0
        error = self.assertRaises(
            exception.HypervisorUnavailable,
            self.hypervisor.run,
            'getVersion',
            lambda conn: conn.getVersion(),
            timeout=Seconds(0.01),
        )
        self.assertFalse(error.outcome_unknown)
        self.openings.put(REFUSED)  # let the attempt under way end

    def test_reconnect_on_request(self) -> None:
        self.opened()
        self.openings.put(Connect())
        self.hypervisor.reconnect()
        self.assertEqual((2, True), (self.hypervisor.generation, self.hypervisor.is_alive))

    def test_reconnect_gives_up_waiting_at_its_timeout(self) -> None:
        self.opened()
        self.assertRaises(
            exception.HypervisorUnavailable, self.hypervisor.reconnect, timeout=Seconds(0.01)
        )
        self.openings.put(REFUSED)

    def test_close_ends_the_attempts(self) -> None:
        first = self.opened()
        keeper = self.hypervisor._keeper
        assert keeper is not None
        first.break_()
        self.hypervisor.close()
        self.openings.put(REFUSED)
        keeper.join(LONG)
        self.assertFalse(keeper.is_alive())

    def test_a_connection_that_comes_after_close_is_closed(self) -> None:
        first = self.opened()
        with self.hypervisor.subscribe() as subscription:
            first.break_()
            # From here on the keeper opens the next one.
            self.assertIsInstance(self.next_event(subscription), ConnectionLost)
        closed = threading.Event()
        self.hypervisor.close()
        self.openings.put(Connect(close=setting(closed)))
        self.assertTrue(closed.wait(LONG))
        self.assertFalse(self.hypervisor.is_alive)


class TestRealLibrary(testtools.TestCase):
    """libvirt's own test driver: no daemon, but the real binding."""

    def test_the_test_driver(self) -> None:
        with Hypervisor('test:///default') as hypervisor:
            domain = hypervisor.domain('test')
            self.assertTrue(domain.is_active())
            self.assertTrue(domain.is_persistent())
            self.assertIn('<domain', domain.xml())
            self.assertEqual([domain.uuid], [d.uuid for d in hypervisor.domains()])
            self.assertIsNone(domain.mark())
            error = self.assertRaises(exception.HypervisorUnavailable, domain.job, 'vda')
            self.assertEqual(libvirt.VIR_ERR_NO_SUPPORT, error.code)
            self.assertRaises(exception.DomainNotFound, hypervisor.domain, 'nope')

    def test_the_event_loop_answers(self) -> None:
        loop = EventLoop()
        loop.start()
        loop.start()
        self.assertTrue(loop.answers(LONG))

    def test_events_come_through_the_real_loop(self) -> None:
        with Hypervisor('test:///default') as hypervisor, hypervisor.subscribe() as events:
            domain = hypervisor.domain('test')
            domain.rewrite_stored(lambda xml: xml)
            self.assertEqual(
                LifecycleEvent(domain.uuid, Lifecycle.DEFINED, 1), events.queue.get(timeout=LONG)
            )
