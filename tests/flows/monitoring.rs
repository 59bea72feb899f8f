//! Monitoring: what the binary exports is what is documented, and what dashboard and alert rules ask for.

use std::collections::{BTreeMap, BTreeSet};

use kafka_webhooks::ops::metrics::{ALL, BUCKETS, Kind};
use promql_parser::label::MatchOp;
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use serde_json::{Value, json};

use crate::fixture::{Fixture, SOON};
use crate::support::receiver::Receiver;

const DASHBOARD: &str = include_str!("../../config/grafana/kafka-webhooks.json");
const ALERTS: &str = include_str!("../../config/prometheus/alerts.yml");

/// The labels that Prometheus adds to whatever it scrapes.
const TARGET: [&str; 2] = ["job", "instance"];

/// What `/metrics` says.
struct Exported {
    /// Name and type of each family.
    types: BTreeMap<String, String>,
    /// Names of families that are explained.
    helped: BTreeSet<String>,
    /// Name and labels of each series.
    series: Vec<(String, BTreeMap<String, String>)>,
}

impl Exported {
    /// Reads Prometheus's text format, version 0.0.4. No value of a label that is ours holds a comma or a quote.
    fn read(text: &str) -> Self {
        let (mut types, mut helped, mut series) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["#", "TYPE", name, kind] => {
                    types.insert(name.to_owned(), kind.to_owned());
                }
                ["#", "HELP", name, ..] => {
                    helped.insert(name.to_owned());
                }
                _ => {
                    let (name, _) = line.rsplit_once(' ').expect("a value stands at the end");
                    let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
                    let labels =
                        labels.trim_end_matches('}').split(',').filter(|it| !it.is_empty());
                    let label = |label: &str| {
                        let (name, value) = label.split_once('=').expect("a label has a value");
                        (name.to_owned(), value.trim_matches('"').to_owned())
                    };
                    series.push((name.to_owned(), labels.map(label).collect()));
                }
            }
        }
        Self { types, helped, series }
    }

    /// Returns the labels that an expression's value has.
    ///
    /// # Panics
    /// If it asks for something that isn't there.
    fn labels(&self, expression: &Expr) -> BTreeSet<String> {
        match expression {
            Expr::VectorSelector(selector) => self.selected(selector),
            Expr::MatrixSelector(matrix) => self.selected(&matrix.vs),
            Expr::Subquery(subquery) => self.labels(&subquery.expr),
            Expr::Paren(paren) => self.labels(&paren.expr),
            Expr::Unary(unary) => self.labels(&unary.expr),
            Expr::Binary(binary) => {
                let (left, right) = (self.labels(&binary.lhs), self.labels(&binary.rhs));
                if left.is_empty() { right } else { left }
            }
            Expr::Call(call) => {
                let mut labels: BTreeSet<String> =
                    call.args.args.iter().flat_map(|argument| self.labels(argument)).collect();
                if call.func.name == "histogram_quantile" {
                    assert!(labels.remove("le"), "{call} has no buckets");
                }
                labels
            }
            Expr::Aggregate(aggregate) => {
                let inner = self.labels(&aggregate.expr);
                match &aggregate.modifier {
                    Some(LabelModifier::Include(by)) => {
                        let by: BTreeSet<_> = by.labels.iter().cloned().collect();
                        assert!(by.is_subset(&inner), "{aggregate}: of {inner:?}");
                        by
                    }
                    Some(LabelModifier::Exclude(_)) => panic!("{aggregate}: name what is kept"),
                    None if aggregate.op.to_string() == "topk" => inner,
                    None => BTreeSet::new(),
                }
            }
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => BTreeSet::new(),
        }
    }

    /// Returns the labels of the series that a selector finds; it must find some.
    fn selected(&self, selector: &VectorSelector) -> BTreeSet<String> {
        let name = selector.name.as_deref().expect("a metric is named");
        let target = TARGET.map(str::to_owned);
        if name == "up" {
            return target.into();
        }
        let own = |label: &str| !TARGET.contains(&label);
        let fits = |labels: &BTreeMap<String, String>| {
            selector.matchers.matchers.iter().filter(|matcher| own(&matcher.name)).all(|matcher| {
                labels.get(&matcher.name).is_some_and(|value| match &matcher.op {
                    MatchOp::Equal => *value == matcher.value,
                    MatchOp::NotEqual => *value != matcher.value,
                    MatchOp::Re(pattern) => pattern.is_match(value),
                    MatchOp::NotRe(pattern) => !pattern.is_match(value),
                })
            })
        };
        let found = self.series.iter().find(|(found, labels)| found == name && fits(labels));
        let (_, labels) = found.unwrap_or_else(|| panic!("nothing is exported for {selector}"));
        labels.keys().cloned().chain(target).collect()
    }

    /// Checks a query, and that a text which shows its value names only labels that it has.
    fn check(&self, query: &str, text: &str, label_mark: &str) {
        let query = query.replace("$__rate_interval", "5m");
        let parsed = parser::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let labels = self.labels(&parsed);
        for used in text.split("{{").skip(1) {
            let used = used.split("}}").next().expect("a split has a first part").trim();
            if let Some(label) = used.strip_prefix(label_mark) {
                assert!(labels.contains(label), "{text:?} shows {label}, {query} has {labels:?}");
            }
        }
    }
}

