//! Other people's producers and receivers: Python and Node programs with the packages they need, fetched once.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

use super::java::fetched_once;

fn scripts(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/third_party").join(language)
}

/// Runs a program to its end and returns what it printed.
///
/// # Panics
///
/// When it can't be run or fails; the message shows what it said.
pub(super) fn run(command: &mut Command, input: &str) -> String {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?} can't be run: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    // What is written fits the pipe or is read: the programs read all before they print.
    stdin.write_all(input.as_bytes()).expect("the program reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("its output can be read");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{said}");
    String::from_utf8(output.stdout).expect("it prints text")
}

/// Runs a Python script of `tests/third_party/python`.
pub fn python<A: AsRef<OsStr>>(script: &str, arguments: &[A], input: &str) -> String {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
        let wanted = scripts("python").join("requirements.txt");
        let key = fs::read(&wanted).expect("the repository holds it");
        fetched_once("python", &key, |into| {
            // Packages in a folder of their own, which may be moved, as a virtual environment may not.
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            run(pip.arg("--target").arg(into).arg("-r").arg(&wanted), "");
        })
    });
    let mut command = Command::new("python3");
    command.arg(scripts("python").join(script)).args(arguments).env("PYTHONPATH", &*PYTHON);
    run(&mut command, input)
}

/// Runs a Node script of `tests/third_party/node`.
pub fn node<A: AsRef<OsStr>>(script: &str, arguments: &[A], input: &str) -> String {
    static NODE: LazyLock<PathBuf> =
        LazyLock::new(|| node_packages("node", &scripts("node"), |_| {}));
    let mut command = Command::new("node");
    let modules = NODE.join("node_modules");
    command.arg(scripts("node").join(script)).args(arguments).env("NODE_PATH", modules);
    run(&mut command, input)
}

/// Returns the folder, below `target/<name>`, of the packages that the `package.json` in `source` names; `complete` adds
/// to it what follows from them.
pub(super) fn node_packages(name: &str, source: &Path, complete: impl FnOnce(&Path)) -> PathBuf {
    let files = ["package.json", "package-lock.json"].map(|name| source.join(name));
    let key: Vec<u8> = files.iter().flat_map(|file| fs::read(file).expect("it is there")).collect();
    fetched_once(name, &key, |into| {
        for file in &files {
            let name = file.file_name().expect("it has one");
            fs::copy(file, into.join(name)).expect("target/ is writable");
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
        run(npm.current_dir(into), "");
        complete(into);
    })
}

/// Reads a program's lines as JSON.
pub fn lines(output: &str) -> Vec<Value> {
    let json = |line: &str| serde_json::from_str(line).expect("the program prints JSON");
    output.lines().map(json).collect()
}
