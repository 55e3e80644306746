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
"""An NFS server, versions 3 and 4: nfs-ganesha beside rpcbind, no kernel server.

QEMU's nfs driver (libnfs) speaks version 3 and asks the portmapper on port 111, which no
option can change: the reason why a lab has a network namespace.

Ganesha caches the file behind a name.  A file that is deleted and made again under its old
name, behind Ganesha's back, swallows all that is written: give each volume a name of its own.
"""

from tests.lab.layout import LabError, Layout
from tests.lab.process import Daemon, run
from tests.lab.sockets import answers

HOST = '127.0.0.1'
_PORT, _MOUNT_PORT, _PORTMAPPER = 2049, 20048, 111

_CONF = """\
NFS_CORE_PARAM {{
    Protocols = 3, 4;
    NFS_Port = {port};
    MNT_Port = {mount_port};
    Enable_NLM = false;
    Enable_RQUOTA = false;
    Enable_UDP = false;
{more}}}
NFSv4 {{
    RecoveryRoot = {recovery};
    Graceless = true;
    Lease_Lifetime = 10;
    Grace_Period = 10;
}}
EXPORT {{
    Export_Id = 1;
    Path = {export};
    Pseudo = {export};
    Access_Type = RW;
    Squash = No_Root_Squash;
    SecType = sys;
    Protocols = 3, 4;
    Transports = TCP;
    MaxRead = 1048576;
    MaxWrite = 1048576;
    FSAL {{ Name = VFS; }}
}}
LOG {{ Default_Log_Level = EVENT; }}
"""
#: Later than 4 it ends when the kernel refuses it a privilege that containers lack.
_SINCE_5 = '    Allow_Set_Io_Flusher_Fail = true;\n'


class Nfs:
    """The server; a fault hook acts upon Ganesha and leaves rpcbind alone."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._conf = layout.root / 'ganesha.conf'
        #: The exported directory, which has the same path on both sides.
        self.path = layout.volumes / 'nfs'
        self.rpcbind = Daemon(
            layout, 'rpcbind', ['rpcbind', '-f', '-w'], lambda: answers(HOST, _PORTMAPPER)
        )
        argv = ['ganesha.nfsd', '-F', '-f', str(self._conf), '-p', '/run/ganesha/pid']
        log = str(layout.logs / 'ganesha.log')
        self.ganesha = Daemon(layout, 'ganesha', [*argv, '-L', log], self._serves)

    @property
    def export(self) -> str:
        """``host:/path`` as Cinder writes it."""
        return f'{HOST}:{self.path}'

    def up(self) -> None:
        """Start both daemons unless they run.

        :raise LabError: one did not come up
        """
        recovery = self._layout.root / 'ganesha'
        recovery.mkdir(exist_ok=True)
        self.path.mkdir(mode=0o711, exist_ok=True)
        self._conf.write_text(
            _CONF.format(
                port=_PORT,
                mount_port=_MOUNT_PORT,
                recovery=recovery,
                export=self.path,
                more=_SINCE_5 if _release() >= 5 else '',
            )
        )
        self.rpcbind.start()
        self.ganesha.start()

    def alive(self) -> bool:
        """Whether both daemons run, stopped or not."""
        return self.rpcbind.alive() and self.ganesha.alive()

    def healthy(self) -> bool:
        """Whether both run, and the mount service is registered."""
        return self.rpcbind.healthy() and self.ganesha.healthy()

    def stop(self) -> None:
        """Stop Ganesha (SIGSTOP): requests are accepted and never answered."""
        self.ganesha.stop()

    def cont(self) -> None:
        """Let Ganesha go on."""
        self.ganesha.cont()

    def kill(self) -> None:
        """Kill Ganesha: connections are reset, new ones refused."""
        self.ganesha.kill()

    def start(self) -> None:
        """Start Ganesha again; clients reconnect by themselves."""
        self.up()

    def start_without_export(self) -> None:
        """Start Ganesha again with nothing to export, until it is killed and started again."""
        whole = self._conf.read_text()
        begin, end = whole.index('EXPORT {'), whole.index('LOG {')
        self._conf.write_text(whole[:begin] + whole[end:])
        self.ganesha.start()

    def _serves(self) -> bool:
        try:
            told = run(['rpcinfo', '-p', HOST], timeout_s=5)
        except LabError:
            return False
        return 'mountd' in told and answers(HOST, _PORT)


def _release() -> int:
    """Ganesha's major release."""
    told = run(['ganesha.nfsd', '-v'])  # NFS-Ganesha Release = V6.5
    return int(told.partition('= V')[2].partition('.')[0])
