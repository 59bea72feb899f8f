//! Java, and what runs on it: the broker and the schema registry, fetched once by Maven.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

const OLDEST_JAVA: u32 = 17;

/// Returns the `-cp` argument that holds the broker's jars, fetching them if this pom's are not there yet.
///
/// # Panics
///
/// When `java` or `mvn` is missing, Java is older than 17, or Maven fails; the message says which.
pub fn class_path() -> &'static str {
    static CLASS_PATH: LazyLock<String> = LazyLock::new(|| {
        require_java();
        format!("{}/*", fetched("broker").display())
    });
    &CLASS_PATH
}

/// Returns the jar that runs the schema registry, fetching and unpacking it if this pom's is not there yet.
///
/// # Panics
///
/// As [`class_path`].
pub fn registry_jar() -> &'static Path {
    static JAR: LazyLock<PathBuf> = LazyLock::new(|| {
        require_java();
        let folder = fetched("registry");
        let mut files = fs::read_dir(&folder).expect("it was fetched").filter_map(Result::ok);
        let is_runner = |path: &PathBuf| path.to_string_lossy().ends_with("-runner.jar");
        let jar = files.find_map(|file| Some(file.path()).filter(is_runner));
        jar.expect("the archive holds the runner's jar")
    });
    &JAR
}

fn lacking(what: impl std::fmt::Display) -> ! {
    panic!("the flow tests need Java {OLDEST_JAVA} and Maven: {what}")
}

fn require_java() {
    let output = match Command::new("java").arg("-version").output() {
        Ok(output) => output,
        Err(error) => lacking(format_args!("`java` can't be run: {error}")),
    };
    let text = String::from_utf8_lossy(&output.stderr);
    match major_version(&text) {
        Some(major) if major >= OLDEST_JAVA => {}
        Some(major) => lacking(format_args!("`java` is version {major}")),
        None => lacking(format_args!("`java -version` says {text:?}")),
    }
}

/// Reads 17 from `openjdk version "17.0.15" 2025-04-15`, 1 from the old style `java version "1.8.0_392"`.
pub fn major_version(text: &str) -> Option<u32> {
    let (_, quoted) = text.split_once("version \"")?;
    let end = quoted.find(|c: char| !c.is_ascii_digit())?;
    quoted[..end].parse().ok()
}

/// Returns the folder of what `tests/<name>/pom.xml` names. The folder's own name holds the pom's hash and it appears by a
/// rename, so a folder that is there is complete and fits the pom.
fn fetched(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pom = root.join("tests").join(name).join("pom.xml");
    fetched_once(name, &fs::read(&pom).expect("the repository holds the pom"), |into| {
        fetch(&pom, into);
        unpack(into);
    })
}

/// Returns the folder `target/<name>/libs-<hash of key>`, which `fetch` fills if it isn't there.
pub fn fetched_once(name: &str, key: &[u8], fetch: impl FnOnce(&Path)) -> PathBuf {
    let hash: String = Sha256::digest(key)[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let parent = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(name);
    let libs = parent.join(format!("libs-{hash}"));

    fs::create_dir_all(&parent).expect("target/ is writable");
    let lock = File::create(parent.join("lock")).expect("target/ is writable");
    // Another test process may be fetching the same; the lock ends with the handle.
    lock.lock().expect("files of target/ can be locked");
    if !libs.is_dir() {
        let scratch = tempfile::Builder::new()
            .prefix("libs-part-")
            .tempdir_in(&parent)
            .expect("target/ is writable");
        fetch(scratch.path());
        fs::rename(scratch.keep(), &libs).expect("a folder can be renamed beside itself");
    }
    libs
}

/// Unpacks the archives of a folder in it, and removes them.
fn unpack(folder: &Path) {
    let files = fs::read_dir(folder).expect("it was just made").filter_map(Result::ok);
    let is_archive = |path: &PathBuf| path.to_string_lossy().ends_with(".tar.gz");
    for archive in files.map(|file| file.path()).filter(is_archive) {
        let mut tar = Command::new("tar");
        let status = tar.arg("-xzf").arg(&archive).arg("-C").arg(folder).status();
        assert!(status.is_ok_and(|status| status.success()), "{} is broken", archive.display());
        fs::remove_file(&archive).expect("it was just made");
    }
}

fn fetch(pom: &Path, into: &Path) {
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", into.display()))
        .output();
    match output {
        Err(error) => lacking(format_args!("`mvn` can't be run: {error}")),
        Ok(output) if !output.status.success() => lacking(format_args!(
            "`mvn dependency:copy-dependencies` failed ({}):\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
        Ok(_) => {}
    }
}
