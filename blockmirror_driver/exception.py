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
"""Every error that blockmirror raises, as one tree.

What a family means to the caller::

    BlockmirrorError
    +-- UsageError (2)                the call itself was malformed
    +-- Refused (3)                   a check said no; nothing was changed
    |   +-- InvalidConnectionInfo     Cinder's dict can't be understood or trusted
    |   +-- UnsupportedVolume         understood, but we will not move such a volume
    |   |   +-- EncryptedVolume
    |   |   +-- SharedVolume          more than one writer may hold it
    |   |   +-- UnknownVolumeType     no driver is registered for it
    |   +-- InvalidDisk               a <disk> that is not ours to build or parse
    |   +-- PlanRefused               at least one check of the plan failed
    |   +-- DomainNotFound
    |   +-- DiskNotFound
    |   +-- DiskBusy                  another block job holds the disk
    |   +-- DestinationUnusable       the probe could not open it
    |   |   +-- DestinationSilent     it did not answer within the deadline
    |   +-- SecretUnavailable         a secret is needed and is not there
    |   +-- BudgetExhausted           too many swaps or too much bandwidth in use
    |   +-- HostDraining              the host takes no new swaps
    |   +-- SwapNotFound
    |   +-- SwapNotOwned              another living process owns the swap
    |   +-- WrongState                the request does not fit the swap's state
    |   +-- JournalUnusable           the journal can't be opened or written
    |   +-- HypervisorUnavailable     libvirt can't be reached or refused a call
    +-- TimedOut (4)                  too slow; the guest is on the source
    |   +-- NotConverging             the guest writes faster than the copy
    |   +-- Stalled                   the destination stopped answering
    +-- Cancelled (5)                 as asked; the guest is on the source
    +-- CopyFailed (6)                the copy ended badly; the guest is on the source
    |   +-- GuestGone                 the guest stopped before the pivot was asked for
    |   +-- JobLost                   the block job vanished and nothing switched
    +-- StateUnknown (7)              an operator must look; nothing more is touched
    |   +-- GroupIncomplete           some disks have switched, and others have not
    +-- CleanupIncomplete (8)         pivoted; what is left over is journaled and retried

The number is the exit code of the ``blockmirror`` command, see
:attr:`BlockmirrorError.exit_code`. Families 3 to 6 promise that the guest is still on
its source. An error's message is one line: what, where. Its :attr:`~BlockmirrorError.hint`
says what to do. Neither ever holds a secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

__all__ = (
    'BlockmirrorError',
    'BudgetExhausted',
    'Cancelled',
    'CleanupIncomplete',
    'CopyFailed',
    'DestinationSilent',
    'DestinationUnusable',
    'DiskBusy',
    'DiskNotFound',
    'DomainNotFound',
    'EncryptedVolume',
    'GroupIncomplete',
    'GuestGone',
    'HostDraining',
    'HypervisorUnavailable',
    'InvalidConnectionInfo',
    'InvalidDisk',
    'JobLost',
    'JournalUnusable',
    'NotConverging',
    'PlanRefused',
    'Refused',
    'SecretUnavailable',
    'SharedVolume',
    'Stalled',
    'StateUnknown',
    'SwapNotFound',
    'SwapNotOwned',
    'TimedOut',
    'UnknownVolumeType',
    'UnsupportedVolume',
    'UsageError',
    'WrongState',
    'families',
)


def one_line(text: object) -> str:
    """Fold whatever text there is into one printable line.

    Messages quote what others gave us (libvirt, a connection_info), which may hold
    newlines or terminal escapes.
    """
    folded = ' '.join(str(text).split())
    return ''.join(c if c.isprintable() else '\N{REPLACEMENT CHARACTER}' for c in folded)


class BlockmirrorError(Exception):
    """Base of all errors; catching it catches all that we raise on purpose.

    :param message: one line: what is wrong and where.
    :param hint: what to do about it; falls back to the class's :attr:`default_hint`.
    """

    #: Exit status of the command when it ends with this error.
    exit_code: ClassVar[int] = 6
    #: One sentence for the generated table of exit codes.
    meaning: ClassVar[str] = ''
    #: Whether the same request may succeed later without a change by anyone.
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = ''

    def __init__(self, message: object, *, hint: str | None = None) -> None:
        #: The journaled swap that ended with this error; set where a swap is run.
        self.swap_id: str | None = None
        self.message = one_line(message)
        self.hint = one_line(hint if hint is not None else self.default_hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class UsageError(BlockmirrorError):
    """The call was malformed: an argument is missing, unknown or not parseable."""

    exit_code = 2
    meaning = 'The command line or the call was malformed. Nothing was changed.'
    default_hint = 'see blockmirror help'


class Refused(BlockmirrorError):
    """A check said no. Nothing was changed, on the guest or elsewhere."""

    exit_code = 3
    meaning = 'A check refused the request. Nothing was changed.'


class InvalidConnectionInfo(Refused):
    """The connection_info can't be understood, or must not be trusted.

    :param field: dotted path of the offending field, for example ``data.hosts[1]``.
    """

    default_hint = 'compare the connection_info with what the Cinder driver should emit'

    def __init__(self, message: object, *, field: str = '', hint: str | None = None) -> None:
        self.field = field
        super().__init__(f'{field}: {message}' if field else message, hint=hint)


class UnsupportedVolume(Refused):
    """The volume is understood, but moving it is not supported."""


class EncryptedVolume(UnsupportedVolume):
    """A volume is encrypted, and can't be opened, or would not be any more."""

    default_hint = 'give its key with --key-file or --key-id'


class SharedVolume(UnsupportedVolume):
    """More than one writer may hold the volume (multiattach or <shareable/>)."""

    default_hint = 'detach it from all but one server and attach it without multiattach'


