//! The demo: what a stranger sees first.

use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn the_demo_shows_every_way_of_a_delivery_and_ends_by_itself() {
    let start = Instant::now();
    let demo = Command::new(env!("CARGO_BIN_EXE_kafka-webhooks")).arg("demo").output();
    let output = demo.expect("the binary was built for this test");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(start.elapsed() < Duration::from_secs(45), "{:?}", start.elapsed());
    for what in ["event ", "POST ", "waits ", "dead letter ", "audit "] {
        assert!(told.contains(what), "{what} is missing in {told}");
    }
    assert_eq!(told.matches("\n  ok ").count(), 7, "{told}");
    assert!(!told.contains("due -"), "a record that is no delivery waits for nothing: {told}");
    assert!(told.contains("kafka.bootstrap_servers"), "{told}");
}
