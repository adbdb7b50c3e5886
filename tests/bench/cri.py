#!/usr/bin/python3
"""Pods by a container runtime's CRI, called directly, as the kubelet calls it: sandbox, container, start.

    cri.py SOCKET run IMAGE MARKS CGROUP NAME...     starts pods in a cgroup, eight at a time; each makes MARKS/NAME
    cri.py SOCKET remove PREFIX                      stops and removes all whose names begin so, eight at a time
    cri.py SOCKET probe PREFIX SECONDS               asks all whose names begin so, each second, for so long: they add to their marks

The messages are written by hand: field numbers of runtime.v1 (CRI API, api.proto), which never change. Needs python3-grpcio.
"""
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc

# What the pods run, recognisable among all processes (run.sh).
WORKLOAD = "987654321"
AT_ONCE = 8


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def message(*fields):
    """Fields as (number, value); a value is an int, a text, or a message in bytes."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return out


def fields(raw):
    """The text and message fields of a message, as (number, bytes)."""
    at = 0

    def number():
        nonlocal at
        shift = value = 0
        while True:
            byte = raw[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(raw):
        key = number()
        if key & 7 == 0:
            number()
        elif key & 7 == 2:
            length = number()
            yield key >> 3, raw[at:at + length]
            at += length
        else:
            raise ValueError(f"wire type {key & 7}")


def call(channel, method, request):
    send = channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")
    return send(request, timeout=60)


def first(raw):
    """The text of field 1."""
    return next(value.decode() for number, value in fields(raw) if number == 1)


def run(channel, name, image, marks, cgroup):
    metadata = message((1, name), (2, f"uid-{name}"), (3, "bench"))
    sandbox = message((1, metadata), (2, name), (8, message((1, cgroup))))
    pod = first(call(channel, "RunPodSandbox", message((1, sandbox))))
    mount = message((1, "/marks"), (2, marks))
    script = f": > /marks/{name}; exec sleep {WORKLOAD}"
    config = message((1, message((1, "c"))), (2, message((1, image))), (3, "sh"), (3, "-c"), (3, script), (7, mount))
    made = call(channel, "CreateContainer", message((1, pod), (2, config), (3, sandbox)))
    call(channel, "StartContainer", message((1, first(made))))


def remove(channel, pod):
    # Without a timeout a container is killed at once, as with a grace period of zero.
    for number, container in fields(call(channel, "ListContainers", message((1, message((3, pod)))))):
        if number == 1:
            call(channel, "StopContainer", message((1, first(container))))
    call(channel, "StopPodSandbox", message((1, pod)))
    call(channel, "RemovePodSandbox", message((1, pod)))


def pods(channel, prefix):
    """The identifiers and names of the pods whose names begin with the prefix."""
    for number, pod in fields(call(channel, "ListPodSandbox", b"")):
        told = dict(fields(pod))
        if number == 1 and first(told[2]).startswith(prefix):
            yield told[1].decode(), first(told[2])


def probe(channel, pod, name, seconds):
    listed = fields(call(channel, "ListContainers", message((1, message((3, pod))))))
    container = next(first(container) for number, container in listed if number == 1)
    script = f"echo >> /marks/{name}"
    request = message((1, container), (2, "sh"), (2, "-c"), (2, script), (3, 1))
    begun = time.monotonic()
    for second in range(seconds):
        time.sleep(max(0, begun + second - time.monotonic()))
        call(channel, "ExecSync", request)


def main():
    socket, verb, *rest = sys.argv[1:]
    with grpc.insecure_channel(f"unix:{socket}") as channel, ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        if verb == "run":
            image, marks, cgroup, *names = rest
            work = [pool.submit(run, channel, name, image, marks, cgroup) for name in names]
        elif verb == "remove":
            work = [pool.submit(remove, channel, pod) for pod, _ in pods(channel, *rest)]
        elif verb == "probe":
            prefix, seconds = rest
            every = list(pods(channel, prefix))
            # Each has a thread of its own, as with the kubelet.
            pool = stack.enter_context(ThreadPoolExecutor(max(1, len(every))))
            work = [pool.submit(probe, channel, pod, name, int(seconds)) for pod, name in every]
        else:
            sys.exit(__doc__)
        for each in work:
            each.result()


main()
