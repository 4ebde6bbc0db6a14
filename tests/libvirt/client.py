#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Looks at Torpor's domains, and meddles with them, as any client of libvirt's may.

    client.py URI await TITLE KEY=VALUE...   waits until a domain has that title, and its metadata
                                             element those attributes; prints its name
    client.py URI state TITLE                prints "running" or "paused"
    client.py URI limits TITLE               prints quota in us of 100 ms, and KiB of memory
    client.py URI suspend|resume|destroy|shutdown TITLE
    client.py URI gone TITLE                 waits until there is no such domain
"""
import sys
import xml.etree.ElementTree

import libvirt

NAMESPACE = 'urn:torpor:guest:1'
STATES = {libvirt.VIR_DOMAIN_RUNNING: 'running', libvirt.VIR_DOMAIN_PAUSED: 'paused'}


def title(domain):
    try:
        return domain.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None)
    except libvirt.libvirtError:
        return None


def find(conn, wanted):
    for domain in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        if title(domain) == wanted:
            return domain
    return None


def attributes(domain):
    try:
        text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
    except libvirt.libvirtError:
        return {}
    return xml.etree.ElementTree.fromstring(text).attrib


def listen(conn, event):
    conn.domainEventRegisterAny(None, event, lambda *_: None, None)


def wait_for(conn, wanted, pairs):
    """Titles are written behind a session's start: libvirt tells when."""
    listen(conn, libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE)
    while True:
        domain = find(conn, wanted)
        if domain and pairs.items() <= attributes(domain).items():
            return domain
        libvirt.virEventRunDefaultImpl()


def wait_until_gone(conn, wanted):
    """libvirtd notices the end of a process a moment behind it."""
    listen(conn, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE)
    while find(conn, wanted):
        libvirt.virEventRunDefaultImpl()


def main(uri, command, wanted, *rest):
    libvirt.virEventRegisterDefaultImpl()
    conn = libvirt.open(uri)
    if command == 'await':
        domain = wait_for(conn, wanted, dict(pair.split('=', 1) for pair in rest))
        print(domain.name())
        return 0
    if command == 'gone':
        wait_until_gone(conn, wanted)
        return 0
    domain = find(conn, wanted)
    if domain is None:
        print('no domain has the title', wanted, file=sys.stderr)
        return 1
    if command == 'state':
        print(STATES.get(domain.state()[0], 'another'))
    elif command == 'limits':
        print(domain.schedulerParameters()['global_quota'],
              domain.memoryParameters()['hard_limit'])
    else:
        getattr(domain, command)()
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
