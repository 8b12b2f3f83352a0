//! Services that every node has.

mod primes;
mod query;
mod sleep;
mod system;

use serde_json::Value;

use crate::wire::{ServiceName, ServiceOffer};

use super::{Failure, Service};

pub use primes::Primes;
pub use query::Query;
pub use sleep::Sleep;
pub use system::System;

/// The services that every node has: `system` tells about the machine, and `sleep`, `query` and `primes` are work to
/// try a cluster with.
pub fn builtins() -> Vec<Box<dyn Service>> {
    vec![Box::new(System::new()), Box::new(Sleep), Box::new(Query), Box::new(Primes)]
}

/// An offer. The names are written in this program.
fn offer(name: &str, methods: &[&str], idempotent: &[&str]) -> ServiceOffer {
    let name_of = |name: &str| ServiceName::new(name).expect("a name of this program is a name");
    let names = |names: &[&str]| names.iter().map(|name| name_of(name)).collect();
    ServiceOffer { name: name_of(name), methods: names(methods), idempotent: names(idempotent) }
}

/// The whole number of PARAMS: the number itself, or the field `field` of an object.
fn whole_number(params: &Value, field: &str, most: u64) -> Result<u64, Failure> {
    let value = if params.is_object() { &params[field] } else { params };
    let number = value.as_u64().filter(|number| *number <= most);
    number.ok_or_else(|| {
        Failure::refused(format!("PARAMS `{field}` is {value}; expected a whole number from 0 to {most}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_may_stand_alone_or_in_its_field_and_errors_name_it() {
        assert_eq!(whole_number(&json!(7), "n", 9), Ok(7));
        assert_eq!(whole_number(&json!({"n": 7}), "n", 7), Ok(7));
        for bad in [json!(null), json!({}), json!({"n": -1}), json!({"n": 1.5}), json!("7"), json!(8), json!([1])] {
            let failure = whole_number(&bad, "n", 7).unwrap_err();
            assert!(failure.detail.contains("`n` is ") && failure.detail.contains("0 to 7"), "{failure:?}");
            assert!(!failure.retry);
        }
    }
}
