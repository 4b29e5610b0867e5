#!/usr/bin/env python3
"""How long a login takes, to the first prompt and back to nothing.

By key and by password, on a loopback OpenSSH server, and by key with 20 ms of round trip.
The server stretches each password attempt to a step of its own (5 to 9 ms times a power of
two), so that by password compare the rest: the bare program's authentication is shown.
"""

import argparse

import common

NAMES = ["virtvm", "bare libssh2", "ssh2-python", "ssh-python", "asyncssh", "paramiko", "OpenSSH", "pexpect", "aexpect"]


def measure(workers, where, count):
    tasks = {name: (lambda worker=worker: worker.ask("login", **where)["seconds"])
             for name, worker in workers.items()}
    return common.summary(common.rounds(tasks, count))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    result = {}
    with common.server() as sshd, common.peers(NAMES + common.BEFORES) as workers:
        where = {"host": sshd.host, "port": sshd.port, "user": sshd.user}
        result["key"] = measure(workers, dict(where, key=sshd.key), args.rounds)
        common.table("login and close, by key", result["key"])
        result["password"] = measure(workers, dict(where, password=sshd.password), args.rounds)
        common.table("login and close, by password", result["password"])
        if "bare libssh2" in workers:
            auth = workers["bare libssh2"].ask("login", **dict(where, password=sshd.password))["auth"]
            print("  of which the server's authentication takes %.1f ms" % (auth * 1000))
            result["password_authentication"] = auth
        proxy = common.DelayProxy(sshd.port, 0.010)
        result["key_20ms"] = measure(workers, dict(where, port=proxy.port, key=sshd.key), max(3, args.rounds // 3))
        common.table("login and close, by key, 20 ms round trip", result["key_20ms"])
        proxy.close()
    common.save("logins", result)


if __name__ == "__main__":
    main()
