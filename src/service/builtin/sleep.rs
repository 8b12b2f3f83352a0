//! `sleep`: waits. For trying out queues, time-outs and stops without load on the machine.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::service::{Context, Failure, Service};
use crate::wire::{MAX_WAIT, ServiceOffer};

use super::{offer, whole_number};

/// `sleep.run {"ms":n}`, or just the number: waits so many milliseconds, at most 24 h, and answers
/// `{"ms":n}`. Ends early when it is stopped.
pub struct Sleep;

impl Service for Sleep {
    fn offer(&self) -> ServiceOffer {
        offer("sleep", &["run"], &["run"])
    }

    fn call(&self, _: &str, params: &Value, context: &Context) -> Result<Value, Failure> {
        let ms = whole_number(params, "ms", MAX_WAIT.as_millis() as u64)?;
        let started = Instant::now();
        if !context.wait(Duration::from_millis(ms)) {
            return Err(Failure::broken(format!("woken after {} of {ms} ms", started.elapsed().as_millis())));
        }
        Ok(json!({ "ms": ms }))
    }
}
