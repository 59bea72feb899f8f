//! A member of the group, used as the pipeline uses it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use kafka_webhooks::config::Config;
use kafka_webhooks::domain::record::TopicPartition;
use kafka_webhooks::kafka::Connection;
use kafka_webhooks::kafka::admin::Admin;
use kafka_webhooks::kafka::consumer::{GroupConsumer, Part};
use kafka_webhooks::kafka::group::Notice;

use crate::fixture::SOON;
use crate::support::record::Draft;
use crate::support::scope::Scope;

/// More than librdkafka fetches ahead of each partition.
const RECORDS: usize = 8_000;

/// Longer than a fetch takes that was under way.
const FETCH: Duration = Duration::from_millis(100);

struct Member {
    consumer: GroupConsumer,
    /// Gets something when there is something to poll.
    called: Receiver<()>,
    notices: VecDeque<Notice>,
    held: Vec<TopicPartition>,
}

impl Member {
    fn join(config: &Config, part: Part) -> Self {
        let (call, called) = channel();
        // The test may have ended: nobody listens then.
        let wake = Arc::new(move || {
            let _ = call.send(());
        });
        let consumer = GroupConsumer::join(&Connection::new(config), part, wake);
        let consumer = consumer.expect("the settings are good");
        Self { consumer, called, notices: VecDeque::new(), held: Vec::new() }
    }

    /// Polls until there is an answer.
    fn until<T>(&mut self, what: &str, mut ask: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + SOON;
        loop {
            let notices = self.consumer.poll(Instant::now());
            self.notices.extend(notices);
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(Instant::now() < end, "{what} is waited for in vain");
            // What isn't called for is looked at all the same.
            let _ = self.called.recv_timeout(Duration::from_millis(5));
        }
    }

    fn assigned(&mut self) -> Vec<TopicPartition> {
        match self.until("the group's word", |member| member.notices.pop_front()) {
            Notice::Assigned(names) => names,
            other => panic!("the group says {other:?}"),
        }
    }

    /// Starts what it has been assigned for the first time.
    fn start(&mut self) {
        self.held = self.assigned();
        let (answer, committed) = channel();
        self.consumer.look_up(self.held.clone(), move |it| drop(answer.send(it)));
        let committed = committed.recv_timeout(SOON).expect("positions are known");
        self.consumer.start(&committed).expect("partitions can be started");
    }

    /// Takes the next record, of whatever partition.
    fn take_record(&mut self) {
        self.until("a record", |member| {
            let Self { consumer, held, .. } = member;
            held.iter().find_map(|name| consumer.fetched(name).next())
        });
    }
}

#[test]
fn a_member_fetches_on_at_once_when_the_group_has_seen_to_another() {
    let scope = Scope::new("member");
    scope.create_topic("orders", 4, &[]);
    let value = "x".repeat(1024);
    scope.produce_all("orders", (0..RECORDS).map(|n| Draft::new(format!("k{n}"), &value)));
    let (group, sources) = (
        scope.group(),
        format!(r#"[{{ topics = ["{}"], format = "envelope" }}]"#, scope.topic("orders")),
    );
    let flags = [
        ("kafka.bootstrap_servers", scope.bootstrap()),
        ("kafka.group_id", &group),
        ("topics.prefix", scope.prefix()),
        ("sources", &sources),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let config = Config::load(None, [], flags).expect("the settings are good");
    let admin = Admin::new(&Connection::new(&config)).expect("the broker is there");
    admin.create_missing().expect("topics can be made");
    let mut member = Member::join(&config, Part::Events);
    member.start();
    member.take_record();
    let mut waited = Duration::ZERO;
    for _ in 0..3 {
        let another = Member::join(&config, Part::Waiting);
        waited += sees_to_another(&mut member);
        another.consumer.leave(SOON);
        waited += sees_to_another(&mut member);
    }
    // A second for each, if nothing wakes the thread that fetches; half of it on average.
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

/// Has the member answer the group's next word, which takes nothing from it, when its thread has nothing to fetch; returns
/// how long it takes then until there is a record.
fn sees_to_another(member: &mut Member) -> Duration {
    assert_eq!(member.assigned(), []);
    let begin = Instant::now();
    member.until("the fetch under way", |_| (begin.elapsed() > FETCH).then_some(()));
    let begin = Instant::now();
    member.consumer.start(&[]).expect("nothing can be started");
    member.take_record();
    begin.elapsed()
}
