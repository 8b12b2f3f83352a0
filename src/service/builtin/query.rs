//! `query`: the work of the classroom's farms, played.

use std::time::Duration;

use serde_json::{Value, json};

use crate::service::{Context, Failure, Service};
use crate::wire::{MAX_ID_BYTES, ServiceOffer};

use super::offer;

/// `query.run {"USER":".."}`: the balance of an account, as the workers of the classroom look it up:
/// `{"USER":"..","SALDO":"25.00"}`. Some masters ask for several users in a list; then `SALDO` is the list of theirs.
///
/// **A demonstration**: there is no bank behind it. The balance is computed from the text of USER, so that the same
/// user always has the same, on every node; looking it up takes 5 to 20 ms, which are computed from it too.
pub struct Query;

impl Service for Query {
    fn offer(&self) -> ServiceOffer {
        offer("query", &["run"], &["run"])
    }

    fn call(&self, _: &str, params: &Value, context: &Context) -> Result<Value, Failure> {
        let users = &params["USER"];
        let refused = || {
            let expected = format!("a text of 1 to {MAX_ID_BYTES} bytes, a number, or a list of these");
            Failure::refused(format!("PARAMS `USER` is {users}; expected {expected}"))
        };
        let found = match users {
            Value::Array(all) => {
                let names: Option<Vec<String>> = all.iter().map(name).collect();
                let found: Result<Vec<String>, Failure> =
                    names.ok_or_else(refused)?.iter().map(|name| look_up(name, context)).collect();
                json!(found?)
            }
            one => json!(look_up(&name(one).ok_or_else(refused)?, context)?),
        };
        Ok(json!({ "USER": users, "SALDO": found }))
    }
}

/// The name of one user.
fn name(user: &Value) -> Option<String> {
    match user {
        Value::String(user) if (1..=MAX_ID_BYTES).contains(&user.len()) => Some(user.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The balance of one user.
fn look_up(user: &str, context: &Context) -> Result<String, Failure> {
    let hash = fnv1a(user.as_bytes());
    if !context.wait(Duration::from_millis(5 + (hash >> 32) % 16)) {
        return Err(Failure::broken("stopped before the balance was found"));
    }
    Ok(saldo(hash))
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
