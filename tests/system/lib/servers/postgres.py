"""PostgreSQL of any version from 14: Debian's where that one is installed, else a Maven artifact's (which has no client programs)."""
import pathlib
import re
import shutil
import signal

import pq
from servers import artifacts
from servers.server import Server, ServerError, may_run

ARTIFACTS = {"14": "14.18.0", "16": "16.9.0", "17": "17.5.0", "18": "18.0.0"}
VERSIONS = ("14", "15", "16", "17", "18")

SETTINGS = {
    "listen_addresses": "127.0.0.1", "max_connections": 200, "max_prepared_transactions": 100, "shared_buffers": "64MB",
    "max_wal_size": "1GB", "jit": "off", "log_line_prefix": "%m [%p] %d ", "timezone": "UTC", "log_timezone": "UTC",
    "wal_level": "replica", "max_wal_senders": 5,
}
# A crash of the server loses nothing with these; only one of the machine would.
FAST = {"fsync": "off", "full_page_writes": "off"}


def debian(version):
    """The directory of Debian's programs: of this version, or of the newest one."""
    found = [path for path in pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres")
             if version in (None, path.parts[-3])]
    return max(found, key=lambda path: int(path.parts[-3])).parent if found else None


def programs(version):
    found = debian(version)
    if found:
        return found
    if version in ARTIFACTS:
        return artifacts.postgres(ARTIFACTS[version])
    raise ServerError(f"PostgreSQL {version or ''} is not installed: scripts/need postgres")


class Postgres(Server):
    """`settings` go into postgresql.conf, on top of those that make tests fast unless `durable`; `hba` are lines before the one that lets
    everybody on loopback in. The superuser is postgres."""
    kind = "postgres"
    stop_signal, kill_signal = signal.SIGINT, signal.SIGQUIT  # fast; immediate
    users = ("postgres",)

    def __init__(self, version=None, settings=None, hba=(), durable=False):
        super().__init__()
        self.bin, self.data = programs(version), self.directory / "data"
        if not may_run(self.user, self.bin / "postgres"):
            shutil.copytree(self.bin.parent, self.directory / "programs", symlinks=True)
            self.bin = self.directory / "programs" / "bin"
        self.settings = {**SETTINGS, **({} if durable else FAST), **(settings or {})}
        self.hba = hba
        self.options = []

    def make(self):
        self.run(self.bin / "initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "--no-sync", "--no-locale",
                 "--encoding=UTF8")
        self.configure(**self.settings, unix_socket_directories=str(self.directory))
        file = self.data / "pg_hba.conf"
        file.write_text("\n".join([*self.hba, file.read_text()]))

    def configure(self, **settings):
        """Adds to postgresql.conf; takes effect at the next start or reload."""
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def command(self):
        return [self.bin / "postgres", "-D", self.data, "-p", self.port, *self.options]

    def ready(self):
        try:
            self.connect().close()
            return True
        except pq.Error:
            return False

    def start(self, deadline_s=30):
        if not self.data.exists():
            self.make()
        return super().start(deadline_s)

    def may_try_again(self, log):
        """The processes of a server that was killed may need a moment to see that."""
        return "is still in use" in log or "could not bind" in log

    def crash(self):
        """Kills the postmaster alone, as the kernel would for want of memory; the others see it and end."""
        self.stop(signal.SIGKILL)

    @property
    def version(self):
        return int(re.search(r"(\d+)", self.run(self.bin / "postgres", "--version"))[1])

    @property
    def url(self):
        return self.url_of("postgres")

    def url_of(self, database, user="postgres"):
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def connect(self, database="postgres", user="postgres"):
        return pq.Connection(f"{self.url_of(database, user)}?connect_timeout=10")

    def standby(self, name="standby", port=None, **settings):
        """A server of its own that follows this one by streaming, through `port` if there is a proxy; not started."""
        other = Postgres.__new__(Postgres)
        Server.__init__(other)
        other.bin, other.data, other.hba, other.options = self.bin, other.directory / "data", (), []
        other.settings = self.settings
        tool = (debian(str(self.version)) or self.bin) / "pg_basebackup"
        other.run(tool, "-d", f"host=127.0.0.1 port={port or self.port} user=postgres application_name={name}", "-D", other.data, "-R",
                  "-X", "stream", "-c", "fast", "--no-sync")
        other.configure(unix_socket_directories=str(other.directory), **settings)
        return other
