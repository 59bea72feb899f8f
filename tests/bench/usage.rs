//! What a process has used, as Linux tells it under `/proc`.

use std::fs;
use std::time::Duration;

/// `/proc/PID/stat` counts in hundredths of a second on every architecture (USER_HZ, proc(5)).
const TICK: Duration = Duration::from_millis(10);

/// Returns the CPU time, user and system, of all threads of a process so far.
///
/// # Panics
///
/// When there is no such process.
pub fn cpu(pid: u32) -> Duration {
    let stat = read(pid, "stat");
    // The second field is the program's name in parentheses and may hold anything; utime and stime are 14 and 15.
    let (_, fields) = stat.rsplit_once(')').expect("proc(5) puts the name in parentheses");
    let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(number).sum::<u64>();
    TICK * u32::try_from(ticks).expect("no process has used a year of CPU")
}

/// Returns the most memory in KiB that a process has had resident.
pub fn peak_kib(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

/// Returns the memory in KiB that a process has resident now.
pub fn resident_kib(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

fn status(pid: u32, name: &str) -> u64 {
    let status = read(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_ascii_whitespace().next());
    number(value.unwrap_or_else(|| panic!("/proc/{pid}/status has no {name}")))
}

fn read(pid: u32, file: &str) -> String {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path} can't be read: {error}"))
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|error| panic!("{text:?} is no number: {error}"))
}
