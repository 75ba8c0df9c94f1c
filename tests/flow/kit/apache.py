"""Apache httpd with mod_dav, and mod_dav_svn where it is wanted: a private one, on a
free port, in a directory of the test."""
import os
import pwd
import shutil
import socket
import subprocess
import tempfile

from kit.client import PATIENCE, wait_until

MODULES = "/usr/lib/apache2/modules"
CONFIG = """
ServerRoot {root}
PidFile {root}/httpd.pid
DefaultRuntimeDir {root}
Listen 127.0.0.1:{port}
ServerName 127.0.0.1
UseCanonicalName Off
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule dav_module {modules}/mod_dav.so
LoadModule dav_fs_module {modules}/mod_dav_fs.so
LoadModule mime_module {modules}/mod_mime.so
TypesConfig /dev/null
StartServers 1
MaxRequestWorkers 25
ErrorLog {root}/error.log
User {user}
Group {group}
DavLockDB {root}/locks
DocumentRoot {root}/dav
LimitRequestBody 0
# strong from the first second on: litmus skips what it cannot compare
FileETag Digest
LimitXMLRequestBody 0
<Directory {root}/dav>
    Dav On
    DavDepthInfinity On
    Require all granted
</Directory>
"""

SUBVERSION = """
LoadModule dav_svn_module {modules}/mod_dav_svn.so
LoadModule authz_svn_module {modules}/mod_authz_svn.so
<Location /svn>
    DAV svn
    SVNPath {root}/repository
</Location>
"""


def has(module):
    return os.path.exists(f"{MODULES}/{module}.so")


def installed():
    return shutil.which("apache2", path="/usr/sbin:/usr/bin") and os.path.exists(f"{MODULES}/mod_dav_fs.so")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Apache:
    def __init__(self, subversion=False):
        self.more = SUBVERSION if subversion else ""
        self.root = tempfile.mkdtemp(prefix="dav-")
        os.chmod(self.root, 0o755)
        os.mkdir(f"{self.root}/dav")
        user = "www-data" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            for path in (self.root, f"{self.root}/dav"):
                shutil.chown(path, user)
        if subversion:
            subprocess.run(["svnadmin", "create", f"{self.root}/repository"], check=True)
            for path, names, files in os.walk(f"{self.root}/repository"):
                for name in [path, *(os.path.join(path, f) for f in files)]:
                    os.chown(name, pwd.getpwnam(user).pw_uid, -1)
        for _ in range(5):                      # somebody may take the port before httpd does
            if self.start(user):
                return
        raise AssertionError(open(f"{self.root}/error.log").read())

    def start(self, user):
        self.port = free_port()
        config = f"{self.root}/httpd.conf"
        group = subprocess.run(["id", "-gn", user], capture_output=True, text=True).stdout.strip()
        with open(config, "w") as out:
            out.write((CONFIG + self.more).format(root=self.root, port=self.port, modules=MODULES, user=user, group=group))
        self.process = subprocess.Popen(["/usr/sbin/apache2", "-DFOREGROUND", "-f", config],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        return wait_until(self.is_up, "httpd") == "up"

    def is_up(self):
        if self.process.poll() is not None:
            return "gone"
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return "up"
        except OSError:
            return None

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def path(self, name):
        return f"{self.root}/dav/{name}"

    def close(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        shutil.rmtree(self.root, ignore_errors=True)
