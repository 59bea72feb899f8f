use clap::CommandFactory as _;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn the_settings_file_stands_before_or_after_the_command() {
    for line in ["kafka-webhooks --config f check", "kafka-webhooks check --config f"] {
        let cli = parse(line).expect(line);
        assert_eq!(settings_file(&cli), Some(Path::new("f")), "{line}");
    }
    let nested = parse("kafka-webhooks subscriptions --config f list --output json");
    assert_eq!(nested.expect("it is fine").config, Some("f".into()));
}

#[test]
fn wrong_usage_is_refused() {
    for line in ["kafka-webhooks", "kafka-webhooks chekc", "kafka-webhooks subscriptions create a"]
    {
        let error = parse(line).err().expect(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn many_problems_are_cut() {
    let failure = Failure::Failed(vec!["x".to_owned(); 202]);
    let text = failure.to_string();
    assert_eq!(text.lines().count(), 201);
    assert!(text.ends_with("and 2 more\n"));
}

#[test]
fn settings_may_be_given_on_the_command_line() {
    let cli = Cli::try_parse_from([
        "kafka-webhooks",
        "check",
        "--set",
        "delivery.timeout=7s",
        "--set",
        r#"sources=[{ topics = ["a=b"], format = "json" }]"#,
    ]);
    let cli = cli.expect("the usage is right");
    let first = ("delivery.timeout".to_owned(), "7s".to_owned());
    assert_eq!((cli.set.len(), &cli.set[0]), (2, &first));
    let value = r#"[{ topics = ["a=b"], format = "json" }]"#;
    assert_eq!(cli.set[1], ("sources".to_owned(), value.to_owned()));
    assert!(Cli::try_parse_from(["kafka-webhooks", "check", "--set", "delivery.timeout"]).is_err());
}
