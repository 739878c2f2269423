# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on the box as root: who can reach whom. Prints what it saw as JSON, and leaves nothing behind.

Refusals prove nothing while nobody listens. So this listens itself, for a minute, on ports of its own: on the box, in
every container, and in a scratch network namespace that plays a stranger outside. Then everybody tries everybody.
"""

import concurrent.futures
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading

# Ports that nothing else uses: on the box, in the stranger's machine, in a container.
ON_BOX, OUTSIDE, IN_CONTAINER = 47001, 47002, 47003
WAIT = 3.0
ECHO_WAIT = 1.5

# Run in containers and in the scratch namespace.
LISTEN = """
import socket, sys, threading, time
def serve(s):
    while True: s.accept()[0].close()
for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((address, int(sys.argv[1]))); s.listen(50)
    threading.Thread(target=serve, args=(s,), daemon=True).start()
print("listening", flush=True)
time.sleep(int(sys.argv[2]))
"""
TRY = """
import concurrent.futures, json, socket, sys
targets, wait = json.loads(sys.argv[1]), float(sys.argv[2])
def attempt(target):
    try:
        socket.create_connection((target[0], target[1]), wait).close()
        return "open"
    except ConnectionRefusedError: return "refused"
    except (TimeoutError, socket.timeout): return "silent"
    except OSError as error: return "no way: " + str(error)
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    print(json.dumps(list(pool.map(attempt, targets))))
"""
# ICMP, which carries data as well as any port. By raw sockets: `ping` is not everywhere.
ECHO = """
import concurrent.futures, json, os, socket, struct, sys, time
targets, wait = json.loads(sys.argv[1]), float(sys.argv[2])
def attempt(address):
    six, mark = ":" in address, os.urandom(12)
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    asked, answered = (128, 129) if six else (8, 0)
    packet = struct.pack("!BBHHH", asked, 0, 0, 1, 1) + mark
    if not six:
        # For IPv6 the kernel does this.
        total = sum(struct.unpack("!10H", packet))
        total = (total >> 16) + (total & 0xFFFF)
        packet = packet[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + packet[4:]
    try:
        with socket.socket(family, socket.SOCK_RAW, protocol) as s:
            s.connect((address, 0))
            for _ in range(3):
                s.send(packet)
                end = time.monotonic() + wait / 3
                while (left := end - time.monotonic()) > 0:
                    s.settimeout(left)
                    try: heard = s.recv(2000)
                    except (TimeoutError, socket.timeout): break
                    if heard.endswith(mark) and heard[-20] == answered: return "answered"
        return "silent"
    except OSError as error: return "no way: " + str(error)
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    print(json.dumps(list(pool.map(attempt, targets))))
"""
BURST = """
import json, socket, sys
seen = []
for _ in range(int(sys.argv[3])):
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.5) as s:
            s.settimeout(6)
            seen.append("open" if s.recv(4) else "closed")
    except OSError as error: seen.append("silent" if isinstance(error, socket.timeout) else "refused")
print(json.dumps(seen))
"""


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, **more).stdout


def inside(prefix, source, *arguments):
    """A small program on another machine: in a container, or in the stranger's namespace."""
    done = subprocess.run(
        [*prefix, "python3", "-c", source, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(prefix)}: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout)


