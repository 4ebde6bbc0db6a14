# SPDX-License-Identifier: Apache-2.0
# Builds the dashboard (web/) and makes a C file of it.
#
#   dashboard.py deps WEB WORK                 installs what web/package-lock.json names into WORK
#   dashboard.py build WEB WORK OUTPUT DEPFILE the same, builds it there, and embeds it
#   dashboard.py none OUTPUT                   a C file without it
#
# All of it happens in WORK, a copy of WEB in the build directory: nothing is written to the source.
import gzip
import hashlib
import os
import shutil
import subprocess
import sys

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
# Not part of the source: what tools leave there.
NO_SOURCE = {"node_modules", "dist"}


def sources(web):
    """Files below WEB, and the directories that they are in: a new file changes these."""
    found = []
    for folder, names, files in os.walk(web):
        names[:] = sorted(name for name in names if name not in NO_SOURCE)
        found.append(folder)
        found += [os.path.join(folder, name) for name in sorted(files)]
    return found


def copy(web, work):
    """Makes WORK what WEB is, but for the packages in it."""
    os.makedirs(work, exist_ok=True)
    for name in os.listdir(work):
        path = os.path.join(work, name)
        if name in NO_SOURCE or name == ".installed":
            continue
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    shutil.copytree(web, work, dirs_exist_ok=True, ignore=lambda _, names: NO_SOURCE & set(names))


def run(command, work):
    """Runs it; what it says is only shown if it fails."""
    done = subprocess.run(
        command, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.stderr.write(done.stdout.decode(errors="replace"))
        sys.exit(f"dashboard: {' '.join(command[:2])} failed in {work}")


def install(work):
    """Packages, if these aren't there yet."""
    with open(os.path.join(work, "package-lock.json"), "rb") as file:
        wanted = hashlib.sha256(file.read()).hexdigest()
    stamp = os.path.join(work, ".installed")
    if os.path.isdir(os.path.join(work, "node_modules")) and os.path.exists(stamp):
        with open(stamp, encoding="ascii") as file:
            if file.read() == wanted:
                return
    # Scripts of packages aren't run: none that is needed has one that matters.
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"], work)
    with open(stamp, "w", encoding="ascii") as file:
        file.write(wanted)


def read_dist(dist):
    """(path, type, bytes) of each file, the page first."""
    names = ["index.html", "favicon.svg"]
    assets = os.path.join(dist, "assets")
    names += [os.path.join("assets", name) for name in sorted(os.listdir(assets))]
    others = set(os.listdir(dist)) - {"index.html", "favicon.svg", "assets"}
    if others:
        sys.exit(f"dashboard: nobody serves {', '.join(sorted(others))}")
    for name in names:
        with open(os.path.join(dist, name), "rb") as file:
            content = file.read()
        path = "/" if name == "index.html" else "/" + name
        yield path, TYPES[os.path.splitext(name)[1]], content


def put_bytes(out, name, content):
    out.write(f"static const unsigned char {name}[] = {{\n")
    for at in range(0, len(content), 20):
        out.write("\t" + ",".join(str(byte) for byte in content[at : at + 20]) + ",\n")
    out.write("};\n")


def embed(files, target):
    rows = []
    with open(target, "w", encoding="ascii") as out:
        out.write('#include "daemon/dashboard.h"\n\n')
        for i, (path, kind, content) in enumerate(files):
            packed = gzip.compress(content, 9, mtime=0)
            etag = hashlib.sha256(content).hexdigest()[:20]
            put_bytes(out, f"plain_{i}", content)
            pair = "0, 0"
            if len(packed) < len(content):
                put_bytes(out, f"gzip_{i}", packed)
                pair = f"gzip_{i}, sizeof(gzip_{i})"
            rows.append(
                f'\t{{"{path}", "{kind}", "W/\\"{etag}\\"", '
                f"plain_{i}, sizeof(plain_{i}), {pair}}},\n"
            )
        out.write("const struct dashboard_file dashboard_files[] = {\n")
        out.writelines(rows)
        out.write("\t{0},\n};\n")


def build(web, work, target, depfile):
    copy(web, work)
    install(work)
    dist = os.path.join(os.path.abspath(work), "dist")
    shutil.rmtree(dist, ignore_errors=True)
    run(["node", "build.mjs", "--out", dist], work)
    embed(read_dist(dist), target)
    with open(depfile, "w", encoding="utf-8") as file:
        file.write(target + ": " + " ".join(path.replace(" ", "\\ ") for path in sources(web)) + "\n")


def main():
    what, *rest = sys.argv[1:]
    if what == "none":
        embed([], *rest)
    elif what == "deps":
        copy(*rest)
        install(rest[1])
    elif what == "build":
        build(*rest)


main()
