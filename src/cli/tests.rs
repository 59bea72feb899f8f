use clap::CommandFactory as _;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

/// Returns the commands that do something, each with what is written to call it.
fn leaves(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
    let path = format!("{path}{}", command.get_name());
    let mut leaves = Vec::new();
    for inner in command.get_subcommands() {
        leaves.extend(self::leaves(inner, &format!("{path} ")));
    }
    if leaves.is_empty() {
        leaves.push((path, command.clone()));
    }
    leaves
}

/// Splits a line as a shell does that knows single quotes, and leaves out what is redirected.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(at, part)| match at % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.take_while(|word| !matches!(word.as_str(), "<" | ">" | "|")).collect()
}

#[test]
fn every_command_has_an_example_that_parses() {
    let leaves = leaves(&Cli::command(), "");
    assert!(leaves.iter().any(|(path, _)| path == "kafka-webhooks deliveries list"));
    for (path, command) in leaves {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = help.split_once("Example").and_then(|(_, rest)| rest.split_once(':'));
        let examples = examples.map_or("", |(_, examples)| examples).lines().map(str::trim);
        let examples: Vec<_> = examples.filter(|example| !example.is_empty()).collect();
        assert!(!examples.is_empty(), "{path} has no example");
        for example in examples {
            assert!(example.starts_with(&path), "{example:?} is no example of {path}");
            if let Err(error) = Cli::try_parse_from(words(example)) {
                panic!("{example:?}: {error}");
            }
        }
    }
}

#[test]
fn scripts_for_shells_name_every_command_and_option() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let cli = parse(&format!("kafka-webhooks completions {shell}")).expect(shell);
        let Command::Completions(completions) = cli.command else { panic!("{shell}") };
        let mut script = Vec::new();
        completions::print(&completions, &mut script).expect("memory takes it");
        let script = String::from_utf8(script).expect("it is text");
        for (path, command) in leaves(&Cli::command(), "") {
            let options = command.get_arguments().filter_map(|argument| argument.get_long());
            for word in path.split(' ').chain(options) {
                assert!(script.contains(word), "{shell}: {word} of {path}");
            }
        }
    }
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
