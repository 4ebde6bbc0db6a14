#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What each step of a park, resume, claim and fork takes: measures, draws, and fills in the tables.

    steps.py measure TORPORD TORPOR STATE TABLE [ROUNDS]
    steps.py draw TABLE PAGE          pictures beside TABLE, and the tables in PAGE (Markdown)
    steps.py check TABLE PAGE         fails if `draw` would change anything

`scripts/steps` calls it. Measuring follows the probes (torpor-probes(7)) of a torpord on STATE, which
has the template "minimal", with bpftrace; so it takes root, and a kernel with uprobes and BPF.

A step lasts from the probe before it to its own. QEMU's part of a step is the time between a QMP
command and its answer; loading counts as QEMU's altogether: it reads a stream, and says by an event
that it is done. TABLE has, in microseconds, the least and the median of all rounds, step by step: medians of
steps don't add up to the median of the whole.
"""
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

# Step, the probe that ends it, whose time it is beside QEMU's part, what it does. In order.
STEPS = {
    "park": [
        ("request", "park__begin", "torpor", "request read, session looked up"),
        ("prepare", "save__prepared", "torpor", "pages counted, small blocks found"),
        ("reserve", "save__reserved", "torpor", "file, room on disk and in memory"),
        ("stop", "save__stopped", "torpor", "the guest stops"),
        ("devices", "save__devices", "torpor", "device state, written by QEMU"),
        ("scan", "save__scanned", "kernel", "which pages changed"),
        ("copy", "save__copied", "kernel", "copied out of the process"),
        ("capture", "save__captured", "kernel", "small blocks copied out"),
        ("pack", "image__packed", "torpor", "compared with the base, compressed"),
        ("write", "image__written", "torpor", "sections compressed, rest written"),
        ("sync", "image__synced", "kernel", "fsync of the file"),
        ("publish", "image__durable", "kernel", "rename, fsync of the directory"),
        ("record", "park__recorded", "kernel", "record and audit entry, synced"),
        ("end", "park__gone", "kernel", "the process is ended and reaped"),
        ("answer", "request__end", "torpor", "answered"),
    ],
    "resume": [
        ("request", "resume__begin", "torpor", "request read, admitted, image found"),
        ("open", "resume__opened", "torpor", "metadata read and checked"),
        ("process", "wake__process", "torpor", "a shell is taken"),
        ("pages", "wake__pages", "torpor", "decompressed, checked, put into the shell"),
        ("load", "wake__loaded", "qemu", "device state, handed over and loaded"),
        ("place", "wake__placed", "kernel", "put under its limits"),
        ("run", "wake__running", "torpor", "the vCPUs start"),
        ("submit", "wake__submitted", "torpor", "record handed over"),
        ("fresh", "wake__fresh", "guest", "the guest sets its clock, reseeds"),
        ("ready", "wake__ready", "torpor", "watched from now on"),
        ("record", "wake__recorded", "kernel", "record and audit entry: the rest of it"),
        ("answer", "request__end", "torpor", "answered"),
    ],
    "claim": [
        ("request", "claim__begin", "torpor", "request read, admitted"),
        ("grant", "claim__granted", "torpor", "it is its turn"),
        ("process", "wake__process", "torpor", "a warm guest is taken"),
        ("place", "wake__placed", "kernel", "put under its limits"),
        ("run", "wake__running", "torpor", "the vCPUs start"),
        ("submit", "wake__submitted", "torpor", "record handed over"),
        ("fresh", "wake__fresh", "guest", "the guest takes clock, seed and names"),
        ("ready", "wake__ready", "torpor", "watched from now on"),
        ("record", "wake__recorded", "kernel", "record and audit entry: the rest of it"),
        ("answer", "request__end", "torpor", "answered"),
    ],
    "fork": [
        ("process", "wake__process", "torpor", "a shell is taken"),
        ("pages", "wake__pages", "torpor", "decompressed, checked, put into the shell"),
        ("load", "wake__loaded", "qemu", "device state, handed over and loaded"),
        ("place", "wake__placed", "kernel", "put under its limits"),
        ("run", "wake__running", "torpor", "the vCPUs start"),
        ("submit", "wake__submitted", "torpor", "record handed over"),
        ("fresh", "wake__fresh", "guest", "the guest takes clock, seed and names"),
        ("ready", "wake__ready", "torpor", "watched from now on"),
    ],
}

TABLES = {  # name in the table: which steps, what it is
    "claim": ("claim", "A claim of a warm guest"),
    "park_idle": ("park", "A park of an idle guest"),
    "resume_idle": ("resume", "A resume of an idle guest"),
    "park_dirty": ("park", "A park of a guest that wrote 20 MiB"),
    "resume_dirty": ("resume", "A resume of a guest that wrote 20 MiB"),
    "fork_8": ("fork", "Each of eight forks of an idle guest, on all cores at once"),
}
PICTURES = ("claim", "park_idle", "resume_idle")
FIRST = {"park": "park__begin", "resume": "resume__begin", "claim": "claim__begin", "fork": "wake__begin"}
# 20 MiB; half of it can't be compressed.
DIRTY = "{ head -c 10485760 /dev/urandom; yes 'nobody has read this line' | head -c 10485760; } >/dirt"
QUIET_S = 5  # as torpor bench: a guest that was just claimed still writes


# --- measuring ---

class Torpord:
    """A torpord of its own, watched by bpftrace; both end with the block."""

    def __init__(self, torpord, torpor, state):
        self.torpord, self.torpor, self.state = torpord, torpor, state
        self.keep = tempfile.TemporaryDirectory(prefix="torpor-steps.")
        self.dir = self.keep.name
        self.socket = self.dir + "/socket"
        self.trace = self.dir + "/trace"

    def __enter__(self):
        config = self.dir + "/torpord.conf"
        with open(config, "w") as f:
            f.write("[tenants]\nrequests_per_minute = 100000\n[template minimal]\n"
                    "warm_min = 1\nwarm_max = 1\nshells_min = 8\nshells_max = 8\n")
        self.log = open(self.dir + "/log", "w")
        self.process = subprocess.Popen(
            [self.torpord, "--config", config, "--state", self.state, "--socket", self.socket],
            stdout=self.log, stderr=self.log)
        self.tracer = None
        try:
            self.wait_until(lambda: os.path.exists(self.socket), "torpord", self.dir + "/log")
            self.start_tracer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_tracer(self):
        # Each with the number of its arguments.
        probes = sorted(set(re.findall(
            r"Provider: torpor\s+Name: (\S+)\s+Location:.*\s+Arguments:(?: \S+)( \S+)?",
            subprocess.run(["readelf", "-n", self.torpord], capture_output=True, text=True,
                           check=True, env={**os.environ, "LC_ALL": "C"}).stdout)))
        probes = {name: bool(second) for name, second in probes}
        if not probes:
            sys.exit(self.torpord + " was built without probes")
        script = self.dir + "/events.bt"
        with open(script, "w") as f:
            for probe, has_second in probes.items():
                who = "str(arg0), %s" % ("arg1" if has_second else "0")
                if probe.startswith("request"):
                    who = '"-", arg0'
                elif probe.startswith("qmp"):
                    who = "str(arg1), 0"
                f.write('usdt:%s:torpor:%s { printf("%%llu %%d %s %%s %%lld\\n", nsecs, tid, %s); }\n'
                        % (self.torpord, probe, probe, who))
            f.write('BEGIN { printf("0 0 begin - 0\\n"); }\n')
        with open(self.trace, "a") as out, open(self.dir + "/tracer", "w") as err:
            self.tracer = subprocess.Popen(["bpftrace", "-B", "line", script], stdout=out, stderr=err)
        self.wait_until(lambda: " begin " in open(self.trace).read(), "bpftrace", self.dir + "/tracer")

    def wait_until(self, condition, what, log):
        for _ in range(300):
            if condition():
                return
            time.sleep(0.1)
        sys.exit("%s doesn't start:\n%s" % (what, open(log).read()))

    def __exit__(self, *_):
        try:
            self.run("rm", *self.run("ls", "-q").split())  # guests outlive their torpord
        except RuntimeError:
            pass  # none are left, or it doesn't serve
        for process, how in ((self.tracer, signal.SIGINT), (self.process, signal.SIGTERM)):
            if process:
                process.send_signal(how)
                process.wait()
        self.log.close()
        self.keep.cleanup()

    def run(self, *args):
        done = subprocess.run([self.torpor, "--socket", self.socket, *args], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError("torpor %s: %s" % (" ".join(args), done.stderr.strip()))
        return done.stdout

    def events(self):
        for line in open(self.trace):
            fields = line.rstrip("\n").split(" ")
            if len(fields) == 5 and fields[0] != "0":
                yield int(fields[0]), int(fields[1]), fields[2], fields[3], int(fields[4])


def cycle(t):
    """One of each; [(name in TABLES, session)]."""
    one = t.run("acquire", "-q", "minimal").strip()
    done = [("claim", one)]
    time.sleep(QUIET_S)
    t.run("park", one)
    time.sleep(1)
    forks = t.run("fork", one, "-q", "-n", "8").split()
    t.run("rm", *forks)
    time.sleep(QUIET_S)
    t.run("resume", one)
    t.run("exec", one, "--", "sh", "-c", DIRTY)
    time.sleep(QUIET_S)
    t.run("park", one)
    time.sleep(1)
    t.run("resume", one)
    t.run("rm", one)
    time.sleep(1)
    done += [(name, one) for name in ("park_idle", "resume_idle", "park_dirty", "resume_dirty")]
    return done + [("fork_8", fork) for fork in forks]


def qemu_time(events, tid, begin, end, whose):
    """Of the time between BEGIN and END on thread TID: QEMU's."""
    if whose == "qemu":
        return end - begin
    total, sent = 0, None
    for at, thread, probe, _, _ in events:
        if thread != tid or not begin <= at <= end:
            continue
        if probe == "qmp__command":
            sent = at
        elif probe == "qmp__answer" and sent is not None:
            total += at - sent
            sent = None
    return total


