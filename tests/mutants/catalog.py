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
"""What is broken, and which test has to notice."""

from __future__ import annotations

from dataclasses import dataclass

_SWAP = 'blockmirror_driver/swap'
_FAULTS = 'tests/functional/test_faults.py'


@dataclass(frozen=True, slots=True)
class Mutant:
    """A small change of the code that breaks a promise.

    :ivar old: text that stands once in ``file``; ``new`` takes its place
    :ivar tests: arguments of pytest; what they run has to fail
    """

    promise: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def on_real_parts(self) -> bool:
        """Whether its tests need the lab."""
        return self.tests[0].startswith('tests/functional')


MUTANTS = (
    Mutant(
        'P1', 'a stale stored XML is left as it is after the switch',
        f'{_SWAP}/verify.py', '    live_xml = domain.xml()\n',
        '    live_xml = domain.xml()\n    if live_xml:\n        return\n',
        ('tests/functional/test_domains.py', '-k', 'stale_stored_xml'),
    ),
    Mutant(
        'P1', 'READY is taken from a cursor that has come to the end',
        'blockmirror_driver/mirror/events.py', '_READY[self.mirror.ready]',
        "_READY['yes' if self.job and self.job.cur == self.job.end else self.mirror.ready]",
        ('tests/unit/mirror',),
    ),
    Mutant(
        'P1', 'who says that a destination is zeroed is believed',
        f'{_SWAP}/opening.py',
        '    if seen.first is not None:\n', '    if seen.first is not None and not disk:\n',
        ('tests/unit/swap/test_zeroes.py',),
    ),
    Mutant(
        'P2', 'what comes after the switch goes back',
        f'{_SWAP}/runner.py',
        '            # That was read, and stays so even if the guest is gone by now.\n'
        '            return self.settlement.forward()\n',
        '            self.settlement.revert(cause)\n',
        ('tests/functional/test_pairs.py', '-k', 'nfs_to_rbd'),
    ),
    Mutant(
        'P2', 'evidence of the switch goes back',
        f'{_SWAP}/runner.py',
        '        if verdict.decision in (Decision.ROLL_FORWARD, Decision.REPAIR):\n'
        '            return self.settlement.forward()',
        '        if verdict.decision in (Decision.ROLL_FORWARD, Decision.REPAIR):\n'
        '            self.settlement.revert(cause)',
        ('tests/unit/swap/test_runner.py', 'tests/unit/swap/test_failures.py'),
    ),
    Mutant(
        'P2', 'a guest that died around the pivot is said to be on the source',
        f'{_SWAP}/reconcile.py',
        "    if evidence.pivot_requested:\n        return Verdict(\n"
        "            Decision.UNKNOWN,\n"
        "            'the guest went away",
        "    if evidence.pivot_requested:\n        return Verdict(\n"
        "            Decision.REVERT,\n"
        "            'the guest went away",
        ('tests/unit/swap/test_reconcile.py',),
    ),
    Mutant(
        'P3', 'a cancelled swap leaves its block job',
        f'{_SWAP}/runner.py',
        'return mirror.abort(interrupt=lambda: self._control.left)', 'return mirror.state',
        (_FAULTS, '-k', 'interrupt_while_copying'),
    ),
    Mutant(
        'P3', 'the mark of a swap that went back is left on the guest',
        f'{_SWAP}/cleanup.py',
        '        lambda: hypervisor.secrets.discard(swap.id, SecretLifetime.DISK),\n'
        '        lambda: unmark(hypervisor, swap.id, swap.domain_uuid),',
        '        lambda: hypervisor.secrets.discard(swap.id, SecretLifetime.DISK),',
        ('tests/unit/swap/test_runner.py', 'tests/unit/swap/test_failures.py'),
    ),
    Mutant(
        'P4', "another tool's job is no obstacle",
        f'{_SWAP}/checks.py',
        'if live.mirror is not None or domain.job(dev) is not None:', 'if not dev:',
        ('tests/unit/swap/test_plan.py',),
    ),
    Mutant(
        'P4', "another tool's job is ended",
        f'{_SWAP}/checks.py',
        'if live.mirror is not None or domain.job(dev) is not None:',
        'if domain.job(dev) is not None:\n        domain.abort(dev)\n    if not dev:',
        ('tests/functional/test_refusals.py', '-k', 'another_tool_s_job'),
    ),
    Mutant(
        'P4', "another tool's job is pivoted, since ours was said to be ready",
        f'{_SWAP}/switch.py',
        '            self._settlement.agree(mirror.domain, self._found(mirror, found))\n',
        '            found.result()\n',
        ('tests/unit/swap/test_runner.py',),
    ),
    Mutant(
        'P5', 'done is said without looking at the stored XML',
        f'{_SWAP}/evidence.py',
        'return Side.ABSENT if stored is None else',
        'return Side.ABSENT if stored is not None else',
        (_FAULTS, '-k', 'redefined_while'),
    ),
    Mutant(
        'P5', 'done is said whatever verification finds',
        f'{_SWAP}/settlement.py', '        return list(found.problems)', '        return []',
        ('tests/unit/swap',  '-k', 'not test_properties'),
    ),
    Mutant(
        'P6', 'the journal is not told that the copy begins',
        f'{_SWAP}/runner.py',
        "            self._ledger.advance(SwapState.COPYING, 'starting the block job')\n", '',
        ('tests/unit/swap/test_runner.py',),
    ),
    Mutant(
        'P6', 'the journal is not told that a pivot was asked for',
        f'{_SWAP}/switch.py', "'asking for the pivot', pivot_requested=True", "'asking'",
        ('tests/unit/swap/test_runner.py',),
    ),
    Mutant(
        'P2', 'a journal that was lost has asked for no pivot',
        f'{_SWAP}/rebuild.py', 'mark.intent == cleanup.PIVOTING', 'mark.intent == cleanup.COPYING',
        ('tests/unit/swap/test_rebuild.py',),
    ),
    Mutant(
        'P6', 'nobody takes up the swap of a dead process',
        f'{_SWAP}/journal.py', 'if owner is not None and owner.is_alive and owner !=',
        'if owner is not None and owner !=',
        ('tests/functional/test_crashes.py', '-k', 'after_ready'),
    ),
    Mutant(
        'P7', 'a secret is logged when it is defined',
        'blockmirror_driver/virt/secrets.py', '            secret.setValue(spec.value.reveal())\n',
        '            secret.setValue(spec.value.reveal())\n'
        '            print(spec.value.reveal().decode())\n',
        ('tests/functional/test_pairs.py', 'tests/functional/test_zz_secrets.py',
         '-k', 'nfs_to_iscsi or test_zz_secrets'),
    ),
    Mutant(
        'P7', 'a secret shows itself when it is formatted',
        'blockmirror_driver/model/secret.py', '        return format(self.REDACTED, spec)',
        '        return format(self._value.decode(), spec)',
        ('tests/unit/model/test_secret.py',),
    ),
    Mutant(
        'P8', 'the format is not given',
        'blockmirror_driver/xml/disk.py', "{'name': 'qemu', 'type': driver.format}",
        "{'name': 'qemu'}",
        ('tests/unit/xml/test_disk.py',),
    ),
    Mutant(
        'P8', 'a qcow2 may refer to any file',
        'blockmirror_driver/volume/format.py', "    if image_format == 'raw':",
        '    if image_format:',
        ('tests/functional/test_qcow2.py', '-k', 'undeclared or external'),
    ),
    Mutant(
        'P9', 'the pivot is synchronous',
        'blockmirror_driver/virt/domain.py',
        'libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT | libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC',
        'libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT',
        ('tests/unit/virt/test_domain.py',),
    ),
    Mutant(
        'P9', 'a job is ended without asking whether its destination answers',
        f'{_SWAP}/gate.py', 'if self._answers(Seconds(max(_SHORTEST, left)), instead):',
        'if left is not None:',
        (_FAULTS, '-k', 'no_abort_while_the_destination_hangs'),
    ),
    Mutant(
        'P1', 'blocks that differ are taken for the same', f'{_SWAP}/contents.py',
        'if one != other:', 'if one is other:',
        ('tests/functional/test_contents.py', '-k', 'not_the_same'),
    ),
    Mutant(
        'P9', 'a guest that was paused is left so', f'{_SWAP}/contents.py',
        '            _patiently(_let_go_on, self._hypervisor, self._swap)', '            pass',
        ('tests/unit/swap/test_contents.py',),
    ),
)  # fmt: skip
