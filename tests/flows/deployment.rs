//! What runs the program elsewhere: image, compose file, systemd unit and Kubernetes manifests, held against the program.
//! Nothing of it is run here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser as _;
use kafka_webhooks::cli::{Cli, Command};
use kafka_webhooks::config::{Config, parse_duration};
use serde_json::Value;

/// The image that `docker/Dockerfile` makes.
const IMAGE: &str = concat!("kafka-webhooks:", env!("CARGO_PKG_VERSION"));

/// The paths of the ops port that probes may ask.
const PROBES: [&str; 2] = ["/live", "/ready"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Reads a file of YAML documents.
fn yaml(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn compose() -> Value {
    yaml("docker/compose.yml").remove(0)
}

fn services(compose: &Value) -> impl Iterator<Item = (&String, &Value)> {
    compose["services"].as_object().expect("there are services").iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Loads settings, all of which must be known and fit each other.
fn settings(file: Option<&str>, variables: impl IntoIterator<Item = (String, String)>) -> Config {
    let mut scratch = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
    let write = |text: &str| scratch.write_all(text.as_bytes());
    file.map(write).transpose().expect("a new temporary file is writable");
    let path = file.is_some().then(|| scratch.path());
    let host = ("HOSTNAME".to_owned(), "host-1".to_owned());
    let variables = variables.into_iter().chain([host]);
    let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::load(path, variables, []).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Reads a map of variables.
fn variables(map: &Value) -> BTreeMap<String, String> {
    let map = map.as_object().expect("variables are a map");
    map.iter().map(|(name, value)| (name.clone(), text(value).to_owned())).collect()
}

/// Reads a command line as the program does.
fn command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Cli {
    let line: Vec<&str> = ["kafka-webhooks"].into_iter().chain(arguments).collect();
    Cli::try_parse_from(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

/// Checks that an image is named by an exact version, and ours by this one.
fn pinned(image: &str) {
    if image.starts_with("kafka-webhooks") {
        return assert_eq!(image, IMAGE);
    }
    let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no version"));
    let version = tag.split('-').next().expect("a split has a first part");
    let numbers = version.trim_start_matches('v').split('.');
    let numbers = numbers.take_while(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    // Debian's versions have two numbers.
    let least = if image.starts_with("debian:") { 2 } else { 3 };
    assert!(numbers.count() >= least, "{image} is no exact version");
}

#[test]
fn the_image_is_pinned_and_runs_as_nobody() {
    let dockerfile = read("docker/Dockerfile");
    let with = |word: &str| {
        let lines = dockerfile.lines().filter_map(move |line| line.strip_prefix(word));
        lines.map(|rest| rest.trim().to_owned()).collect::<Vec<_>>()
    };
    for from in with("FROM ") {
        pinned(from.split(' ').next().expect("a split has a first part"));
    }
    assert_eq!(with("USER "), ["10001"]);
    let ops = settings(None, least()).ops.listen;
    assert_eq!(with("EXPOSE "), [ops.port().to_string()]);
    assert_eq!(with("ENTRYPOINT "), [r#"["kafka-webhooks"]"#]);
    let default: Vec<String> = serde_json::from_str(&with("CMD ")[0]).expect("it is JSON");
    let cli = command(default.iter().map(String::as_str));
    assert!(matches!(cli.command, Command::Run));
    for copied in with("COPY ").iter().filter(|line| !line.starts_with("--from")) {
        let (sources, _) = copied.rsplit_once(' ').expect("there is a destination");
        sources.split(' ').for_each(|path| assert!(root().join(path).exists(), "{path}"));
    }
}

/// The least that settings must say.
fn least() -> [(String, String); 1] {
    let sources = r#"[{ topics = ["orders"], format = "envelope" }]"#;
    [("KAFKA_WEBHOOKS__SOURCES".to_owned(), sources.to_owned())]
}

#[test]
fn compose_runs_the_program_as_it_is() {
    let compose = compose();
    let mut instances = Vec::new();
    for (name, service) in services(&compose) {
        pinned(text(&service["image"]));
        if service["image"] != IMAGE {
            continue;
        }
        assert!(root().join("docker").join(text(&service["build"]["context"])).exists());
        assert!(root().join(text(&service["build"]["dockerfile"])).exists());
        let arguments: Vec<&str> = match &service["command"] {
            Value::Null => vec!["run"],
            given => items(given).map(text).collect(),
        };
        let cli = command(arguments);
        let config = settings(None, variables(&service["environment"]));
        if matches!(cli.command, Command::Run) {
            outlasts(&service["stop_grace_period"], &config, name);
            let port = config.ops.listen.port();
            let check =
                text(items(&service["healthcheck"]["test"]).last().expect("it is a command"));
            assert!(check.contains(&format!("/{port};")), "{name}: {check}");
            assert!(PROBES.iter().any(|path| check.contains(&format!("GET {path} "))), "{name}");
            let published = text(&service["ports"][0]);
            assert!(published.starts_with("127.0.0.1:"), "{name}: {published}");
            assert!(published.ends_with(&format!(":{port}")), "{name}: {published}");
            assert!(config.ops.listen.ip().is_unspecified(), "{name} can't be reached");
            instances.push((config.kafka.instance.id().to_owned(), format!("{name}:{port}")));
        }
    }
    let (ids, targets): (Vec<_>, Vec<_>) = instances.into_iter().unzip();
    assert_eq!(ids, ["a", "b"]);
    let prometheus = yaml("config/prometheus/prometheus.yml").remove(0);
    let scraped = &prometheus["scrape_configs"][0]["static_configs"][0]["targets"];
    assert_eq!(items(scraped).map(text).collect::<Vec<_>>(), targets);
}

/// Checks that a stop is waited for longer than it may take, with five seconds for the last spans.
fn outlasts(grace: &Value, config: &Config, what: &str) {
    let grace = match grace {
        Value::Number(seconds) => Duration::from_secs(seconds.as_u64().expect("it is a number")),
        other => parse_duration(text(other)).expect("it is a duration"),
    };
    assert!(grace > config.shutdown.timeout + Duration::from_secs(5), "{what}: {grace:?}");
}

#[test]
fn compose_waits_for_what_is_needed_and_mounts_what_is_there() {
    let compose = compose();
    let one_shot = |name: &str| {
        services(&compose).any(|(_, service)| {
            service["depends_on"][name]["condition"] == "service_completed_successfully"
        })
    };
    for (name, service) in services(&compose) {
        for (needed, how) in service["depends_on"].as_object().into_iter().flatten() {
            let needed_service = &compose["services"][needed];
            assert!(needed_service.is_object(), "{name} needs {needed}, which isn't there");
            let is_checked = !needed_service["healthcheck"].is_null();
            assert_eq!(how["condition"] == "service_healthy", is_checked, "{name}: {needed}");
        }
        assert_ne!(one_shot(name), !service["healthcheck"].is_null(), "{name}");
        for mount in items(&service["volumes"]) {
            let (from, _) = text(mount).split_once(':').expect("a mount has a destination");
            assert!(root().join("docker").join(from).exists(), "{name} mounts {from}");
        }
    }
}

#[test]
fn prometheus_and_grafana_find_their_files() {
    let prometheus = yaml("config/prometheus/prometheus.yml").remove(0);
    for file in items(&prometheus["rule_files"]) {
        assert!(root().join("config/prometheus").join(text(file)).exists(), "{file}");
    }
    // The alert of an instance that is down names the job.
    let job = text(&prometheus["scrape_configs"][0]["job_name"]);
    assert!(read("config/prometheus/alerts.yml").contains(&format!("up{{job=\"{job}\"}}")));

    let compose = compose();
    let grafana = &compose["services"]["grafana"];
    let mounts: BTreeMap<&str, PathBuf> = items(&grafana["volumes"])
        .filter_map(|mount| text(mount).strip_suffix(":ro")?.split_once(':'))
        .map(|(from, to)| (to, root().join("docker").join(from)))
        .collect();
    let provider = yaml("docker/grafana/dashboards.yml").remove(0);
    let folder = text(&provider["providers"][0]["options"]["path"]);
    let home = text(&grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]);
    let file = home.strip_prefix(folder).expect("it is among the dashboards");
    assert!(mounts[folder].join(file.trim_start_matches('/')).exists());
    let source = yaml("docker/grafana/datasources.yml").remove(0);
    let port = text(&compose["services"]["prometheus"]["ports"][0]).rsplit(':').next();
    let expected = format!("http://prometheus:{}", port.expect("a split has a last part"));
    assert_eq!(source["datasources"][0]["url"], expected);
}

#[test]
fn the_unit_runs_the_program_as_it_is() {
    let unit = read("docker/kafka-webhooks.service");
    let values = |key: &str| {
        let start = format!("{key}=");
        let lines = unit.lines().filter_map(move |line| line.strip_prefix(&start));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let line = &values("ExecStart")[0];
    let (program, arguments) = line.split_once(' ').expect("there are arguments");
    assert!(Path::new(program).is_absolute());
    let cli = command(arguments.split(' '));
    assert!(matches!(cli.command, Command::Run) && cli.config.is_some());
    let set = values("Environment");
    let set = set.iter().map(|line| line.split_once('=').expect("it sets a variable"));
    // "%H" is the host's name.
    let set = set.map(|(name, value)| (name.to_owned(), value.replace("%H", "host-1")));
    let config = settings(None, set.chain(least()));
    assert_eq!(config.kafka.instance.id(), "host-1");
    let stop: u64 = values("TimeoutStopSec")[0].parse().expect("it is a number of seconds");
    outlasts(&stop.into(), &config, "TimeoutStopSec");
    assert_eq!(values("RestartPreventExitStatus"), ["64"]);
}

#[test]
fn systemd_takes_the_unit() {
    // It looks whether the program is there.
    let program = "/usr/local/bin/kafka-webhooks";
    let unit = read("docker/kafka-webhooks.service");
    assert!(unit.contains(program));
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let file = folder.path().join("kafka-webhooks.service");
    fs::write(&file, unit.replace(program, env!("CARGO_BIN_EXE_kafka-webhooks")))
        .expect("a new folder is writable");
    let verify = std::process::Command::new("systemd-analyze").arg("verify").arg(&file).output();
    let Ok(output) = verify else {
        eprintln!("SKIPPED: the unit is not verified: there is no systemd-analyze");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn kubernetes_runs_the_program_as_it_is() {
    let documents = yaml("docker/kubernetes.yml");
    let of_kind = |kind: &str| {
        let found = documents.iter().find(|document| document["kind"] == kind);
        found.unwrap_or_else(|| panic!("there is no {kind}"))
    };
    let file = text(&of_kind("ConfigMap")["data"]["connector.toml"]);
    let config = settings(Some(file), variables(&of_kind("Secret")["stringData"]));
    let port = config.ops.listen.port();
    assert!(config.ops.listen.ip().is_unspecified(), "probes can't reach it");
    // The host name is the pod's.
    assert_eq!(config.kafka.instance.id(), "host-1");

    for kind in ["Job", "Deployment"] {
        let pod = &of_kind(kind)["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        pinned(text(&container["image"]));
        let cli = command(items(&container["args"]).map(text));
        let mount = text(&container["volumeMounts"][0]["mountPath"]);
        assert_eq!(cli.config, Some(Path::new(mount).join("connector.toml")));
        assert_eq!(
            container["envFrom"][0]["secretRef"]["name"],
            of_kind("Secret")["metadata"]["name"]
        );
        assert_eq!(
            pod["volumes"][0]["configMap"]["name"],
            of_kind("ConfigMap")["metadata"]["name"]
        );
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    }
    let deployment = &of_kind("Deployment")["spec"];
    let pod = &deployment["template"]["spec"];
    outlasts(&pod["terminationGracePeriodSeconds"], &config, "terminationGracePeriodSeconds");
    let container = &pod["containers"][0];
    let probes = ["livenessProbe", "readinessProbe"].map(|probe| &container[probe]["httpGet"]);
    assert_eq!(probes.map(|probe| text(&probe["path"])), PROBES);
    assert_eq!(container["ports"][0]["containerPort"], port);
    let name = &container["ports"][0]["name"];
    assert!(probes.iter().all(|probe| probe["port"] == *name));
    assert_eq!(of_kind("Service")["spec"]["ports"][0]["targetPort"], *name);

    let labels = &deployment["template"]["metadata"]["labels"];
    assert_eq!(deployment["selector"]["matchLabels"], *labels);
    assert_eq!(of_kind("Service")["spec"]["selector"], *labels);
    let budget = &of_kind("PodDisruptionBudget")["spec"];
    assert_eq!(budget["selector"]["matchLabels"], *labels);
    assert_eq!(budget["maxUnavailable"], 1);
}
