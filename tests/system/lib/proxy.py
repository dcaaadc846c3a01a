"""Trouble between a client and a server: a TCP proxy on loopback that delays, throttles, cuts, resets, half-closes or swallows, at a byte
or when certain bytes pass, as a test tells it.

    proxy = Proxy(server.port)                        # clients use proxy.port
    proxy.delay_s = 0.05                              # each way
    fault = proxy.fault(TO_CLIENT, "reset", match=COMMITTED)   # the answer to the next COMMIT is lost with its connection
    ... fault.wait(10)

It runs in a thread of the test. A fault strikes `times` connections, or for ever with times=None; those before its time are not touched."""
import asyncio
import re
import socket
import struct
import threading
import time

TO_SERVER, TO_CLIENT = "to server", "to client"
# PostgreSQL's answer to a COMMIT: a CommandComplete message.
COMMITTED = re.escape(b"C\0\0\0\x0bCOMMIT\0")
CHUNK = 65536
KEPT = 256  # of the bytes before a chunk, so that what is looked for may begin in them


class Fault:
    """What happens to a connection: `how` is
    "reset" (RST to both), "close" (FIN to both), "half" (FIN to the one that these bytes go to; the way back stays open),
    "hole" (nothing passes any more, either way, and nobody is told).
    It happens when `after` bytes went that way in a connection, or when bytes match the pattern `match` for the `nth` time; the match
    itself is held back unless `pass_match`."""

    def __init__(self, way, how, after, match, nth, pass_match, times):
        self.way, self.how, self.after, self.nth, self.pass_match, self.times = way, how, after, nth, pass_match, times
        self.match = re.compile(match, re.DOTALL) if match else None
        self.struck, self.seen, self.condition = 0, 0, threading.Condition()

    def at(self, flow, chunk):
        """How many bytes of the chunk still pass, if it strikes there; else None."""
        if self.times is not None and self.struck >= self.times:
            return None
        if self.match is None:
            return max(0, self.after - flow.passed) if flow.passed + len(chunk) >= self.after else None
        text = flow.tail + chunk
        for found in self.match.finditer(text):
            if found.end() <= len(flow.tail):
                continue
            self.seen += 1
            if self.seen >= self.nth:
                self.seen = 0
                return max(0, (found.end() if self.pass_match else found.start()) - len(flow.tail))
        return None

    def strike(self):
        with self.condition:
            self.struck += 1
            self.condition.notify_all()

    def wait(self, deadline_s, times=1):
        """Until it has struck so often."""
        with self.condition:
            if not self.condition.wait_for(lambda: self.struck >= times, deadline_s):
                raise AssertionError(f"waited {deadline_s} s for the fault to strike: {self.how} {self.way}")


class Flow:
    """One way of a connection."""

    def __init__(self, link, way, source, target):
        self.link, self.way, self.source, self.target = link, way, source, target
        self.passed, self.tail, self.queue = 0, b"", asyncio.Queue(64)

    async def read(self):
        while True:
            try:
                chunk = await self.source.read(CHUNK)
            except OSError:
                chunk = b""
            await self.queue.put((time.monotonic() + self.link.proxy.delay_s, chunk))
            if not chunk:
                return

    async def write(self):
        while True:
            due, chunk = await self.queue.get()
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            await self.link.open.wait()
            if not chunk:
                self.end()
                return
            if not await self.forward(chunk):
                return

    async def forward(self, chunk):
        proxy = self.link.proxy
        chunk = proxy.change.get(self.way, bytes)(chunk)
        for fault in [it for it in proxy.faults if it.way == self.way]:
            cut = fault.at(self, chunk)
            if cut is not None:
                await self.send(chunk[:cut])
                fault.strike()
                self.link.suffer(fault, self)
                return False
        self.passed += len(chunk)
        self.tail = (self.tail + chunk)[-KEPT:]
        proxy.bytes[self.way] += len(chunk)
        await self.send(chunk)
        return True

    async def send(self, chunk):
        rate = self.link.proxy.bytes_per_s
        step = max(1, rate // 20) if rate else CHUNK
        try:
            for at in range(0, len(chunk), step):
                self.target.write(chunk[at:at + step])
                await self.target.drain()
                if rate:
                    await asyncio.sleep(step / rate)
        except OSError:
            self.link.close()

    def end(self):
        try:
            self.target.write_eof()
        except OSError:
            pass
        self.link.ended(self)


class Link:
    """A client's connection and its counterpart to the server."""

    def __init__(self, proxy, client, server):
        self.proxy, self.writers = proxy, (client[1], server[1])
        self.flows = (Flow(self, TO_SERVER, client[0], server[1]), Flow(self, TO_CLIENT, server[0], client[1]))
        self.ends = set()
        self.open = asyncio.Event()
        if not proxy.held:
            self.open.set()
        self.tasks = [asyncio.ensure_future(step) for flow in self.flows for step in (flow.read(), flow.write())]

    def suffer(self, fault, flow):
        if fault.how == "reset":
            self.reset()
        elif fault.how == "close":
            self.close()
        elif fault.how == "half":
            flow.end()
        else:
            self.open.clear()

    def ended(self, flow):
        self.ends.add(flow)
        if len(self.ends) == 2:
            self.close()

    def reset(self):
        for writer in self.writers:
            connection = writer.get_extra_info("socket")
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self.forget()

    def close(self):
        for writer in self.writers:
            writer.close()
        self.forget()

    def forget(self):
        self.proxy.links.discard(self)
        for task in self.tasks:
            if task is not asyncio.current_task():
                task.cancel()


class Proxy:
    """Listens on a free port of loopback for as long as the block lasts, or until `end`."""

    def __init__(self, port, host="127.0.0.1"):
        self.target = (host, port)
        self.delay_s, self.bytes_per_s = 0.0, 0
        self.faults, self.links, self.held, self.port, self.listener = [], set(), False, 0, None
        self.connections = 0
        self.change = {}  # way: a function of the bytes that pass, which keeps their number
        self.bytes = {TO_SERVER: 0, TO_CLIENT: 0}
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.up()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    async def _accept(self, *client):
        try:
            server = await asyncio.open_connection(*self.target)
        except OSError:
            client[1].transport.abort()
            return
        for _, writer in (client, server):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections += 1
        self.links.add(Link(self, client, server))

    def up(self):
        """Takes connections; after `down` on the same port as before."""
        async def listen():
            self.listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=256)
            self.port = self.listener.sockets[0].getsockname()[1]
        self.call(listen())

    def down(self):
        """Refuses new connections and resets those that there are."""
        async def refuse():
            self.listener.close()
            for link in list(self.links):
                link.reset()
        self.call(refuse())

    def fault(self, way, how, after=0, match=None, nth=1, pass_match=False, times=1):
        """See Fault. More than one may be set; the oldest that applies strikes."""
        it = Fault(way, how, after, match, nth, pass_match, times)
        self.faults = [*self.faults, it]
        return it

    def heal(self):
        """No more faults, no delay; what is held back flows on."""
        self.faults, self.delay_s, self.bytes_per_s = [], 0.0, 0
        self.hold(False)

    def hold(self, held=True):
        """Nothing passes, in connections that are there and in new ones, and nobody is told; or all that was held back flows on."""
        async def turn():
            self.held = held
            for link in self.links:
                (link.open.clear if held else link.open.set)()
        self.call(turn())

    def reset(self):
        """Resets all connections."""
        async def turn():
            for link in list(self.links):
                link.reset()
        self.call(turn())

    def end(self):
        self.down()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
