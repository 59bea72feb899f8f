use proptest::prelude::*;

use super::*;

const ORDER: &str = r#"
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/any.proto";
import "shop/money.proto";
message First { string only = 1; }
message Order {
  map<string, int64> counts = 1;
  enum State { NEW = 0; PAID = 1; }
  message Line { string product_id = 1; uint64 count = 2; message Deep { bool yes = 1; } }
  State state = 2;
  repeated Line lines = 3;
  google.protobuf.Timestamp created_at = 4;
  google.protobuf.Duration took = 5;
  google.protobuf.StringValue note = 6;
  google.protobuf.Struct more = 7;
  google.protobuf.FieldMask mask = 8;
  google.protobuf.Any any = 9;
  Money total = 10;
  bytes raw = 11;
  double share = 12;
  oneof way { string mail = 13; int32 fax = 14; }
}
"#;

const MONEY: &str = r#"syntax = "proto3"; package shop; message Money { int64 cents = 1; }"#;

fn schema() -> ProtobufSchema {
    let imports = HashMap::from([("shop/money.proto".to_owned(), MONEY.to_owned())]);
    ProtobufSchema::compile(ORDER, imports).expect("the schema is good")
}

fn told(schema: &ProtobufSchema, payload: &[u8]) -> String {
    match schema.to_json(&Bytes::copy_from_slice(payload), 1000) {
        Ok(json) => String::from_utf8(json.into()).expect("JSON is UTF-8"),
        Err(unreadable) => unreadable.to_string(),
    }
}

/// Writes a message given as JSON, with the path to it in front.
fn message(index: &[u8], name: &str, json: &str) -> Vec<u8> {
    let schema = schema();
    let descriptor = schema.messages[&vec![0]].parent_pool().get_message_by_name(name);
    let descriptor = descriptor.expect("the schema has it");
    let mut json = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(descriptor, &mut json).expect("it fits");
    [index, &prost_reflect::prost::Message::encode_to_vec(&message)].concat()
}

#[test]
fn a_message_follows_the_canonical_mapping() {
    let json = r#"{"counts":{"a":"9223372036854775807"},"state":"PAID","lines":[{"productId":"p","count":"18446744073709551615"}],"createdAt":"2025-01-15T10:30:00.123Z","took":"3.500s","note":"n","more":{"x":[1.0,null,true]},"mask":"a,bC","any":{"@type":"type.googleapis.com/shop.Order.Line","productId":"q"},"total":{"cents":"-1"},"raw":"aGk=","share":"NaN","mail":"m"}"#;
    assert_eq!(told(&schema(), &message(&[2, 2], "shop.Order", json)), json);
    assert_eq!(told(&schema(), &[2, 2]), "{}", "default values are left out");
}

#[test]
fn the_message_index_leads_to_nested_messages() {
    let schema = schema();
    assert_eq!(told(&schema, &message(&[0], "shop.First", r#"{"only":"x"}"#)), r#"{"only":"x"}"#);
    let line = r#"{"productId":"p"}"#;
    assert_eq!(told(&schema, &message(&[4, 2, 0], "shop.Order.Line", line)), line);
    let deep = r#"{"yes":true}"#;
    assert_eq!(told(&schema, &message(&[6, 2, 0, 0], "shop.Order.Line.Deep", deep)), deep);
    for wrong in [&[4, 2, 2][..], &[2, 1], &[2], &[], &[0xff; 12]] {
        assert_eq!(told(&schema, wrong), "the message index names no message of the schema");
    }
}

#[test]
fn a_schema_may_be_a_descriptor() {
    let file = protox_descriptor();
    let schema = ProtobufSchema::compile(&file, HashMap::new()).expect("the schema is good");
    assert_eq!(told(&schema, &[0, 8, 2]), r#"{"cents":"2"}"#);
}

/// Returns the money's schema as a client of another language registers it.
fn protox_descriptor() -> String {
    let file = File::from_source("of/its/own/name.proto", MONEY).expect("the schema is good");
    let descriptor = file.file_descriptor_proto();
    STANDARD.encode(prost_reflect::prost::Message::encode_to_vec(descriptor))
}

#[test]
fn what_does_not_fit_is_told_of() {
    let schema = schema();
    assert_eq!(told(&schema, &[2, 2, 0xff]), "the value is no Protobuf shop.Order");
    let never = "the shop.Order has no JSON: a time or duration is out of range, or an Any holds what its schema doesn't know";
    // created_at.seconds = 2^62
    let late = [2, 2, 0x22, 10, 8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    assert_eq!(told(&schema, &late), never);
    let long = format!(r#"{{"mail":"{}"}}"#, "x".repeat(1000));
    let long = message(&[2, 2], "shop.Order", &long);
    assert_eq!(told(&schema, &long), "its JSON is longer than delivery.max_body, 1000 bytes");
    assert!(ProtobufSchema::compile(ORDER, HashMap::new()).is_err(), "an import is missing");
}

#[test]
fn an_any_in_an_any_in_an_any_comes_to_an_end() {
    let schema = schema();
    let url = b"x/shop.Order";
    let field = |number: u8, bytes: &[u8]| {
        let mut field = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length > 0x7f {
            field.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend_from_slice(bytes);
        field
    };
    let mut order = Vec::new();
    for _ in 0..1000 {
        order = field(9, &[field(1, url), field(2, &order)].concat());
    }
    let value = [&[2, 2][..], &order].concat();
    assert_eq!(told(&schema, &value), "the shop.Order is nested too deep");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(value in prop::collection::vec(any::<u8>(), 0..300)) {
        let value = [&[2, 2][..], &value].concat();
        if let Ok(json) = schema().to_json(&value.into(), 10_000) {
            prop_assert!(json.len() <= 10_000);
            serde_json::from_slice::<serde_json::Value>(&json).expect("JSON");
        }
    }
}