class Stranger:
    """A network namespace whose only way is through a new interface of the box: as the world is, but at hand.

    Its addresses are of the benchmarking ranges (RFC 2544, RFC 5180) and new at each run, so that the limit on ssh,
    which remembers addresses, never meets one twice, and never an administrator's.
    """

    def __init__(self):
        number = random.randrange(1, 64 * 256)
        self.name, self.link = f"sbverify{number}", f"sbv{number}"
        base = 4 * number
        net = f"198.{18 + base // 65536}.{base // 256 % 256}.{base % 256}".rsplit(".", 1)
        self.box4, self.own4 = f"{net[0]}.{int(net[1]) + 1}", f"{net[0]}.{int(net[1]) + 2}"
        self.box6, self.own6 = f"2001:2:0:{number:x}::1", f"2001:2:0:{number:x}::2"

    def __enter__(self):
        peer = self.link + "p"
        run("ip", "netns", "add", self.name)
        try:
            run("ip", "link", "add", self.link, "type", "veth", "peer", "name", peer)
            run("ip", "link", "set", peer, "netns", self.name)
            for prefix, link, four, six in (
                ([], self.link, self.box4, self.box6),
                (["nsenter", f"--net=/run/netns/{self.name}"], peer, self.own4, self.own6),
            ):
                run(*prefix, "ip", "address", "add", four + "/30", "dev", link)
                run(*prefix, "ip", "link", "set", link, "up")
                with contextlib.suppress(subprocess.CalledProcessError):
                    run(*prefix, "ip", "address", "add", six + "/64", "dev", link, "nodad")
            run(*self.prefix, "ip", "link", "set", "lo", "up")
            run(*self.prefix, "ip", "route", "add", "default", "via", self.box4)
            with contextlib.suppress(subprocess.CalledProcessError):
                run(*self.prefix, "ip", "route", "add", "default", "via", self.box6)
        except BaseException:
            self.__exit__()
            raise
        return self

    @property
    def prefix(self):
        return ["nsenter", f"--net=/run/netns/{self.name}"]

    def __exit__(self, *_error):
        subprocess.run(["ip", "link", "delete", self.link], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)


def listen_here(port):
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        server = socket.socket(family)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((address, port))
        server.listen(50)
        threading.Thread(target=serve, args=(server,), daemon=True).start()


def serve(server):
    while True:
        server.accept()[0].close()


