use proptest::prelude::*;

use super::*;
use crate::schema::tests::varint;

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
    let never = no_json("shop.Order").0;
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

/// Everything that the canonical mapping has a rule for.
const WIDE: &str = r#"
syntax = "proto3";
package wide;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
enum State { NEW = 0; PAID = 1; }
message Part { string part_name = 1 [json_name = "named"]; }
message Wide {
  bool yes = 1; int32 i32 = 2; sint32 s32 = 3; uint32 u32 = 4; fixed32 f32 = 5; sfixed32 sf32 = 6;
  int64 i64 = 7; sint64 s64 = 8; uint64 u64 = 9; fixed64 f64 = 10; sfixed64 sf64 = 11;
  float single = 12; double double = 13; string text = 14; bytes raw = 15;
  State state = 16; State unknown_state = 17; repeated State states = 18;
  repeated int64 packed = 19; repeated string words = 20; repeated double odd = 21; repeated float odd_single = 22;
  map<int64, string> by_number = 23; map<bool, Part> by_truth = 24; map<string, State> by_text = 25;
  Part part = 26; repeated Part parts = 27;
  oneof way { string mail = 28; Part box = 29; google.protobuf.NullValue nothing = 30; }
  optional int32 zero = 31;
  google.protobuf.Timestamp at = 40; google.protobuf.Timestamp at_nanos = 41; google.protobuf.Timestamp before = 42;
  google.protobuf.Duration took = 43; google.protobuf.Duration back = 44; google.protobuf.Duration whole = 45;
  google.protobuf.Struct object = 46; google.protobuf.Value value = 47; google.protobuf.ListValue list = 48;
  repeated google.protobuf.Value values = 49; google.protobuf.Empty empty = 50; google.protobuf.FieldMask mask = 51;
  google.protobuf.Any any = 52; google.protobuf.Any any_time = 53;
  google.protobuf.DoubleValue w_double = 60; google.protobuf.FloatValue w_float = 61;
  google.protobuf.Int64Value w_i64 = 62; google.protobuf.UInt64Value w_u64 = 63; google.protobuf.Int32Value w_i32 = 64;
  google.protobuf.UInt32Value w_u32 = 65; google.protobuf.BoolValue w_bool = 66; google.protobuf.StringValue w_text = 67;
  google.protobuf.BytesValue w_raw = 68; repeated google.protobuf.DoubleValue w_doubles = 69;
  map<string, google.protobuf.FloatValue> w_map = 70;
}
"#;

/// Writes a `wide.Wide` given as JSON in the wire format's way, and reads it.
fn wide(json: &str) -> String {
    let schema = ProtobufSchema::compile(WIDE, HashMap::new()).expect("the schema is good");
    let mut input = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(schema.messages[&vec![1]].clone(), &mut input);
    let message = message.expect("it fits");
    let bytes = prost_reflect::prost::Message::encode_to_vec(&message);
    match schema.to_json(&[&[2, 2][..], &bytes].concat().into(), 10_000) {
        Ok(json) => String::from_utf8(json.into()).expect("JSON is UTF-8"),
        Err(unreadable) => unreadable.0,
    }
}

#[test]
fn every_rule_of_the_canonical_mapping_is_followed() {
    let fields = [
        r#""yes":true,"i32":-2147483648,"s32":-1,"u32":4294967295,"f32":7,"sf32":-7"#,
        r#""i64":"-9223372036854775808","s64":"-1","u64":"18446744073709551615","f64":"7","sf64":"-7""#,
        r#""single":0.1,"double":1e300,"text":"grüße \" \\ \n","raw":"AP/+""#,
        r#""state":"PAID","unknownState":7,"states":["NEW","PAID",9]"#,
        r#""packed":["1","-1"],"words":["a",""],"odd":["NaN","Infinity","-Infinity",1.5],"oddSingle":["NaN","-Infinity"]"#,
        r#""byNumber":{"-9223372036854775808":"x"},"byTruth":{"true":{"named":"n"}},"byText":{"k":"PAID"}"#,
        r#""part":{"named":"p"},"parts":[{},{"named":"q"}],"mail":"","zero":0"#,
        r#""at":"2025-01-15T10:30:00Z","atNanos":"2025-01-15T10:30:00.000000001Z","before":"0001-01-01T00:00:00Z""#,
        r#""took":"3.000000001s","back":"-0.500s","whole":"3s""#,
        r#""object":{"a":{"b":[1.0,null,true,"x",{}]}},"value":null,"list":[1.5,[],{}],"values":["v",null,2.0,false]"#,
        r#""empty":{},"mask":"a,bC.dE""#,
        r#""any":{"@type":"type.googleapis.com/wide.Part","named":"in"},"anyTime":{"@type":"x/google.protobuf.Duration","value":"1s"}"#,
        r#""wDouble":1.5,"wFloat":0.0,"wI64":"-1","wU64":"18446744073709551615","wI32":0,"wU32":1,"wBool":false,"wText":"","wRaw":"AA==""#,
    ];
    let json = format!("{{{}}}", fields.join(","));
    let told = wide(&json);
    // As the schema lists them, so that what differs shows.
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(parse(&told), parse(&json), "{told}");
    assert_eq!(told.replace("1e+300", "1e300"), json, "in the order of the fields");
    for way in [r#"{"box":{"named":"b"}}"#, r#"{"nothing":null}"#, "{}"] {
        assert_eq!(wide(way), way);
    }
}

