//! Commits a second next to a plain log, in the same minute. `cargo test --release --lib bench -- --ignored --nocapture`