def split(events, name, who):
    """{step: (us, QEMU's us)} of what NAME is in TABLES, on session WHO; None if it isn't one to count."""
    kind = TABLES[name][0]
    begins = [i for i, e in enumerate(events) if e[2] == FIRST[kind] and e[3] == who]
    nth = 1 if name.endswith("_dirty") else 0
    if len(begins) <= nth:
        return None
    start = begins[nth]
    tid = events[start][1]
    at = events[start][0]
    steps = {}
    if kind != "fork":
        asked = [e for e in events[:start] if e[2] == "request__begin" and e[1] == tid]
        steps["request"] = ((at - asked[-1][0]) / 1e3, 0)
    for step, probe, whose, _ in STEPS[kind]:
        if step == "request":
            continue
        found = next((e for e in events[start:] if e[2] == probe and e[1] == tid
                      and (e[3] == who or probe == "request__end")), None)
        if not found:
            return None
        if step == "process" and found[4] != (2 if kind == "claim" else 1):
            return None  # nobody waited: another thing altogether
        steps[step] = ((found[0] - at) / 1e3, qemu_time(events, tid, at, found[0], whose) / 1e3)
        at = found[0]
    return steps


def total_of(steps):
    return sum(us for us, _ in steps.values())


def facts(torpor, rounds, load):
    def said(*argv):
        return subprocess.run(argv, capture_output=True, text=True).stdout.strip().splitlines()
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "?")
    return {
        "torpor": said(torpor, "--version")[0],
        "qemu": said("qemu-system-x86_64", "--version")[0].replace("QEMU emulator version ", ""),
        "kernel": os.uname().release,
        "processor": cpu,
        "cores": str(os.cpu_count()),
        "date": time.strftime("%Y-%m-%d"),
        "rounds": str(rounds),
        "load": "%.1f at the start, %.1f at the end" % load,
        "priority": "real-time" if os.sched_getscheduler(0) else "nice %d" % os.nice(0),
    }