class UnknownVolumeType(UnsupportedVolume):
    """No driver in ``blockmirror.volume_drivers`` serves this driver_volume_type."""

    default_hint = 'install a package that registers a driver for it'


class InvalidDisk(Refused):
    """A ``<disk>`` element that can't be built or parsed."""


class PlanRefused(Refused):
    """At least one check of the plan failed.

    :param failed: ids of the failed checks, in the plan's order.
    """

    default_hint = 'run blockmirror plan for all checks and their fixes'

    def __init__(
        self, message: object, *, failed: Sequence[str] = (), hint: str | None = None
    ) -> None:
        self.failed = tuple(failed)
        super().__init__(message, hint=hint)


class DomainNotFound(Refused):
    """No such domain on this hypervisor, or it is not running."""

    default_hint = 'virsh list shows the running domains'


class DiskNotFound(Refused):
    """The domain has no such disk."""

    default_hint = 'virsh domblklist DOMAIN shows the disks'


class DiskBusy(Refused):
    """Another block job, snapshot or device operation holds the disk."""

    retryable = True
    default_hint = 'wait for it, or end it with the tool that started it'


class DestinationUnusable(Refused):
    """The destination could not be opened by a throwaway domain on the same host."""

    default_hint = 'check address, credentials and that the volume exists'


class DestinationSilent(DestinationUnusable):
    """The destination did not answer within the probe's deadline."""

    retryable = True
    default_hint = 'check that the storage server is up and reachable from this host'


class SecretUnavailable(Refused):
    """A secret is needed, and neither the connection_info, libvirt nor a key manager has it."""

    default_hint = 'define the libvirt secret, or set the option that names it'


class BudgetExhausted(Refused):
    """The host's or backend's limit of concurrent swaps or bandwidth is reached."""

    retryable = True
    default_hint = 'wait for a running swap to end (budget_wait does so), or raise the limit'


class HostDraining(Refused):
    """New swaps are refused on this host, as an operator asked for."""

    default_hint = 'blockmirror drain off, or move the guest to another host first'


class SwapNotFound(Refused):
    """The journal holds no such swap."""

    default_hint = 'blockmirror list shows the swaps'


class SwapNotOwned(Refused):
    """Another living process owns the swap."""

    default_hint = 'use blockmirror cancel, pivot, speed or hold: they reach the owner'


class WrongState(Refused):
    """The request does not fit the state that the swap is in."""


class JournalUnusable(Refused):
    """The journal can't be opened or written, so no swap may start."""

    default_hint = 'check [blockmirror] journal_path, its owner and the free space'


class HypervisorUnavailable(Refused):
    """Libvirt can't be reached, or refused a call before anything was changed.

    :param code: libvirt's error code (``VIR_ERR_*``), 0 when there is none.
    :param outcome_unknown: the call may or may not have had its effect: the connection
        broke while it was under way, or it did not return within the call timeout. Who
        catches this reads the world again before doing anything else.
    """

    retryable = True
    default_hint = 'check that libvirtd runs and that this user may connect'

    def __init__(
        self,
        message: object,
        *,
        code: int = 0,
        outcome_unknown: bool = False,
        hint: str | None = None,
    ) -> None:
        self.code = code
        self.outcome_unknown = outcome_unknown
        super().__init__(message, hint=hint)


class TimedOut(BlockmirrorError):
    """A deadline passed. The copy was ended and the guest is on the source."""

    exit_code = 4
    meaning = 'A deadline passed, or the copy did not converge. The guest is on the source.'
    retryable = True
    default_hint = 'raise the timeout, or try again when the guest is less busy'


class NotConverging(TimedOut):
    """The guest dirties the disk faster than the copy moves it."""

    default_hint = 'raise the bandwidth, or use synchronous writes'


class Stalled(TimedOut):
    """The copy stood still for longer than allowed: the destination does not answer."""

    default_hint = 'check the destination storage server'


class Cancelled(BlockmirrorError):
    """Cancelled on request. The guest is on the source."""

    exit_code = 5
    meaning = 'Cancelled on request. The guest is on the source.'


class CopyFailed(BlockmirrorError):
    """The copy failed. The guest is on the source."""

    exit_code = 6
    meaning = 'The copy failed. The guest is on the source.'
    default_hint = "see the hypervisor's log for the cause; the source is untouched"


class GuestGone(CopyFailed):
    """The guest stopped before a pivot was asked for; the source holds every write."""

    default_hint = 'start the guest again and repeat the swap'


class JobLost(CopyFailed):
    """The block job vanished without a word, and the guest is on the source."""

    default_hint = 'another tool may have ended it; the source is untouched'


class StateUnknown(BlockmirrorError):
    """What the guest's disk is can't be told. Nothing more is touched."""

    exit_code = 7
    meaning = 'The state is unknown. Both volumes are kept; an operator must look.'
    default_hint = 'do not start the guest; see blockmirror show, then blockmirror resolve'


class GroupIncomplete(StateUnknown):
    """Some disks of a group are on their destinations and others are not; it says which."""

    default_hint = 'nothing is lost; swap the others, or swap those back'


class CleanupIncomplete(BlockmirrorError):
    """The guest is on the destination; something is left to clean up."""

    exit_code = 8
    meaning = 'Pivoted: the guest is on the destination, but cleaning up is incomplete.'
    retryable = True
    default_hint = 'run blockmirror recover to try the clean-up again'


def families() -> Iterator[type[BlockmirrorError]]:
    """Yield the classes that say what their exit code means, in the order of that code."""
    told = (family for family in BlockmirrorError.__subclasses__() if family.meaning)
    yield from sorted(told, key=lambda family: family.exit_code)