#[test]
fn wrapped_numbers_that_are_none_are_text_too() {
    for json in [
        r#"{"wDouble":"NaN","wFloat":"-Infinity"}"#,
        r#"{"wDoubles":[1.0,"Infinity"],"wMap":{"a":"NaN"}}"#,
    ] {
        assert_eq!(wide(json), json);
    }
    // In an Any they would have to be changed inside its bytes.
    let hidden = r#"{"any":{"@type":"x/google.protobuf.DoubleValue","value":"NaN"}}"#;
    assert_eq!(wide(hidden), no_json("wide.Wide").0);
    let deeper = r#"{"any":{"@type":"x/wide.Wide","wFloat":"Infinity"}}"#;
    assert_eq!(wide(deeper), no_json("wide.Wide").0);
    let finite = r#"{"any":{"@type":"x/wide.Wide","wFloat":1.0}}"#;
    assert_eq!(wide(finite), finite);
}

#[test]
fn an_any_of_an_unknown_type_and_a_number_that_no_value_holds_have_no_json() {
    let schema = ProtobufSchema::compile(WIDE, HashMap::new()).expect("the schema is good");
    let read = |bytes: &[u8]| schema.to_json(&[&[2, 2][..], bytes].concat().into(), 1000);
    // any { type_url: "x/y" }, an empty any, value { number_value: NaN }, mask { paths: "aB" }.
    let unknown = [&[0xa2, 3, 5, 0x0a, 3][..], b"x/y"].concat();
    let number = [&[0xfa, 2, 9, 0x11][..], &f64::NAN.to_le_bytes()].concat();
    let mask = [&[0x9a, 3, 4, 0x0a, 2][..], b"aB"].concat();
    for bytes in [&unknown[..], &[0xa2, 3, 0], &number, &mask] {
        assert_eq!(read(bytes), Err(no_json("wide.Wide")), "{bytes:?}");
    }
}

#[test]
fn a_schema_of_another_syntax_is_refused() {
    let file = File::from_source("o.proto", ORDER).expect("the schema is good");
    let mut file = file.file_descriptor_proto().clone();
    file.syntax = Some("editions".into());
    let file = STANDARD.encode(prost_reflect::prost::Message::encode_to_vec(&file));
    let refused = ProtobufSchema::compile(&file, HashMap::new()).err();
    assert_eq!(refused.as_deref(), Some("'kafka-webhooks/root.proto' isn't in proto2 or proto3"));
}

#[test]
fn a_schema_that_is_nested_too_deep_is_refused_and_takes_no_stack() {
    let nested = |times: usize| {
        let open = "message M { ".repeat(times);
        format!("syntax = \"proto3\"; {open}{}", "}".repeat(times))
    };
    assert!(ProtobufSchema::compile(&nested(20), HashMap::new()).is_ok());
    assert!(ProtobufSchema::compile(&nested(100_000), HashMap::new()).is_err());
    let option = |times: usize| {
        let value = format!("{}{}", "m { ".repeat(times), "} ".repeat(times));
        format!(
            "syntax = \"proto3\"; import \"google/protobuf/descriptor.proto\"; message O {{ O m = 1; }} extend google.protobuf.MessageOptions {{ O o = 50000; }} message M {{ option (o) = {{ {value} }}; }}"
        )
    };
    assert!(ProtobufSchema::compile(&option(20), HashMap::new()).is_ok());
    // Whatever comes of what is deeper than a message can be decoded.
    let _ = ProtobufSchema::compile(&option(OPTION_MAX), HashMap::new());
    let refused = |text: &str| ProtobufSchema::compile(text, HashMap::new()).err();
    let expect = Some("an option's value is too large".to_owned());
    assert_eq!(refused(&option(100_000)), expect);
    let file = File::from_source("o.proto", &option(100_000)).expect("only its options are deep");
    let file = prost_reflect::prost::Message::encode_to_vec(file.file_descriptor_proto());
    assert_eq!(refused(&STANDARD.encode(file)), expect);
}