def measure(torpord, torpor, state, table, rounds=20):
    samples = {name: [] for name in TABLES}
    load = os.getloadavg()[0]
    with Torpord(torpord, torpor, state) as t:
        time.sleep(QUIET_S)
        for i in range(int(rounds)):
            print("round %d of %s" % (i + 1, rounds), file=sys.stderr)
            open(t.trace, "r+").truncate(0)
            done = cycle(t)
            events = sorted(t.events())
            for name, one in done:
                steps = split(events, name, one)
                if steps:
                    samples[name].append(steps)
    with open(table, "w") as f:
        for key, value in facts(torpor, rounds, (load, os.getloadavg()[0])).items():
            f.write("# %s: %s\n" % (key, value))
        f.write("operation\tstep\tn\tmin_us\tp50_us\tqemu_p50_us\n")
        for name, (kind, _) in TABLES.items():
            all_of = samples[name]
            if not all_of:
                sys.exit("no round had a %s to count" % name)
            for step, _, _, _ in STEPS[kind]:
                us = [s[step][0] for s in all_of]
                f.write("%s\t%s\t%d\t%.0f\t%.0f\t%.0f\n" % (
                    name, step, len(us), min(us), statistics.median(us),
                    statistics.median(s[step][1] for s in all_of)))
            us = [total_of(s) for s in all_of]
            f.write("%s\ttotal\t%d\t%.0f\t%.0f\t%.0f\n" % (
                name, len(us), min(us), statistics.median(us),
                statistics.median(sum(q for _, q in s.values()) for s in all_of)))


