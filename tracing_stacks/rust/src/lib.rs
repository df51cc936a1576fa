//! Spans of [`tracing`] as USDT probes, which stacks-tui sees from outside the process.
//!
//! ```no_run
//! tracing_stacks::init();
//! let _span = tracing::info_span!("checkout", id = 17u64, amount = 4096u64).entered();
//! ```
//!
//! Beside other layers: `registry.with(tracing_stacks::StacksSubscriber {})`.
//!
//! Fields that are told: `id` and `amount` (integers), and `exit_stack = true`, which asks for the
//! stack wherever the span is left. While nobody listens, entering and leaving test two bytes each.

mod probes;

use tracing_core::field::{Field, Visit};
use tracing_core::{span, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

/// Makes the layer, over a registry, the whole program's subscriber.
///
/// # Panics
///
/// If the program has a global subscriber already.
pub fn init() {
    tracing::dispatcher::set_global_default(Registry::default().with(StacksSubscriber {}).into())
        .expect("the program has a global subscriber already");
}

/// The layer that tells spans.
#[derive(Clone, Copy, Debug, Default)]
pub struct StacksSubscriber {}

/// What is kept with each span.
struct Told {
    parent_id: u64,
    id: u64,
    amount: u64,
    exit_stack: bool,
    /// It has been entered while somebody listened.
    entered: bool,
    /// It was made while nobody listened, and may have been entered then.
    early: bool,
    name: &'static str,
    /// The name once it has been told: with a zero at its end, and 16 bytes at least.
    terminated: Option<Box<[u8]>>,
}

impl Told {
    fn new(name: &'static str, parent_id: u64) -> Self {
        let early = !probes::enter::listened();
        Told { parent_id, id: 0, amount: 0, exit_stack: false, entered: false, early, name, terminated: None }
    }

    fn enter(&mut self, span_id: u64) {
        let name = self.name;
        let terminated = self.terminated.get_or_insert_with(|| {
            let mut copy = vec![0; (name.len() + 1).max(16)];
            copy[..name.len()].copy_from_slice(name.as_bytes());
            copy.into()
        });
        let again = if self.entered || self.early { probes::ENTERED } else { 0 };
        let length = name.len() as u64 | again;
        probes::enter::fire(span_id, self.parent_id, self.id, self.amount, terminated.as_ptr(), length);
        self.entered = true;
    }
}

impl Visit for Told {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "id" => self.id = value,
            "amount" => self.amount = value,
            _ => {}
        }
    }

    // what a literal or an i32 arrives as
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record_u64(field, value as u64);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "exit_stack" {
            self.exit_stack = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

fn with<S, R>(context: &Context<'_, S>, id: &span::Id, what: impl FnOnce(&mut Told) -> R) -> Option<R>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let span = context.span(id)?;
    let mut extensions = span.extensions_mut();
    extensions.get_mut::<Told>().map(what)
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for StacksSubscriber {
    // also while nobody listens: a later listener needs the fields, which come this once
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let parent_id = span.parent().map_or(0, |parent| parent.id().into_u64());
            let mut told = Told::new(attributes.metadata().name(), parent_id);
            attributes.record(&mut told);
            span.extensions_mut().insert(told);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        with(&context, id, |told| values.record(told));
    }

    fn on_enter(&self, id: &span::Id, context: Context<'_, S>) {
        if probes::enter::listened() {
            with(&context, id, |told| told.enter(id.into_u64()));
        }
    }

    fn on_exit(&self, id: &span::Id, context: Context<'_, S>) {
        if !probes::exit::listened() && !probes::exit_stack::listened() {
            return;
        }
        if with(&context, id, |told| told.exit_stack).unwrap_or(false) {
            if probes::exit_stack::listened() {
                probes::exit_stack::fire(id.into_u64());
            }
        } else if probes::exit::listened() {
            probes::exit::fire(id.into_u64());
        }
    }

    fn on_close(&self, id: span::Id, context: Context<'_, S>) {
        if probes::close::listened() && with(&context, &id, |told| told.entered).unwrap_or(false) {
            probes::close::fire(id.into_u64());
        }
    }
}
