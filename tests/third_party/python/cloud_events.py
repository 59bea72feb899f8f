"""The official CloudEvents SDK of Python, as a producer and as a receiver.

produce: prints Kafka messages, one JSON object a line.
receive: reads HTTP requests, one JSON object a line, and prints what the SDK understands of each.
"""

import base64
import json
import sys
from datetime import datetime, timezone

from cloudevents.core.bindings import http, kafka
from cloudevents.core.v1.event import CloudEvent

TIME = datetime(2025, 1, 15, 10, 30, 0, 123000, tzinfo=timezone.utc)


def event(name, content_type, data):
    attributes = {
        "id": f"py.{name}",
        "source": "/python sdk",
        "type": "sdk.made",
        "specversion": "1.0",
        "time": TIME,
        "subject": "a \"subject\" of 100%",
        "datacontenttype": content_type,
        "myext": "kept",
    }
    return CloudEvent(attributes, data)


def produce():
    events = [
        event("json", "application/json", {"n": 1, "list": [True, None]}),
        event("text", "text/plain", "grüße"),
        event("bytes", "application/octet-stream", b"\x00\xff"),
    ]
    for one in events:
        for mode in (kafka.to_binary_event, kafka.to_structured_event):
            message = mode(one)
            headers = {name: value.decode() for name, value in message.headers.items()}
            value = base64.b64encode(message.value).decode()
            print(json.dumps({"headers": headers, "value": value}))


def receive():
    for line in sys.stdin:
        request = json.loads(line)
        body = base64.b64decode(request["body"])
        one = http.from_http_event(http.HTTPMessage(request["headers"], body))
        data = one.get_data()
        if isinstance(data, (bytes, bytearray)):
            data = {"base64": base64.b64encode(data).decode()}
        print(json.dumps({**one.get_attributes(), "data": data}, default=datetime.isoformat))


{"produce": produce, "receive": receive}[sys.argv[1]]()
