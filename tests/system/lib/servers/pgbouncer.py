"""pgbouncer in transaction mode in front of a PostgreSQL server, with the defaults that its users have otherwise."""
import pq
from servers.server import Server


class PgBouncer(Server):
    kind = "pgbouncer"
    users = ("postgres",)

    def __init__(self, postgres, settings=None):
        super().__init__()
        self.postgres = postgres
        self.settings = {"pool_mode": "transaction", "max_client_conn": 1000, "default_pool_size": 40, **(settings or {})}

    def command(self):
        ini = self.directory / "pgbouncer.ini"
        users = self.directory / "users.txt"
        users.write_text('"postgres" ""\n')
        # Any user that the server knows may come, since `auth_user` asks the server.
        fixed = {"listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": self.directory, "auth_type": "trust",
                 "auth_file": users, "auth_user": "postgres", "admin_users": "postgres"}
        lines = ["[databases]", f"* = host=127.0.0.1 port={self.postgres.port}", "[pgbouncer]",
                 *(f"{name} = {value}" for name, value in {**fixed, **self.settings}.items())]
        ini.write_text("\n".join(lines) + "\n")
        return ["/usr/sbin/pgbouncer", ini]

    def ready(self):
        try:
            self.connect().close()
            return True
        except pq.Error:
            return False

    @property
    def url(self):
        return self.url_of("postgres")

    def url_of(self, database, user="postgres"):
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def connect(self, database="postgres", user="postgres"):
        return pq.Connection(f"{self.url_of(database, user)}?connect_timeout=10")
