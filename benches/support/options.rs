//! The command line of the benches.

use std::path::PathBuf;

use clap::Parser;

use super::server::Kind;

/// How to run a bench.
#[derive(Parser, Clone, Debug)]
#[command(about = "Measures the node beside its yardsticks, in the same minutes.")]
pub(crate) struct Options {
    /// A run of a few seconds that shows that everything works; its figures mean little. Short rounds, no redis.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Length of one round, in seconds. Default 1.
    #[arg(long, value_name = "N")]
    seconds: Option<f64>,
    /// Only the measurements whose name contains this, such as `load` or `50x128`.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Measures the node alone: no ratios, no verdict on targets.
    #[arg(long)]
    pub(crate) no_yardsticks: bool,
    /// Another node program with the same command line, such as an older build.
    #[arg(long, value_name = "PATH")]
    pub(crate) node: Option<PathBuf>,

    /// Given by `cargo bench`. Without it (`cargo test --benches`), a run is a smoke run.
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the fixed-answer server on this port.
    #[arg(long, hide = true, value_name = "PORT")]
    serve_fixed: Option<u16>,
    /// Be the server that splits lines on this port.
    #[arg(long, hide = true, value_name = "PORT")]
    serve_split: Option<u16>,
    /// Be the typed serde server on this port.
    #[arg(long, hide = true, value_name = "PORT")]
    serve_typed: Option<u16>,
}

impl Options {
    /// Reads the command line. A process that was started as a yardstick serves here, and never returns.
    pub(crate) fn read() -> Options {
        let mut options = Options::parse();
        let kinds = [
            (options.serve_fixed, Kind::Fixed),
            (options.serve_split, Kind::Split),
            (options.serve_typed, Kind::Typed),
        ];
        for (port, kind) in kinds {
            if let Some(port) = port {
                let error = super::server::serve(kind, port).err();
                eprintln!("yardstick {}: {error:?}", kind.name());
                std::process::exit(1);
            }
        }
        options.smoke |= !options.bench;
        options
    }

    /// Whether `--only` lets this measurement through.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// Length of one round; a smoke run has `smoke`.
    pub(crate) fn round(&self, smoke: f64) -> std::time::Duration {
        let seconds = self.seconds.unwrap_or(if self.smoke { smoke } else { 1.0 });
        std::time::Duration::from_secs_f64(seconds.clamp(0.01, 600.0))
    }
}
