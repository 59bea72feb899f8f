//! Selectors: where type, id, time and tenant of an event are looked for.

use super::*;

#[test]
fn selectors_find_type_id_and_tenant() {
    check_json(
        |source| {
            source.event_type = Some(Selector::Header("event-type".into()));
            source.event_id = Some(Selector::Pointer("/meta/id".into()));
            source.tenant = Some(Selector::Key);
        },
        r#" {"meta":{"id":7}} "#,
        &[("event-type", "a.b")],
        r#"7 a.b 2025-01-15T10:30:00.000Z k1 {"meta":{"id":7}}"#,
    );
}

#[test]
fn a_selector_that_finds_nothing_is_named() {
    let tenant =
        |selector: Selector| move |source: &mut Source| source.tenant = Some(selector.clone());
    let header = tenant(Selector::Header("tenant".into()));
    check_json(&header, "1", &[], "unreadable: tenant: header \"tenant\" is missing");
    check_json(&header, "1", &[("tenant", "")], "orders-3-42 t 2025-01-15T10:30:00.000Z - 1");
    let pointer = tenant(Selector::Pointer("/t".into()));
    check_json(&pointer, "{}", &[], "unreadable: tenant: pointer \"/t\" is missing");
    check_json(
        &pointer,
        r#"{"t":[]}"#,
        &[],
        "unreadable: tenant: pointer \"/t\" is neither a string nor a number",
    );
    let event_type =
        |source: &mut Source| source.event_type = Some(Selector::Header("kind".into()));
    check_json(
        event_type,
        "1",
        &[("kind", "a\nb")],
        "unreadable: event_type: header \"kind\" has a control character",
    );
    let id = |source: &mut Source| source.event_id = Some(Selector::Pointer("/t".into()));
    check_json(id, r#"{"t":null}"#, &[], "unreadable: event_id: pointer \"/t\" is null or empty");
}

#[test]
fn selectors_work_for_every_format_and_come_before_its_own_attributes() {
    let mut source = source(Format::Envelope);
    source.event_type = Some(Selector::Pointer("/data/kind".into()));
    source.event_id = Some(Selector::Key);
    source.event_time = Some(Selector::Header("at".into()));
    let check = |value: &str, at: &str, expect: &str| {
        assert_eq!(summary(&source, record(value, &[("at", at)])), expect);
    };
    let value = r#"{"id":"own","event":"own","data":{"kind":"k"}}"#;
    let at = "2025-02-01T00:00:00+01:00";
    check(value, at, &format!("k1 k {at} - {{\"kind\":\"k\"}}"));
    check(value, "noon", "unreadable: event_time: header \"at\" is not an RFC 3339 time");
    check(value, "", "unreadable: event_time: header \"at\" is null or empty");
    check("{}", at, "unreadable: event_type: pointer \"/data/kind\" is missing");
}

/// Can stand for any attribute.
const FOUND: &str = "2025-02-01T00:00:00Z";

/// Reads a record of a format whose data is `{"at":…}`, with one selector, and tells what the attribute is.
fn selected(
    format: Format,
    attribute: &str,
    selector: &Selector,
    at: &str,
    adjust: impl FnOnce(&mut Record),
) -> Result<String, String> {
    let data = format!(r#"{{"at":{at}}}"#);
    let (value, translation) = match format {
        Format::Envelope => (format!(r#"{{"event":"own","id":"own","data":{data}}}"#), None),
        Format::CloudEvents => {
            let own = r#""specversion":"1.0","id":"own","source":"/s","type":"own""#;
            (format!("{{{own},\"data\":{data}}}"), None)
        }
        Format::Json => (data, None),
        Format::Registry => ("\0\0\0\0\u{7}x".to_owned(), Some(Ok(data.into()))),
    };
    let mut record =
        record(&value, &[("content-type", "application/cloudevents+json"), ("at", FOUND)]);
    record.key = Some(FOUND.into());
    adjust(&mut record);
    let identity = Identity { origin: record.origin.clone(), id: None };
    let source = Arc::new(selecting(format, attribute, selector));
    let event = decode(&source, record, translation, identity);
    let event = event.map_err(|(_, unreadable)| unreadable.0)?;
    let found = match attribute {
        "event_type" => &*event.label.event_type,
        "event_id" => event.label.id.as_str(),
        "event_time" => &*event.time,
        _ => event.label.tenant.as_deref().unwrap_or("(none)"),
    };
    Ok(found.to_owned())
}

/// Calls with each format, the pointer to its data's `at`, and each attribute.
fn each_format_and_attribute(check: impl Fn(Format, Selector, &str)) {
    for format in [Format::Envelope, Format::CloudEvents, Format::Json, Format::Registry] {
        let pointer = match format {
            Format::Envelope | Format::CloudEvents => "/data/at",
            Format::Json | Format::Registry => "/at",
        };
        for attribute in ["event_type", "event_id", "event_time", "tenant"] {
            check(format, Selector::Pointer(pointer.into()), attribute);
        }
    }
}

#[test]
fn every_selector_finds_every_attribute_in_every_format() {
    let quoted = format!("\"{FOUND}\"");
    each_format_and_attribute(|format, pointer, attribute| {
        let [header, literal] = [Selector::Header("at".into()), Selector::Literal(FOUND.into())];
        for selector in [pointer, header, literal, Selector::Key] {
            let found = selected(format, attribute, &selector, &quoted, |_| {});
            assert_eq!(found, Ok(FOUND.to_owned()), "{format:?} {attribute} {selector:?}");
        }
    });
}

#[test]
fn every_selector_that_finds_nothing_or_what_is_no_text_is_named_in_every_format() {
    let header = Selector::Header("at".into());
    each_format_and_attribute(|format, pointer, attribute| {
        let Selector::Pointer(path) = &pointer else { unreachable!("it is one") };
        let shown = format!("pointer \"{path}\"");
        let check = |selector: &Selector, at: &str, adjust: fn(&mut Record), expect: &str| {
            let found = selected(format, attribute, selector, at, adjust);
            assert_eq!(found, Err(format!("{attribute}: {expect}")), "{format:?}");
        };
        let lost = |record: &mut Record| record.headers.0.retain(|it| &*it.name != "at");
        let odd = |record: &mut Record| record.headers.push("at", &b"\xff"[..]);
        check(&header, "1", lost, "header \"at\" is missing");
        check(&header, "1", odd, "header \"at\" is not UTF-8");
        check(
            &Selector::Key,
            "1",
            |it| it.key = Some(Bytes::from_static(b"\xff")),
            "key is not UTF-8",
        );
        let nowhere = Selector::Pointer("/no/where".into());
        check(&nowhere, "1", |_| {}, "pointer \"/no/where\" is missing");
        for at in ["{}", "[]", "true"] {
            check(&pointer, at, |_| {}, &format!("{shown} is neither a string nor a number"));
        }
        if attribute == "event_time" {
            check(&pointer, "\"noon\"", |_| {}, &format!("{shown} is not an RFC 3339 time"));
        }
        // An event may be of no tenant; the rest it has to have.
        let silent = |selector: &Selector, at: &str, adjust: fn(&mut Record), shown: &str| {
            let found = selected(format, attribute, selector, at, adjust);
            let expect = match attribute {
                "tenant" => Ok("(none)".to_owned()),
                _ => Err(format!("{attribute}: {shown} is null or empty")),
            };
            assert_eq!(found, expect, "{format:?}");
        };
        silent(&pointer, "null", |_| {}, &shown);
        silent(&pointer, "\"\"", |_| {}, &shown);
        silent(&Selector::Key, "1", |it| it.key = None, "key");
        silent(&header, "1", |it| it.headers.push("at", ""), "header \"at\"");
    });
}
