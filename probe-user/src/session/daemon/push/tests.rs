//! Sending, against a collector that behaves well, badly, or not at all.

#[path = "../../../../../tests/src/otlp.rs"]
#[allow(dead_code, reason = "the end-to-end tests use more of it")]
mod receiver;

use std::{
    net::SocketAddr,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use tokio_rustls::rustls::ServerConfig;
use tonic::Code;

use self::receiver::{Manner, Receiver, Speaks, words};
use super::{super::settings::Push, *};
use crate::{
    cli::Protocol,
    diagnose::{
        Diagnosis,
        rules::finding_for_tests,
        steady::{Change, Open, Steadiness, Steady},
    },
    present::metrics::{Family, Kind, Metric, Row, Snapshot, Value},
};

/// Long enough on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
const BOTH: [(Speaks, Protocol); 2] = [
    (Speaks::Grpc, Protocol::Grpc),
    (Speaks::Http, Protocol::Http),
];

static COUNTER: Metric = Metric {
    name: "stallscope.test",
    kind: Kind::Counter,
    unit: "{thing}",
    help: "Things.",
    labels: &["stallscope.group"],
    small: &[],
    otel: false,
    top: 0,
    read: |_, _| {},
};

fn snapshot(at_unix_ns: u64, value: f64) -> Arc<Snapshot> {
    Arc::new(Snapshot {
        at_unix_ns,
        families: vec![Family {
            metric: &COUNTER,
            rows: vec![Row {
                labels: vec!["pool www".to_owned()].into(),
                value: Value::Number(value),
                since_unix_ns: 1,
            }],
        }],
    })
}

fn open(id: u64) -> Open {
    let mut steady = Steady::new(Steadiness {
        windows: 1,
        gone_ns: 1,
    });
    let diagnosis = Diagnosis {
        findings: vec![finding_for_tests()],
        ..Diagnosis::default()
    };
    steady.update(1, &diagnosis);
    Open {
        id,
        ..steady.open()[0].clone()
    }
}

fn push(to: SocketAddr, protocol: Protocol) -> Push {
    Push {
        url: format!("http://{to}"),
        protocol,
        headers: Vec::new(),
        ca: None,
        interval: Duration::from_secs(1),
    }
}

/// The sending side in a thread, as `serve` has it.
struct Sending {
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    plan: Option<watch::Sender<NetPlan>>,
    thread: Option<JoinHandle<()>>,
}

impl Sending {
    fn start(push: &Push) -> Self {
        let shared = Arc::<Shared>::default();
        let (events, told) = mpsc::channel(1024);
        let (plan, planned) = watch::channel(plan(push));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || runtime.block_on(send(told, shared, planned, Resource::default()))
        });
        Self {
            shared,
            events,
            plan: Some(plan),
            thread: Some(thread),
        }
    }

    fn tell(&self, id: u64) {
        let event = Event::new(&Change::Opened(open(id)), 1, 1000);
        self.events.try_send(event).unwrap();
    }

    fn reload(&self, push: &Push) {
        if let Some(sender) = &self.plan {
            sender.send_replace(plan(push));
        }
    }

    fn own(&self) -> Own {
        let mut own = Own::default();
        self.shared.push.count(&mut own);
        own
    }

    fn wait(&self, what: &str, done: impl Fn(&Own) -> bool) {
        let begun = Instant::now();
        while !done(&self.own()) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {:?}", self.own());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it; how long that took.
    fn end(&mut self) -> Duration {
        let begun = Instant::now();
        drop(self.plan.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        begun.elapsed()
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        drop(self.plan.take());
    }
}

fn plan(push: &Push) -> NetPlan {
    NetPlan {
        push: Some(Plan::read(push).unwrap()),
        ..NetPlan::default()
    }
}

/// The ids of findings, in the order in which they came.
fn ids(records: &[LogRecord]) -> Vec<u64> {
    let id = |record: &LogRecord| {
        words(&record.attributes)
            .iter()
            .find_map(|word| word.strip_prefix("stallscope.finding.id=")?.parse().ok())
    };
    records.iter().filter_map(id).collect()
}

fn refuse(status: u16, code: Code, pause: Option<u64>) -> Manner {
    Manner::Refuse {
        status,
        code,
        pause,
    }
}

#[test]
fn metrics_and_findings_arrive_by_both_protocols() {
    for (speaks, protocol) in BOTH {
        let receiver = Receiver::start(speaks).unwrap();
        let mut push = push(receiver.addr(), protocol);
        push.headers = vec![("X-Token".to_owned(), "abc".to_owned())];
        let mut sending = Sending::start(&push);
        sending.shared.publish(snapshot(10, 2.0));
        receiver
            .wait("metrics", PATIENCE, |got| !got.metrics.is_empty())
            .unwrap();
        sending.shared.publish(snapshot(20, 3.0));
        sending.tell(7);
        let newest = |value: f64| vec![(vec!["stallscope.group=pool www".to_owned()], value)];
        receiver
            .wait("both", PATIENCE, |got| {
                got.numbers("stallscope.test") == newest(3.0) && !got.logs.is_empty()
            })
            .unwrap();
        assert_eq!(receiver.got(|got| ids(&got.records())), [7]);
        let header = |name| receiver.got(|got| got.headers[name].to_str().unwrap().to_owned());
        assert_eq!(header("x-token"), "abc");
        assert!(header("user-agent").starts_with("stallscope/"));
        sending.end();
        let own = sending.own();
        assert_eq!(
            (own.otlp_sent, own.otlp_dropped, own.otlp_retried),
            (3, 0, 0)
        );
        assert_eq!(own.otlp_queued, 0);
    }
}

#[test]
fn the_same_metrics_are_not_sent_twice() {
    let receiver = Receiver::start(Speaks::Http).unwrap();
    let sending = Sending::start(&push(receiver.addr(), Protocol::Http));
    sending.shared.publish(snapshot(10, 2.0));
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(receiver.got(|got| got.metrics.len()), 1);
}

#[test]
fn what_is_refused_for_good_is_dropped_and_counted() {
    for (speaks, protocol) in BOTH {
        let receiver = Receiver::start(speaks).unwrap();
        receiver.be(refuse(400, Code::InvalidArgument, None));
        let sending = Sending::start(&push(receiver.addr(), protocol));
        sending.tell(1);
        sending.wait("a refusal", |own| own.otlp_dropped == 1);
        receiver.be(Manner::Take);
        sending.tell(2);
        sending.wait("one that is taken", |own| own.otlp_sent == 1);
        assert_eq!(receiver.got(|got| ids(&got.records())), [2]);
        assert_eq!(sending.own().otlp_retried, 0);
    }
}

#[test]
fn a_pause_that_is_asked_for_is_kept() {
    for (speaks, protocol) in BOTH {
        let receiver = Receiver::start(speaks).unwrap();
        receiver.be(refuse(503, Code::ResourceExhausted, Some(4)));
        let sending = Sending::start(&push(receiver.addr(), protocol));
        sending.tell(1);
        receiver
            .wait("a try", PATIENCE, |got| !got.tries.is_empty())
            .unwrap();
        receiver.be(Manner::Take);
        sending.wait("the second try", |own| own.otlp_sent == 1);
        let tries = receiver.got(|got| got.tries.clone());
        assert_eq!(tries.len(), 2);
        // Our own first pause is two seconds at most.
        assert!(tries[1] - tries[0] >= Duration::from_secs(4), "{tries:?}");
        assert_eq!(
            (sending.own().otlp_retried, sending.own().otlp_dropped),
            (1, 0)
        );
    }
}

#[test]
fn what_is_left_out_of_a_message_is_counted() {
    for (speaks, protocol) in BOTH {
        let receiver = Receiver::start(speaks).unwrap();
        receiver.be(Manner::Partly(3));
        let sending = Sending::start(&push(receiver.addr(), protocol));
        sending.tell(1);
        sending.wait("a partial success", |own| own.otlp_rejected == 3);
        sending.shared.publish(snapshot(10, 1.0));
        sending.wait("and another", |own| own.otlp_rejected == 6);
        assert_eq!(
            (sending.own().otlp_sent, sending.own().otlp_dropped),
            (2, 0)
        );
    }
}

#[test]
fn findings_wait_for_a_collector_that_comes_late_and_arrive_in_order() {
    for (speaks, protocol) in BOTH {
        // A port that nobody listens at.
        let addr = Receiver::start(speaks).unwrap().addr();
        let sending = Sending::start(&push(addr, protocol));
        for id in 1..=100 {
            sending.tell(id);
        }
        sending.shared.publish(snapshot(10, 2.0));
        sending.wait("a second try", |own| own.otlp_retried > 0);
        assert_eq!(sending.own().otlp_queued, 101);
        let receiver = Receiver::start_at(addr, speaks, None).unwrap();
        sending.shared.publish(snapshot(20, 3.0));
        receiver
            .wait("all", PATIENCE, |got| {
                got.records().len() >= 100 && !got.metrics.is_empty()
            })
            .unwrap();
        assert_eq!(
            receiver.got(|got| ids(&got.records())),
            (1..=100).collect::<Vec<_>>()
        );
        // Of metrics only the newest wait.
        assert_eq!(receiver.got(|got| got.metrics.len()), 1);
        assert_eq!(receiver.got(|got| got.numbers("stallscope.test")[0].1), 3.0);
        sending.wait("the counts", |own| own.otlp_sent == 101);
        assert_eq!(sending.own().otlp_dropped, 0);
    }
}

#[test]
fn when_too_many_wait_the_oldest_are_dropped_and_counted() {
    let most = inbox::MOST as u64;
    let addr = Receiver::start(Speaks::Grpc).unwrap().addr();
    let sending = Sending::start(&push(addr, Protocol::Grpc));
    for id in 1..=most + 44 {
        sending.tell(id);
    }
    sending.wait("an overflow", |own| own.otlp_dropped == 44);
    let receiver = Receiver::start_at(addr, Speaks::Grpc, None).unwrap();
    sending.wait("the rest", |own| own.otlp_sent == most);
    assert_eq!(
        receiver.got(|got| ids(&got.records())),
        (45..=most + 44).collect::<Vec<_>>()
    );
}

#[test]
fn an_end_that_hangs_holds_nobody_up() {
    for (speaks, protocol) in BOTH {
        let receiver = Receiver::start(speaks).unwrap();
        receiver.be(Manner::Hang);
        let mut sending = Sending::start(&push(receiver.addr(), protocol));
        sending.tell(1);
        receiver
            .wait("a try", PATIENCE, |got| !got.tries.is_empty())
            .unwrap();
        // The queue goes on taking, and the end does not wait.
        sending.tell(2);
        let took = sending.end();
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_eq!(sending.own().otlp_dropped, 2);
    }
}

#[test]
fn a_connection_that_breaks_is_tried_again() {
    for (speaks, protocol) in BOTH {
        let receiver = Receiver::start(speaks).unwrap();
        receiver.be(Manner::Reset);
        let sending = Sending::start(&push(receiver.addr(), protocol));
        sending.tell(1);
        receiver
            .wait("a try", PATIENCE, |got| !got.tries.is_empty())
            .unwrap();
        receiver.be(Manner::Take);
        sending.wait("the second try", |own| own.otlp_sent == 1);
        assert_eq!(sending.own().otlp_dropped, 0);
    }
}

#[test]
fn what_is_told_last_still_arrives() {
    for (speaks, protocol) in BOTH {
        let receiver = Receiver::start(speaks).unwrap();
        receiver.be(Manner::Slow(Duration::from_millis(200)));
        let mut sending = Sending::start(&push(receiver.addr(), protocol));
        sending.shared.publish(snapshot(10, 2.0));
        sending.tell(1);
        sending.end();
        assert_eq!(receiver.got(|got| ids(&got.records())), [1]);
        assert_eq!(receiver.got(|got| got.metrics.len()), 1);
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Receiver::start(Speaks::Http).unwrap();
    let receiver = Receiver::start(Speaks::Http).unwrap();
    receiver.be(Manner::Redirect(elsewhere.addr()));
    let sending = Sending::start(&push(receiver.addr(), Protocol::Http));
    sending.tell(1);
    sending.wait("a refusal", |own| own.otlp_dropped == 1);
    assert_eq!(elsewhere.got(|got| got.tries.len()), 0);
}

#[test]
fn a_new_plan_leads_to_another_collector() {
    let first = Receiver::start(Speaks::Http).unwrap();
    let second = Receiver::start(Speaks::Grpc).unwrap();
    first.be(Manner::Hang);
    let sending = Sending::start(&push(first.addr(), Protocol::Http));
    sending.tell(1);
    first
        .wait("a try", PATIENCE, |got| !got.tries.is_empty())
        .unwrap();
    sending.reload(&push(second.addr(), Protocol::Grpc));
    second
        .wait("the finding", PATIENCE, |got| got.records().len() == 1)
        .unwrap();
}

/// An authority of the test's own: its certificate, and a server for 127.0.0.1 that it vouches for.
fn authority() -> (String, Arc<ServerConfig>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&server_key, &issuer)
        .unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![server.der().clone()],
            server_key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (ca.pem(), Arc::new(config))
}

#[test]
fn with_tls_only_who_is_vouched_for_gets_anything() {
    let dir = tempfile::tempdir().unwrap();
    let ((ours, config), (others, _)) = (authority(), authority());
    for (speaks, protocol) in BOTH {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let receiver = Receiver::start_at(local, speaks, Some(Arc::clone(&config))).unwrap();
        let with = |ca: &str| {
            let file = dir.path().join("ca.pem");
            std::fs::write(&file, ca).unwrap();
            Push {
                url: format!("https://{}", receiver.addr()),
                ca: Some(file),
                ..push(receiver.addr(), protocol)
            }
        };
        let sending = Sending::start(&with(&others));
        sending.tell(1);
        sending.wait("a second try", |own| own.otlp_retried > 0);
        assert_eq!(receiver.got(|got| got.tries.len()), 0);
        sending.reload(&with(&ours));
        sending.wait("the finding", |own| own.otlp_sent == 1);
        assert_eq!(receiver.got(|got| ids(&got.records())), [1]);
    }
}
