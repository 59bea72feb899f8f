// The official CloudEvents SDK of JavaScript, as a producer and as a receiver.
//
// produce: prints Kafka messages, one JSON object a line.
// receive: reads HTTP requests, one JSON object a line, and prints what the SDK understands of each.

const fs = require("node:fs");
const { CloudEvent, HTTP, Kafka } = require("cloudevents");

function produce() {
  const event = (name, datacontenttype, data) =>
    new CloudEvent({
      id: `js.${name}`,
      source: "/node",
      type: "sdk.made",
      time: "2025-01-15T10:30:00.123Z",
      subject: "s",
      datacontenttype,
      data,
      myext: "kept",
    });
  const events = [event("json", "application/json", { n: 1 }), event("text", "text/plain", "grüße")];
  for (const one of events) {
    for (const mode of [Kafka.binary, Kafka.structured]) {
      const { headers, value } = mode(one);
      const bytes = typeof value === "string" ? value : JSON.stringify(value);
      const texts = Object.entries(headers).filter(([, text]) => text !== undefined);
      const line = { headers: Object.fromEntries(texts), value: Buffer.from(bytes).toString("base64") };
      console.log(JSON.stringify(line));
    }
  }
}

function receive() {
  const lines = fs.readFileSync(0, "utf8").split("\n").filter((line) => line !== "");
  for (const line of lines) {
    const { headers, body } = JSON.parse(line);
    const one = HTTP.toEvent({ headers, body: Buffer.from(body, "base64").toString() });
    console.log(JSON.stringify(one));
  }
}

({ produce, receive })[process.argv[2]]();