def answered_here(port):
    """Answers by UDP on the box from now on, and says what the box itself heard of that."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        server = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((address, port))
        threading.Thread(target=echo, args=(server,), daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.settimeout(WAIT)
        caller.sendto(b"?", ("127.0.0.1", port))
        try:
            return repr(caller.recv(100))
        except TimeoutError:
            return ""


def echo(server):
    while True:
        text, caller = server.recvfrom(100)
        server.sendto(text, caller)


@contextlib.contextmanager
def listening(prefixes):
    """The listeners everywhere else; each says when it is there, and ends by itself if this program is killed."""
    started = [
        subprocess.Popen(
            [*prefix, "python3", "-c", LISTEN, str(port), "120"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for prefix, port in prefixes
    ]
    try:
        for process in started:
            process.stdout.readline()
        yield
    finally:
        for process in started:
            process.terminate()


def listening_ports():
    """TCP ports that something listens on here, but for loopback."""
    ports = set()
    for line in run("ss", "-lntH").splitlines():
        address, _colon, port = line.split()[3].rpartition(":")
        if not address.startswith(("127.", "[::1]")):
            ports.add(int(port))
    return ports


def main(given):
    containers, ssh_port = given["containers"], given["ssh_port"]
    # `died`: whose attempts are not among the others, and why. `trouble` is all that went wrong, for people.
    seen = {"tries": [], "echoes": [], "bursts": {}, "scans": {}, "udp": "", "stranger": {}, "died": {}, "trouble": ""}

    def add(source, prefix, targets):
        """`targets`: (name, address, port). Keeps the answer of each."""
        results = inside(prefix, TRY, json.dumps([[address, port] for _name, address, port in targets]), WAIT)
        for (name, address, port), result in zip(targets, results, strict=True):
            seen["tries"].append({"from": source, "to": name, "address": address, "port": port, "result": result})

    def ask(source, prefix, targets):
        """`targets`: (name, address). Keeps who answered an echo."""
        results = inside(prefix, ECHO, json.dumps([address for _name, address in targets]), ECHO_WAIT)
        for (name, address), result in zip(targets, results, strict=True):
            seen["echoes"].append({"from": source, "to": name, "address": address, "result": result})

    def together(pool, what, jobs):
        for source, job in [(job[0], pool.submit(what, *job)) for job in jobs]:
            try:
                job.result()
            except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
                if str(error) not in seen["trouble"]:
                    seen["trouble"] += f" {error}"
                seen["died"][source] = str(error)

    with contextlib.ExitStack() as stack:
        stranger = None
        try:
            stranger = stack.enter_context(Stranger())
            # By these he is known in logs.
            seen["stranger"] = {"IPv4": stranger.own4, "IPv6": stranger.own6}
        except (OSError, subprocess.CalledProcessError) as error:
            seen["trouble"] = f"no scratch network: {getattr(error, 'stderr', '') or error}"
        listen_here(ON_BOX)
        seen["udp"] = answered_here(ON_BOX)
        ways = {name: ["lxc", "exec", item["instance"], "--"] for name, item in containers.items()}
        others = [(ways[name], IN_CONTAINER) for name in containers]
        others += [(stranger.prefix, OUTSIDE)] if stranger else []
        stack.enter_context(listening(others))

        everywhere = [
            (name, address, port)
            for name, item in containers.items()
            for address in item["addresses"]
            for port in [*given["ports"], IN_CONTAINER]
        ]
        own = [("box", address, port) for address in given["bridges"] for port in (ON_BOX, *given["ports"])]
        world = [("outside", address, OUTSIDE) for address in (stranger.own4, stranger.own6)] if stranger else []
        jobs = [("box", [], [*everywhere, *world, ("box", "127.0.0.1", ON_BOX), ("box", "::1", ON_BOX)])]
        jobs += [
            (name, ways[name], [*(target for target in everywhere if target[0] != name), *own, *world])
            for name in containers
        ]
        if stranger:
            # Forwarded ports are looked at from the real outside: this stranger comes by another interface.
            ports = (listening_ports() | {ON_BOX, ssh_port}) - set(given["forwarded"])
            addresses = (stranger.box4, stranger.box6)
            jobs.append(
                ("outside", stranger.prefix, [("box", a, p) for a in addresses for p in sorted(ports)] + everywhere)
            )
        inner = [(name, address) for name, item in containers.items() for address in item["addresses"]]
        outer = [(name, address) for name, address, _port in world]
        # Who answers himself has what it takes to ask.
        oneself = {name: [(name, "127.0.0.1"), (name, "::1")] for name in containers}
        echoes = [("box", [], [*inner, *outer])]
        echoes += [
            (name, ways[name], [*oneself[name], *(target for target in inner if target[0] != name), *outer])
            for name in containers
        ]
        if stranger:
            echoes.append(("outside", stranger.prefix, [("box", stranger.box4), ("box", stranger.box6), *inner]))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            together(pool, add, jobs)
            together(pool, ask, echoes)
        if stranger:
            for version, address in (("IPv4", stranger.box4), ("IPv6", stranger.box6)):
                with contextlib.suppress(RuntimeError, subprocess.SubprocessError):
                    seen["scans"][version] = inside(
                        stranger.prefix, given["scan"], address, json.dumps([*given["udp"], ON_BOX])
                    )
            for version, address in (("IPv4", stranger.box4), ("IPv6", stranger.box6)):
                with contextlib.suppress(RuntimeError, subprocess.SubprocessError):
                    seen["bursts"][version] = inside(stranger.prefix, BURST, address, ssh_port, 9)
    print(json.dumps(seen))


def give_up(*_signal):
    raise SystemExit("took too long")


if "GIVEN" in globals():
    # Whatever happens, the scratch network goes away: exceptions run the exits above.
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, give_up)
    signal.alarm(300)
    try:
        main(json.loads(globals()["GIVEN"]))  # put before this text by whoever sends it
    finally:
        sys.stdout.flush()
    # Threads that still accept would hold the program.
    os._exit(0)
