use apache_avro::types::Value;
use proptest::prelude::*;

use super::*;
use crate::schema::tests::varint;

/// Reads a value of a schema given as JSON; the value is written by hand.
fn check(schema: &str, value: &[u8], expect: &str) {
    let schema = AvroSchema::parse(schema, &[]).expect("the schema is good");
    let told = match schema.to_json(&Bytes::copy_from_slice(value), 1000) {
        Ok(json) => String::from_utf8(json.into()).expect("JSON is UTF-8"),
        Err(unreadable) => unreadable.to_string(),
    };
    assert_eq!(told, expect);
}

fn logical(kind: &str, name: &str) -> String {
    format!(r#"{{"type":"{kind}","logicalType":"{name}"}}"#)
}

fn zigzag(number: i64) -> Vec<u8> {
    varint(((number << 1) ^ (number >> 63)).cast_unsigned())
}

#[test]
fn primitive_values_become_json() {
    check(r#""null""#, &[], "null");
    check(r#""boolean""#, &[1], "true");
    check(r#""int""#, &zigzag(i32::MIN.into()), "-2147483648");
    check(r#""long""#, &zigzag(i64::MIN), "-9223372036854775808");
    check(r#""long""#, &zigzag(i64::MAX), "9223372036854775807");
    check(r#""float""#, &0.1_f32.to_le_bytes(), "0.1");
    check(r#""double""#, &1e300_f64.to_le_bytes(), "1e+300");
    check(r#""double""#, &f64::NAN.to_le_bytes(), "\"NaN\"");
    check(r#""float""#, &f32::NEG_INFINITY.to_le_bytes(), "\"-Infinity\"");
    check(r#""string""#, b"\x06a\"\xc2", "the Avro value at \"/\": a string is not UTF-8");
    check(r#""string""#, b"\x04a\"", r#""a\"""#);
    check(r#"["null","string"]"#, b"\x02\x02a", "\"a\"");
    check(r#"["null","string"]"#, b"\x00", "null");
    check(r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, b"\x02", "\"B\"");
    check(r#"{"type":"fixed","name":"F","size":2}"#, b"hi", "\"aGk=\"");
    check(r#"{"type":"array","items":"int"}"#, &[4, 2, 4, 1, 2, 6, 0], "[1,2,3]");
    check(r#"{"type":"map","values":"int"}"#, b"\x04\x02b\x02\x02a\x04\x00", r#"{"b":1,"a":2}"#);
}

#[test]
fn bytes_alone_have_no_length() {
    check(r#""bytes""#, b"hi", "\"aGk=\"");
    check(r#"["null","bytes"]"#, b"\x02\x04hi", "\"aGk=\"");
}

#[test]
fn logical_types_become_what_people_read() {
    let check = |kind, name, ticks: i64, expect: &str| {
        check(&logical(kind, name), &zigzag(ticks), expect);
    };
    check("int", "date", 20_103, "\"2025-01-15\"");
    check("int", "date", -1, "\"1969-12-31\"");
    check("int", "time-millis", 37_800_123, "\"10:30:00.123\"");
    check("long", "time-micros", 37_800_000_001, "\"10:30:00.000001\"");
    check("long", "timestamp-millis", 1_736_937_000_123, "\"2025-01-15T10:30:00.123Z\"");
    check("long", "timestamp-millis", -1, "\"1969-12-31T23:59:59.999Z\"");
    check("long", "timestamp-micros", 1_736_937_000_000_001, "\"2025-01-15T10:30:00.000001Z\"");
    check(
        "long",
        "timestamp-nanos",
        1_736_937_000_000_000_001,
        "\"2025-01-15T10:30:00.000000001Z\"",
    );
    check("long", "local-timestamp-millis", 1_736_937_000_123, "\"2025-01-15T10:30:00.123\"");
    check(
        "long",
        "local-timestamp-micros",
        1_736_937_000_000_001,
        "\"2025-01-15T10:30:00.000001\"",
    );
    check("long", "timestamp-millis", i64::MAX, "the Avro value at \"/\": a time is out of range");
    check(
        "long",
        "local-timestamp-nanos",
        1_736_937_000_000_000_001,
        "\"2025-01-15T10:30:00.000000001\"",
    );
    let out_of_range = "the Avro value at \"/\": a time is out of range";
    check("int", "time-millis", 86_400_000, out_of_range);
    for days in [20_250_115, i32::MIN.into(), i32::MAX.into()] {
        check("int", "date", days, out_of_range);
    }
    check("long", "timestamp-micros", i64::MIN, out_of_range);
}

#[test]
fn decimals_keep_every_digit() {
    let check = |scale: u32, unscaled: &[u8], expect: &str| {
        let schema =
            format!(r#"{{"type":"bytes","logicalType":"decimal","precision":40,"scale":{scale}}}"#);
        let value = [zigzag(unscaled.len() as i64).as_slice(), unscaled].concat();
        check(&schema, &value, expect);
    };
    check(2, &[0x04, 0xe2], "\"12.50\"");
    check(2, &[0xff], "\"-0.01\"");
    check(0, &[0x00], "\"0\"");
    check(3, &[], "\"0.000\"");
    check(5, &i128::MAX.to_be_bytes(), "\"1701411834604692317316873037158841.05727\"");
    check(2, &[1; 257], "the Avro value at \"/\": a decimal is too long");
    let fixed = r#"{"type":{"type":"fixed","name":"D","size":2},"logicalType":"decimal","precision":4,"scale":1}"#;
    super::tests::check(fixed, &[0x04, 0xe2], "\"125.0\"");
    // Unscaled 125 with the scales 1 and -2, which stand behind it.
    super::tests::check(&logical("bytes", "big-decimal"), &[6, 2, 125, 2], "\"12.5\"");
    super::tests::check(&logical("bytes", "big-decimal"), &[6, 2, 125, 3], "\"12500\"");
    for scale in [i64::MIN, i64::MAX, 1001] {
        let inner = [&[2, 125][..], &zigzag(scale)].concat();
        let value = [zigzag(inner.len() as i64), inner].concat();
        let too_long = "the Avro value at \"/\": a decimal is too long";
        super::tests::check(&logical("bytes", "big-decimal"), &value, too_long);
    }
}

#[test]
fn uuids_and_durations_are_text() {
    let text = "6b1c8a52-0000-4000-8000-000000000001";
    let value = [zigzag(36).as_slice(), text.as_bytes()].concat();
    check(&logical("string", "uuid"), &value, &format!("\"{text}\""));
    let fixed = r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#;
    let mut bytes = [0; 16];
    (bytes[0], bytes[15]) = (0x6b, 1);
    check(fixed, &bytes, "\"6b000000-0000-0000-0000-000000000001\"");
    let duration = r#"{"type":"fixed","name":"T","size":12,"logicalType":"duration"}"#;
    let parts =
        |months: u32, days: u32, millis: u32| [months, days, millis].map(u32::to_le_bytes).concat();
    check(duration, &parts(1, 2, 3004), "\"P1M2DT3.004S\"");
    check(duration, &parts(0, 0, 0), "\"PT0S\"");
    check(duration, &parts(0, 7, 0), "\"P7D\"");
}

#[test]
fn named_types_and_references_are_followed() {
    let money = r#"{"type":"record","namespace":"shop","name":"Money","fields":[{"name":"cents","type":"long"},{"name":"of","type":["null","Money"],"default":null}]}"#;
    let line = r#"{"type":"record","namespace":"shop.cart","name":"Line","fields":[{"name":"price","type":"shop.Money"}]}"#;
    let order = r#"{"type":"record","namespace":"shop","name":"Order","fields":[{"name":"total","type":"Money"},{"name":"lines","type":{"type":"array","items":"shop.cart.Line"}}]}"#;
    let schema = AvroSchema::parse(order, &[money, line]).expect("the schema is good");
    // total: 1 of 2; one line with the price 3.
    let json = schema.to_json(&Bytes::from_static(&[2, 2, 4, 0, 2, 6, 0, 0]), 1000);
    let expect = r#"{"total":{"cents":1,"of":{"cents":2,"of":null}},"lines":[{"price":{"cents":3,"of":null}}]}"#;
    assert_eq!(json, Ok(Bytes::from_static(expect.as_bytes())));
    assert!(AvroSchema::parse(order, &[money]).is_err(), "a reference is missing");
    let twice = r#"{"type":"record","name":"T","fields":[
        {"name":"a","type":{"type":"fixed","name":"D","size":2,"logicalType":"decimal","precision":4,"scale":1}},
        {"name":"b","type":"D"},
        {"name":"c","type":{"type":"enum","name":"E","symbols":["X"]}},
        {"name":"d","type":"E"}]}"#;
    check(twice, &[4, 0xe2, 4, 0xe2, 0, 0], r#"{"a":"125.0","b":"125.0","c":"X","d":"X"}"#);
}

#[test]
fn what_does_not_fit_its_schema_is_told_of_by_its_place() {
    let order = r#"{"type":"record","name":"O","fields":[{"name":"ok","type":"boolean"},{"name":"lines","type":{"type":"map","values":"string"}}]}"#;
    check(order, &[2], "the Avro value at \"/ok\": it is neither true nor false");
    check(order, b"\x01\x02\x02k\x08v", "the Avro value at \"/lines/*\": the bytes end early");
    check(order, &[1, 0, 0], "there are bytes behind the Avro value");
    check(r#"["null"]"#, &[2], "the Avro value at \"/\": the union has no such branch");
    check(r#""int""#, &zigzag(1 << 40), "the Avro value at \"/\": an int is longer than 32 bits");
    let endless = [0xff; 11];
    check(r#""long""#, &endless, "the Avro value at \"/\": an integer is longer than 64 bits");
}

#[test]
fn a_few_bytes_do_not_become_very_much() {
    // A thousand million nulls take no bytes at all.
    let value = zigzag(1_000_000_000);
    let long = "its JSON is longer than delivery.max_body, 1000 bytes";
    check(r#"{"type":"array","items":"null"}"#, &value, long);
    let list = r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#;
    let deep = AvroSchema::parse(list, &[]).expect("the schema is good");
    let unreadable = deep.to_json(&Bytes::from(vec![2; 1_000_000]), 1 << 30).unwrap_err();
    assert!(unreadable.0.ends_with("it is nested too deep"), "{unreadable}");
}

#[test]
fn a_wide_record_of_the_librarys_own_writer_becomes_what_people_read() {
    let logical = |name: &str, kind: &str, logical: &str| {
        format!(r#"{{"name":"{name}","type":{{"type":"{kind}","logicalType":"{logical}"}}}}"#)
    };
    let plain = |name: &str, kind: &str| format!(r#"{{"name":"{name}","type":{kind}}}"#);
    let fields = [
        plain("decimal", r#"{"type":"bytes","logicalType":"decimal","precision":20,"scale":4}"#),
        plain(
            "fixedDecimal",
            r#"{"type":"fixed","name":"D","size":6,"logicalType":"decimal","precision":10,"scale":2}"#,
        ),
        logical("uuid", "string", "uuid"),
        logical("date", "int", "date"),
        logical("timeMillis", "int", "time-millis"),
        logical("timeMicros", "long", "time-micros"),
        logical("atMillis", "long", "timestamp-millis"),
        logical("atMicros", "long", "timestamp-micros"),
        logical("atNanos", "long", "timestamp-nanos"),
        logical("localMillis", "long", "local-timestamp-millis"),
        logical("localMicros", "long", "local-timestamp-micros"),
        logical("localNanos", "long", "local-timestamp-nanos"),
        plain("duration", r#"{"type":"fixed","name":"T","size":12,"logicalType":"duration"}"#),
        plain("state", r#"{"type":"enum","name":"E","symbols":["NEW","PAID"]}"#),
        plain("fixed", r#"{"type":"fixed","name":"F","size":3}"#),
        plain("bytes", r#""bytes""#),
        plain("maybe", r#"["null",{"type":"array","items":["null","double","string"]}]"#),
        plain("unknownLogical", r#"{"type":"string","logicalType":"of-somebody"}"#),
    ];
    let text = format!(r#"{{"type":"record","name":"Wide","fields":[{}]}}"#, fields.join(","));
    let schema = Schema::parse_str(&text).expect("the schema is good");
    let (millis, micros, nanos) =
        (1_736_937_000_123, 1_736_937_000_123_456, 1_736_937_000_123_456_789);
    let duration = apache_avro::Duration::new(
        apache_avro::Months::new(14),
        apache_avro::Days::new(3),
        apache_avro::Millis::new(4005),
    );
    let uuid = "6b1c8a52-0000-4000-8000-000000000001";
    let items = [Value::Null, Value::Double(1.5), Value::String("x".into())];
    let items = items.into_iter().zip(0..).map(|(item, at)| Value::Union(at, Box::new(item)));
    let values = [
        ("decimal", Value::Decimal(apache_avro::Decimal::from([0x00, 0xff, 0xff]))),
        ("fixedDecimal", Value::Decimal(apache_avro::Decimal::from([0xff; 6]))),
        ("uuid", Value::Uuid(uuid.parse().expect("a UUID"))),
        ("date", Value::Date(20_103)),
        ("timeMillis", Value::TimeMillis(37_800_123)),
        ("timeMicros", Value::TimeMicros(37_800_123_456)),
        ("atMillis", Value::TimestampMillis(millis)),
        ("atMicros", Value::TimestampMicros(micros)),
        ("atNanos", Value::TimestampNanos(nanos)),
        ("localMillis", Value::LocalTimestampMillis(millis)),
        ("localMicros", Value::LocalTimestampMicros(micros)),
        ("localNanos", Value::LocalTimestampNanos(nanos)),
        ("duration", Value::Duration(duration)),
        ("state", Value::Enum(1, "PAID".into())),
        ("fixed", Value::Fixed(3, b"abc".to_vec())),
        ("bytes", Value::Bytes(vec![0, 255])),
        ("maybe", Value::Union(1, Box::new(Value::Array(items.collect())))),
        ("unknownLogical", Value::String("as it is".into())),
    ];
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build();
    let bytes = writer.expect("a writer").write_value_to_vec(Value::Record(values));
    let expect = concat!(
        r#"{"decimal":"6.5535","fixedDecimal":"-0.01","uuid":"6b1c8a52-0000-4000-8000-000000000001","#,
        r#""date":"2025-01-15","timeMillis":"10:30:00.123","timeMicros":"10:30:00.123456","#,
        r#""atMillis":"2025-01-15T10:30:00.123Z","atMicros":"2025-01-15T10:30:00.123456Z","#,
        r#""atNanos":"2025-01-15T10:30:00.123456789Z","localMillis":"2025-01-15T10:30:00.123","#,
        r#""localMicros":"2025-01-15T10:30:00.123456","localNanos":"2025-01-15T10:30:00.123456789","#,
        r#""duration":"P14M3DT4.005S","state":"PAID","fixed":"YWJj","bytes":"AP8=","#,
        r#""maybe":[null,1.5,"x"],"unknownLogical":"as it is"}"#,
    );
    check(&text, &bytes.expect("it fits"), expect);
}

#[test]
fn a_schema_that_is_nested_too_deep_is_refused_and_takes_no_stack() {
    let nested = |times: usize| {
        let open = r#"{"type":"array","items":"#.repeat(times);
        format!("{open}\"int\"{}", "}".repeat(times))
    };
    assert!(AvroSchema::parse(&nested(50), &[]).is_ok());
    assert!(AvroSchema::parse(&nested(100_000), &[]).is_err());
    // A length or a count beyond the value takes no memory.
    for (schema, expect) in [
        (r#""string""#, "the Avro value at \"/\": the bytes end early"),
        (r#"["bytes"]"#, "the Avro value at \"/\": the bytes end early"),
        (r#"{"type":"array","items":"long"}"#, "the Avro value at \"/*\": the bytes end early"),
        (r#"{"type":"map","values":"long"}"#, "the Avro value at \"/\": the bytes end early"),
    ] {
        let prefix = if schema.starts_with('[') { vec![0] } else { vec![] };
        check(schema, &[prefix, zigzag(i64::MAX)].concat(), expect);
    }
}

const WIDE: &str = r#"{"type":"record","name":"W","fields":[
    {"name":"a","type":["null","long",{"type":"array","items":"string"}]},
    {"name":"b","type":{"type":"map","values":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}},
    {"name":"c","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"d","type":["null","W"]},
    {"name":"e","type":"double"}]}"#;

/// A schema of each type that has a way of its own to be read.
fn every_type() -> Vec<String> {
    let plain = ["boolean", "int", "long", "float", "double", "bytes", "string"];
    let fixed =
        |size: u32, more: &str| format!(r#"{{"type":"fixed","name":"F","size":{size}{more}}}"#);
    let mut schemas: Vec<_> = plain.map(|name| format!("\"{name}\"")).into();
    for name in ["date", "time-millis"] {
        schemas.push(logical("int", name));
    }
    for unit in ["millis", "micros", "nanos"] {
        schemas.push(logical("long", &format!("timestamp-{unit}")));
        schemas.push(logical("long", &format!("local-timestamp-{unit}")));
    }
    schemas.extend([
        logical("long", "time-micros"),
        logical("bytes", "big-decimal"),
        logical("bytes", "uuid"),
        logical("string", "uuid"),
        r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#.to_owned(),
        r#"{"type":"enum","name":"E","symbols":["A","B"]}"#.to_owned(),
        fixed(3, ""),
        fixed(4, r#","logicalType":"decimal","precision":9,"scale":2"#),
        fixed(12, r#","logicalType":"duration""#),
        fixed(16, r#","logicalType":"uuid""#),
    ]);
    schemas
}

proptest! {
    #[test]
    fn no_value_of_any_type_makes_the_reader_panic(
        schema in prop::sample::select(every_type()),
        number in any::<i64>(),
        rest in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let schema = AvroSchema::parse(&schema, &[]).expect("the schema is good");
        let inner = [zigzag(rest.len() as i64), rest.clone(), zigzag(number)].concat();
        let within = [zigzag(inner.len() as i64), inner].concat();
        let int = zigzag((number as i32).into());
        for value in [zigzag(number), int, [zigzag(number), rest.clone()].concat(), rest, within] {
            if let Ok(json) = schema.to_json(&value.into(), 10_000) {
                serde_json::from_slice::<serde_json::Value>(&json).expect("JSON");
            }
        }
    }

    #[test]
    fn no_schema_makes_the_parser_panic(
        with in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut text = WIDE.as_bytes().to_vec();
        with.iter().for_each(|(at, byte)| text[at.index(WIDE.len())] = *byte);
        let text = String::from_utf8_lossy(&text);
        if let Ok(schema) = AvroSchema::parse(&text, &[]) {
            let _ = schema.to_json(&Bytes::from_static(&[0; 40]), 1000);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_write_what_is_no_json(
        value in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let schema = AvroSchema::parse(WIDE, &[]).expect("the schema is good");
        if let Ok(json) = schema.to_json(&value.into(), 10_000) {
            prop_assert!(json.len() <= 10_000);
            serde_json::from_slice::<serde_json::Value>(&json).expect("JSON");
        }
    }

    #[test]
    fn what_the_library_writes_is_read(
        text in "\\PC{0,20}", number in any::<i64>(), list in prop::collection::vec("[a-z]{0,5}", 0..5),
    ) {
        let text_schema = r#"{"type":"record","name":"R","fields":[{"name":"t","type":"string"},{"name":"n","type":"long"},{"name":"l","type":{"type":"array","items":"string"}}]}"#;
        let schema = Schema::parse_str(text_schema).expect("the schema is good");
        let items = list.iter().cloned().map(Value::String).collect();
        let value = Value::Record(vec![
            ("t".into(), Value::String(text.clone())),
            ("n".into(), Value::Long(number)),
            ("l".into(), Value::Array(items)),
        ]);
        let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build();
        let bytes = writer.expect("a writer").write_value_to_vec(value).expect("it fits");
        let own = AvroSchema::parse(text_schema, &[]).expect("the schema is good");
        let json = own.to_json(&bytes.into(), 10_000).expect("it reads");
        let read: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        prop_assert_eq!(read, serde_json::json!({"t": text, "n": number, "l": list}));
    }
}
