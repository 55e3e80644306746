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
"""What nova-compute talks to is away after the pivot, or its answers are: nothing is undone."""

from __future__ import annotations

from collections.abc import Callable

from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.states import SwapState
from tests.cloud import proxy
from tests.cloud.infrastructure import Infrastructure
from tests.cloud.interrupted import RECOVERY_S, InterruptedTestCase, ProxiedTestCase
from tests.cloud.proxy import Fault
from tests.lab.deadline import wait_until

#: Seconds that tokens live in the test of those that expire; bytes/s of a copy that outlives
#: them. It is of some 320 MiB: what is filled, and whole objects where the guest writes.
_TOKEN_S = 60
_CRAWL_TYPE, _CRAWL = 'rbd2-crawl', 3 << 20


class ServicesAwayTest(InterruptedTestCase):
    """A service ends in mid-copy, and is back only after the guest has switched."""

    def _away(self, end: Callable[[], None], start: Callable[[], None]) -> None:
        server, volume, dev, _swap_id = self.slow_copy()
        self.addCleanup(start)
        end()
        wait_until(lambda: self.state(server) == 'cleaned', RECOVERY_S, 'the guest switches')
        server.wait_acked(20)
        self.assertNotEqual([], self.owed(server))
        start()
        self.api.wait_answers()
        settled = self.assert_settled(server, volume, dev)
        self.assertEqual('rbd2', settled.backend)

    def test_keystone(self) -> None:
        """And nobody remembers what it has said of the tokens in use."""
        keystone = self.services['keystone-api']
        memcached = Infrastructure(self.api.site, self.api.lab).memcached

        def end() -> None:
            keystone.kill()
            memcached.kill()
            memcached.start()

        self._away(end, keystone.start)

    def test_message_bus(self) -> None:
        rabbitmq = Infrastructure(self.api.site, self.api.lab).rabbitmq
        self._away(lambda: rabbitmq.terminate(60), rabbitmq.start)


class TokensTest(InterruptedTestCase):
    def test_a_copy_outlives_the_tokens(self) -> None:
        """The request's token is long gone when Cinder has to be told of the end."""
        services = ('nova-api', 'nova-compute', 'cinder-api', 'cinder-volume')
        self.addCleanup(self.cloud, 'restart', *services)
        self.addCleanup(self.cloud, 'tokens', '86400')
        self.cloud('tokens', str(_TOKEN_S))
        self.cloud('restart', *services)
        server, volume, dev, swap_id = self.slow_copy(_CRAWL_TYPE, _CRAWL)
        self.api.wait_moved(volume.id, RECOVERY_S)
        at = {step.state: step.at for step in Journal(self.api.site.journal).steps(swap_id)}
        copied = at[SwapState.READY] - at[SwapState.COPYING]
        self.assertGreater(copied, _TOKEN_S)
        print(f'tokens of {_TOKEN_S} s, a copy of {copied:.0f} s', flush=True)
        self.assert_moved(server, volume, dev, 'rbd2')


class CinderFailsTest(ProxiedTestCase):
    """Each call that Cinder gets after a swap fails, or its answer is lost."""

    def test_attachment_complete_refused(self) -> None:
        self.faulty(proxy.COMPLETE, Fault.REFUSED, 3)

    def test_attachment_complete_without_an_answer(self) -> None:
        self.faulty(proxy.COMPLETE, Fault.DROPPED, 1)

    def test_attachment_delete_refused(self) -> None:
        self.faulty(proxy.DELETE, Fault.REFUSED, 3)

    def test_attachment_delete_without_an_answer(self) -> None:
        self.faulty(proxy.DELETE, Fault.DROPPED, 1)

    def test_completion_refused(self) -> None:
        self.faulty(proxy.COMPLETION, Fault.REFUSED, 3)

    def test_completion_without_an_answer(self) -> None:
        """Cinder has completed the move; a second attempt must not undo or repeat it."""
        self.faulty(proxy.COMPLETION, Fault.DROPPED, 1)

    def test_completion_without_answers(self) -> None:
        """Also what the client repeats by itself is not answered."""
        self.faulty(proxy.COMPLETION, Fault.DROPPED, 4)
