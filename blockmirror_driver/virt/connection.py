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
"""The connection to libvirt that survives libvirtd.

After a restart of libvirtd a ``virConnect`` never recovers, and what happened meanwhile is
not told again. So a lost connection is replaced by a new one in a background thread, the
events are registered again, and every subscriber gets a
:class:`~blockmirror_driver.virt.events.Reconnected` as a sign to look at the state.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self, TypeVar

import libvirt
import tenacity
from oslo_config import cfg
from oslo_log import log

from blockmirror_driver import exception
from blockmirror_driver.model import Disk, Seconds
from blockmirror_driver.virt import calls, capabilities, errors, probe
from blockmirror_driver.virt.calls import CallPool, HangingCall
from blockmirror_driver.virt.domain import Domain, is_uuid
from blockmirror_driver.virt.events import ConnectionLost, HypervisorEvent, Reconnected
from blockmirror_driver.virt.link import Link
from blockmirror_driver.virt.links import Links
from blockmirror_driver.virt.loop import EventLoop
from blockmirror_driver.virt.secrets import SecretStore
from blockmirror_driver.virt.subscriptions import Fanout, Subscription
from blockmirror_driver.virt.throwaway import Places

LOG = log.getLogger(__name__)

_T = TypeVar('_T')

#: Seconds that closing may take before it is left to its thread.
_CLOSE_TIMEOUT = Seconds(5.0)
#: Seconds between two attempts to connect again grow up to this.
_MAX_BACKOFF = 5.0


class Hypervisor:
    """A libvirt connection with events, reconnecting, and a bound on every call.

    A context manager. Any thread may call any method; a callback of libvirt must not.
    While the connection is lost, calls wait for the new one as part of their timeout.

    :param uri: a local QEMU driver, for example ``qemu:///system``.
    :param read_only: open without the right to change anything.
    :param loop: the event loop; by default one of our own.
    :param call_timeout: seconds for a call that should answer at once.
    :param keepalive: seconds between keepalive messages (0: none), and how many may stay
        unanswered before the connection counts as lost.
    """

    def __init__(
        self,
        uri: str,
        *,
        read_only: bool = False,
        loop: EventLoop | None = None,
        call_timeout: Seconds = Seconds(30.0),
        keepalive: tuple[int, int] = (5, 3),
    ) -> None:
        self.uri = uri
        self.read_only = read_only
        self.call_timeout = call_timeout
        self._keepalive = keepalive
        self._loop = loop or EventLoop()
        self._calls = CallPool()
        # Opening and closing have places of their own: a guest that hangs all the others
        # must not keep us from connecting again.
        self._upkeep = CallPool()
        #: Where throwaway domains are made.
        self.places = Places(uri, CallPool(), self._upkeep)
        self._fanout = Fanout()
        self._views: dict[str, Callable[[Domain], Domain]] = {}
        self._changed = threading.Condition()
        self._links = Links(
            lambda: Link(self.uri, read_only=self.read_only, keepalive=self._keepalive)
        )
        #: The connection that brings the events, and on which no call is ever made.
        self._link: Link | None = None
        self._generation = 0
        self._closing = threading.Event()
        self._keeper: threading.Thread | None = None
        #: (generation, reason) of a link that was seen broken; None ends the keeper.
        self._broken: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()

    @classmethod
    def from_conf(
        cls, conf: cfg.ConfigOpts, *, read_only: bool = False, loop: EventLoop | None = None
    ) -> Hypervisor:
        """Make one from the options of ``[blockmirror]``; it is not open yet."""
        group = conf.blockmirror
        return cls(
            group.connection_uri,
            read_only=read_only,
            loop=loop,
            call_timeout=Seconds(group.call_timeout),
            keepalive=(group.keepalive_interval, group.keepalive_count),
        )

    # Its life

    def open(self) -> Self:
        """Connect, and from now on keep the connection up.

        :raise HypervisorUnavailable: libvirt can't be reached; nothing is left running.
        """
        if self._keeper is not None:
            return self
        libvirt.registerErrorHandler(errors.swallow, None)  # else libvirt prints to stderr
        self._loop.start()
        self._adopt(self._connect(1), 1)
        self._keeper = threading.Thread(
            target=self._keep, name='blockmirror-reconnect', daemon=True
        )
        self._keeper.start()
        return self

    def close(self) -> None:
        """Close for good; never raises. A call under way is left to its thread."""
        self.places.endings.wait()
        self._closing.set()
        self._broken.put(None)
        with self._changed:
            link, self._link = self._link, None
            self._changed.notify_all()
        if link is not None:
            self._discard(link)
        self._renew()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def generation(self) -> int:
        """How many connections there have been; 0 before :meth:`open`."""
        return self._generation

    @property
    def is_alive(self) -> bool:
        """Whether there is a connection that has not been seen broken."""
        link = self._link
        return link is not None and link.is_alive

    @property
    def hanging(self) -> tuple[HangingCall, ...]:
        """Calls that outlived their timeout and have not returned."""
        return self._calls.hanging + self._upkeep.hanging + self.places.opening.hanging

    def reconnect(self, *, timeout: Seconds | None = None) -> None:
        """Replace the connection, as happens by itself when it is seen broken.

        :raise HypervisorUnavailable: there was no new one within ``timeout`` seconds (by
            default the call timeout); the attempts go on in the background.
        """
        deadline = time.monotonic() + (self.call_timeout if timeout is None else timeout)
        with self._changed:
            old = self._generation
            if self._link is not None:
                self._broken.put((old, 'replaced on request'))
            while self._generation == old or self._link is None:
                self._wait_for_change(deadline)

    # What it gives

    def domain(self, name_or_uuid: str) -> Domain:
        """Return the domain of that uuid or name.

        :raise DomainNotFound: there is none, running or stored.
        """

        def look_up(conn: libvirt.virConnect) -> Domain:
            if is_uuid(name_or_uuid):
                dom = conn.lookupByUUIDString(name_or_uuid)
            else:
                dom = conn.lookupByName(name_or_uuid)
            return Domain(self, name=dom.name(), uuid=dom.UUIDString())

        found = self.run('lookupDomain', look_up)
        return self._views.get(found.uuid, _unchanged)(found)

    def see(self, domain_uuid: str, view: Callable[[Domain], Domain]) -> None:
        """Have :meth:`domain` return what ``view`` makes of that domain, from now on."""
        old = self._views.get(domain_uuid, _unchanged)
        self._views[domain_uuid] = lambda dom: view(old(dom))

    def domains(self) -> tuple[Domain, ...]:
        """Return every domain, running or stored, in order of their names."""

        def listed(conn: libvirt.virConnect) -> list[Domain]:
            return [
                Domain(self, name=dom.name(), uuid=dom.UUIDString())
                for dom in conn.listAllDomains()
            ]

        return tuple(sorted(self.run('listAllDomains', listed), key=lambda d: d.name))

    def subscribe(self, domain_uuid: str | None = None) -> Subscription:
        """Return a queue of events from one domain, or from all; close it after use."""
        return self._fanout.subscribe(domain_uuid)

    def publish(self, event: HypervisorEvent) -> None:
        """Tell the subscribers of what libvirt has no event for."""
        self._fanout.publish(event)

    @property
    def secrets(self) -> SecretStore:
        """The secrets that we keep in libvirt."""
        return SecretStore(self)

    def versions(self) -> capabilities.Versions:
        """Return the versions of libvirt's daemon and of QEMU."""
        return self.run('getVersion', capabilities.versions)

    def capabilities_has_block_driver(self, protocol: str) -> bool | None:
        """Tell whether QEMU can open ``rbd``, ``iscsi`` or ``nfs``; None: can't tell."""
        emulator = self.run('getDomainCapabilities', capabilities.emulator)
        return capabilities.has_block_driver(emulator, protocol)

    def probe(
        self,
        disk: Disk,
        *,
        like: Domain | None = None,
        timeout: Seconds = Seconds(15.0),
        writable: bool = False,
        lingers: bool = False,
    ) -> probe.ProbeResult:
        """Open the disk in a throwaway domain, and return its exact size; see :mod:`.probe`.

        :raise DestinationUnusable: it does not open, with libvirt's reason.
        :raise DestinationSilent: it did not answer within ``timeout`` seconds.
        """
        xml = None if like is None else like.xml()
        return probe.probe(
            self.places, disk, like_xml=xml, timeout=timeout, writable=writable, lingers=lingers
        )

    def events_arrive(self, timeout: Seconds) -> bool:
        """Tell whether the event loop runs; see :meth:`EventLoop.answers`."""
        return self._loop.answers(timeout)

    def sweep_probes(self, *, dry_run: bool = False) -> tuple[str, ...]:
        """Destroy what a killed libvirtd left of old probes, or only list it; return names."""
        return self.run('destroy', probe.leftover if dry_run else probe.sweep)

    def run(
        self,
        name: str,
        function: Callable[[libvirt.virConnect], _T],
        *,
        key: str | None = None,
        timeout: Seconds | None = None,
        translate: errors.Translation = errors.translate,
    ) -> _T:
        """Run ``function`` with a connection, in the pool; for the rest of ``virt``.

        :param key: what it may hang on, for example a domain's uuid.
        :raise HypervisorUnavailable: no connection, no place in the pool, or, with
            ``outcome_unknown``, the connection broke or the call did not return.
        :raise BlockmirrorError: what ``translate`` makes of libvirt's error.
        """
        limit = self.call_timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        generation = self._current(deadline)
        remaining = Seconds(deadline - time.monotonic())

        def in_time(conn: libvirt.virConnect) -> _T:
            # Opening took so long that nobody waits any more: better not to act at all.
            if time.monotonic() >= deadline:
                raise exception.HypervisorUnavailable(f'{name}: no connection in time')
            return function(conn)

        try:
            return self._calls.call(
                name, lambda: self._links.call(in_time), timeout=remaining, key=key
            )
        except libvirt.libvirtError as error:
            if errors.is_connection_loss(error):
                self._broken.put((generation, errors.clean(error)))
            raise translate(error, name) from error

    def beside(self, function: Callable[[], _T]) -> Future[_T]:
        """Begin something in a daemon thread of its own; see :func:`calls.beside`."""
        return calls.beside(function)

    # Keeping it up

    def _current(self, deadline: float) -> int:
        """Return the generation once the connection seems alive, waiting if it must."""
        with self._changed:
            reported = 0
            while True:
                link, generation = self._link, self._generation
                if link is not None and link.is_alive:
                    return generation
                if link is not None and reported != generation:
                    # The close callback may come later than this call.
                    self._broken.put((generation, 'found dead before a call'))
                    reported = generation
                self._wait_for_change(deadline)

    def _wait_for_change(self, deadline: float) -> None:
        if self._keeper is None or self._closing.is_set():
            raise exception.HypervisorUnavailable('the libvirt connection is not open')
        if not self._changed.wait(deadline - time.monotonic()):
            raise exception.HypervisorUnavailable('there is no connection to libvirt')

    def _connect(self, generation: int) -> Link:
        link = Link(
            self.uri,
            read_only=self.read_only,
            keepalive=self._keepalive,
            publish=self._fanout.publish,
            on_close=lambda reason: self._broken.put((generation, reason)),
        )
        try:
            self._upkeep.call('open', link.open, timeout=self.call_timeout)
        except libvirt.libvirtError as error:
            raise exception.HypervisorUnavailable(
                f'no connection to libvirt: {errors.clean(error)}', code=errors.code(error)
            ) from error
        except exception.HypervisorUnavailable:
            self._discard(link)  # if it opens after all, it closes itself
            raise
        return link

    def _adopt(self, link: Link, generation: int) -> None:
        with self._changed:
            if not self._closing.is_set():
                self._link, self._generation = link, generation
                self._changed.notify_all()
                return
        self._discard(link)

    def _keep(self) -> None:
        while (broken := self._broken.get()) is not None:
            generation, reason = broken
            with self._changed:
                if generation != self._generation or self._link is None:
                    continue  # an old story, already dealt with
                link, self._link = self._link, None
            LOG.warning('lost the connection to libvirt: %s', reason)
            self._fanout.publish(ConnectionLost(reason))
            self._discard(link)
            self._renew()
            self._replace(generation + 1)

    def _replace(self, generation: int) -> None:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(exception.HypervisorUnavailable),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=_MAX_BACKOFF),
            stop=tenacity.stop_when_event_set(self._closing),
            sleep=tenacity.sleep_using_event(self._closing),
        )
        with contextlib.suppress(tenacity.RetryError):
            self._adopt(retrying(self._connect, generation), generation)
            LOG.info('connected to libvirt again, connection %d', generation)
            self._fanout.publish(Reconnected(generation))

    def _discard(self, link: Link) -> None:
        with contextlib.suppress(exception.HypervisorUnavailable):
            self._upkeep.call('close', link.close, timeout=_CLOSE_TIMEOUT)

    def _renew(self) -> None:
        with contextlib.suppress(exception.HypervisorUnavailable):
            self._upkeep.call('close', self._links.renew, timeout=_CLOSE_TIMEOUT)


def _unchanged(domain: Domain) -> Domain:
    return domain
