# SPDX-License-Identifier: Apache-2.0
"""Makes many parked sessions of one: copies.py STATE ID COUNT. torpord doesn't run meanwhile.

Each is a row of its own, as benchmarks/daemon_records.c makes them, with the same file under its name.
"""
import os
import sqlite3
import sys

state, original, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
db = sqlite3.connect(os.path.join(state, "records.db"))
db.row_factory = sqlite3.Row


def put(table, row):
    names = ", ".join(row)
    places = ", ".join("?" * len(row))
    db.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", list(row.values()))


session = dict(db.execute("SELECT * FROM sessions WHERE id = ?", [original]).fetchone())
image = dict(db.execute("SELECT * FROM images WHERE name = ?", [original]).fetchone())
for i in range(count):
    name = f"zz{i:014d}"
    os.link(os.path.join(state, "images", original), os.path.join(state, "images", name))
    labels = '{"team": "%s"}' % "atlas boreas cumulus".split()[i % 3]
    created = session["created_ns"] - (i + 1) * 1_000_000_000
    put("sessions", {**session, "id": name, "name": f"copy-{i}", "labels": labels, "created_ns": created})
    put("images", {**image, "name": name, "session": name})
# Ids of events go on from a mark an hour ahead; without it they are the host's time again.
db.execute("DELETE FROM numbers WHERE name = 'events'")
db.commit()
