#!/usr/bin/env python3
"""Stands in for systemctl where systemd is not process 1: runs what the installed units say, without their sandbox.

It reads ExecStart, User, Environment, EnvironmentFile and Type of a unit, and Wants of a target. A unit of Type=notify
has started once it has said READY=1. nginx, whose unit is not ours, is started by its own command.
"""

import glob
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys

UNITS = "/etc/systemd/system"
RUN = "/run/church-units"
LIMIT = 30


def settings(unit):
    """The lines of a unit as (key, value), with the instance put in."""
    name, _, instance = unit.removesuffix(".service").partition("@")
    file = f"{UNITS}/{name}@.service" if instance else f"{UNITS}/{unit}"
    lines = (line.strip() for line in open(file))
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return [(key, value.replace("%i", instance)) for key, value in pairs]


def environment(found):
    """Later lines replace earlier ones; a file replaces the lines."""
    given = {"PATH": os.environ["PATH"]}
    for key, value in found:
        if key == "Environment":
            given.update(word.split("=", 1) for word in shlex.split(value))
    for key, value in found:
        if key == "EnvironmentFile":
            words = shlex.split(open(value).read(), comments=True)
            given.update(word.split("=", 1) for word in words)
    return given


def start(unit):
    if unit == "nginx":
        return subprocess.run(["nginx"], check=True)
    if unit.endswith(".target"):
        wants = next(value for key, value in settings(unit) if key == "Wants")
        return [start(wanted) for wanted in wants.split()]
    if os.path.exists(f"{RUN}/{unit}.pid"):
        return
    found = settings(unit)
    only = dict(found)
    given = environment(found)
    told = None
    os.makedirs(RUN, exist_ok=True)
    if only["Type"] == "notify":
        path = f"{RUN}/{unit}.notify"
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(path)
        os.chmod(path, 0o666)
        told.settimeout(LIMIT)
        given["NOTIFY_SOCKET"] = path
    log = open(f"/var/log/{unit}.log", "ab")
    process = subprocess.Popen(
        shlex.split(only["ExecStart"]), env=given, user=only["User"], group=only["User"], extra_groups=[], umask=0o077,
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    open(f"{RUN}/{unit}.pid", "w").write(str(process.pid))
    try:
        while told and b"READY=1" not in told.recv(4096):
            pass
    except TimeoutError:
        sys.exit(f"{unit} is not ready; its log:\n" + open(log.name).read())


def stop(unit):
    if unit == "nginx":
        return subprocess.run(["nginx", "-s", "stop"], stderr=subprocess.DEVNULL)
    process = int(open(f"{RUN}/{unit}.pid").read())
    handle = os.pidfd_open(process)
    signal.pidfd_send_signal(handle, signal.SIGTERM)
    # It becomes readable when the process has ended.
    if not select.select([handle], [], [], LIMIT)[0]:
        sys.exit(f"{unit} does not stop")
    for file in glob.glob(f"{RUN}/{unit}.*"):
        os.remove(file)


def restart(unit):
    if unit == "nginx" or os.path.exists(f"{RUN}/{unit}.pid"):
        stop(unit)
    start(unit)


verb, *words = [word for word in sys.argv[1:] if not re.match("--", word)]
actions = {"start": start, "enable": start, "stop": stop, "restart": restart}
if verb in actions:
    for word in words:
        actions[verb](word)
elif verb not in ("daemon-reload", "status"):
    sys.exit(f"{verb} is not known here")
