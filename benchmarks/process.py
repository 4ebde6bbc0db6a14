#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a QEMU process has to itself, and what it would have if Torpor started it in another way.

  process.py KERNEL INITRD [PAGE]    prints a table; with PAGE puts it in there, between its marks

Each row differs in one thing from the shell that Torpor starts. Three of each, in turns; medians. Another
QEMU runs beside them, or what all have in common would count as one's own.
"""
import ctypes
import json
import os
import re
import statistics
import subprocess
import sys
import time

ROUNDS = 3
SHELL_SECONDS = 2  # QEMU gives heap back to the kernel a moment after its start (util/rcu.c)
BOOT_SECONDS = 20
PR_SET_THP_DISABLE = 41
KINDS = {"code": "translated code", "heap": "heap", "program": "program's data", "rest": "other"}


def line(accel="tcg,tb-size=32", machine="pc", options="", bus="pci", nodefaults=("-nodefaults", "-vga", "none"),
         role=("-S", "-incoming", "defer")):
    """As engine/args.c has it, with descriptors left out."""
    return ["qemu-system-x86_64", *nodefaults, "-no-user-config", "-display", "none", "-msg", "timestamp=off",
            "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
            "-action", "reboot=shutdown",
            "-machine", machine + ",suppress-vmdesc=on,mem-merge=off,dump-guest-core=off" + options,
            "-accel", accel, "-cpu", "qemu64", "-smp", "1", "-m", "256M",
            "-chardev", "stdio,id=qmp", "-mon", "chardev=qmp,mode=control",
            "-chardev", "null,id=console", "-serial", "chardev:console",
            "-device", "virtio-serial-%s,id=channels,max_ports=4" % bus, *role]


def rows(kernel, initrd):
    """(title, command line, environment, whether it may have huge pages, seconds until it is looked at)"""
    boot = ("-kernel", kernel, "-initrd", initrd)
    shell = [
        ("a shell, as Torpor starts it", line(), {}, True),
        ("... with kernel and initrd", line(role=("-S", "-incoming", "defer", *boot)), {}, True),
        ("... with QEMU's default devices", line(nodefaults=()), {}, True),
        ("... with one malloc arena", line(), {"MALLOC_ARENA_MAX": "1"}, True),
        ("... without huge pages", line(), {}, False),
        ("... of q35", line(machine="q35"), {}, True),
        ("... of microvm", line(machine="microvm", bus="device", options=",acpi=on,pcie=off,isa-serial=on,rtc=on"),
         {}, True),
        ("... under KVM", line(accel="kvm"), {}, True),
    ]
    booted = [
        ("booted, TCG's buffer as Torpor sets it", line(role=boot), {}, True),
        ("... with TCG's default buffer", line(accel="tcg", role=boot), {}, True),
    ]
    return [row + (SHELL_SECONDS,) for row in shell] + [row + (BOOT_SECONDS,) for row in booted]


def kind_of(rights, size, name):
    if rights[1:3] == "wx":
        return "code"
    if name == "[heap]":
        return "heap"
    if name.startswith("/"):
        return "program"
    return "guest" if size == 256 << 20 else "rest"


def memory(pid):
    """KiB of private memory by kind, without guest RAM, which Torpor has elsewhere."""
    found = dict.fromkeys([*KINDS, "guest"], 0)
    for text in open("/proc/%d/smaps" % pid):
        mapping = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", text)
        if mapping:
            start, end, rights, name = mapping.groups()
            kind = kind_of(rights, int(end, 16) - int(start, 16), name)
        elif text.startswith("Private_"):
            found[kind] += int(text.split()[1])
    del found["guest"]
    return found


class Qemu:
    def __init__(self, command, environment, huge_pages):
        def prepare():
            if not huge_pages:
                ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)

        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=prepare,
                                        env=dict(os.environ, **environment))
        if not self.process.stdout.readline():
            sys.exit("%s: QEMU ended" % " ".join(command))
        self.ask("qmp_capabilities")

    def ask(self, command):
        self.process.stdin.write(json.dumps({"execute": command}).encode() + b"\n")
        self.process.stdin.flush()
        while "return" not in json.loads(self.process.stdout.readline()):
            pass

    def end(self):
        self.ask("quit")
        self.process.wait()


def measure(kernel, initrd):
    found = {}
    beside = Qemu(line(), {}, True)
    try:
        for _ in range(ROUNDS):
            for title, command, environment, huge_pages, seconds in rows(kernel, initrd):
                qemu = Qemu(command, environment, huge_pages)
                time.sleep(seconds)
                found.setdefault(title, []).append(memory(qemu.process.pid))
                qemu.end()
    finally:
        beside.end()
    return found


def mib(kib):
    return "%.1f" % (kib / 1024)


def table(found):
    lines = ["| MiB | altogether | %s |" % " | ".join(KINDS.values()), "|---|---:" + "|---:" * len(KINDS) + "|"]
    for title, samples in found.items():
        medians = [statistics.median(sample[kind] for sample in samples) for kind in KINDS]
        lines.append("| %s | %s | %s |" % (title, mib(sum(medians)), " | ".join(map(mib, medians))))
    return "\n".join(lines) + "\n"


def main(kernel, initrd, page=None):
    text = table(measure(kernel, initrd))
    if not page:
        print(text, end="")
        return
    old = open(page).read()
    new, n = re.subn(r"(<!-- process -->\n).*?(<!-- end -->)", lambda m: m.group(1) + text + m.group(2), old, flags=re.S)
    if n != 1:
        sys.exit("%s has %d places for it" % (page, n))
    open(page, "w").write(new)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