# --- drawing ---

COLOURS = {"torpor": "#2a7f62", "qemu": "#c8641b", "kernel": "#5a6f9e", "guest": "#8d56a8"}
NAMES = {"torpor": "Torpor", "qemu": "QEMU", "kernel": "kernel and disk", "guest": "the guest"}
WIDTH, LEFT, RIGHT, ROW, TOP = 900, 340, 80, 22, 74


def read_table(path):
    context, rows = {}, {}
    for line in open(path):
        line = line.rstrip("\n")
        if line.startswith("# "):
            key, value = line[2:].split(": ", 1)
            context[key] = value
        elif line and not line.startswith("operation"):
            name, step, n, least, p50, qemu = line.split("\t")
            rows.setdefault(name, {})[step] = (int(n), int(least), int(p50), int(qemu))
    return context, rows


def ms(us):
    return "%.2f" % (us / 1e3) if us < 9995 else "%.1f" % (us / 1e3)


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def picture(name, rows, context):
    kind, title = TABLES[name]
    steps = [(s, who, what, *rows[name][s][2:]) for s, _, who, what in STEPS[kind]]
    starts, at = [], 0
    for step in steps:
        starts.append(at)
        at += step[3]
    ends = [s + step[3] for s, step in zip(starts, steps)]
    by_name = {step[0]: i for i, step in enumerate(steps)}
    # What the guest does by itself can be ten times the rest: then the axis ends a little behind the vCPUs' start.
    span = max(ends[-1], 1)
    if "run" in by_name and span > 6 * ends[by_name["run"]]:
        span = 1.7 * ends[by_name["run"]]
    scale = (WIDTH - LEFT - RIGHT) / span
    x = lambda us: LEFT + min(us, span) * scale
    height = TOP + ROW * len(steps) + 58
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" '
           'font-family="system-ui, sans-serif" font-size="12.5" fill="#24292f">' % (WIDTH, height, WIDTH, height),
           "<title>%s</title>" % escape(title),
           # Of its own colour, so that it can be read on a dark page as on a light one.
           '<rect width="%d" height="%d" rx="8" fill="#fcfcfa"/>' % (WIDTH, height),
           '<text x="20" y="28" font-size="16" font-weight="600">%s</text>' % escape(title)]
    legend = 20
    for who in ("torpor", "qemu", "kernel", "guest"):
        out.append('<rect x="%d" y="42" width="12" height="12" rx="2" fill="%s"/>'
                   '<text x="%d" y="52.5">%s</text>' % (legend, COLOURS[who], legend + 18, NAMES[who]))
        legend += 44 + 6.6 * len(NAMES[who])
    bottom = TOP + ROW * len(steps)
    # Milliseconds.
    unit = next(u for u in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if span / 1e3 / u <= 11)
    for i in range(int(span / 1e3 / unit) + 1):
        at_x = x(i * unit * 1e3)
        out.append('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#e2e2dd"/>'
                   '<text x="%.1f" y="%d" text-anchor="middle" fill="#6e7681">%g</text>'
                   % (at_x, TOP - 4, at_x, bottom + 4, at_x, bottom + 18, round(i * unit, 1)))
    out.append('<text x="%d" y="%d" fill="#6e7681">ms</text>' % (WIDTH - RIGHT + 8, bottom + 18))
    if kind == "park":
        first, last = starts[by_name["stop"]], ends[by_name["capture"]]
        out.append('<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#f3c969" opacity="0.35"/>'
                   % (x(first), TOP - 4, x(last) - x(first), bottom - TOP + 8))
    marks = {"park": [("stop", "capture", "must stand still", False), (None, "publish", "durable", True)],
             "resume": [(None, "run", "vCPUs run", True)], "claim": [(None, "run", "vCPUs run", True)]}[kind]
    for first, last, text, line in marks:
        middle = (starts[by_name[first]] + ends[by_name[last]]) / 2 if first else ends[by_name[last]]
        if line:
            out.append('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#24292f" stroke-dasharray="3 3"/>'
                       % (x(middle), TOP - 6, x(middle), bottom + 4))
        out.append('<text x="%.1f" y="%d" text-anchor="middle" font-size="11.5">%s</text>'
                   % (x(middle), TOP - 10, text))
    for i, (step, who, what, us, qemu) in enumerate(steps):
        y = TOP + ROW * i
        out.append('<text x="20" y="%.1f" font-weight="600">%s</text><text x="84" y="%.1f" fill="#57606a">%s</text>'
                   % (y + 15, step, y + 15, escape(what)))
        own = us - min(qemu, us)
        parts = [(own, who), (us - own, "qemu")]
        begin = starts[i]
        for length, colour in parts:
            if length > 0 and begin < span:
                width = max(x(begin + length) - x(begin), 1)
                out.append('<rect x="%.1f" y="%d" width="%.1f" height="%d" rx="1.5" fill="%s"/>'
                           % (x(begin), y + 4, width, ROW - 8, COLOURS[colour]))
            begin += length
        beyond = ends[i] > span * 1.001
        text = ms(us) + (" \u2192" if beyond else "")
        if beyond:
            out.append('<text x="%d" y="%.1f">%s</text>' % (WIDTH - RIGHT + 6, y + 15, text))
        else:
            out.append('<text x="%.1f" y="%.1f" paint-order="stroke" stroke="#fcfcfa" stroke-width="3">%s</text>'
                       % (x(ends[i]) + 5, y + 15, text))
    out.append('<text x="20" y="%d" fill="#6e7681" font-size="11">Medians of %d, laid end to end; in a torpord. '
               'QEMU %s, %s, %s.</text>' % (height - 14, rows[name][steps[0][0]][0],
                                            escape(context["qemu"].split(" ")[0]), escape(context["processor"]),
                                            escape(context["date"])))
    out.append("</svg>\n")
    return "\n".join(out)


