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
"""virtlogd and the monolithic libvirtd, as ``qemu:///system`` of the lab.

QEMU runs as root unless a domain says otherwise: dynamic ownership is on, so a domain with
``<seclabel type='static' model='dac' relabel='yes'>`` runs as any other user.  No cgroups,
no mount namespaces of QEMU's own, and no SELinux or AppArmor: a container has none of them.
"""

import pathlib
import xml.sax.saxutils

from tests.lab.layout import Credentials, LabError, Layout
from tests.lab.process import Daemon, run
from tests.lab.sockets import answers_unix

URI = 'qemu:///system'
_ETC = pathlib.Path('/etc/libvirt')
_RUN = pathlib.Path('/run/libvirt')

_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 1
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
max_core = 0
"""
#: Level 1 is debug, 2 info, 3 warning, 4 error; a filter names a source file's module.
_LIBVIRTD_CONF = """\
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_filters = "1:qemu 1:secret 1:security 1:libvirt 1:conf 1:remote 3:*"
log_outputs = "1:file:{log}"
"""


class Libvirtd:
    """Both daemons; a fault hook acts upon libvirtd, and guests go on without it.

    :param host_uuid: who this host is, where several share what libvirt else asks for that
    """

    def __init__(self, layout: Layout, credentials: Credentials, host_uuid: str = '') -> None:
        self._layout = layout
        self._credentials = credentials
        self._conf = _LIBVIRTD_CONF + (f'host_uuid = "{host_uuid}"\n' if host_uuid else '')
        #: Log at debug level: a test may look for secrets in it.
        self.debug_log = layout.logs / 'libvirtd.debug.log'
        self.virtlogd = Daemon(
            layout, 'virtlogd', ['virtlogd'], lambda: answers_unix(_RUN / 'virtlogd-sock')
        )
        self.daemon = Daemon(
            layout, 'libvirtd', ['libvirtd'], self._serves, timeout_s=90, reaped=True
        )

    def up(self) -> None:
        """Start both daemons unless they run.

        :raise LabError: one did not come up
        """
        if self.healthy():
            return
        (_ETC / 'virtlogd.conf').touch()
        (_ETC / 'qemu.conf').write_text(_QEMU_CONF)
        (_ETC / 'libvirtd.conf').write_text(self._conf.format(log=self.debug_log))
        self.virtlogd.start()
        self.daemon.start()

    def alive(self) -> bool:
        """Whether both daemons run, stopped or not."""
        return self.virtlogd.alive() and self.daemon.alive()

    def healthy(self) -> bool:
        """Whether libvirtd answers a call."""
        return self.virtlogd.healthy() and self.daemon.healthy()

    def stop(self) -> None:
        """Stop libvirtd (SIGSTOP): calls hang."""
        self.daemon.stop()

    def cont(self) -> None:
        """Let libvirtd go on."""
        self.daemon.cont()

    def kill(self) -> None:
        """Kill libvirtd (SIGKILL): connections break, guests and their jobs go on."""
        self.daemon.kill()

    #: The same under the name that shell users know.
    kill9 = kill

    def start(self) -> None:
        """Start libvirtd again; it finds the running guests."""
        self.up()

    def restart(self) -> None:
        """End libvirtd in order and start it again, as an upgrade does."""
        self.daemon.terminate()
        self.up()

    def define_secrets(self) -> None:
        """Store the secrets which the lab's own ``<disk>`` elements refer to.

        They are private and not ephemeral, so that a guest can be started again after a
        restart of libvirtd.  The driver under test makes others of its own.
        """
        known, usage = self._credentials, self._layout.name
        self._define(known.ceph_secret_uuid, 'ceph', 'name', f'lab {usage}')
        self._set(known.ceph_secret_uuid, known.cinder_key, encoded=True)
        self._define(known.iscsi_secret_uuid, 'iscsi', 'target', f'lab {usage}')
        self._set(known.iscsi_secret_uuid, known.chap_password, encoded=False)

    def _define(self, uuid: str, kind: str, element: str, usage: str) -> None:
        text = (
            f"<secret ephemeral='no' private='yes'><uuid>{uuid}</uuid>"
            f"<usage type='{kind}'><{element}>{xml.sax.saxutils.escape(usage)}</{element}></usage>"
            '</secret>'
        )
        run(['virsh', '--quiet', 'secret-define', '/dev/stdin'], stdin=text)

    def _set(self, uuid: str, value: str, *, encoded: bool) -> None:
        argv = ['virsh', '--quiet', 'secret-set-value', uuid, '--file', '/dev/stdin']
        run(argv if encoded else [*argv, '--plain'], stdin=value)

    def _serves(self) -> bool:
        try:
            run(['virsh', '--quiet', '--connect', URI, 'version'], timeout_s=10)
        except LabError:
            return False
        return True
