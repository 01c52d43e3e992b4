//! What a node logs, and how: `RUST_LOG` and `LOG_FORMAT` of the node contract.

use std::env;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, Registry, filter::Targets, fmt, layer::SubscriberExt};

use crate::LogFormat;

/// What `RUST_LOG` asks for: levels, or levels by module, as in `info,lock=debug`; info if nothing.
pub fn wanted() -> Targets {
    let asked = env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

/// Logs to standard error from now on.
pub fn start(format: LogFormat) {
    let lines = fmt::layer().with_writer(std::io::stderr);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Human => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let log = tracing_subscriber::registry().with(layer.with_filter(wanted()));
    // Nothing else in a node's program has done so before.
    let _ = tracing::subscriber::set_global_default(log);
}