/// Does some work and returns what is exported then.
fn exported() -> Exported {
    let (good, bad) = (Receiver::always(200), Receiver::always(503));
    let flow = Fixture::new("monitoring");
    let connector = flow.start();
    flow.subscribe("good", &good.url("/"), &["order.*"], json!({}));
    let once = json!({"retry": {"schedule": []}, "filter": "data.order != 'none'"});
    flow.subscribe("bad", &bad.url("/"), &["order.*"], once);
    connector.wait_status(SOON, |status| status["load"]["subscriptions"] == 2);
    flow.event("evt_1", "order.created");
    flow.audit(2);
    connector.wait_metrics(SOON, r#"webhooks_subscriptions{state="active"} 2"#);
    // It is counted when the driver learns of the commit, which is after readers see it.
    connector.wait_metrics(SOON, r#"webhooks_answers_total{status="2xx"} 1"#);
    connector.wait_metrics(SOON, r#"webhooks_answers_total{status="5xx"} 1"#);
    Exported::read(&connector.get("/metrics").1)
}

#[test]
fn dashboard_alerts_and_documentation_speak_of_what_is_exported() {
    let exported = exported();
    documented(&exported);
    for panel in panels(&dashboard()) {
        for target in panel["targets"].as_array().expect("a panel shows something") {
            let (query, legend) = (text(&target["expr"]), text(&target["legendFormat"]));
            exported.check(query, legend, "");
        }
    }
    for annotation in dashboard()["annotations"]["list"].as_array().expect("there is a list") {
        exported.check(text(&annotation["expr"]), text(&annotation["titleFormat"]), "");
    }
    for rule in alerts() {
        let annotations = &rule["annotations"];
        let told = [text(&annotations["summary"]), text(&annotations["description"])].concat();
        exported.check(text(&rule["expr"]), &told, "$labels.");
    }
}

/// Every metric that is documented is exported, with its type and labels, and the reverse.
fn documented(exported: &Exported) {
    let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(names, exported.types.keys().cloned().collect());
    assert_eq!(names, exported.helped);
    for metric in ALL {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        assert_eq!(exported.types[metric.name], kind, "{}", metric.name);
        let mut labels: BTreeSet<_> = metric.labels.iter().map(|label| label.to_string()).collect();
        let of_one = match metric.kind {
            Kind::Histogram => {
                labels.insert("le".to_owned());
                format!("{}_bucket", metric.name)
            }
            _ => metric.name.to_owned(),
        };
        let series: Vec<_> = exported.series.iter().filter(|(name, _)| *name == of_one).collect();
        for (_, found) in &series {
            assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), labels, "{}", metric.name);
        }
        if metric.kind == Kind::Histogram {
            assert_eq!(series.len(), BUCKETS.len() + 1, "{}", metric.name);
        }
    }
}

/// Whatever else names a metric: variables of the dashboard, made-up series of the alerts' own test, the README.
#[test]
fn no_file_names_a_metric_that_is_not_there() {
    let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
    let files = [
        ("the dashboard", DASHBOARD),
        ("the alerts", ALERTS),
        ("the alerts' test", include_str!("../prometheus/alerts.yml")),
        ("the README", include_str!("../../README.md")),
    ];
    for (file, content) in files {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let words = content.split(|c| !is_part(c)).filter(|word| word.starts_with("webhooks_"));
        // What names all of them by their beginning names none.
        for word in words.filter(|word| *word != "webhooks_") {
            let suffixes = ["", "_bucket", "_sum", "_count"];
            let bare = suffixes.iter().filter_map(|suffix| word.strip_suffix(suffix));
            assert!(bare.into_iter().any(|name| names.contains(name)), "{file} names {word}");
        }
    }
}

#[test]
fn every_panel_and_alert_explains_itself() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().expect("there are variables");
    let variables: Vec<&str> = variables.iter().map(|variable| text(&variable["name"])).collect();
    assert_eq!(variables, ["datasource", "job", "instance"]);
    for panel in panels(&dashboard) {
        assert!(!text(&panel["title"]).is_empty() && !text(&panel["description"]).is_empty());
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
    }
    let ids: Vec<_> = dashboard["panels"].as_array().into_iter().flatten().collect();
    let unique: BTreeSet<_> = ids.iter().map(|panel| panel["id"].as_i64()).collect();
    assert_eq!(unique.len(), ids.len());
    let mut names = BTreeSet::new();
    for rule in alerts() {
        let name = text(&rule["alert"]);
        assert!(names.insert(name.to_owned()), "{name} stands twice");
        let severity = text(&rule["labels"]["severity"]);
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        let annotations = &rule["annotations"];
        assert!(!text(&annotations["summary"]).is_empty(), "{name}");
        assert!(!text(&annotations["description"]).is_empty(), "{name}");
    }
}

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).expect("the dashboard is JSON")
}

/// Returns the panels that show something, without the rows.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    panels.filter(|panel| panel["type"] != "row")
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(ALERTS).expect("the alert rules are YAML");
    let groups = rules["groups"].as_array().expect("there are groups");
    groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
