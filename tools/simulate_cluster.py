"""Arrivals of pictures at a thousand nodes: where p99 goes, with and without a limit of rows.

    python tools/simulate_cluster.py                 the table of docs/scaling.md (half a minute)
    python tools/simulate_cluster.py --nodes 100 --load 0.9 --balancer least --permits 32

Arrivals are Poisson and seeded: the same numbers every time. Each node computes batches of what
waits, one after another, in the time that was measured (docs/performance.md): 9.3 images a second on
two cores in BF16, and a row takes as long in a batch as alone (345 ms alone and 342 among eight, in
FP32 on one thread; four images in BF16 450 ms). With permits a node that has as
many rows under way as permits refuses a request (429); it is sent to one other node, and counts as
refused if that one refuses it, too. Latencies are those of answered requests.

    arrival -> balancer -> node: permits? -> queue -> batch of at most 4 -> answer

What it leaves out: decoding, the network, texts, and clients that give up or come again.
Needs only Python.
"""

import argparse
import math
import random
from array import array
from collections import deque

# Seconds of a row, and rows of a batch, of the CPU engine.
SECONDS = 1 / 9.3
BATCH = 4


class Node:
    """A queue before an engine. Nothing happens in it but when it is looked at."""

    __slots__ = ("busy_until", "in_batch", "waiting")

    def __init__(self):
        self.busy_until = 0.0
        self.in_batch = 0
        self.waiting = deque()

    def advance(self, now, latencies):
        """Does what was to be done until now: ends batches, and begins the next ones."""
        while self.busy_until <= now:
            if not self.waiting:
                self.in_batch = 0
                return
            rows = min(BATCH, len(self.waiting))
            # An idle engine begins with a row as it comes.
            began = max(self.busy_until, self.waiting[0])
            self.busy_until = began + rows * SECONDS
            self.in_batch = rows
            for _ in range(rows):
                latencies.append(self.busy_until - self.waiting.popleft())

    def rows(self):
        return self.in_batch + len(self.waiting)


def choose_random(nodes, draw, now, latencies):
    return draw.randrange(len(nodes))


def choose_least(nodes, draw, now, latencies):
    """The better of two nodes that were drawn: what a balancer by least connections comes to."""
    one, two = draw.randrange(len(nodes)), draw.randrange(len(nodes))
    nodes[one].advance(now, latencies)
    nodes[two].advance(now, latencies)
    return one if nodes[one].rows() <= nodes[two].rows() else two


BALANCERS = {"random": choose_random, "least": choose_least}


def simulate(nodes, load, seconds, balancer, permits, seed):
    """Latencies of the answered requests, sorted, and the share that was refused."""
    draw = random.Random(seed)
    choose = BALANCERS[balancer]
    cluster = [Node() for _ in range(nodes)]
    latencies = array("d")
    rate = load * nodes / SECONDS
    now, asked, refused = 0.0, 0, 0
    while True:
        now += draw.expovariate(rate)
        if now > seconds:
            break
        asked += 1
        for _ in range(2):
            node = cluster[choose(cluster, draw, now, latencies)]
            node.advance(now, latencies)
            if node.rows() < permits:
                node.waiting.append(now)
                # An idle engine takes it at once.
                node.advance(now, latencies)
                break
        else:
            refused += 1
    for node in cluster:
        node.advance(math.inf, latencies)
    assert len(latencies) == asked - refused, "every accepted request is answered once"
    return sorted(latencies), refused / asked


def quantile(latencies, share):
    return latencies[min(len(latencies) - 1, int(share * len(latencies)))]


def row(options, balancer, load, permits):
    latencies, refused = simulate(
        options.nodes, load, options.seconds, balancer, permits, options.seed
    )
    in_time = sum(1 for latency in latencies if latency <= options.bound)
    asked = len(latencies) / (1 - refused)
    name = "none" if permits == math.inf else f"{permits:.0f}"
    return (
        f"| {load:.0%} | {balancer} | {name} | {quantile(latencies, 0.5):.2f} | "
        f"{quantile(latencies, 0.99):.2f} | {latencies[-1]:.2f} | {refused:.1%} | "
        f"{in_time / asked:.1%} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60, help="how long requests arrive")
    parser.add_argument("--load", type=float, action="append", help="of what all nodes can do")
    parser.add_argument("--balancer", choices=BALANCERS, action="append")
    parser.add_argument("--permits", type=float, action="append", help="rows of a node; inf: no limit")
    parser.add_argument("--bound", type=float, default=4, help="seconds after which an answer is late")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(
        "| load | balancer | permits | p50, s | p99, s | longest, s | refused | "
        f"answered within {options.bound:g} s |"
    )
    print("|" + " --- |" * 8)
    for load in options.load or [0.7, 0.9, 1.0, 1.2]:
        for balancer in options.balancer or BALANCERS:
            for permits in options.permits or [math.inf, 32]:
                print(row(options, balancer, load, permits), flush=True)


if __name__ == "__main__":
    main()
