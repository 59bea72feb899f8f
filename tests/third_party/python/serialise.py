"""Events by Confluent's serialisers, as a shop that runs Python produces them.

serialise.py BOOTSTRAP REGISTRY TOPIC DESCRIPTORS
produces an Avro, a Protobuf and a JSON Schema record. DESCRIPTORS is a compiled set of shop/wide.proto.
"""

import datetime
import decimal
import json
import sys
import uuid

from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

bootstrap, registry, topic, descriptors = sys.argv[1:]
client = SchemaRegistryClient({"url": registry})
producer = Producer({"bootstrap.servers": bootstrap})
NOW = datetime.datetime(2025, 1, 15, 10, 30, 0, 123456, tzinfo=datetime.timezone.utc)


def produce(kind, serializer, value):
    context = SerializationContext(f"{topic}-{kind}", MessageField.VALUE)
    headers = [("type", f"made.{kind}".encode()), ("id", kind.encode())]
    producer.produce(topic, serializer(value, context), kind, partition=0, headers=headers)
    producer.flush()


def avro():
    money = {
        "type": "record",
        "namespace": "shop",
        "name": "Money",
        "fields": [
            {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}},
            {"name": "currency", "type": {"type": "enum", "name": "Currency", "symbols": ["EUR", "USD"]}},
        ],
    }
    logical = lambda kind, name: {"type": kind, "logicalType": name}
    wide = {
        "type": "record",
        "namespace": "shop.orders",
        "name": "Wide",
        "fields": [
            {"name": "total", "type": "shop.Money"},
            {"name": "paid", "type": ["null", "shop.Money"]},
            {"name": "nothing", "type": "null"},
            {"name": "yes", "type": "boolean"},
            {"name": "small", "type": "int"},
            {"name": "large", "type": "long"},
            {"name": "half", "type": "float"},
            {"name": "third", "type": "double"},
            {"name": "text", "type": "string"},
            {"name": "raw", "type": "bytes"},
            {"name": "four", "type": {"type": "fixed", "name": "Four", "size": 4}},
            {"name": "list", "type": {"type": "array", "items": ["null", "long", "string"]}},
            {"name": "map", "type": {"type": "map", "values": "double"}},
            {"name": "date", "type": logical("int", "date")},
            {"name": "timeMillis", "type": logical("int", "time-millis")},
            {"name": "timeMicros", "type": logical("long", "time-micros")},
            {"name": "atMillis", "type": logical("long", "timestamp-millis")},
            {"name": "atMicros", "type": logical("long", "timestamp-micros")},
            {"name": "localMillis", "type": logical("long", "local-timestamp-millis")},
            {"name": "uuid", "type": logical("string", "uuid")},
            {"name": "parent", "type": ["null", "Wide"], "default": None},
        ],
    }
    subject = f"{topic}-money"
    client.register_schema(subject, Schema(json.dumps(money), "AVRO"))
    references = [SchemaReference("shop.Money", subject, 1)]
    value = {
        "total": {"amount": decimal.Decimal("12345678901234567.89"), "currency": "EUR"},
        "paid": {"amount": decimal.Decimal("-0.01"), "currency": "USD"},
        "nothing": None,
        "yes": True,
        "small": -(2**31),
        "large": 2**63 - 1,
        "half": 0.5,
        "third": 1 / 3,
        "text": "grüße \"\\ \u0001",
        "raw": b"\x00\xff",
        "four": b"four",
        "list": [None, 7, "x"],
        "map": {"a": 1.0, "b": 2.5},
        "date": NOW.date(),
        "timeMillis": NOW.time(),
        "timeMicros": NOW.time(),
        "atMillis": NOW,
        "atMicros": NOW,
        "localMillis": NOW.replace(tzinfo=None),
        "uuid": uuid.UUID("6b1c8a52-0000-4000-8000-000000000001"),
        "parent": None,
    }
    produce("avro", AvroSerializer(client, Schema(json.dumps(wide), "AVRO", references)), value)


def protobuf():
    pool = descriptor_pool.DescriptorPool()
    with open(descriptors, "rb") as file:
        for one in descriptor_pb2.FileDescriptorSet.FromString(file.read()).file:
            pool.Add(one)
    wide = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Orders.Wide"))
    value = {
        "total": {"cents": "9223372036854775807"},
        "state": "PAID",
        "lines": [{"productId": "p", "count": "18446744073709551615"}, {}],
        "createdAt": "2025-01-15T10:30:00.123Z",
        "took": "3.500s",
        "note": "",
        "more": {"x": [1.0, None, True, {"y": "z"}]},
        "mask": "a,bC",
        "raw": "AP8=",
        "share": "NaN",
        "stock": {"a": -1},
        "fax": 0,
    }
    message = json_format.ParseDict(value, wide(), descriptor_pool=pool)
    produce("protobuf", ProtobufSerializer(wide, client, {"use.deprecated.format": False}), message)


def json_schema():
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Wide",
        "type": "object",
        "properties": {"n": {"type": "number"}, "list": {"type": "array"}},
    }
    value = {"n": 12345678901234567890, "list": [1.5, None, "grüße"], "more": {"a": {}}}
    produce("json", JSONSerializer(json.dumps(schema), client), value)


avro()
protobuf()
json_schema()
