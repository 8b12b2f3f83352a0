//! What our node says against what was recorded in its place.

use serde_json::Value;

/// What only the recorded program says, and no document names.
const OWN: [&str; 2] = ["CPF", "SALDO"];

/// What must be the same, word for word, once the names and addresses of the recording are replaced.
const SAME: [&str; 16] = [
    "TASK",
    "RESPONSE",
    "type",
    "TYPE",
    "WORKER",
    "WORKER_UUID",
    "worker_id",
    "id",
    "ip",
    "port",
    "WORKER_PORT",
    "new_master_address",
    "original_master_address",
    "master_address",
    "reason",
    "workers_offered",
];

/// Panics unless `ours` has all that `recorded` has, in the same types, and the same words where words matter. `answers`: it answers a request
/// whose mark it has to echo.
pub(crate) fn serves(recorded: &Value, ours: &Value, answers: bool, context: &str) {
    match (recorded, ours) {
        (Value::Object(recorded), Value::Object(members)) => {
            for (key, value) in recorded.iter().filter(|(key, _)| !OWN.contains(&key.as_str())) {
                let Some(own) = members.get(key) else { panic!("{context}: `{key}` is missing in {ours}") };
                let same = SAME.contains(&key.as_str()) || (key == "request_id" && answers);
                let same = same || (key == "STATUS" && value == "ACK");
                if same {
                    assert_eq!(own, value, "{context}: `{key}` in {ours}");
                }
                serves(value, own, answers, context);
            }
        }
        (Value::Array(recorded), Value::Array(items)) => {
            assert_eq!(recorded.len(), items.len(), "{context}: {ours}");
            let sorted = |items: &[Value]| {
                let mut all = items.to_vec();
                all.sort_by_key(|item| item.to_string());
                all
            };
            for (recorded, own) in sorted(recorded).iter().zip(sorted(items)) {
                if recorded.is_string() {
                    assert_eq!(recorded, &own, "{context}: {ours}");
                }
                serves(recorded, &own, answers, context);
            }
        }
        (recorded, ours) => {
            let same = std::mem::discriminant(recorded) == std::mem::discriminant(ours);
            assert!(same, "{context}: expected something like {recorded}, got {ours}");
        }
    }
}