/// Bytes that look like a message: fields of the schema and others, of every wire type, nested, packed, with lengths
/// that are right, and some that are not.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![0..80_u64, any::<u64>()];
    let bytes = prop::collection::vec(any::<u8>(), 0..12);
    let field = move |payload: BoxedStrategy<Vec<u8>>| {
        let number = number.clone();
        (0..80_u64, 0..8_u64, number, payload, -2..3_i64).prop_map(
            |(field, kind, number, payload, off)| {
                let mut out = varint(field << 3 | kind);
                match kind {
                    0 => out.extend(varint(number)),
                    1 => out.extend(number.to_le_bytes()),
                    2 => {
                        let off = if number == u64::MAX { i64::MAX } else { off.min(0) };
                        let length = (payload.len() as i64).saturating_add(off);
                        out.extend(varint(length.cast_unsigned()));
                        out.extend(payload);
                    }
                    5 => out.extend(&number.to_le_bytes()[..4]),
                    // Groups, and wire types that there are not.
                    _ => out.extend(payload),
                }
                out
            },
        )
    };
    let many = move |payload: BoxedStrategy<Vec<u8>>| {
        prop::collection::vec(field(payload), 0..6).prop_map(|fields| fields.concat())
    };
    let leaf = bytes.boxed();
    leaf.prop_recursive(5, 60, 4, move |inner| many.clone()(inner.boxed()))
}

#[test]
fn a_length_beyond_the_value_takes_no_memory() {
    let schema = ProtobufSchema::compile(WIDE, HashMap::new()).expect("the schema is good");
    for field in [14, 15, 19, 20, 21, 26, 46, 52, 67] {
        for length in [1 << 20, 1 << 40, u64::MAX] {
            let value = [vec![2, 2], varint(field << 3 | 2), varint(length), vec![0; 8]].concat();
            let expect = Unreadable("the value is no Protobuf wide.Wide".into());
            assert_eq!(schema.to_json(&value.into(), 1000), Err(expect), "{field} of {length}");
        }
    }
}

/// Puts bytes in the place of others, wherever they fall.
fn spoilt(good: &[u8], with: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    with.iter().for_each(|(at, byte)| bytes[at.index(good.len())] = *byte);
    bytes
}

proptest! {
    #[test]
    fn no_schema_makes_the_compiler_panic(
        with in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let imports = || HashMap::from([("shop/money.proto".to_owned(), MONEY.to_owned())]);
        let text = spoilt(ORDER.as_bytes(), &with);
        let _ = ProtobufSchema::compile(&String::from_utf8_lossy(&text), imports());
        let file = File::from_source("o.proto", ORDER).expect("the schema is good");
        let file = prost_reflect::prost::Message::encode_to_vec(file.file_descriptor_proto());
        let _ = ProtobufSchema::compile(&STANDARD.encode(spoilt(&file, &with)), imports());
    }

    #[test]
    fn nothing_that_looks_like_a_message_makes_the_reader_panic(
        message in wire(), index in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let schema = ProtobufSchema::compile(WIDE, HashMap::new()).expect("the schema is good");
        for value in [[&[2, 2][..], &message].concat(), [&index[..], &message].concat()] {
            if let Ok(json) = schema.to_json(&value.into(), 1000) {
                prop_assert!(json.len() <= 1000);
                serde_json::from_slice::<serde_json::Value>(&json).expect("JSON");
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(value in prop::collection::vec(any::<u8>(), 0..300)) {
        let value = [&[2, 2][..], &value].concat();
        if let Ok(json) = schema().to_json(&value.into(), 10_000) {
            prop_assert!(json.len() <= 10_000);
            serde_json::from_slice::<serde_json::Value>(&json).expect("JSON");
        }
    }
}
