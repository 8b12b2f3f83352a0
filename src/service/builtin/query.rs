//! `query`: the work of the classroom's farms, played.

use std::time::Duration;

use serde_json::{Value, json};

use crate::service::{Context, Failure, Service};
use crate::wire::{MAX_ID_BYTES, ServiceOffer};

use super::offer;

/// `query.run {"USER":".."}`: the balance of an account, as the workers of the classroom look it up:
/// `{"USER":"..","SALDO":"25.00"}`.
///
/// **A demonstration**: there is no bank behind it. The balance is computed from the text of USER, so that the same
/// user always has the same, on every node; looking it up takes 5 to 20 ms, which are computed from it too.
pub struct Query;

impl Service for Query {
    fn offer(&self) -> ServiceOffer {
        offer("query", &["run"], &["run"])
    }

    fn call(&self, _: &str, params: &Value, context: &Context) -> Result<Value, Failure> {
        let user = match &params["USER"] {
            Value::String(user) if (1..=MAX_ID_BYTES).contains(&user.len()) => user.clone(),
            Value::Number(number) => number.to_string(),
            other => {
                let expected = format!("a text of 1 to {MAX_ID_BYTES} bytes, or a number");
                return Err(Failure::refused(format!("PARAMS `USER` is {other}; expected {expected}")));
            }
        };
        let hash = fnv1a(user.as_bytes());
        if !context.wait(Duration::from_millis(5 + (hash >> 32) % 16)) {
            return Err(Failure::broken("stopped before the balance was found"));
        }
        Ok(json!({ "USER": params["USER"], "SALDO": saldo(hash) }))
    }
}

/// 0.00 to 9999.99.
fn saldo(hash: u64) -> String {
    let cents = hash % 1_000_000;
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// FNV-1a: the same on every machine and in every version, unlike the hashes of the standard library.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one_and_a_balance_has_two_places() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!([saldo(2500), saldo(7), saldo(1_999_999)], ["25.00", "0.07", "9999.99"]);
    }
}
