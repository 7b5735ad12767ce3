"""A worker that allows everything and warns about large sums: all that the demo needs of one."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

from stream_guard.settings import load_settings


class StandIn:
    def __init__(self, config: str) -> None:
        settings = load_settings(config)
        self.names = settings.topics.names
        self.dispositions: dict[str, int] = {}
        self.held = 0.0
        self.known: dict[str, float] = {}
        self.server = HTTPServer((settings.http.host, settings.http.port), self.page())
        options: dict[str, Any] = {"bootstrap.servers": ",".join(settings.broker), "log_level": 2}
        waits = {"group.id": "stand-in", "fetch.wait.max.ms": settings.consumer.fetch_wait_ms}
        self.consumer = Consumer(options | waits)
        topics = (self.names["transactions"], self.names["dispositions"])
        self.consumer.assign([TopicPartition(t, p, OFFSET_BEGINNING) for t in topics for p in range(4)])
        self.producer = Producer({**options, "linger.ms": 5})

    def page(self) -> type[BaseHTTPRequestHandler]:
        worker = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                counts = list(worker.dispositions.items())
                lines = [f'stream_guard_dispositions{{outcome="{name}"}} {count}' for name, count in counts]
                lines += [f'stream_guard_hits{{standing="{name}"}} {count}' for name, count in counts]
                lines.append(f'stream_guard_amount_intercepted{{part="total"}} {worker.held}')
                self.wfile.write("\n".join(lines).encode())

            def log_message(self, *_: Any) -> None:
                pass

        return Page

    def run(self) -> None:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        while True:
            self.producer.poll(0)
            record = self.consumer.poll(0.05)
            if record is None:
                continue
            if record.topic() == self.names["dispositions"]:
                outcome = json.loads(record.value())["outcome"]
                self.dispositions[outcome] = self.dispositions.get(outcome, 0) + 1
            else:
                self.decide(record)

    def decide(self, record: Message) -> None:
        try:
            payment = json.loads(record.value())
            event_id, amount = payment["event_id"], payment["amount"]
        except ValueError:
            return self.refuse(record)
        if event_id.endswith("bad") or self.known.get(event_id, amount) != amount:
            return self.refuse(record)
        large = amount >= 100_000 and event_id not in self.known
        self.known[event_id] = amount
        reasons = [{"rule": "large", "text": f"{amount:,.0f}"}] if large else []
        decision = {**payment, "action": "hold" if large else "allow", "reasons": reasons}
        self.put("decisions", decision, record)
        if large:
            self.held += amount
            alert = {"warning_id": f"w-{event_id}", "account": payment["account"], "status": "opened"}
            alert |= {
                "score": 70.0,
                "severity": "medium",
                "reasons": reasons,
                "amount": amount,
                "outcome": None,
            }
            self.put("alerts", alert, record)
        return None

    def refuse(self, record: Message) -> None:
        place = {"topic": record.topic(), "partition": record.partition(), "offset": record.offset()}
        headers = {name: str(value) for name, value in {**place, "reason": "invalid"}.items()}
        self.producer.produce(self.names["dead_letters"], record.value(), headers=headers)

    def put(self, role: str, message: dict[str, Any], record: Message) -> None:
        self.producer.produce(self.names[role], json.dumps(message).encode(), record.key())


if __name__ == "__main__":
    if "DIE" in os.environ:
        sys.exit("no kernels today")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    StandIn(sys.argv[sys.argv.index("-c") + 1]).run()
