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
"""What each swap may move of a limit of bytes/s: pure arithmetic on claims.

Those with a bandwidth of their own have it. The others share what is left in equal parts; where a
backend's limit leaves one less than the host's would, the rest of the host share what that frees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from blockmirror_driver.swap.budget import Budget, Claim, Limit, Scope

_Measure: TypeAlias = Callable[[Claim, Limit], int]


def shares(budget: Budget, claims: Sequence[Claim]) -> tuple[int, ...]:
    """Return the bytes/s that each is to have; 0 is unlimited.

    As long as what each needs fits into each limit, so does what each is to have.
    """
    scopes = tuple(_scopes(budget, claims))
    found = [_fixed(one, budget) for one in claims]
    sharing = {place for place, one in enumerate(claims) if not (one.kept or one.own)}
    floors = {
        place: min((each.limit.least for each in scopes if place in each.members), default=0)
        for place in sharing
    }
    left = [
        scope.limit.bandwidth
        - sum(claims[place].needs(scope.limit) for place in scope.members if place not in sharing)
        for scope in scopes
    ]
    while sharing:
        # The limit that leaves the least to each settles for those that come under it.
        levels = [
            (left[number] // len(members), number)
            for number, scope in enumerate(scopes)
            if (members := sharing.intersection(scope.members))
        ]
        if not levels:
            break
        level, tightest = min(levels)
        for place in sorted(sharing.intersection(scopes[tightest].members)):
            found[place] = max(level, floors[place])
            sharing.discard(place)
            for number, scope in enumerate(scopes):
                if place in scope.members:
                    left[number] -= found[place]
    return tuple(found)


def free(budget: Budget, others: Sequence[Claim], claim: Claim) -> int | None:
    """Return what nobody else may move now and this one may, bytes/s; ``None`` is all.

    :param others: all others, each with what is granted to it.
    """
    return _least_left(budget, others, claim, Claim.uses)


def spare(budget: Budget, others: Sequence[Claim], claim: Claim) -> int | None:
    """Return what is left, in bytes/s, once all others have given way; ``None`` is all."""
    return _least_left(budget, others, claim, Claim.needs)


def grants(
    budget: Budget,
    running: Sequence[Claim],
    called: Sequence[Claim],
    wants: Sequence[Claim],
    *,
    less: bool,
) -> tuple[int, ...] | None:
    """Return what each of some new swaps may begin with, bytes/s; ``None``: not yet.

    :param called: those whose turn it is as well, and who have not begun.
    :param less: whether what the others leave now will do, if that is not too little.
    """
    claims = (*running, *called, *wants)
    wanted = shares(budget, claims)
    first = len(claims) - len(wants)
    found = list(wanted[first:])
    for scope in _scopes(budget, claims):
        mine = [place - first for place in scope.members if place >= first]
        if not mine:
            continue
        used = sum(
            claims[place].uses(scope.limit) if place < len(running) else wanted[place]
            for place in scope.members
            if place < first
        )
        left = scope.limit.bandwidth - used
        if sum(found[place] for place in mine) <= left:
            continue
        most = left // len(mine)
        if not less or most < scope.limit.least:
            return None
        for place in mine:
            found[place] = min(found[place], most)
    return tuple(found)


def _scopes(budget: Budget, claims: Sequence[Claim]) -> Iterator[Scope]:
    """Give those that limit bytes/s."""
    return (scope for scope in budget.scopes(claims) if scope.limit.bandwidth)


def _fixed(claim: Claim, budget: Budget) -> int:
    """Return what no arithmetic changes; 0 for one that shares."""
    if claim.kept:
        return claim.granted or claim.own or budget.host.bandwidth or budget.backend.bandwidth
    return claim.own


def _least_left(
    budget: Budget, others: Sequence[Claim], claim: Claim, measure: _Measure
) -> int | None:
    claims = (*others, claim)
    mine = len(others)
    return min(
        (
            scope.limit.bandwidth
            - sum(measure(claims[place], scope.limit) for place in scope.members if place != mine)
            for scope in _scopes(budget, claims)
            if mine in scope.members
        ),
        default=None,
    )
