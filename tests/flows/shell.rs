//! What a terminal shows of commands, and what a shell completes.

use std::process::Command;

use crate::figures::scene;

#[test]
fn a_terminal_shows_how_far_a_long_read_is_and_nothing_else_does() {
    let (flow, _) = scene("progress");
    let audit = flow.scope.topic("audit");
    let line = ["stats", "--since", "1h"];
    let plain = flow.setup.run(&line);
    assert!(plain.stderr.is_empty(), "{}", String::from_utf8_lossy(&plain.stderr));
    let Some(shown) = flow.setup.run_on_terminal(&line) else {
        eprintln!("SKIPPED: no terminal is looked at: there is no program script");
        return;
    };
    let read = format!("reading {audit}  ");
    assert!(shown.contains(&read) && shown.contains(" of 132 records  "), "{shown:?}");
    let table = String::from_utf8_lossy(&plain.stdout);
    let all = table.lines().last().expect("it has lines");
    assert!(shown.contains(all), "{shown:?}");
}

#[test]
fn a_shell_completes_commands_by_the_script_that_is_made_for_it() {
    let program = env!("CARGO_BIN_EXE_kafka-webhooks");
    let script = Command::new(program).args(["completions", "bash"]).output();
    let script = script.expect("cargo has built the program").stdout;
    let file = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
    std::fs::write(file.path(), script).expect("a new temporary file is writable");
    let complete = |words: &[&str]| {
        let line = r#"source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            how=$(complete -p "$1"); how=${how#*-F }; how=${how%% *}
            $how "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
            printf '%s\n' "${COMPREPLY[@]}""#;
        let mut bash = Command::new("bash");
        let output = bash.args(["-c", line]).arg(file.path()).args(words).output();
        let output = output.expect("there is bash");
        String::from_utf8(output.stdout).expect("it is text")
    };
    let check = |words: &[&str], offers: &[&str]| {
        let offered = complete(words);
        let offered: Vec<_> = offered.lines().collect();
        assert!(offers.iter().all(|offer| offered.contains(offer)), "{words:?}: {offered:?}");
    };
    check(&["kafka-webhooks", "dea"], &["dead-letters"]);
    check(&["kafka-webhooks", "dead-letters", ""], &["list", "show", "redrive"]);
    check(&["kafka-webhooks", "dead-letters", "redrive", "--r"], &["--reason", "--rate"]);
    check(&["kafka-webhooks", "replay", "--output", ""], &["table", "json"]);
}
