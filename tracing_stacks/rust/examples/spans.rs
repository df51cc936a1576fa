//! spans SCENARIO [N] --truth FILE: spans of a Rust program, with their truth as JSON: each with tgid,
//! ids, name, enters, busy and total time, and bytes written to /dev/null while it was innermost.
//!
//! Scenarios: `tasks` (on two workers of tokio), `many`, `cost`, `registry` (the cost without our layer).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tracing::{info_span, Instrument, Span};

struct Noted {
    span_id: u64,
    parent_id: u64,
    name: &'static str,
    id: u64,
    amount: u64,
    enters: u64,
    busy: Duration,
    since: Instant,
    first: Instant,
    written: usize,
}

static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn id_of(span: &Span) -> u64 {
    span.id().map_or(0, |id| id.into_u64())
}

impl Noted {
    fn enter(span: &Span, parent_id: u64, name: &'static str, id: u64, amount: u64) -> Self {
        let now = Instant::now();
        let span_id = id_of(span);
        let (enters, busy) = (1, Duration::ZERO);
        Noted { span_id, parent_id, name, id, amount, enters, busy, since: now, first: now, written: 0 }
    }

    fn suspended(&mut self) {
        self.busy += self.since.elapsed();
    }

    fn resumed(&mut self) {
        self.since = Instant::now();
        self.enters += 1;
    }

    fn write(&mut self, bytes: usize) {
        let zeros = [0; 4096];
        let mut null = OpenOptions::new().write(true).open("/dev/null").unwrap();
        assert_eq!(null.write(&zeros[..bytes]).unwrap(), bytes);
        self.written += bytes;
    }

    fn tell(mut self) {
        self.suspended();
        TOLD.lock().unwrap().push(format!(
            concat!(
                r#"{{"tgid": {}, "span_id": {}, "parent_id": {}, "name": "{}", "id": {}, "amount": {}, "#,
                r#""enters": {}, "busy_ns": {}, "total_ns": {}, "written_bytes": {}, "closed": true}}"#
            ),
            std::process::id(),
            self.span_id,
            self.parent_id,
            self.name,
            self.id,
            self.amount,
            self.enters,
            self.busy.as_nanos(),
            self.first.elapsed().as_nanos(),
            self.written
        ));
    }
}

fn spin(length: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < length {}
}

async fn request(n: u64) {
    let own = Span::current();
    let mut outer = Noted::enter(&own, 0, "a request of a long name", n, 100 * n);
    outer.write(10 + n as usize);
    for _ in 0..5 {
        outer.suspended();
        tokio::time::sleep(Duration::from_millis(3)).await;
        outer.resumed();
        spin(Duration::from_micros(500));
        let span = info_span!("query", id = n, exit_stack = true);
        let entered = span.enter();
        let mut query = Noted::enter(&span, id_of(&own), "query", n, 0);
        query.write(1000);
        spin(Duration::from_micros(300));
        drop(entered);
        query.tell();
        outer.write(1);
    }
    outer.tell();
}

async fn tasks(count: u64) {
    let running: Vec<_> = (0..count)
        .map(|n| {
            let span = info_span!("a request of a long name", id = n, amount = 100 * n);
            tokio::spawn(request(n).instrument(span))
        })
        .collect();
    for task in running {
        task.await.unwrap();
    }
}

/// Nanoseconds of one, the best of several runs.
fn best_ns(mut one: impl FnMut()) -> f64 {
    const N: u32 = 200_000;
    let run = |_| {
        let begin = Instant::now();
        (0..N).for_each(|_| one());
        begin.elapsed().as_nanos() as f64 / f64::from(N)
    };
    (0..7).map(run).fold(f64::INFINITY, f64::min)
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let truth = arguments.pop().expect("--truth FILE");
    assert_eq!(arguments.pop().as_deref(), Some("--truth"));
    let number = arguments.get(1).map(|n| n.parse().unwrap());
    let mut more = String::new();
    if arguments[0] == "registry" {
        let registry = tracing_subscriber::Registry::default();
        tracing::dispatcher::set_global_default(registry.into()).unwrap();
    } else {
        tracing_stacks::init();
    }
    match arguments[0].as_str() {
        "tasks" => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap()
            .block_on(tasks(number.unwrap_or(8))),
        "many" => {
            let count = number.unwrap_or(1_000_000);
            for n in 0..count {
                let _span = info_span!("one of many", id = n, amount = 1).entered();
            }
            more = format!(r#", "one of many": {count}"#);
        }
        "cost" | "registry" => {
            let whole = best_ns(|| drop(info_span!("cost", id = 7).entered()));
            let span = info_span!("cost");
            let again = best_ns(|| drop(span.enter()));
            more = format!(r#", "span_ns": {whole:.1}, "again_ns": {again:.1}"#);
        }
        other => panic!("no scenario {other}"),
    }
    let told = TOLD.lock().unwrap().join(",\n");
    let partial = format!("{truth}.partial");
    let tgid = std::process::id();
    let text = format!(r#"{{"tgid": {tgid}, "outside_bytes": 0, "spans": [{told}]{more}}}"#);
    File::create(&partial).unwrap().write_all(text.as_bytes()).unwrap();
    std::fs::rename(partial, truth).unwrap();
}