def markdown(name, rows):
    kind, title = TABLES[name]
    lines = ["| step | | least | median | QEMU's part |", "|---|---|---:|---:|---:|"]
    for step, _, _, what in STEPS[kind]:
        _, least, p50, qemu = rows[name][step]
        lines.append("| %s | %s | %s | %s | %s |" % (step, what, ms(least), ms(p50), ms(qemu) if qemu else ""))
    _, least, p50, qemu = rows[name]["total"]
    lines.append("| **total** | | %s | %s | %s |" % (ms(least), ms(p50), ms(qemu)))
    return "\n".join(lines) + "\n"


def measured_on(context):
    return ("Measured %(date)s on %(processor)s, %(cores)s cores, Linux %(kernel)s, QEMU %(qemu)s: "
            "%(rounds)s rounds, load average %(load)s, priority %(priority)s.\n" % context)


def drawn(table, page):
    """{path: content} of all that follows from TABLE."""
    context, rows = read_table(table)
    files = {}
    for name in PICTURES:
        files[os.path.join(os.path.dirname(table), name.replace("_", "-") + ".svg")] = picture(name, rows, context)
    text = open(page).read()
    blocks = {name: markdown(name, rows) for name in TABLES}
    blocks["context"] = measured_on(context)
    for name, block in blocks.items():
        text, n = re.subn(r"(<!-- steps: %s -->\n).*?(<!-- end -->)" % name,
                          lambda m: m.group(1) + block + m.group(2), text, flags=re.S)
        if n != 1:
            sys.exit("%s has %d places for %s" % (page, n, name))
    files[page] = text
    return files


def draw(table, page):
    for path, content in drawn(table, page).items():
        open(path, "w").write(content)


def check(table, page):
    wrong = [path for path, content in drawn(table, page).items()
             if not os.path.exists(path) or open(path).read() != content]
    for path in wrong:
        print("%s isn't what follows from %s: run `scripts/steps --draw`" % (path, table))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    verbs = {"measure": measure, "draw": draw, "check": check}
    if len(sys.argv) < 4 or sys.argv[1] not in verbs:
        sys.exit(__doc__)
    verbs[sys.argv[1]](*sys.argv[2:])
