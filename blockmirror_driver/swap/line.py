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
"""Whose turn it is: pure rules on who runs and who waits.

First come, first served, for each limit of its own: one who waits for a backend holds up nobody
who goes to another, and nobody overtakes one who waits for the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from blockmirror_driver.swap.budget import Budget, Claim, Scope
from blockmirror_driver.swap.tickets import Ticket

#: A limit: of the host (``None``) or a backend, and whether of swaps or of bytes.
_Key: TypeAlias = tuple[str | None, str]
_SWAPS, _BYTES = 'swaps', 'bytes'


def stand(
    budget: Budget, running: Sequence[Claim], line: Sequence[Ticket], wants: Sequence[Claim]
) -> tuple[str, tuple[Claim, ...]]:
    """Tell why some swaps may not begin yet, empty if they may, and who is called before them.

    :param line: those who came before.
    :return: the reason, and what those want whose turn it is and who have not begun.
    """
    called: list[Claim] = []
    held: set[_Key] = set()
    for ticket in line:
        waits_for = _reasons(budget, (*running, *called), held, ticket.wants)
        held.update(waits_for)
        if not waits_for:
            called += ticket.wants
    reasons = _reasons(budget, (*running, *called), held, wants)
    return next(iter(reasons.values()), ''), tuple(called)


def called(budget: Budget, running: Sequence[Claim], line: Sequence[Ticket]) -> tuple[Claim, ...]:
    """Return what those want whose turn it is and who have not begun."""
    return stand(budget, running, line, ())[1]


def waiting(
    budget: Budget, running: Sequence[Claim], line: Sequence[Ticket]
) -> tuple[tuple[Ticket, str], ...]:
    """Return who waits and what for, the first first; of one who is called that is empty."""
    return tuple(
        (ticket, stand(budget, running, line[:place], ticket.wants)[0])
        for place, ticket in enumerate(line)
    )


def shortage(budget: Budget, running: Sequence[Claim], wants: Sequence[Claim]) -> str:
    """Tell why some swaps do not fit beside others; empty if they do."""
    return next(iter(_reasons(budget, running, frozenset(), wants).values()), '')


def _reasons(
    budget: Budget,
    running: Sequence[Claim],
    held: set[_Key] | frozenset[_Key],
    wants: Sequence[Claim],
) -> dict[_Key, str]:
    """Tell for each limit that some swaps have to wait for why it is so.

    :param held: limits that somebody waits for already.
    """
    claims = (*running, *wants)
    found: dict[_Key, str] = {}
    for scope in budget.scopes(claims):
        more = sum(place >= len(running) for place in scope.members)
        if not more:
            continue
        for kind, reason in _looked_at(scope, claims, len(scope.members) - more, more):
            key = (scope.backend, kind)
            if reason:
                found[key] = reason
            elif key in held:
                found[key] = f'another swap waits for the {kind} {scope.where} already'
    return found


def _looked_at(
    scope: Scope, claims: Sequence[Claim], count: int, more: int
) -> Iterator[tuple[str, str]]:
    """Give each kind of limit that there is, and why ``more`` do not fit beside ``count``."""
    limit = scope.limit
    if limit.swaps:
        told = f'{count} of {limit.swaps} swaps {scope.where} are running'
        told += '' if more == 1 else f', {more} more are wanted'
        yield _SWAPS, told if count + more > limit.swaps else ''
    if limit.bandwidth:
        needs = [claims[place].needs(limit) for place in scope.members]
        used, wanted = sum(needs[:count]), sum(needs[count:])
        told = (
            f'{used} of {limit.bandwidth} bytes/s {scope.where} are reserved, '
            f'{wanted} more are wanted'
        )
        yield _BYTES, told if used + wanted > limit.bandwidth else ''
